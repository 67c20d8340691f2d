# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is overdue has something done, and nothing before."""

from __future__ import annotations

import threading

from ansible_collections.christmas.selfheal.plugins.module_utils.core.overdue import Overdue

DEADLINE = 10.0


def test_it_acts_while_the_main_thread_waits() -> None:
    begun, end = threading.Event(), threading.Event()

    def act() -> None:
        begun.set()
        end.wait(DEADLINE)

    overdue = Overdue(0.01, act)
    overdue.start()
    assert begun.wait(DEADLINE)
    overdue.cancel()
    assert overdue.is_alive()
    overdue.join(0.01)
    assert overdue.is_alive()
    end.set()
    overdue.join(DEADLINE)
    assert not overdue.is_alive()


def test_it_does_not_act_once_it_is_cancelled() -> None:
    acted = threading.Event()
    overdue = Overdue(0.01, acted.set)
    overdue.start()
    overdue.cancel()
    # The next one rings after the first would have.
    later = threading.Event()
    following = Overdue(0.05, later.set)
    following.start()
    assert later.wait(DEADLINE)
    assert not acted.is_set()
    assert not overdue.is_alive()
