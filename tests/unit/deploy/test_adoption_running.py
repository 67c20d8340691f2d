# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app as it runs, next to what its files say."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import adoption_running
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption_choice import AdoptError, Found
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption_record import Origin

LABEL = "com.docker.compose"
SECRET = "m4Zr7Qw9Lx2Vb8Nc5Kt1"


def container(service: str = "web", folder: str = "/root/shop", **more: Any) -> dict[str, Any]:
    labels = {f"{LABEL}.service": service, f"{LABEL}.project.working_dir": folder, f"{LABEL}.version": "2.26.1"}
    labels[f"{LABEL}.version"] = more.pop("version", "2.26.1")
    name = more.pop("name", f"shop-{service}-1")
    return {
        "Id": name,
        "Name": f"/{name}",
        "Config": {"Labels": labels, "Env": more.pop("env", []), "Image": "nginx:1"},
        "State": {"Status": "running", "ExitCode": 0, **more},
        "HostConfig": {},
    }


def found(*documents: dict[str, Any]) -> Found:
    return Found("shop", Origin("/root/shop", ["/root/shop/compose.yaml"], []), documents, False, None)


def model(**web: Any) -> Any:
    return {"services": {"web": {"image": "nginx:1", **web}}}


@pytest.mark.parametrize(
    ("runs", "files"),
    [
        (["TOKEN=given by a shell"], {"TOKEN": ""}),
        (["TOKEN=old"], {"TOKEN": SECRET}),
        (["TOKEN=given by a shell"], {"TOKEN": None}),
        ([], {"TOKEN": SECRET}),
    ],
)
def test_values_that_only_the_start_knew_are_refused_by_name(runs: list[str], files: dict[str, Any]) -> None:
    with pytest.raises(AdoptError) as caught:
        adoption_running.require_same_values(found(container(env=runs)), model(environment=files))
    said = str(caught.value)
    assert "service web: it runs with other values than its files give: TOKEN" in said
    assert "take the files' values: `docker compose up -d web` in /root/shop" in said
    is_kept = "| grep -E '^(TOKEN)='` prints where the files of /root/shop set it, such as its .env" in said
    # One that the container does not have would print nothing.
    assert is_kept == bool(runs)
    assert SECRET not in said
    assert "given by a shell" not in said


def test_a_placeholder_that_runs_is_named_and_not_to_be_kept() -> None:
    runs = container(env=["TOKEN=changeme", "MODE=fast"])
    with pytest.raises(AdoptError) as caught:
        adoption_running.require_same_values(found(runs), model(environment={"TOKEN": SECRET, "MODE": "slow"}))
    said = str(caught.value)
    assert "It runs with a placeholder: TOKEN" in said
    assert "| grep -E '^(MODE)='` prints" in said
    assert "changeme" not in said


def test_the_same_values_are_no_difference() -> None:
    same = found(container(env=["A=pa$$word", "B=", "PATH=/bin"]))
    adoption_running.require_same_values(same, model(environment={"A": "pa$$$$word", "B": "", "C": None}))
    # The values of a release come from the inventory.
    released = found(container(env=["A=new"], folder="/opt/shop"))
    adoption_running.require_same_values(released, model(environment={"A": "old"}))


def test_a_scale_that_only_the_command_line_said_is_refused() -> None:
    two = found(container(), container(name="shop-web-2"))
    with pytest.raises(AdoptError, match=r"service web: it has more containers than its files say \(1\)"):
        adoption_running.require_same_scale(two, model())
    adoption_running.require_same_scale(two, model(scale=2))
    adoption_running.require_same_scale(two, model(deploy={"replicas": 2}))


def test_a_profile_that_only_the_command_line_enabled_is_refused() -> None:
    debug = model(profiles=["debug"])
    with pytest.raises(AdoptError, match=r"write COMPOSE_PROFILES=debug into /root/shop/\.env"):
        adoption_running.require_same_profiles(found(container()), debug, {"COMPOSE_PROFILES": "other"})
    adoption_running.require_same_profiles(found(container()), debug, {"COMPOSE_PROFILES": "other, debug"})
    adoption_running.require_same_profiles(found(container()), debug, {"COMPOSE_PROFILES": "*"})
    adoption_running.require_same_profiles(found(container(Status="exited")), debug, {})
    adoption_running.require_same_profiles(found(container()), model(), {})


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (container(Status="exited"), "web has ended (exit code 0), and is started again"),
        (container(Status="exited", ExitCode=137), "web is stopped (exit code 137), and is started again"),
        (container(Status="paused"), "web is paused now, and is started"),
        (container(Status="created"), "web is created now, and is started"),
        (container(Status="restarting", ExitCode=1), "web restarts again and again (exit code 1)"),
        (container(Health={"Status": "unhealthy"}), "web is unhealthy now"),
        (container(version="1.29.2", name="shop_web_1"), "shop_web_1 gets a name with hyphens: Compose v1 created it"),
        (container("old"), "shop-old-1 is removed: no compose file names its service old any more"),
    ],
)
def test_what_will_differ_is_noted(document: dict[str, Any], said: str) -> None:
    (note,) = adoption_running.notes(found(document), model())
    assert said in note


def test_an_app_that_runs_as_its_files_say_has_no_notes() -> None:
    assert adoption_running.notes(found(container()), model()) == []
    assert adoption_running.notes(found(container()), model(image="nginx:2")) == [
        "web gets the image nginx:2, and runs nginx:1"
    ]
