# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A check on the controller, with made-up events of its runs: what counts as compared, and what is corrected."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import findings as drift_findings
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import report as drift_report
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import store as drift_store
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.findings import Event
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.report import Report
from ansible_collections.christmas.selfheal.plugins.plugin_utils import drift_command, drift_control
from ansible_collections.christmas.selfheal.tests.unit.drift import factories

pytest.importorskip("ansible_runner")
CORRECT = [{"role": "*", "do": "correct"}]


def event(host: str, result: dict[str, Any], kind: str = "runner_on_ok", **about: Any) -> Event:
    return {"event": kind, "event_data": {"host": host, "role": "", "task": "a task", "res": result, **about}}


def facts(host: str, **about: Any) -> Event:
    reported = factories.facts(**{"policy": CORRECT, **about})
    return event(host, {"drift": reported}, resolved_action="christmas.selfheal.drift_facts")


def differs(host: str, path: str = "/etc/x", role: str = "watcher") -> Event:
    return event(host, {"changed": True, "path": path}, role=role)


def fails(host: str, role: str = "watcher") -> Event:
    return event(host, {"msg": "it does not start"}, "runner_on_failed", role=role)


def through(host: str) -> Event:
    return event(host, {}, task=drift_findings.END)


ENDED: Event = {"event": "playbook_on_stats", "event_data": {}}


