# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stops a command is said in one line."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import outcome


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (outcome.Refused("no such app"), "selfheal: no such app"),
        (OSError(28, "No space left on device", "/var"), "selfheal: /var: the disk is full"),
        (KeyboardInterrupt(), "selfheal: interrupted"),
    ],
    ids=["refused", "a full disk", "the keyboard"],
)
def test_what_stops_a_command(error: BaseException, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def act() -> int:
        raise error

    assert outcome.carry_out(act) == outcome.WRONG
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
