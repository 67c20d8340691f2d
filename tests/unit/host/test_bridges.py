# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How often the kernel asks for an address on Docker's bridges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.host import bridges
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host.bridges import Bridge

OURS = "br-0123456789ab"


def neighbours(root: Path, family: str, name: str, milliseconds: str) -> None:
    folder = root / "proc/sys/net" / family / "neigh" / name
    folder.mkdir(parents=True)
    (folder / "retrans_time_ms").write_text(milliseconds)


def test_the_bridges_that_the_engine_named(tmp_path: Path) -> None:
    neighbours(tmp_path, "ipv4", "docker0", "1000\n")
    neighbours(tmp_path, "ipv4", OURS, "1000\n")
    neighbours(tmp_path, "ipv6", OURS, "1000\n")
    for other in ("eth0", "default", "br-lan", "vethd3a1b2c"):
        neighbours(tmp_path, "ipv4", other, "1000\n")
    assert bridges.slow(str(tmp_path)) == [
        Bridge("arp_cache", OURS),
        Bridge("arp_cache", "docker0"),
        Bridge("ndisc_cache", OURS),
    ]


@pytest.mark.parametrize("milliseconds", ["100\n", "50\n", ""], ids=["ours", "faster", "gone"])
def test_a_bridge_that_needs_nothing(tmp_path: Path, milliseconds: str) -> None:
    neighbours(tmp_path, "ipv4", OURS, milliseconds)
    assert bridges.slow(str(tmp_path)) == []


def test_without_a_bridge(tmp_path: Path) -> None:
    assert bridges.slow(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (commands.Result(0, "", ""), ""),
        (commands.Result(127, "", "ip is not installed"), "ip is not installed"),
        (
            commands.Result(2, "", "RTNETLINK answers: Operation not permitted"),
            "RTNETLINK answers: Operation not permitted",
        ),
    ],
    ids=["done", "no ip", "not permitted"],
)
def test_hasten(monkeypatch: pytest.MonkeyPatch, answer: commands.Result, problem: str) -> None:
    ran: list[Sequence[str]] = []

    def run(argv: Sequence[str], _seconds: float) -> commands.Result:
        ran.append(argv)
        return answer

    monkeypatch.setattr(commands, "run", run)
    assert bridges.hasten(Bridge("arp_cache", OURS)) == problem
    # For three seconds altogether, as by default.
    assert " ".join(ran[0]) == f"ip ntable change name arp_cache dev {OURS} retrans 100 mcast_probes 30"