class World:
    """Runs of playbooks with given events: a list for each, in turn."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.runs: list[list[Event]] = []
        self.ran: list[str] = []
        self.words: list[list[str]] = []
        monkeypatch.setattr(drift_control, "_run", self._run)

    def _run(self, _how: Any, playbook: str, words: Sequence[str]) -> drift_control.Ran:
        self.ran.append("facts" if playbook == "drift_facts.yml" else playbook)
        self.words.append(list(words))
        return drift_control.Ran(self.runs.pop(0), "successful", [])

    def check(self, *runs: list[Event], **about: Any) -> Report:
        self.runs, self.ran, self.words = list(runs), [], []
        reports = str(self.folder / "reports")
        how = drift_control.How([], [], str(self.folder), reports, str(self.folder), **about)
        report = drift_control.check(how)
        assert self.runs == [], "runs that were not made"
        return report


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def decisions(report: Report) -> list[tuple[str, str]]:
    return [(one["host"], one["decision"]) for one in report["findings"]]


def troubles(report: Report) -> list[tuple[str, str]]:
    return [(one["host"], one["what"].partition(":")[0]) for one in report["troubles"]]


def test_a_host_without_drift(world: World) -> None:
    report = world.check([facts("web1"), through("web1"), ENDED])
    assert (report["exit"], report["compared"], report["troubles"]) == (0, ["web1"], [])


@pytest.mark.parametrize(
    ("code", "ended"),
    [(0, {"failed": False}), (2, {"failed": True}), (4, {"unreachable": True})],
)
def test_the_task_ends_as_the_check_does(world: World, code: int, ended: dict[str, bool]) -> None:
    report = world.check([facts("web1"), through("web1"), ENDED])
    report["exit"] = code
    assert drift_control.ending(report) == {
        "path": report["path"],
        "msg": drift_report.headline(report),
        "changed": False,
        **ended,
    }


PARTS: list[tuple[str, list[list[Event]], list[tuple[str, str]]]] = [
    ("the run broke off", [[facts("web1"), through("web1")]], [("", "the run broke off (successful)")]),
    ("there is no host", [[ENDED]], [("", "the run selects no host")]),
    (
        "another host ended it",
        [
            [facts("web1"), facts("web2"), fails("web2", role="app_env"), ENDED],
            [fails("web2", role="app_env"), ENDED],
        ],
        [("web2", "a task"), ("web1", "was compared in part only")],
    ),
    (
        "a command on the host fails",
        [[facts("web1", problems=["docker failed: it hangs"]), through("web1"), ENDED]],
        [("web1", "docker failed")],
    ),
]


@pytest.mark.parametrize(("runs", "expected"), [case[1:] for case in PARTS], ids=[case[0] for case in PARTS])
def test_what_was_compared_in_part_is_never_no_drift(
    world: World, runs: list[list[Event]], expected: list[tuple[str, str]]
) -> None:
    report = world.check(*runs)
    assert troubles(report) == expected
    assert (report["exit"], report["compared"]) == (4, [])


def test_control_characters_in_a_name_are_escaped(world: World) -> None:
    report = world.check([facts("web1"), differs("web1", "/opt/\x1b[2J\udcff\n/x"), through("web1"), ENDED])
    (one,) = report["findings"]
    assert one["object"] == r"/opt/\x1b[2J\udcff /x"
    assert "\x1b" not in drift_report.screen(report)


def test_as_many_reports_are_kept_as_the_history_has(world: World) -> None:
    reports = world.folder / "reports"
    reports.mkdir()
    for number in range(drift_store.HISTORY + 3):
        for kind in ("json", "md"):
            (reports / f"20200101T{number:06}Z-drift.{kind}").touch()
    (reports / "20190101T000000Z-deploy.json").touch()
    newest = world.check([facts("web1"), through("web1"), ENDED])["path"]
    kept = {path.name for path in reports.iterdir()}
    assert len(kept) == 2 * drift_store.HISTORY + 2
    assert {Path(newest).name, "20190101T000000Z-deploy.json", drift_control.PAGE} <= kept


def test_a_host_that_left_the_inventory_is_not_waited_for(world: World) -> None:
    world.check([facts("web1"), facts("web2"), through("web1"), through("web2"), ENDED])
    assert set(world.check([facts("web1"), through("web1")])["checked"]) == {"web1", "web2"}, "it broke off"
    assert set(world.check([facts("web1"), through("web1"), ENDED])["checked"]) == {"web1"}


def test_without_a_prometheus_here_the_hosts_get_the_metrics(world: World) -> None:
    (world.folder / "metrics").mkdir()
    about = {"tell": True, "metrics": str(world.folder / "metrics")}
    refused = event("web1", {"msg": "there is no such folder"}, "runner_on_failed")
    report = world.check(whole(differs("web1")), [refused, ENDED], **about)
    assert world.ran == ["drift_check.yml", "drift_tell.yml"]
    written = (world.folder / "metrics" / "web1.prom").read_text(encoding="utf-8")
    assert 'selfheal_drift_found{app="shop",target="web1",severity="availability"} 1' in written
    assert ["its metrics were not copied" in note for note in report["notes"]] == [False, True]
    world.check([event("web1", {"msg": "no route"}, "runner_on_unreachable"), ENDED], **about)
    assert world.ran == ["drift_check.yml"]


def test_without_the_credentials_of_the_service_no_check_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    config = {"playbooks": "/x", "options": ["-i", "x"], "metrics": "", "correct": False, "seconds": 9}
    (tmp_path / "config.json").write_text(
        json.dumps({**config, "environment": {"ANSIBLE_VAULT_IDENTITY_LIST": "x@%d/y"}})
    )
    folder = tmp_path / "state"
    argv = ["--folder", str(folder), "--config", str(tmp_path / "config.json"), "run"]
    assert drift_command.main(argv) == 4
    assert "systemctl start selfheal-drift" in capsys.readouterr().err
    assert not folder.exists()


def whole(*events: Event, hosts: Sequence[str] = ("web1",), **about: Any) -> list[Event]:
    return [*(facts(host, **about) for host in hosts), *events, *map(through, hosts), ENDED]


CORRECTIONS: list[tuple[str, list[list[Event]], list[str], tuple[str, str, bool | None]]] = [
    (
        "it is corrected",
        [whole(), [differs("web1"), ENDED], whole()],
        ["facts", "site.yml", "drift_check.yml"],
        ("corrected", "", True),
    ),
    (
        "it is still there",
        [whole(), [ENDED], whole(differs("web1"))],
        ["facts", "site.yml", "drift_check.yml"],
        ("failed", "still there", False),
    ),
    (
        "its run breaks off, and it is gone",
        [whole(), [differs("web1"), fails("web1"), ENDED], whole()],
        ["facts", "site.yml", "drift_check.yml"],
        ("failed", "it does not start", False),
    ),
    (
        "it is unknown whether it is gone",
        [whole(), [ENDED], [facts("web1"), ENDED]],
        ["facts", "site.yml", "drift_check.yml"],
        ("failed", "could not be compared afterwards", False),
    ),
    (
        "an incident was opened meanwhile",
        [whole(incident="20260601T000000Z-crash")],
        ["facts"],
        ("waits", "crash", None),
    ),
    ("the host went away meanwhile", [[ENDED]], ["facts"], ("waits", "it is unknown", None)),
]


@pytest.mark.parametrize(
    ("runs", "ran", "expected"), [case[1:] for case in CORRECTIONS], ids=[case[0] for case in CORRECTIONS]
)
def test_corrections(
    world: World, runs: list[list[Event]], ran: list[str], expected: tuple[str, str, bool | None]
) -> None:
    report = world.check(whole(differs("web1")), *runs, correct=True)
    (one,) = report["findings"]
    decision, because, succeeded = expected
    assert (one["decision"], world.ran[1:]) == (decision, ran)
    assert because in one["because"]
    assert [done["ok"] for done in report["corrections"]] == ([] if succeeded is None else [succeeded])
    assert report["exit"] == (0 if succeeded else 2)


REPORTS = [{"role": "*", "do": "report"}]


@pytest.mark.parametrize(
    ("policy", "correct", "said"),
    [
        ([], True, "web1: nothing was corrected: drift_policy is not set. Fix: write e.g. drift_policy: "),
        (REPORTS, True, "drift_policy has no entry with `do: correct`"),
        ([], False, ""),
    ],
    ids=["no policy", "a policy that only reports", "not asked for"],
)
def test_a_correction_without_a_policy_says_why_nothing_was_corrected(
    world: World, policy: list[dict[str, str]], correct: bool, said: str
) -> None:
    report = world.check([facts("web1", policy=policy), differs("web1"), through("web1"), ENDED], correct=correct)
    assert report["corrections"] == []
    notes = [note for note in report["notes"] if "drift_policy" in note]
    assert (len(notes), said in "".join(notes)) == (1 if said else 0, True)
    assert all("docs/guides/drift.md" in note for note in notes)


def test_a_change_of_the_inventory_is_pending_and_no_drift_by_hand(world: World) -> None:
    """/etc/x and the folder of /etc/y/z were not touched since they were as desired; /etc/w was, and /etc/x later."""

    def now(second: float, x: float) -> dict[str, Any]:
        files = {
            path: {"owner": "root:root", "mode": "0644", "changed": at}
            for path, at in (("/etc/x", x), ("/etc/w", 1500.0))
        }
        return {"now": second, "files": files, "folders": {"/etc/y": 500.0}}

    missing = {"changed": True, "diff": [{"before": "", "after": "a", "after_header": "/etc/y/z"}]}
    there = [differs("web1", "/etc/x"), event("web1", missing, role="slo"), differs("web1", "/etc/w", "alerting")]
    there.append(differs("web1", "unit", "backup"))
    first = world.check(whole(*there, **now(900.0, 500.0)))
    assert {one["decision"] for one in first["findings"]} == {"correct"}, "no earlier check is known"
    world.check(whole(**now(1000.0, 500.0)))
    for second in (2000.0, 3000.0):
        report = world.check(whole(*there, **now(second, 500.0)))
        decided = {one["object"]: one["decision"] for one in report["findings"]}
        assert decided == {"/etc/x": "pending", "/etc/y/z": "pending", "/etc/w": "correct", "unit": "correct"}
        assert report["exit"] == 2
    touched = world.check(whole(*there, **now(4000.0, 3500.0)))
    assert {one["object"] for one in touched["findings"] if one["decision"] == "pending"} == {"/etc/y/z"}


def test_a_release_from_elsewhere_is_not_corrected(world: World) -> None:
    """A key was changed, or a release rolled back, from another machine: the inventory here is the older one."""

    def env(release: str) -> list[Event]:
        env_changed = {"changed": True, "path": "/opt/shop/.env"}
        others = [event("web1", env_changed, role="app_env"), differs("web1")] if release != "first" else []
        return whole(*others, release={"id": release, "images": {}})

    world.check(env("first"))
    for _unused in range(2):
        report = world.check(env("second"), whole(), [ENDED], env("second"), correct=True)
        decided = {one["role"]: one["decision"] for one in report["findings"]}
        assert decided == {"app_env": "report", "watcher": "failed"}
        assert "release second was deployed" in report["findings"][0]["because"]
    world.check(whole(release={"id": "second", "images": {}}))
    report = world.check(env("second"))
    assert {one["decision"] for one in report["findings"] if one["role"] == "app_env"} == {"correct"}


def test_the_deploy_of_a_correction_is_its_own(world: World) -> None:
    def there(release: str, *events: Event) -> list[Event]:
        return whole(*events, release={"id": release, "images": {}})

    file = event("web1", {"changed": True, "path": "/opt/shop/.env"}, role="app_env")
    world.check(there("first"))
    for before, after in (("first", "second"), ("second", "third")):
        report = world.check(there(before, file), there(before), [ENDED], there(after), correct=True)
        assert decisions(report) == [("web1", "corrected")]


def test_a_failure_ends_the_corrections_of_all_hosts(world: World) -> None:
    first = whole(differs("web1"), differs("web2"), hosts=("web1", "web2"))
    report = world.check(first, whole(), [fails("web1"), ENDED], whole(), correct=True)
    assert decisions(report) == [("web1", "failed"), ("web2", "waits")]


def test_a_failing_correction_is_tried_three_times(world: World) -> None:
    there = whole(differs("web1"))
    for _unused in range(3):
        assert decisions(world.check(there, whole(), [ENDED], there, correct=True)) == [("web1", "failed")]
    assert decisions(world.check(there, correct=True)) == [("web1", "escalate")]


# --- which hosts the roles compare ---


def stamped(host: str, stamp: str = "a", **about: Any) -> Event:
    return facts(host, **{"stamp": stamp, "desired_stamp": "d", **about})


def by_roles(*hosts: str, events: Sequence[Event] = (), **about: Any) -> list[Event]:
    """The roles have compared these hosts, whose facts were read in the same run."""
    return [*(stamped(host, **about) for host in hosts), *events, *map(through, hosts), ENDED]


def by_facts(*events: Event) -> list[Event]:
    return [*events, ENDED]


def test_an_unchanged_host_is_compared_by_its_facts_alone(world: World) -> None:
    first = world.check(by_roles("web1"))
    assert (world.ran, first["unchanged"], first["compared"]) == (["drift_check.yml"], [], ["web1"])
    for _unused in range(2):
        report = world.check(by_facts(stamped("web1")))
        assert world.ran == ["facts"]
        assert (report["exit"], report["unchanged"], report["compared"]) == (0, ["web1"], ["web1"])
        assert report["checked"]["web1"]["time"] == report["time"]
        assert any("1 host has not changed" in note for note in report["notes"])


def test_facts_are_compared_on_an_unchanged_host_too(world: World) -> None:
    world.check(by_roles("web1", marks={"group docker": "no member"}))
    report = world.check(by_facts(stamped("web1", marks={"group docker": "mallory"})))
    assert world.ran == ["facts"]
    assert [(one["object"], one["is"]) for one in report["findings"]] == [("group docker", "mallory")]
    assert report["exit"] == 2


def test_the_roles_run_only_where_something_has_changed(world: World) -> None:
    world.check(by_roles("web1", "web2"))
    report = world.check(by_facts(stamped("web1"), stamped("web2", "b")), [differs("web2"), through("web2"), ENDED])
    assert world.ran == ["facts", "drift_check.yml"]
    assert world.words[1][:2] == ["--limit", "web2"]
    assert {"validate", "drift_facts"} <= set(world.words[1][-1].split(","))
    assert (report["unchanged"], report["compared"]) == (["web1"], ["web1", "web2"])
    assert [(one["host"], one["object"]) for one in report["findings"]] == [("web2", "/etc/x")]
    # Its roles have found something, so they run again although it has not changed since.
    world.check(by_facts(stamped("web1"), stamped("web2", "b")), [differs("web2"), through("web2"), ENDED])
    world.check(by_facts(stamped("web1"), stamped("web2", "c")), [through("web2"), ENDED])
    world.check(by_facts(stamped("web1"), stamped("web2", "c")))
    assert world.ran == ["facts"]


@pytest.mark.parametrize("about", [{"whole": True}, {"accept": True}], ids=["asked for", "a new baseline"])
def test_a_whole_check_runs_the_roles_for_every_host(world: World, about: dict[str, bool]) -> None:
    world.check(by_roles("web1"))
    report = world.check(by_roles("web1", events=[differs("web1")]), **about)
    assert (world.ran, report["unchanged"], len(report["findings"])) == (["drift_check.yml"], [], 1)


FORGETTING: list[tuple[str, list[list[Event]], set[str]]] = [
    ("a role fails", [[fails("web1"), ENDED], [through("web1"), ENDED]], {"web2"}),
    ("the host went away", [[event("web1", {"msg": "no route"}, "runner_on_unreachable"), ENDED]], {"web2"}),
    ("a role finds something", [[differs("web1"), through("web1"), ENDED]], {"web2"}),
    ("the run breaks off", [[through("web1")]], set()),
    ("nothing is wrong", [[through("web1"), ENDED]], {"web1", "web2"}),
]


@pytest.mark.parametrize(("runs", "kept"), [case[1:] for case in FORGETTING], ids=[case[0] for case in FORGETTING])
def test_a_host_that_was_not_as_desired_is_compared_whole_again(
    world: World, runs: list[list[Event]], kept: set[str]
) -> None:
    world.check(by_roles("web1", "web2"))
    world.check(by_facts(stamped("web1", "b"), stamped("web2")), *runs)
    assert known(world) == kept


def known(world: World) -> set[str]:
    return set(drift_store.load(str(world.folder))["whole"])


def test_a_host_that_cannot_be_reached_is_not_asked_by_its_roles(world: World) -> None:
    world.check(by_roles("web1", "web2"))
    away = event("web2", {"msg": "no route"}, "runner_on_unreachable")
    report = world.check(by_facts(stamped("web1"), away))
    assert world.ran == ["facts"]
    assert (troubles(report), report["compared"], report["exit"]) == ([("web2", "cannot be reached")], ["web1"], 4)
    assert known(world) == {"web1"}


def test_facts_with_a_problem_are_reported(world: World) -> None:
    world.check(by_roles("web1"))
    problem = facts("web1", problems=["docker failed: it hangs"])
    report = world.check(by_facts(problem), [through("web1"), ENDED])
    assert world.ran == ["facts", "drift_check.yml"]
    assert troubles(report) == [("web1", "docker failed")]
    assert known(world) == set()


def test_facts_that_break_off_are_not_no_drift(world: World) -> None:
    world.check(by_roles("web1"))
    report = world.check([stamped("web1")])
    assert (troubles(report), report["exit"]) == ([("", "the run broke off (successful)")], 4)
    assert known(world) == set()


def test_a_failed_role_is_left_out_for_the_changed_hosts_alone(world: World) -> None:
    world.check(by_roles("web1", "web2"))
    facts_ = by_facts(stamped("web1"), stamped("web2", "b"))
    report = world.check(facts_, [fails("web2"), ENDED], [differs("web2", role="slo"), through("web2"), ENDED])
    assert [words[:2] for words in world.words[1:]] == [["--limit", "web2"]] * 2
    assert (report["compared"], len(report["findings"])) == (["web1"], 1)


def test_a_correction_is_followed_by_a_whole_check(world: World) -> None:
    """A container differs, which facts show; its role has nothing to change."""
    one = {"name": "shop-web-1", "service": "web", "ours": True, "folder": "", "image": "shop:1", "digest": "sha256:a"}
    settings: dict[str, Any] = dict.fromkeys(("cpus", "memory", "memory_reservation", "pids"), 0)
    settings |= {"restart": "no", "read_only": False, "privileged": False, "ports": []}
    stopped = {**one, "state": "exited", "job_done": False, "settings": settings, "env": {}}
    about: dict[str, Any] = {
        "release": {"id": "1", "images": {"web": "sha256:a"}},
        "desired": {"web": {"settings": settings, "env": {}, "wanted": True}},
    }
    world.check(by_roles("web1", containers=[stopped], **about))
    there = stamped("web1", containers=[stopped], **about)
    running = {**stopped, "state": "running"}
    after = by_roles("web1", containers=[running], **about)
    report = world.check(by_facts(there), by_facts(there), [ENDED], after, correct=True)
    assert world.ran == ["facts", "facts", "site.yml", "drift_check.yml"]
    assert decisions(report) == [("web1", "corrected")]
    assert known(world) == set()


def test_a_host_that_left_the_inventory_is_forgotten(world: World) -> None:
    world.check(by_roles("web1", "web2"))
    world.check(by_facts(stamped("web1")))
    assert known(world) == {"web1"}


def test_facts_that_the_play_has_read_are_not_read_again(world: World) -> None:
    away = event("web2", {"msg": "no route"}, "runner_on_unreachable")
    now = time.time()
    first = world.check([through("web1"), ENDED], facts=[stamped("web1"), away], begun=now - 120.0)
    assert (world.ran, first["compared"], first["unchanged"]) == (["drift_check.yml"], ["web1"], [])
    assert world.words[0][:2] == ["--limit", "web1"]
    assert "drift_facts" in world.words[0][-1]
    second = world.check(facts=[stamped("web1"), away], begun=now - 60.0)
    assert 60.0 <= second["seconds"] < 120.0, "reading the facts belongs to the check"
    assert (world.ran, second["compared"], second["unchanged"]) == ([], ["web1"], ["web1"])
    assert troubles(second) == troubles(first) == [("web2", "cannot be reached")]
    for about in ({"whole": True}, {"accept": True}):
        world.check([through("web1"), ENDED], facts=[stamped("web1")], **about)
        assert world.ran == ["drift_check.yml"]


def test_without_ansible_runner_no_check_begins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(drift_control.DriftError, match="ansible-runner is missing"):
        world.check()
