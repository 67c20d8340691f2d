# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which containers do not handle the stop signal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import stop_signal

TERM = 1 << 14


def process(proc: Path, pid: int, name: str, masks: dict[str, int], children: str = "") -> None:
    (proc / f"{pid}/task/{pid}").mkdir(parents=True)
    (proc / f"{pid}/task/{pid}/children").write_text(children, encoding="ascii")
    lines = [f"Name:\t{name}", *(f"{key}:\t{masks.get(key, 0):016x}" for key in ("SigBlk", "SigIgn", "SigCgt"))]
    (proc / f"{pid}/status").write_text("\n".join(lines) + "\n", encoding="ascii")


def container(init: bool | None = None, signal: str | None = None) -> dict[str, Any]:
    return {
        "Id": "c" * 64,
        "Name": "/shop-web-1",
        "Image": "sha256:aa",
        "State": {"Status": "running", "Pid": 20},
        "Config": {"Image": "shop", "Labels": {}, "StopTimeout": 7, **({"StopSignal": signal} if signal else {})},
        "HostConfig": {"Init": init},
        "NetworkSettings": {"Networks": {}, "Ports": {}},
    }


@pytest.mark.parametrize(
    ("name", "init", "masks", "seconds"),
    [
        ("python", None, {}, 7.0),
        ("python", False, {"SigIgn": TERM}, 7.0),
        ("python", None, {"SigCgt": TERM}, 0.0),
        ("systemd", None, {"SigBlk": TERM}, 0.0),
    ],
)
def test_the_first_process_needs_a_handler(
    tmp_path: Path, name: str, init: bool | None, masks: dict[str, int], seconds: float
) -> None:
    process(tmp_path, 20, name, masks)
    assert stop_signal.stop_seconds(container(init), str(tmp_path)) == seconds


@pytest.mark.parametrize(("name", "init"), [("docker-init", True), ("tini", None), ("docker-init", None), ("x", True)])
@pytest.mark.parametrize(
    ("masks", "seconds"), [({}, 0.0), ({"SigCgt": TERM}, 0.0), ({"SigIgn": TERM}, 7.0), ({"SigBlk": TERM}, 0.0)]
)
def test_behind_an_init_only_a_child_that_refuses_is_deaf(
    tmp_path: Path, name: str, init: bool | None, masks: dict[str, int], seconds: float
) -> None:
    process(tmp_path, 20, name, {}, "27 30 ")
    process(tmp_path, 27, "python", masks)
    # An orphan that the init has adopted gets no signal.
    process(tmp_path, 30, "orphan", {"SigIgn": TERM})
    assert stop_signal.stop_seconds(container(init), str(tmp_path)) == seconds


def test_an_init_whose_child_has_ended_is_not_deaf(tmp_path: Path) -> None:
    process(tmp_path, 20, "docker-init", {})
    assert stop_signal.stop_seconds(container(True), str(tmp_path)) == 0.0


@pytest.mark.parametrize(("signal", "seconds"), [("SIGKILL", 0.0), ("KILL", 0.0), ("9", 0.0), ("SIGTERM", 7.0)])
def test_no_process_ignores_sigkill(tmp_path: Path, signal: str, seconds: float) -> None:
    process(tmp_path, 20, "python", {})
    assert stop_signal.stop_seconds(container(None, signal), str(tmp_path)) == seconds
