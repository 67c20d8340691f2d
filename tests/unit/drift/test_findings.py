# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Findings from the events of a run and from the facts of a host.

The events were recorded by ansible-runner with the oldest and the newest supported ansible-core, for the same manual
changes on the same host.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import findings as drift_findings
from ansible_collections.christmas.selfheal.tests.unit.drift.factories import facts

RECORDED = Path(__file__).parent / "drift_events"
HOST = "web1"
KEY = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"


def event(result: dict[str, Any], kind: str = "runner_on_ok", **about: Any) -> dict[str, Any]:
    data = {"host": HOST, "role": "watcher", "task": "a task", "task_path": "roles/x/tasks/main.yml:1", "res": result}
    return {"event": kind, "event_data": {**data, **about}}


def found(*events: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(one["object"], one["what"], one["is"], one["should"]) for one in drift_findings.gather(events).findings]


# --- recorded ---


def recorded(version: str) -> drift_findings.Seen:
    return drift_findings.gather(json.loads((RECORDED / f"{version}.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("version", ["2.19", "2.21"])
def test_recorded_events_show_each_drift(version: str) -> None:
    seen = recorded(version)
    assert seen.ended
    assert seen.troubles == []
    found = drift_findings.complete(
        [*seen.findings, *drift_findings.compare(HOST, seen.facts[HOST], {}, None)], seen.facts
    )
    assert {(one["role"], one["object"], one["what"]) for one in found} == {
        ("log_rotation", "/etc/logrotate.d/selfheal-christmas-backend", "content"),
        ("log_rotation", "/etc/systemd/journald.conf.d/60-selfheal.conf", "content"),
        ("app_env", "/opt/christmas-backend", "mode"),
        ("app_env", "/opt/christmas-backend/.env SUPABASE_SERVICE_KEY", "env"),
        ("load_balancer", "/etc/haproxy/selfheal/christmas-backend.cfg", "content"),
        ("compose_app", "/opt/christmas-backend/app.py", "content"),
        ("compose_app", "container christmas-backend-backend-1", "memory"),
        ("watcher", "selfheal@christmas-backend.timer", "unit"),
    }
    journal = next(one for one in found if "journald" in one["object"])
    assert (journal["is"], journal["should"]) == ("SystemMaxUse=9G", "SystemMaxUse=500M")


def test_both_ends_of_the_range_show_the_same() -> None:
    one, other = recorded("2.19"), recorded("2.21")
    assert one.findings == other.findings
    assert one.facts.keys() == other.facts.keys()


# --- single results ---


LONG = "# selfheal: " + "folder, " * 40
RESULTS: list[tuple[str, dict[str, Any], list[tuple[str, str, str, str]]]] = [
    (
        "attributes",
        event(
            {
                "changed": True,
                "path": "/opt/x",
                "diff": {"before": {"path": "/opt/x", "mode": "0700"}, "after": {"path": "/opt/x", "mode": "0755"}},
            }
        ),
        [("/opt/x", "mode", "0700", "0755")],
    ),
    (
        "a file that is gone",
        event(
            {
                "changed": True,
                "diff": [{"before": "", "after": "a\n", "before_header": "/etc/x", "after_header": "/etc/x"}],
            }
        ),
        [("/etc/x", "content", "not there", "sha256:87428fc52280")],
    ),
    (
        "a long line, alike at its beginning",
        event(
            {
                "changed": True,
                "diff": [{"before": f"{LONG}old\n", "after": f"{LONG}new\n", "after_header": "/etc/x"}],
            }
        ),
        [("/etc/x", "content", f"…{LONG[-12:]}old", f"…{LONG[-12:]}new")],
    ),
    (
        "the same text, another mode",
        event({"changed": True, "diff": [{"before": "a\n", "after": "a\n", "after_header": "/etc/x"}]}),
        [("/etc/x", "mode", "differs", "as configured")],
    ),
    (
        "a unit",
        event(
            {
                "changed": True,
                "name": "x.timer",
                "state": "started",
                "enabled": True,
                "status": {"ActiveState": "inactive", "UnitFileState": "disabled"},
            },
            resolved_action="ansible.builtin.systemd_service",
        ),
        [("x.timer", "unit", "inactive, disabled", "started, enabled")],
    ),
    (
        "a unit that was stopped, and would start at boot",
        event(
            {
                "changed": True,
                "name": "x.timer",
                "state": "started",
                "enabled": True,
                "status": {"ActiveState": "inactive", "UnitFileState": "enabled"},
            },
            resolved_action="ansible.builtin.systemd_service",
        ),
        [("x.timer", "unit", "inactive", "started")],
    ),
    (
        "a unit that is only to be reloaded",
        event(
            {"changed": True, "name": "x.service", "state": "started", "status": {"ActiveState": "active"}},
            resolved_action="ansible.builtin.systemd_service",
        ),
        [],
    ),
    ("a handler", event({"changed": True, "name": "x"}, task_path="/c/roles/x/handlers/main.yml:3"), []),
    ("a loop, whose items have events", event({"changed": True, "results": [{"changed": True}]}), []),
    ("no change", event({"changed": False, "diff": [{"before": "a", "after": "b", "after_header": "/etc/x"}]}), []),
    (
        "rsync",
        event(
            {
                "changed": True,
                "path": "/opt/shop/",
                "stdout_lines": [".d..t...... ./", "<fc........ app.py", "<f+++++++++ new.py", ".f...p..... run.sh"],
            },
            resolved_action="christmas.selfheal.rsync",
        ),
        [
            ("/opt/shop/app.py", "content", "differs", "as on the controller"),
            ("/opt/shop/new.py", "content", "not there", "there"),
            ("/opt/shop/run.sh", "mode", "differs", "as on the controller"),
        ],
    ),
    (
        "a change without a diff",
        event({"changed": True, "path": "/etc/x"}),
        [("/etc/x", "state", "differs", "as configured")],
    ),
]


@pytest.mark.parametrize(("changed", "expected"), [case[1:] for case in RESULTS], ids=[case[0] for case in RESULTS])
def test_results(changed: dict[str, Any], expected: list[tuple[str, str, str, str]]) -> None:
    assert found(changed) == expected


def test_a_line_that_gives_a_password_in_words_is_masked() -> None:
    before, after = "user team insecure-password hunter2\nstats auth admin:hunter2\nlog global\n", "log global\n"
    change = event({"changed": True, "diff": [{"before": before, "after": after, "after_header": "/etc/x"}]})
    assert "hunter2" not in str(found(change))


def test_what_could_not_be_compared_is_reported() -> None:
    seen = drift_findings.gather(
        [
            event({"msg": "no route to host"}, "runner_on_unreachable", host="web2", role=None),
            event({"msg": "is it there?"}, "runner_on_failed", ignore_errors=True),
            event({"msg": f"password={KEY}"}, "runner_on_failed"),
        ]
    )
    assert not seen.ended
    assert [(one["host"], one["role"]) for one in seen.troubles] == [("web2", ""), (HOST, "watcher")]
    assert KEY not in str(seen.troubles)


# --- facts ---


BASELINES: list[tuple[str, dict[str, str], dict[str, str], list[str]]] = [
    ("nothing accepted yet", {"group docker": "mallory"}, {}, []),
    ("a new member", {"group docker": "mallory"}, {"group docker": "no member"}, ["group docker"]),
    ("an upgrade", {"package x": "1:2.10-1"}, {"package x": "1:2.9-3"}, []),
    ("another upstream version with a smaller revision", {"package x": "1.0.1-1"}, {"package x": "1.0-9"}, []),
    ("an older revision", {"package x": "1.0-1+b1"}, {"package x": "1.0-2"}, ["package x"]),
    ("a downgrade", {"package x": "2.9~rc1"}, {"package x": "2.9"}, ["package x"]),
    ("an older epoch", {"package x": "9"}, {"package x": "1:1"}, ["package x"]),
    ("a new package", {"package x": "1", "package y": "1"}, {"package y": "1"}, []),
    ("a package that is gone", {"package y": "1"}, {"package x": "1", "package y": "1"}, ["package x"]),
    ("a new listener", {"listens 99": "nc", "listens 22": "sshd"}, {"listens 22": "sshd"}, ["listens 99"]),
    ("a listener that is gone", {"listens 22": "sshd"}, {"listens 22": "sshd", "listens 80": "haproxy"}, []),
    (
        "what could not be read this time",
        {"unasked package": "", "group docker": "no member"},
        {"package x": "1", "group docker": "no member"},
        [],
    ),
    (
        "what could not be read when it was accepted",
        {"sshd port": "22", "group docker": "no member"},
        {"unasked sshd": "", "group docker": "no member"},
        [],
    ),
    (
        "a timer that a role manages",
        {"unit x": "enabled"},
        {"unit x": "enabled", "timer selfheal@a.timer": "active"},
        [],
    ),
    (
        "the controller's own timer",
        {"unit x": "enabled"},
        {"unit x": "enabled", "timer selfheal-drift.timer": "active"},
        ["selfheal-drift.timer"],
    ),
    ("a new rule", {"firewall -A INPUT -j DROP": "set", "unit x": "enabled"}, {"unit x": "enabled"}, []),
    (
        "a file of a role",
        {"file /etc/selfheal/x": "root:root 0644", "unit x": "enabled"},
        {"unit x": "enabled"},
        [],
    ),
    (
        "a file of no role",
        {"file /etc/sudoers.d/x": "root:root 0644", "unit x": "a"},
        {"unit x": "a"},
        ["/etc/sudoers.d/x"],
    ),
]


@pytest.mark.parametrize(
    ("now", "then", "expected"), [case[1:] for case in BASELINES], ids=[case[0] for case in BASELINES]
)
def test_baseline(now: dict[str, str], then: dict[str, str], expected: list[str]) -> None:
    assert [one["object"] for one in drift_findings.compare(HOST, facts(marks=now), then, None)] == expected


def test_a_file_that_is_not_of_the_project_is_added() -> None:
    there = facts(project=["app.py", "fix.sh", "__pycache__/app.pyc", "data/x"], exclude=["__pycache__", "/data"])
    assert [one["object"] for one in drift_findings.compare(HOST, there, {}, ["app.py"])] == ["/opt/shop/fix.sh"]
    assert drift_findings.compare(HOST, there, {}, None) == []


def test_a_drift_and_its_consequences_are_reported_once() -> None:
    def one(role: str, object_: str, what: str) -> drift_findings.Located:
        return {"host": HOST, "role": role, "object": object_, "what": what, "is": "a", "should": "b"}

    deployment = one("compose_app", "deployment", "deployment")
    overlay = one("compose_app", "compose.hardened.yaml", "content")
    unit, same_unit = one("watcher", "x.timer", "unit"), one("host", "x.timer", "unit")
    completed = drift_findings.complete([deployment, overlay, unit, same_unit], {HOST: facts()})
    assert [(found["role"], found["object"]) for found in completed] == [
        ("compose_app", "compose.hardened.yaml"),
        ("watcher", "x.timer"),
    ]
    assert [found["object"] for found in drift_findings.complete([deployment], {})] == ["deployment"]


def test_sessions_at_the_time_of_a_change() -> None:
    there = facts(
        files={"/etc/x": {"mode": "0666", "owner": "root:root", "changed": 150.0}},
        logins=[
            {"user": "intern", "from": "192.0.2.7", "begun": 100.0, "ended": 200.0},
            {"user": "root", "from": "192.0.2.8", "begun": 160.0, "ended": 0.0},
        ],
    )
    change = event({"changed": True, "diff": [{"before": "a", "after": "a", "after_header": "/etc/x"}]})
    (found,) = drift_findings.complete(drift_findings.gather([change]).findings, {HOST: there})
    assert (found["is"], found["changed_by"], found["severity"]) == ("0666", ["intern from 192.0.2.7"], "security")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("SystemMaxUse=9G", True),
        ("timeout connect 250ms", True),
        ("image: ghcr.io/acme/shop@sha256:1a2b3c4d5e6f", True),
        ('DB_PASSWORD: "hunter22"', False),
        (f"apikey {KEY}", False),
        ("stats auth admin:s3cr3t-s3cr3t-s3cr3t-1", False),
        ("REDIS_URL=redis://:hunter2@127.0.0.1:6379/0", False),
        ("the vault's password is another one", True),
    ],
)
def test_what_may_be_a_secret_is_masked(text: str, kept: bool) -> None:
    assert (drift_findings.masked(text) == text) is kept


@pytest.mark.parametrize(
    ("name", "was", "wanted", "found"),
    [
        ("mode", "0777", "0755", ("mode", "0777", "0755")),
        ("state", "absent", "directory", ("state", drift_findings.GONE, "directory")),
    ],
)
def test_the_directory_of_an_env_is_compared(name: str, was: str, wanted: str, found: tuple[str, str, str]) -> None:
    sides = {"before": f"# directory {name}: {was}\n", "after": f"A=sha256:1\n# directory {name}: {wanted}\n"}
    unchanged = {**sides, "before": f"A=sha256:1\n{sides['before']}", "after_header": "/opt/shop/.env"}
    (one,) = drift_findings._env({"why": [f"directory {name}"], "diff": unchanged})
    assert one["object"] == "/opt/shop"
    assert (one["what"], one["is"], one["should"]) == found
