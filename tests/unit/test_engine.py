# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which commands Compose and the engine are given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils import commands, engine


def container(seconds: int | None) -> dict[str, Any]:
    return {"Id": str(seconds), "State": {"Status": "running"}, "Config": {"StopTimeout": seconds}}


def stops(ran: list[list[str]]) -> dict[str, list[str]]:
    """{seconds: the containers that were given so long}."""
    return {argv[3]: argv[4:] for argv in ran if argv[:3] == ["docker", "stop", "-t"]}


@pytest.mark.parametrize(
    ("grace", "given"),
    [
        pytest.param(None, {"10": ["web"], "60": ["db"], "120": ["queue"]}, id="each its own, up to a bound"),
        pytest.param(0.0, {"0": ["web", "db", "queue"]}, id="what hangs is ended at once"),
    ],
)
def test_each_container_has_its_own_time_to_end(
    grace: float | None, given: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(argv: list[str], *_: Any, **__: Any) -> commands.Result:
        ran.append(argv)
        return commands.Result(0, "", "")

    monkeypatch.setattr(commands, "run", run)
    known = {"web": None, "db": 60, "queue": 900}
    monkeypatch.setattr(engine, "_ask", lambda question, *_: container(known[question.split("/")[2]]))
    engine.Project("shop", str(tmp_path)).remove(["web", "db", "queue"], grace)
    assert stops(ran) == given


@pytest.mark.parametrize(
    ("told", "option", "seconds"),
    [([None, 60], [], 190.0), ([None, 900], ["--timeout", "120"], 250.0), ([], [], 120.0)],
    ids=["Compose knows them", "one is out of bounds", "nothing runs"],
)
@pytest.mark.parametrize("act", ["up", "down"])
def test_compose_gives_what_it_replaces_its_own_time_to_end(
    act: str, told: list[int | None], option: list[str], seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[list[str], float]] = []

    def run(argv: list[str], timeout: float, **_: Any) -> commands.Result:
        ran.append((argv, timeout))
        return commands.Result(0, "", "")

    monkeypatch.setattr(commands, "run", run)
    monkeypatch.setattr(engine.Project, "documents", lambda _: [container(seconds) for seconds in told])
    getattr(engine.Project("shop", str(tmp_path)), act)()
    argv, timeout = ran[-1]
    assert ("--timeout" in argv) is bool(option)
    assert argv[argv.index("--timeout") :][:2] == option if option else timeout == seconds
    assert timeout == seconds


@pytest.mark.parametrize(
    ("words", "cwd", "age", "named"),
    [
        pytest.param(["docker-compose", "compose", "up", "-d"], "/opt/shop", 2, "up", id="in its directory"),
        pytest.param(["docker-compose", "compose", "-p", "shop", "restart"], "/root", 2, "restart", id="by its name"),
        pytest.param(["d", "compose", "--file=/opt/shop/compose.yaml", "down"], "/root", 2, "down", id="by its file"),
        pytest.param(["docker-compose", "compose", "up"], "/opt/shop", 3000, "", id="in the foreground, since long"),
        pytest.param(["docker-compose", "compose", "logs", "-f"], "/opt/shop", 2, "", id="it only looks"),
        pytest.param(["docker-compose", "compose", "up", "-d"], "/opt/shop2", 2, "", id="another app"),
    ],
)
def test_somebody_who_works_at_the_app_with_compose_is_seen(
    words: list[str], cwd: str, age: int, named: str, tmp_path: Path
) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    (tmp_path / "uptime").write_text("100000.00 1.00\n")
    mine, other = tmp_path / "7", tmp_path / "8"
    for folder, comm in ((mine, "docker-compose"), (other, "nginx")):
        folder.mkdir()
        (folder / "comm").write_text(f"{comm}\n")
        (folder / "cmdline").write_text("\0".join(words) + "\0")
        (folder / "stat").write_text(f"7 ({comm}) S {' '.join(['0'] * 18)} {(100000 - age) * ticks} 0\n")
        (folder / "cwd").symlink_to(cwd)
    found = engine.changed_by_hand("shop", "/opt/shop", str(tmp_path))
    assert found == (f"`docker compose {named}` (pid 7) runs on the app" if named else "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-04-15T14:52:42.101978294Z", 7.898),
        ("2026-04-15T22:52:42.101978294+08:00", 7.898),
        ("2026-04-15T10:52:42-04:00", 8.0),
        ("2026-04-15T14:52:42", 8.0),
        ("2026-04-15T14:52:52Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("2026-13-15T14:52:42Z", None),
        ("", None),
    ],
    ids=["UTC", "east of it", "west of it", "no zone", "to come", "never", "no month", "no time"],
)
def test_the_engine_tells_health_checks_by_the_zone_of_its_host(text: str, seconds: float | None) -> None:
    assert engine.seconds_since(text, 1776264770.0) == seconds
