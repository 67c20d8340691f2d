# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ran before the first release comes back when the deploy is killed, and is left alone when it is not."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppPaths, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import before_first, first_guard
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.before_first import Note, PutBack
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project_layout
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store

COLLECTIONS = str(Path(__file__).resolve().parents[3] / ".venv/collections")
LABEL = "com.docker.compose.project"
NOTE = Note(
    images={"web": "sha256:old"},
    names={"web": "mine:1"},
    states={"web": "running"},
    folder="/root/shop",
    compose=["/root/shop/compose.yaml"],
    env_files=[],
    files={},
)


class Host:
    """What runs, and how often it was put back; `failures`: what each attempt says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.state, self.release = "/root/shop", "running", ""
        self.note: Note | None = NOTE
        self.put_back, self.failures, self.slept = 0, [""], 0.0
        monkeypatch.setattr(before_first, "read", lambda _paths: self.note)
        monkeypatch.setattr(before_first, "put_back", self._put_back)
        monkeypatch.setattr(before_first, "Project", lambda *_: self)
        monkeypatch.setattr(release_store, "last_good", lambda _directory: self.release or None)
        monkeypatch.setattr(project_layout, "recorded", lambda _directory: None)

    def _put_back(self, _paths: AppPaths, _note: Note) -> PutBack:
        self.put_back += 1
        return PutBack([], self.failures[min(self.put_back, len(self.failures)) - 1])

    def documents(self) -> list[Any]:
        return [{"Config": {"Labels": {f"{LABEL}.working_dir": self.folder}}}]

    def containers(self) -> list[dict[str, Any]]:
        return [{"service": "web", "state": self.state, "exit_code": 0}]

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


@pytest.fixture
def paths(tmp_path: Path) -> AppPaths:
    return app_paths("shop", root=str(tmp_path))


def put_back(paths: AppPaths, host: Host, commands: int = 0) -> str:
    left = iter([True] * commands)
    return first_guard.put_back(paths, lambda: next(left, False), host.sleep)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param({}, 0, id="nothing was replaced yet"),
        pytest.param({"folder": "/opt/shop", "state": "created"}, 1, id="the new container was not started"),
        pytest.param({"folder": "/opt/shop"}, 1, id="the new container has not passed its gate"),
        pytest.param({"state": "exited"}, 1, id="the old container was stopped"),
        pytest.param({"folder": "/opt/shop", "release": "20260101"}, 0, id="the release serves"),
        pytest.param({"folder": "/opt/shop", "note": None}, 0, id="it was put back already"),
    ],
)
def test_it_is_put_back_when_it_does_not_run_and_no_release_serves(
    now: dict[str, Any], expected: int, host: Host, paths: AppPaths
) -> None:
    for name, value in now.items():
        setattr(host, name, value)
    assert put_back(paths, host) == ""
    assert host.put_back == expected


def test_a_command_of_the_killed_deploy_is_waited_for(host: Host, paths: AppPaths) -> None:
    host.state = "exited"
    put_back(paths, host, commands=20)
    assert (host.put_back, round(host.slept, 1)) == (1, 2.0)


def test_it_is_tried_again_when_it_fails(host: Host, paths: AppPaths) -> None:
    host.state, host.failures = "exited", ["port 80 is in use", ""]
    assert put_back(paths, host) == ""
    assert host.put_back == 2
    host.put_back, host.failures = 0, ["port 80 is in use"]
    assert put_back(paths, host) == "port 80 is in use"


def test_a_deploy_that_ends_leaves_no_guard(host: Host, paths: AppPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*words, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(sys, "path", [*sys.path, COLLECTIONS])
    with first_guard.held(paths):
        assert started[0].poll() is None
    assert started[0].returncode == 0
    host.release = "20260101"
    with first_guard.held(paths):
        assert len(started) == 1


@pytest.mark.parametrize(("said", "expected"), [(b"", 1), (b"ended", 0)], ids=["killed", "ended"])
def test_only_a_killed_deploy_is_put_back(
    said: bytes, expected: int, paths: AppPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(said)))
    monkeypatch.setattr(first_guard, "app_paths", lambda *_: paths)
    monkeypatch.setattr(first_guard, "put_back", lambda given, *_: asked.append(given.name) or "")
    assert first_guard.main("shop", paths.directory) == 0
    assert asked == ["shop"] * expected


def test_a_compose_command_is_found_by_its_words() -> None:
    line = ["docker", "compose", "--project-name", "shop", "--project-directory", "/opt/shop", "up"]
    assert first_guard._holds(line, ("compose", "--project-name", "shop"))
    assert not first_guard._holds(line, ("compose", "--project-name", "shop2"))
