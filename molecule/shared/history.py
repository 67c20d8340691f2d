# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An invented history of an app in OpenMetrics, as Prometheus would have recorded it. Pure.

`promtool tsdb create-blocks-from openmetrics` reads it. A time that it leaves out was not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

MINUTE = 60
# Rules are evaluated some seconds after the minute.
OFFSET = 7


class Episode(NamedTuple):
    """A time in which the app was not healthy: `begins` seconds after the history's start, for so many minutes.

    `state` is the value of `app:state:now`, None for a time that was not measured; `failed` is the share of failed
    requests, and `seconds` the time of an answer.
    """

    begins: int
    minutes: int
    state: float | None
    failed: float = 0.0
    seconds: float = 0.1


WELL = Episode(0, 0, 1.0)


def minutes(start: int, count: int, episodes: Iterable[Episode]) -> Iterator[tuple[int, Episode]]:
    """The measured minutes, each with its episode."""
    of_minute: dict[int, Episode] = {}
    for one in episodes:
        first = one.begins // MINUTE
        of_minute.update(dict.fromkeys(range(first, first + one.minutes), one))
    for number in range(count):
        episode = of_minute.get(number, WELL)
        if episode.state is not None:
            yield start + number * MINUTE + OFFSET, episode


def openmetrics(labels: Mapping[str, str], start: int, count: int, episodes: Sequence[Episode]) -> str:
    """The text: `count` minutes from `start` (epoch s) of the series that bars, budget and report use."""
    looked = list(minutes(start, count, episodes))
    about = ",".join(f'{name}="{value}"' for name, value in labels.items())
    lines = []
    series: dict[str, Callable[[Episode], float | None]] = {
        "app:state:now": lambda one: one.state,
        "app:errors:minute": lambda one: one.failed,
        "app:response_seconds:avg5m": lambda one: one.seconds,
    }
    for name, of in series.items():
        lines += [f"# TYPE {name} gauge"]
        lines += [f"{name}{{{about}}} {of(episode):g} {at}" for at, episode in looked]
    return "\n".join([*lines, "# EOF", ""])
