# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which compose project of a host is taken over."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption_choice import (
    AdoptError,
    Asked,
    Known,
    choose,
)
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption_record import Origin, Record

LABEL = "com.docker.compose.project"
NOTHING = Known({}, ())
DIRECTORIES = {"shop": "/opt/shop", "blog": "/opt/blog"}
BLOG = Origin("/root/blog", ["/root/blog/compose.yaml"], [])


def container(app: str, folder: str, **more: str) -> dict[str, Any]:
    files = more.pop("files", f"{folder}/compose.yaml")
    labels = {LABEL: app, f"{LABEL}.working_dir": folder, f"{LABEL}.config_files": files}
    return {"Id": f"{app} {folder}", "Config": {"Labels": {**labels, **more}}}


SHOP, OTHER = container("shop", "/root/shop"), container("blog", "/root/blog")


def test_the_only_project_is_the_one() -> None:
    found = choose(Asked(), [SHOP, {"Id": "x", "Config": {}}], NOTHING, DIRECTORIES)
    assert (found.app, found.origin) == ("shop", Origin("/root/shop", ["/root/shop/compose.yaml"], []))


@pytest.mark.parametrize("named", ["/root/blog", "/root/blog/compose.yaml"])
def test_a_folder_or_its_compose_file_names_one(named: str) -> None:
    assert choose(Asked(named), [SHOP, OTHER], NOTHING, DIRECTORIES).app == "blog"


def test_relative_files_and_env_files_of_the_labels_are_found() -> None:
    labels = {f"{LABEL}.environment_file": "/etc/shop.env"}
    one = container("shop", "/root/shop", files="a.yml,../b.yml", **labels)
    assert choose(Asked(), [one], NOTHING, DIRECTORIES).origin == Origin(
        "/root/shop", ["/root/shop/a.yml", "/root/b.yml"], ["/etc/shop.env"]
    )


def test_several_projects_are_listed_with_a_command_for_each() -> None:
    with pytest.raises(AdoptError) as caught:
        choose(Asked(), [SHOP, OTHER], NOTHING, DIRECTORIES)
    assert "several projects fit: blog (/root/blog), shop (/root/shop)" in str(caught.value)
    assert "-e adopt=HOST:/root/blog, or -e adopt=HOST:/root/shop" in str(caught.value)


def test_an_app_that_has_a_release_does_not_count_among_several() -> None:
    here = container("blog", "/opt/blog")
    assert choose(Asked(), [SHOP, here], Known({}, {"blog"}), DIRECTORIES).app == "shop"


def test_two_projects_of_one_name_are_refused() -> None:
    with pytest.raises(AdoptError, match="started from several folders: /root/shop, /srv/shop"):
        choose(Asked("/root/shop"), [SHOP, container("shop", "/srv/shop")], NOTHING, DIRECTORIES)


def test_two_apps_of_one_folder_are_chosen_by_name() -> None:
    there = [container("shop", "/root/x"), container("blog", "/root/x")]
    with pytest.raises(AdoptError, match="-e adopt=HOST:/root/x -e app=blog"):
        choose(Asked("/root/x"), there, NOTHING, DIRECTORIES)
    assert choose(Asked("/root/x", "shop"), there, NOTHING, DIRECTORIES).app == "shop"


def test_nothing_that_fits_says_what_is_there() -> None:
    with pytest.raises(AdoptError, match=r"started from /root/x\. Projects there: shop \(/root/shop\)"):
        choose(Asked("/root/x"), [SHOP], NOTHING, DIRECTORIES)
    with pytest.raises(AdoptError, match="the host has no containers of a compose project"):
        choose(Asked(), [], NOTHING, DIRECTORIES)


def test_a_folder_is_found_under_each_of_its_names() -> None:
    links = {"/root/link": "/root/shop"}
    through_link = container("shop", "/root/link")
    for there in (SHOP, through_link):
        for named in ("/root/shop", "/root/link"):
            found = choose(Asked(named), [there, OTHER], NOTHING, DIRECTORIES, lambda path: links.get(path, path))
            assert found.app == "shop"


def test_containers_without_a_project_or_a_folder_are_named() -> None:
    lone = {"Id": "x", "Name": "/lone", "Config": {}}
    with pytest.raises(AdoptError, match="Started by `docker run`, which no compose file describes: lone"):
        choose(Asked(), [lone], NOTHING, DIRECTORIES)
    old = {"Id": "y", "Name": "/old_web_1", "Config": {"Labels": {LABEL: "old"}}}
    with pytest.raises(AdoptError, match="name one of them: -e adopt=HOST -e app=old"):
        choose(Asked("/root/old"), [old], NOTHING, DIRECTORIES)


def test_a_take_over_that_was_killed_is_found_by_the_old_folder() -> None:
    known = Known({"blog": Record("blog", BLOG, False)}, ())
    # Its containers were replaced, all or some of them.
    for there in ([container("blog", "/opt/blog")], [container("blog", "/opt/blog"), OTHER]):
        found = choose(Asked("/root/blog"), there, known, DIRECTORIES)
        assert (found.app, found.origin, found.is_deployed) == ("blog", BLOG, False)


def test_containers_of_docker_compose_run_do_not_count() -> None:
    job = container("blog", "/root/blog", **{"com.docker.compose.oneoff": "True"})
    assert choose(Asked(), [SHOP, job], NOTHING, DIRECTORIES).app == "shop"
