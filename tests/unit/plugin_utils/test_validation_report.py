# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of validate.yml on a host, a line for each subject."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages.validation import (
    Found,
    Line,
    State,
    validation_lines,
    validation_report,
)

STATE: State = {
    "engine": {"answers": True, "version": "26.1.5", "compose": "2.26.1", "reason": ""},
    "disk": [
        {"path": "/", "total_bytes": 10**10, "free_bytes": 5 * 1024**3, "used_percent": 50.0, "inodes_percent": 12.345}
    ],
    "ports": [{"service": "web", "port": 8000, "holders": []}],
    "healthy": True,
    "release": "r1",
    "summary": "2 of 2 checks passed",
}
FOUND: Found = {
    "secrets": "",
    "findings": [],
    "variables": 3,
    "online": False,
    "reach": {"text": "Python 3.11.2", "problem": "", "next_step": ""},
    "engine": "",
    "balancer": "",
    "packages": {},
    "project": "",
    "written": {"proved": True, "files": []},
    "state": STATE,
    "free_disk": "1G",
}
AWAY = {"text": "no route", "problem": "no route", "next_step": "Look there"}
CONTAINER = {"container": "the container blog-web-1"}
FINDING = {"variable": "KEY", "rule": "placeholder", "reason": "it is a placeholder", "fix": "write the key"}


def lines(**changed: Any) -> list[Line]:
    return validation_lines(cast("Found", {**FOUND, **changed}), "shop")


def state(**changed: Any) -> dict[str, Any]:
    return {"state": {**STATE, **changed}}


def engine(reason: str) -> dict[str, Any]:
    return state(engine={"answers": False, "version": "", "compose": "", "reason": reason})


def test_a_valid_host() -> None:
    assert [(one.what, one.detail) for one in lines() if one.ok] == [
        ("secrets", "3 of 3 variables are validated"),
        ("host", "reached over ssh, Python 3.11.2"),
        ("project", "the compose file and the table of services fit the host"),
        ("engine", "engine 26.1.5, Compose 2.26.1"),
        ("disk", "/: 5.00 GB free, 1G asked for; 12.3 % of the inodes used"),
        ("port", "8000 is free"),
        ("app", "2 of 2 checks passed"),
    ]


@pytest.mark.parametrize(
    ("changed", "what", "ok", "words"),
    [
        ({"online": True}, "secrets", True, "validated, online too"),
        ({"variables": 0}, "secrets", True, "no variables: the app has no env"),
        ({"secrets": "a role's error"}, "secrets", False, "a role's error"),
        ({"findings": [FINDING]}, "KEY", False, "placeholder: it is a placeholder. Fix: write the key"),
        ({"reach": AWAY}, "host", False, "no route. Look there"),
        ({"engine": "too old"}, "engine", False, "too old"),
        ({"balancer": "port 80 is taken"}, "balancer", False, "port 80 is taken"),
        ({"packages": {"backup": "restic is too old"}}, "backup", False, "restic is too old"),
        ({"project": "no compose file"}, "project", False, "no compose file"),
        (
            {"written": {"proved": False}},
            "project",
            True,
            "the table of services is sound; Compose reads the files once",
        ),
        ({"written": {"files": ["a", "b"]}}, "project", True, "fit the host; site.yml would write a, b"),
        (engine(""), "engine", True, ""),
        (engine("docker is not installed"), "engine", True, "docker is not installed"),
        (engine("permission denied"), "engine", False, "permission denied"),
        ({"free_disk": "10G"}, "disk", False, "/: 5.00 GB free, 10G asked for"),
        (state(disk=[{**STATE["disk"][0], "inodes_percent": 95}]), "disk", False, "95 % of the inodes used"),
        (
            state(ports=[{"service": "web", "port": 80, "holders": [{"process": "nginx", "pid": 7}]}]),
            "port",
            False,
            "80 of web is held by nginx (pid 7). Stop that process, or publish another port.",
        ),
        (
            state(ports=[{"service": "web", "port": 80, "holders": [CONTAINER, {"process": "nginx", "pid": 7}]}]),
            "port",
            False,
            "80 of web is held by the container blog-web-1, nginx (pid 7). Stop that container, or publish another",
        ),
        (
            state(ports=[{"service": "web", "port": 80, "holders": [{"process": "haproxy", "pid": 7}]}]),
            "port",
            False,
            "remove /etc/haproxy/selfheal/shop.cfg and reload haproxy first",
        ),
        (state(healthy=False), "app", False, "not healthy: 2 of 2 checks passed"),
        (state(healthy=False, release=None), "app", True, "nothing is deployed yet"),
    ],
)
def test_the_line_of_each_subject(changed: dict[str, Any], what: str, ok: bool, words: str) -> None:
    found = [one for one in lines(**changed) if one.what == what]
    assert [one.ok for one in found] == [ok]
    assert words in found[0].detail


@pytest.mark.parametrize(
    ("changed", "last"),
    [({"reach": AWAY, "state": {}}, "host"), ({"project": "wrong", "state": {}}, "project")],
)
def test_facts_that_were_not_read_have_no_line(changed: dict[str, Any], last: str) -> None:
    assert lines(**changed)[-1].what == last


def test_an_engine_that_failed_is_one_line() -> None:
    found = lines(engine="too old", **engine("too old"))
    assert [one.what for one in found].count("engine") == 1


def test_without_ports_there_is_no_line_for_them() -> None:
    without = {name: value for name, value in STATE.items() if name != "ports"}
    assert "port" not in [one.what for one in lines(state=without)]


def test_the_report_of_a_valid_host() -> None:
    report = validation_report(FOUND, "shop", "web1")
    assert report["failure"] == ""
    assert report["text"].splitlines() == [
        "shop on web1",
        "[x] secrets   3 of 3 variables are validated",
        "[x] host      reached over ssh, Python 3.11.2",
        "[x] project   the compose file and the table of services fit the host",
        "[x] engine    engine 26.1.5, Compose 2.26.1",
        "[x] disk      /: 5.00 GB free, 1G asked for; 12.3 % of the inodes used",
        "[x] port      8000 is free",
        "[x] app       2 of 2 checks passed",
    ]


def test_the_report_of_what_failed() -> None:
    failed = cast(Found, {**FOUND, "findings": [FINDING], "project": "no compose file\nFix: add one", "state": {}})
    assert validation_report(failed, "shop", "web1") == {
        "text": (
            "shop on web1\n"
            "[ ] KEY       placeholder: it is a placeholder. Fix: write the key\n"
            "[x] host      reached over ssh, Python 3.11.2\n"
            "[ ] project   no compose file\n"
            "              Fix: add one"
        ),
        "failure": (
            "shop on web1: 2 of 3 validations failed (KEY, project). Correct what is named above, then run "
            "validate.yml again. Nothing was changed."
        ),
    }
