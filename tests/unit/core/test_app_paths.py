# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the files of an app are, and which names it may have."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppError, AppPaths, app_paths


def test_an_app_without_a_directory_is_in_opt() -> None:
    assert app_paths("shop", root="/mnt") == AppPaths("shop", "/mnt/opt/shop", "/mnt")
    assert app_paths("shop", "/srv/shop") == AppPaths("shop", "/srv/shop", "/")


def test_paths_are_below_the_directory_and_the_root() -> None:
    paths = app_paths("shop", "/srv/shop", "/mnt")
    assert (paths.env, paths.state) == ("/srv/shop/.env", "/mnt/var/lib/selfheal/shop")
    assert (paths.incidents, paths.lock) == ("/mnt/var/lib/selfheal/shop/incidents", "/mnt/run/selfheal/shop.lock")


@pytest.mark.parametrize("name", ["", "Shop", "-shop", "my shop", "../shop", "shop\n"])
def test_a_name_that_compose_refuses_is_an_error(name: str) -> None:
    with pytest.raises(AppError, match="cannot name a compose project: use lower-case letters"):
        app_paths(name)
