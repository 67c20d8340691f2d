# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The timers that start the watchers, read from systemd's answer."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import timers
from ansible_collections.christmas.selfheal.plugins.module_utils.host.timers import Timer

SHOWN = """\
Id=selfheal@shop.timer
ActiveState=active
InactiveEnterTimestampMonotonic=0

Id=selfheal@blog.timer
ActiveState=inactive
InactiveEnterTimestampMonotonic=812345678
"""
SHOP, BLOG = Timer("active", "0"), Timer("inactive", "812345678")


@pytest.mark.parametrize(
    ("names", "answer", "found"),
    [
        (["shop", "blog"], commands.Result(0, SHOWN, ""), {"shop": SHOP, "blog": BLOG}),
        (["blog"], commands.Result(0, SHOWN, ""), {"blog": BLOG}),
        (["shop"], commands.Result(1, "", "System has not been booted with systemd"), {}),
        (["shop"], commands.Result(127, "", "systemctl is not installed"), {}),
        (["shop"], commands.Result(0, "no properties", ""), {}),
    ],
    ids=["two", "one", "no systemd", "no systemctl", "nonsense"],
)
def test_what_systemd_says(
    monkeypatch: pytest.MonkeyPatch, names: list[str], answer: commands.Result, found: dict[str, Timer]
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(commands, "run", lambda argv, *_: ran.append(argv) or answer)
    assert timers.read(names) == found
    assert ran[0][-len(names) :] == [f"selfheal@{name}.timer" for name in names]


def test_without_apps_no_command_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "run", lambda *_: pytest.fail("a command was run"))
    assert timers.read([]) == {}


def test_a_stopped_timer_is_reported_with_the_command_that_starts_it() -> None:
    assert timers.problem("shop", SHOP) == ""
    assert timers.problem("blog", BLOG).startswith("selfheal@blog.timer is inactive")
    assert timers.problem("blog", BLOG).endswith("Try: systemctl enable --now selfheal@blog.timer")
