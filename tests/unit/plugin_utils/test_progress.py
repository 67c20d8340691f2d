# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A person who watches a long run sees each step once, and a sign of life between them."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.progress import QUIET_SECONDS, Progress, Step

BUILD, CREATE, WAIT = Step(1.0, "building the images"), Step(3.0, "recreating the containers"), Step(18.3, "waiting")


def test_each_step_is_shown_once() -> None:
    progress = Progress("web1", [])
    assert progress.lines([], 0.0) == []
    assert progress.lines([BUILD, CREATE], 3.0) == [
        "web1:    1.0 s  building the images",
        "web1:    3.0 s  recreating the containers",
    ]
    assert progress.lines([BUILD, CREATE], 4.0) == []
    assert progress.lines([BUILD, CREATE, WAIT], 18.5) == ["web1:   18.3 s  waiting"]


def test_the_steps_of_an_earlier_run_are_not_shown() -> None:
    progress = Progress("web1", [BUILD, WAIT])
    assert progress.lines([BUILD, WAIT], 1.0) == []
    assert progress.lines([BUILD], 2.0) == ["web1:    1.0 s  building the images"]


def test_a_long_step_is_shown_again_with_its_time() -> None:
    progress = Progress("web1", [])
    progress.lines([BUILD, CREATE], 100.0)
    assert progress.lines([BUILD, CREATE], 100.0 + QUIET_SECONDS - 0.5) == []
    assert progress.lines([BUILD, CREATE], 100.0 + QUIET_SECONDS) == [
        "web1:   13.0 s  still: recreating the containers"
    ]
    assert progress.lines([BUILD, CREATE], 105.0 + QUIET_SECONDS) == []
    again = progress.lines([BUILD, CREATE], 100.0 + 2 * QUIET_SECONDS)
    assert again == ["web1:   23.0 s  still: recreating the containers"]
    assert progress.lines([BUILD, CREATE, WAIT], 121.0) == ["web1:   18.3 s  waiting"]
