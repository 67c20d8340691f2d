# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is read of the env, and the evidence: complete as far as the time goes, and without a secret."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils import engine, observe
from ansible_collections.christmas.selfheal.plugins.module_utils.app import App

KEY, OLDER = "Vq3mZk8TtPw2Lr9xHs5B", "Nw7cYd4JfGb6Ke1uQo0R"
NOW = 1_750_000_000.0


@pytest.fixture
def app(tmp_path: Path) -> App:
    found = App("shop", variables=[{"name": "KEY", "kind": "token"}], root=str(tmp_path))
    Path(found.directory).mkdir(parents=True)
    return found


def _absent(_path: Path) -> None:
    pass


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(600 << 20)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        pytest.param(lambda path: path.write_text(f"KEY={KEY}\n"), None, id="a good one"),
        pytest.param(_absent, "missing", id="none"),
        pytest.param(_folder, "unreadable", id="a folder"),
        pytest.param(_pipe, "unreadable", id="a pipe that nobody writes to"),
        pytest.param(_huge, "unreadable", id="a file of 600 MB"),
        pytest.param(lambda path: path.write_bytes(b"KEY=\xff\xfe\n"), "unreadable", id="no text"),
        pytest.param(lambda path: path.write_text(f'KEY="{KEY}\n'), "unreadable", id="a quote that does not end"),
        pytest.param(lambda path: path.write_text(""), "missing", id="an empty file"),
    ],
)
def test_whatever_the_env_is_it_is_one_finding(app: App, make: Callable[[Path], Any], rule: str | None) -> None:
    make(Path(app.env))
    found = observe.read_env(app, NOW)
    assert [one["rule"] for one in found["findings"]] == ([rule] if rule else [])
    assert found["exists"] == (make is not _absent)
    assert KEY not in json.dumps(found["findings"])


def facts(app: App, **more: Any) -> dict[str, Any]:
    instance = {"id": "1", "name": "shop-web-1", "service": "web", "state": "running", "digest": "sha256:1"}
    return {
        "disk": [],
        "load": {"cpu_busy": 0.1},
        "oom": [],
        "instances": [instance],
        "environments": [{"KEY": OLDER}],
        "env": observe.read_env(app, NOW),
        **more,
    }


class Engine:
    """A project whose log holds both keys; each answer takes a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes: float = 0.0, broken: bool = False) -> None:
        self.now, self.takes, self.broken = 0.0, takes, broken
        self.limits: list[float] = []

        def text(_project: Any, _container: str, *words: float) -> str:
            self.limits.append(words[-1])
            self.now += self.takes
            if self.broken:
                raise engine.EngineError("the engine is gone")
            return f"now {KEY}, before {OLDER}"

        for name in ("logs", "top", "inspect"):
            monkeypatch.setattr(engine.Project, name, text)

    @property
    def clock(self) -> observe.Clock:
        return observe.Clock(now=lambda: NOW, monotonic=lambda: self.now)


def test_evidence_holds_no_key_neither_the_files_nor_the_containers(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(app.env).write_text(f"KEY={KEY}\n")
    seen = facts(app)
    files = observe.evidence(app, seen, observe.secrets(app, seen, None), Engine(monkeypatch).clock)
    whole = "".join(files.values())
    assert {"facts.json", "host.txt", "fingerprints.json", "log-shop-web-1.txt", "top-shop-web-1.txt"} <= set(files)
    assert KEY not in whole
    assert OLDER not in whole
    assert json.loads(files["facts.json"])["env"]["exists"]


def test_evidence_never_waits_longer_than_a_second(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(app.env).write_text(f"KEY={KEY}\n")
    slow = Engine(monkeypatch, takes=0.6)
    files = observe.evidence(app, facts(app), {}, slow.clock)
    assert slow.limits == pytest.approx([observe.EVIDENCE_SECONDS, observe.EVIDENCE_SECONDS - 0.6])
    assert "inspect-shop-web-1.json: no time was left" in files["evidence.txt"]
    assert "log-shop-web-1.txt" in files


def test_evidence_that_cannot_be_had_is_named(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    files = observe.evidence(app, facts(app), {}, Engine(monkeypatch, broken=True).clock)
    assert files["evidence.txt"].count("the engine is gone") == 3


def test_an_env_that_is_written_anew_has_another_stamp(app: App) -> None:
    stamps = [observe.env_stamp(app)]
    for text in (f"KEY={KEY}\n", f"KEY={KEY}x\n"):
        Path(app.env).write_text(text)
        stamps.append(observe.env_stamp(app))
    assert stamps[0] == ()
    assert len(set(stamps)) == 3
