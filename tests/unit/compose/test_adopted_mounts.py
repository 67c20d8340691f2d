# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which bind mounts of an app that was started by hand are data, and stay where they are."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.compose.adopted_mounts import (
    Held,
    There,
    binds,
    data,
    render,
)

TOP = "/root/shop"
CREATED = {"web": 100.0, "db": 100.0}
OLD, NEW = 50.0, 150.0
LARGE = 50 << 20


def mount(name: str, target: str = "/x", read_only: bool = False) -> dict[str, Any]:
    return {"type": "bind", "source": f"{TOP}/{name}", "target": target, "read_only": read_only}


def kept(mounts: list[dict[str, Any]], there: dict[str, There]) -> list[str]:
    found = binds({"web": {"volumes": mounts}}, TOP)
    return sorted(one.name for one in data(found, there, CREATED))


TEXT = There("file", 100, OLD, True)
FOLDER = There("folder", 100, OLD)


@pytest.mark.parametrize(
    ("read_only", "there", "stays"),
    [
        pytest.param(True, TEXT, False, id="a configuration is a file of the project"),
        pytest.param(True, FOLDER, False, id="so is a small folder that is mounted read-only"),
        pytest.param(False, FOLDER, True, id="a folder that a service may write is data"),
        pytest.param(False, TEXT, False, id="a text without :ro that never changed is configuration"),
        pytest.param(False, There("file", 100, NEW, True), True, id="a text that changed since is data"),
        pytest.param(False, There("file", 100, OLD, False), True, id="so is a binary file, such as SQLite's"),
        pytest.param(True, There("folder", LARGE, OLD), True, id="a large folder is not copied"),
        pytest.param(True, There("other", 0, 0.0), True, id="a socket is not a file"),
        pytest.param(True, TEXT._replace(is_private=True), True, id="the owner of a file cannot read root's copy"),
    ],
)
def test_what_a_service_writes_stays(read_only: bool, there: There, stays: bool) -> None:
    assert kept([mount("a", read_only=read_only)], {"a": there}) == (["a"] if stays else [])


def test_a_folder_that_holds_data_stays_as_a_whole() -> None:
    mounts = [mount("site", "/site", read_only=True), mount("site/uploads", "/up"), mount("conf", read_only=True)]
    assert kept(mounts, dict.fromkeys(("site", "site/uploads", "conf"), FOLDER)) == ["site", "site/uploads"]


def test_other_mounts_are_not_of_the_project() -> None:
    volumes = [{"type": "volume", "source": "db"}, {"type": "bind", "source": "/srv/x", "target": "/x"}, mount("a")]
    assert [one.name for one in binds({"web": {"volumes": volumes}}, TOP)] == ["a"]


def test_the_compose_file_names_the_place_as_it_is_mounted_now() -> None:
    spec = {**mount("a $b", read_only=True), "bind": {"selinux": "z"}}
    found = binds({"web": {"volumes": [spec]}}, TOP)
    text = render("shop", TOP, found)
    said = yaml.safe_load(text)["services"]["web"]["volumes"]
    # Compose reads $$ as a dollar.
    assert said == [{**spec, "source": f"{TOP}/a $$b"}]
    assert render("shop", TOP, []) == ""


def test_a_secret_that_stays_is_named_by_its_path() -> None:
    held = [Held("secrets", "token", f"{TOP}/to$ken")]
    assert yaml.safe_load(render("shop", TOP, [], held)) == {"secrets": {"token": {"file": f"{TOP}/to$$ken"}}}
