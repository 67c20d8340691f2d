# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files that are changed by hand: noticed for little, reported once, and not when a run or a remedy did it."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import project_files
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project_layout
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.project_layout import HARDENED_FILE, Layout
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history
from ansible_collections.christmas.selfheal.plugins.module_utils.host import desired_files
from ansible_collections.christmas.selfheal.plugins.module_utils.host.desired_files import Wanted
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import hand_changes, watched_files
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.hand_changes import HandChanges
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.watched_files import Difference, WatchedFiles
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store

NOW = 1_750_000_000.0
DAEMON, DROPIN = "/etc/docker/daemon.json", "/etc/systemd/system/docker.service.d"
LAYOUT = Layout(("compose.yaml",), {"nginx.conf": "", "cert.pem": ""}, ("data", "seen.db"), ("cert.pem",))


class Host:
    """A host with an app: its last good release has a compose file, an overlay and a configuration."""

    def __init__(self, root: Path) -> None:
        self.root, self.paths, self.now = root, app_paths("shop", root=str(root)), 0.0
        self.is_first = True
        for name, text in {
            "compose.yaml": "services: {}\n",
            "nginx.conf": "listen 80;\n",
            "cert.pem": "from the CA\n",
            "seen.db": "data\n",
            HARDENED_FILE: project_layout.first_line(LAYOUT),
        }.items():
            self.write(f"opt/shop/{name}", text)
        self.release("1")
        self.record(Wanted(DAEMON, b"{}\n", 0o644))
        self.write(DAEMON, "{}\n")
        self.files = self.watch()

    def watch(self, suspects: Any = ()) -> WatchedFiles:
        return WatchedFiles(self.paths, lambda: self.is_first, suspects)

    def write(self, path: str, text: str, mode: int = 0o644) -> str:
        here = self.root / path.lstrip("/")
        here.parent.mkdir(parents=True, exist_ok=True)
        # As an editor does, with another status in any case.
        aside = here.with_name(here.name + "~")
        aside.write_text(text, encoding="utf-8")
        aside.chmod(mode)
        aside.replace(here)
        return str(here)

    def record(self, *wanted: Wanted) -> None:
        with desired_files.writing(wanted, str(self.root)):
            pass

    def release(self, name: str, env: str = "") -> None:
        directory = self.paths.directory
        names = ["compose.yaml", "nginx.conf", "cert.pem", "seen.db", HARDENED_FILE]
        marks = {one: project_files.mark(os.path.join(directory, one)) for one in names}
        release: release_store.Release = {"id": name, "files": marks, "env": env, "source": "", "contexts": {}}
        release_store.record(directory, {**release, "services": {}, "images": {}, "names": {}})
        release_store.mark_last_good(directory, name)

    def look(self, seconds: float = 2.0) -> dict[str, str]:
        """What differs, by path below the root."""
        self.now += seconds
        found = self.files.look(self.now, NOW + self.now)
        return {os.path.relpath(path, self.root): one.what for path, one in found.items()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_host_without_a_change(host: Host) -> None:
    assert [host.look() for _unused in range(3)] == [{}, {}, {}]
    assert host.files.problem == ""


EDITS: list[tuple[str, str, str]] = [
    ("a compose file", "opt/shop/compose.yaml", "other content"),
    ("the overlay", f"opt/shop/{HARDENED_FILE}", "other content"),
    ("a configuration of a service", "opt/shop/nginx.conf", "other content"),
    ("the engine's settings", "etc/docker/daemon.json", "other content"),
    ("a new drop-in", "etc/systemd/system/docker.service.d/override.conf", "is new"),
]


@pytest.mark.parametrize(("path", "what"), [case[1:] for case in EDITS], ids=[case[0] for case in EDITS])
def test_a_change_by_hand_differs_until_it_is_undone(path: str, what: str, host: Host) -> None:
    host.look()
    here = host.root / path
    before = here.read_text(encoding="utf-8") if here.exists() else None
    host.write(path, "by hand\n")
    assert host.look() == {path: what}
    if before is None:
        here.unlink()
    else:
        host.write(path, before)
    assert host.look() == {}


def test_a_mode_and_a_file_that_is_gone(host: Host) -> None:
    host.look()
    (host.root / "opt/shop/compose.yaml").chmod(0o666)
    (host.root / "etc/docker/daemon.json").chmod(0o600)
    (host.root / "opt/shop/nginx.conf").unlink()
    assert host.look() == {
        "opt/shop/compose.yaml": "mode 0666 instead of 0644",
        "etc/docker/daemon.json": "mode 0600 instead of 0644",
        "opt/shop/nginx.conf": "is gone",
    }


def test_what_services_write_and_what_only_the_host_has_is_not_watched(host: Host) -> None:
    host.look()
    host.write("opt/shop/seen.db", "more data\n")
    host.write("opt/shop/cert.pem", "renewed\n")
    assert host.look() == {}


def test_another_owner_differs() -> None:
    wanted = [desired_files.DesiredFile("sha256:1", "0644", "0:0")]
    found = desired_files.DesiredFile("sha256:1", "0644", "1000:0")
    assert watched_files.difference(found, wanted) == "owner 1000:0 instead of 0:0"


@pytest.mark.parametrize("kind", ["a link", "a folder", "a pipe"])
def test_something_else_in_the_place_of_a_file(kind: str, host: Host) -> None:
    host.look()
    path = host.root / "opt/shop/nginx.conf"
    path.unlink()
    if kind == "a link":
        path.symlink_to("/etc/hostname")
    elif kind == "a folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    assert host.look()["opt/shop/nginx.conf"].startswith("other content")


# --- who may change a file -------------------------------------------------------------------------------------------


def test_a_role_that_writes_a_file_makes_no_difference(host: Host) -> None:
    host.look()
    with desired_files.writing([Wanted(DAEMON, b"{1}\n", 0o644)], str(host.root)):
        host.write(DAEMON, "{1}\n")
    assert host.look() == {}


def test_a_person_who_writes_what_the_inventory_says_later(host: Host) -> None:
    host.look()
    host.write(DAEMON, "{1}\n")
    assert host.look() != {}
    host.record(Wanted(DAEMON, b"{1}\n", 0o644))
    assert host.look() == {}


def test_a_drop_in_that_was_there_when_the_role_ran_is_watched_as_it_was(host: Host) -> None:
    host.write(f"{DROPIN}/proxy.conf", "[Service]\n")
    host.record(Wanted(DAEMON, b"{}\n", 0o644))
    assert host.look() == {}
    host.write(f"{DROPIN}/proxy.conf", "[Service]\nNice=5\n")
    assert host.look() == {"etc/systemd/system/docker.service.d/proxy.conf": "other content"}


def test_a_deploy_from_its_files_to_its_end(host: Host) -> None:
    """The files are written by one module and put in force by the next one; in between no lock is held."""
    host.look()
    host.write("opt/shop/compose.yaml", "services: {a: {}}\n")
    marks = release_store.files(host.paths.directory)
    Path(host.paths.state).mkdir(parents=True, exist_ok=True)
    Path(host.paths.written).write_text(json.dumps(marks), encoding="utf-8")
    assert host.look() == {}
    host.release("2")
    assert host.look() == {}
    release_store.put_back_files(host.paths.directory, "1")
    release_store.mark_last_good(host.paths.directory, "1")
    assert host.look() == {}, "a rollback"
    host.write("opt/shop/compose.yaml", "services: {b: {}}\n")
    assert host.look() == {"opt/shop/compose.yaml": "other content"}


def test_a_file_that_the_newer_project_has_no_more(host: Host) -> None:
    """It is removed before the deploy that puts the project in force."""
    host.look()
    marks = {name: mark for name, mark in release_store.files(host.paths.directory).items() if name != "nginx.conf"}
    Path(host.paths.state).mkdir(parents=True, exist_ok=True)
    Path(host.paths.written).write_text(json.dumps(marks), encoding="utf-8")
    (host.root / "opt/shop/nginx.conf").unlink()
    assert host.look() == {}
    (host.root / "opt/shop/compose.yaml").unlink()
    assert host.look() == {"opt/shop/compose.yaml": "is gone"}


@pytest.mark.parametrize("content", ["{", "[]", '{"compose.yaml": 7}'])
def test_a_damaged_note_of_what_was_written_is_ignored(content: str, host: Host) -> None:
    Path(host.paths.state).mkdir(parents=True)
    Path(host.paths.written).write_text(content, encoding="utf-8")
    assert host.look() == {}


def test_before_the_first_release_the_app_is_not_compared(host: Host) -> None:
    os.unlink(os.path.join(release_store.folder(host.paths.directory), release_store.LAST_GOOD))
    host.write("opt/shop/compose.yaml", "by hand\n")
    assert host.look() == {}


def write_env(host: Host, value: str, why: str = "site") -> None:
    env_history.write_env(host.paths.env, host.paths.history, {"KEY": value}, now=NOW + host.now, why=why)


def test_a_valid_env_that_was_written_by_hand_differs(host: Host) -> None:
    write_env(host, "one")
    assert host.look() == {}
    host.write("opt/shop/.env", "KEY=by-hand\n", 0o600)
    assert host.look() == {"opt/shop/.env": "other content"}
    env_history.remember(host.paths.env, host.paths.history, now=NOW)
    assert host.look() == {"opt/shop/.env": "other content"}, "a recovery keeps it, which is not what a run has written"
    write_env(host, "by-hand")
    assert host.look() == {}, "the vault says so now"


@pytest.mark.parametrize("why", ["site", "recover", "restore"])
def test_a_run_or_a_remedy_may_write_the_env(why: str, host: Host) -> None:
    write_env(host, "one")
    host.look()
    write_env(host, "two", why)
    assert host.look() == {}


def test_the_mode_of_the_env(host: Host) -> None:
    write_env(host, "one")
    os.chmod(host.paths.env, 0o644)
    assert host.look() == {"opt/shop/.env": "mode 0644 instead of 0600"}


def test_an_env_that_a_restore_has_brought_is_that_of_the_release(host: Host) -> None:
    write_env(host, "one")
    path = host.write("opt/shop/.env", "KEY=restored\n", 0o600)
    content = Path(path).read_bytes()
    host.release("2", "sha256:" + hashlib.sha256(content).hexdigest()[:12])
    assert host.look() == {}


def test_only_the_first_watcher_of_a_host_reports_its_files(host: Host) -> None:
    host.is_first = False
    host.look()
    host.write(DAEMON, "{1}\n")
    host.write("opt/shop/compose.yaml", "by hand\n")
    assert host.look() == {"opt/shop/compose.yaml": "other content"}
    host.is_first = True
    assert host.look() == {DAEMON[1:]: "other content", "opt/shop/compose.yaml": "other content"}


# --- bad input -------------------------------------------------------------------------------------------------------


def test_a_damaged_record_is_named_and_the_app_is_still_watched(host: Host) -> None:
    host.look()
    Path(desired_files.record_path(str(host.root))).write_text('{"files": {"x": 1}}', encoding="utf-8")
    host.write("opt/shop/compose.yaml", "by hand\n")
    assert host.look() == {"opt/shop/compose.yaml": "other content"}
    assert "desired_files.json: " in host.files.problem
    host.record(Wanted(DAEMON, b"{}\n", 0o644))
    host.look()
    assert host.files.problem == ""


def test_a_record_that_is_removed_is_named(host: Host) -> None:
    host.look()
    os.unlink(desired_files.record_path(str(host.root)))
    host.look()
    assert "desired_files.json was removed: run christmas.selfheal.site" in host.files.problem


def test_a_host_without_a_record_yet_has_no_problem(host: Host) -> None:
    os.unlink(desired_files.record_path(str(host.root)))
    assert (host.look(), host.files.problem) == ({}, "")


class Calls(Counter[str]):
    """Counts the system calls that may cost something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        for name in ("lstat", "stat", "open", "pread", "listdir", "readlink"):
            monkeypatch.setattr(os, name, self.counted(name, getattr(os, name)))

    def counted(self, name: str, real: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            self[name] += 1
            result = real(*args, **named)
            if name == "pread":
                self["bytes"] += len(result)
            return result

        return call


def test_what_500_files_cost(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing changes: one lstat each, and nothing is opened. At first each is read once, so many in a look."""
    wanted = [Wanted(f"/etc/selfheal/{number}.json", f"{number}\n".encode(), 0o644) for number in range(495)]
    for one in wanted:
        host.write(one.path, (one.content or b"").decode())
    host.record(*wanted)
    calls = Calls(monkeypatch)
    host.look()
    assert calls["pread"] == watched_files.FILES_A_LOOK
    for _unused in range(5):
        host.look()
    assert calls["pread"] == 499, "those, the engine's settings, a compose file, the overlay and a configuration, once"
    calls.clear()
    assert host.look() == {}
    assert calls["lstat"] <= 505
    assert calls["stat"] <= 10
    assert {name: calls[name] for name in ("open", "pread", "listdir")} == {"open": 0, "pread": 0, "listdir": 0}
    host.is_first = False
    host.look()
    calls.clear()
    assert host.look() == {}
    assert calls["lstat"] <= 10, "another watcher looks at the files of the host"


def test_more_files_than_500_are_said(host: Host) -> None:
    host.record(*[Wanted(f"/etc/selfheal/{number}.json", b"", 0o644) for number in range(600)])
    for number in range(600):
        host.write(f"/etc/selfheal/{number}.json", "")
    host.look()
    host.look()
    assert host.files.problem == "of 604 files, 500 are watched for changes by hand; drift.yml compares all"
    host.write("opt/shop/compose.yaml", "by hand\n")
    assert host.look() == {"opt/shop/compose.yaml": "other content"}, "the app's own files are always watched"


def test_a_file_that_changes_all_the_time_is_read_once_a_look(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.look()
    calls = Calls(monkeypatch)
    found = []
    for number in range(20):
        host.write("opt/shop/compose.yaml", f"{number}\n")
        found.append(host.look())
    assert found == [{"opt/shop/compose.yaml": "other content"}] * 20
    assert calls["pread"] == 20


@pytest.fixture
def large(host: Host) -> Host:
    """A host with a configuration of 3.5 MiB in its release."""
    host.write("opt/shop/nginx.conf", "x" * (7 << 19))
    host.release("2")
    return host


def test_a_large_file_is_read_in_parts_and_only_after_a_change(large: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    assert large.look() == {}
    assert calls["bytes"] < watched_files.BYTES_A_LOOK, "each watcher would read it"
    calls.clear()
    large.write("opt/shop/nginx.conf", "y" * (7 << 19))
    large.write("opt/shop/compose.yaml", "by hand\n")
    assert large.look() == {"opt/shop/compose.yaml": "other content"}, "small files do not wait for it"
    found = [large.look() for _unused in range(3)]
    assert [list(one) for one in found[:2]] == [["opt/shop/compose.yaml"]] * 2
    assert found[2]["opt/shop/nginx.conf"] == "other content"
    assert calls["bytes"] < (7 << 19) + 100
    large.write("opt/shop/nginx.conf", "x" * (7 << 19))
    assert [large.look() for _unused in range(4)][3] == {"opt/shop/compose.yaml": "other content"}


def test_a_large_file_that_never_stays_is_reported_in_the_end(large: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    large.look()
    calls = Calls(monkeypatch)
    found = []
    for number in range(20):
        large.write("opt/shop/nginx.conf", f"{number:02}" * (7 << 18))
        found.append(large.look())
    assert found[5] == {}
    assert found[19] == {"opt/shop/nginx.conf": "keeps changing"}
    assert calls["bytes"] <= 20 * watched_files.BYTES_A_LOOK


def test_a_large_file_that_was_reported_is_read_by_the_next_watcher(large: Host) -> None:
    path = large.write("opt/shop/nginx.conf", "y" * (7 << 19))
    large.files = large.watch([path])
    assert [large.look() for _unused in range(4)][3] == {"opt/shop/nginx.conf": "other content"}


def test_a_clock_that_jumps_changes_nothing(host: Host) -> None:
    host.look()
    found = [host.files.look(host.now, wall) for wall in (0.0, NOW, NOW * 2)]
    assert found == [{}, {}, {}]


# --- what becomes of differences -------------------------------------------------------------------------------------

FILE = {"/opt/shop/compose.yaml": Difference("other content", NOW)}
LOGIN: Any = [{"user": "ada", "from": "192.0.2.7", "begun": NOW - 60.0, "ended": 0.0}]


class Asked:
    """Says who was logged in, and counts how often that was asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Any:
        self.times += 1
        return LOGIN


def test_a_difference_counts_when_it_was_seen_twice() -> None:
    asked = Asked()
    it = HandChanges(asked)
    it.update({}, 0.0, NOW)
    it.update(FILE, 2.0, NOW)
    assert (it.changes, it.text(), asked.times) == ([], "", 0)
    it.update(FILE, 4.0, NOW)
    assert it.text() == (
        "changed by hand: /opt/shop/compose.yaml (other content) at 2025-06-15T15:06:40Z, "
        "logged in: ada from 192.0.2.7. Undo it, or write it into the inventory and run site.yml"
    )
    before = it.changes[0]
    for second in range(6, 600, 2):
        it.update(FILE, float(second), NOW + second)
    assert (it.changes, asked.times) == ([before], 1)


def test_a_difference_of_a_moment_is_nothing() -> None:
    it = HandChanges(Asked())
    for second in range(0, 60, 4):
        it.update(FILE, float(second), NOW)
        it.update({}, second + 2.0, NOW)
    assert it.changes == []


def test_a_file_that_flaps_is_one_change_until_it_has_stayed_well() -> None:
    it = HandChanges(Asked())
    it.update(FILE, 0.0, NOW)
    it.update(FILE, 2.0, NOW)
    first = it.changes[0].number
    for second in range(4, 60, 4):
        it.update({}, float(second), NOW + second)
        it.update(FILE, second + 2.0, NOW + second)
    assert [one.number for one in it.changes] == [first]
    it.update({}, 60.0, NOW)
    it.update({}, 69.0, NOW)
    assert len(it.changes) == 1
    it.update({}, 70.0, NOW)
    assert it.changes == []


def test_what_is_not_read_yet_ends_nothing() -> None:
    """The next watcher has to read the file first."""
    it = HandChanges(Asked(), [{"number": 7, "at": NOW, "who": ["ada"], "things": {"/etc/x": "other content"}}])
    for second in range(0, 60, 2):
        it.update({}, float(second), NOW, unread=["/etc/x"])
    assert [one.number for one in it.changes] == [7]


def test_work_of_others_postpones() -> None:
    it = HandChanges(Asked())
    it.update(FILE, 0.0, NOW)
    it.postpone()
    it.update(FILE, 100.0, NOW)
    assert it.changes == []
    it.update(FILE, 102.0, NOW)
    assert len(it.changes) == 1


def test_many_changes_one_after_the_other_are_few_alerts() -> None:
    it = HandChanges(Asked())
    found: dict[str, Difference] = {}
    for number in range(100):
        found[f"/etc/{number}"] = Difference("is gone", NOW)
        it.update(found, number * 4.0, NOW)
        it.update(found, number * 4.0 + 2.0, NOW)
    assert len(it.changes) == hand_changes.MOST
    assert len(it.things) == 100
    assert len({one.number for one in it.changes}) == hand_changes.MOST, "although the clock did not advance"
    assert it.changes[-1].named().endswith(", and 91 more")


def test_a_clock_that_jumps_neither_raises_nor_ends_a_change() -> None:
    it = HandChanges(Asked())
    it.update(FILE, 0.0, NOW)
    it.update(FILE, 2.0, NOW - 86400.0 * 3650)
    it.update(FILE, 4.0, NOW + 86400.0 * 3650)
    assert len(it.changes) == 1
    more = {**FILE, "/etc/x": Difference("is gone", NOW)}
    it.update(more, 6.0, 0.0)
    it.update(more, 8.0, 0.0)
    assert len({one.number for one in it.changes}) == 2


def test_the_next_watcher_knows_the_changes_of_the_last_one() -> None:
    it = HandChanges(Asked())
    it.update(FILE, 0.0, NOW)
    it.update(FILE, 2.0, NOW)
    asked = Asked()
    following = HandChanges(asked, json.loads(json.dumps(hand_changes.to_json(it.changes))))
    following.update(FILE, 10.0, NOW)
    assert (following.changes, asked.times) == (it.changes, 0)


@pytest.mark.parametrize(
    "note",
    [
        *(None, 7, {}, "x", [7], [{}]),
        [{"number": "x", "at": 0, "who": [], "things": {"a": "b"}}],
        [{"number": 1, "at": 1e300, "who": [], "things": {"a": "b"}}],
        [{"number": 1, "at": 0.0, "who": [], "things": ["a"]}],
    ],
)
def test_a_damaged_note_is_no_change(note: Any) -> None:
    assert HandChanges(Asked(), note).changes == []
