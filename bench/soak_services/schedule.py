# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The schedule of a soak. Pure: no clock, no I/O. All times are in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

DEPLOY, LIMITED, BUSY, JOB = "deploy", "429s", "busy", "job"
TITLES = {DEPLOY: "a deploy", LIMITED: "429s", BUSY: "both cores busy", JOB: "a job"}

LEAST_MINUTES, FULL_MINUTES = 6, 60
START_SECONDS = 75
"""The app's time to start."""
# The first span, the interval, and the duration of each kind. A deploy gets more than its gate's time.
DEPLOY_FIRST, DEPLOY_EVERY, DEPLOY_SECONDS = 60.0, 900.0, 210.0
LIMITED_FIRST, LIMITED_EVERY, LIMITED_SECONDS = 270.0, 300.0, 30.0
BUSY_FIRST, BUSY_EVERY, BUSY_SECONDS = 0.0, 360.0, 180.0
JOB_FIRST, JOB_EVERY, JOB_SECONDS = 20.0, 150.0, 20.0
# The watcher checks an app that answers 429 once a minute. Before a deploy, that incident has to be over.
LIMITED_REST = 75.0
# The time without 429s before the end.
LAST_SECONDS = 30.0


class Span(NamedTuple):
    """A span that begins `at` seconds after the start and takes about `seconds`. `number`: counts within its kind."""

    kind: str
    at: float
    seconds: float
    number: int


class Job(NamedTuple):
    """How a job runs: by `docker compose run --rm` or else by `up`, and its exit code."""

    by_run: bool
    code: int


def schedule(minutes: float) -> list[Span]:
    """All spans of a soak of that length, in the order of their start.

    Only busy cores coincide with a deploy: a deploy during 429s or a job is not part of this soak.
    """
    end = minutes * 60.0
    deploys = [at for at in _times(DEPLOY_FIRST, DEPLOY_EVERY, end) if at + DEPLOY_SECONDS <= end]
    limited = [
        at
        for at in _times(LIMITED_FIRST, LIMITED_EVERY, end - LIMITED_SECONDS - LAST_SECONDS)
        if not _meets(at, at + LIMITED_SECONDS + LIMITED_REST, deploys)
    ]
    jobs = [at for at in _times(JOB_FIRST, JOB_EVERY, end - JOB_SECONDS) if not _meets(at, at + JOB_SECONDS, deploys)]
    busy = list(_times(BUSY_FIRST, BUSY_EVERY, end - LAST_SECONDS))
    found = [
        *_spans(DEPLOY, deploys, DEPLOY_SECONDS),
        *_spans(LIMITED, limited, LIMITED_SECONDS),
        *_spans(BUSY, busy, BUSY_SECONDS),
        *_spans(JOB, jobs, JOB_SECONDS),
    ]
    cut = [span._replace(seconds=min(span.seconds, end - span.at)) for span in found]
    return sorted(cut, key=lambda span: (span.at, span.kind))


def _times(first: float, every: float, end: float) -> list[float]:
    found = []
    while first <= end:
        found.append(first)
        first += every
    return found


def _meets(begun: float, ended: float, deploys: Sequence[float]) -> bool:
    """Whether a deploy runs between two moments."""
    return any(begun < at + DEPLOY_SECONDS and at < ended for at in deploys)


def _spans(kind: str, times: Sequence[float], seconds: float) -> list[Span]:
    return [Span(kind, at, seconds, number) for number, at in enumerate(times, 1)]


def job(number: int) -> Job:
    """How job `number` (from 1) runs: both ways in turns, and every other job of each way fails."""
    return Job(by_run=(number - 1) % 4 < 2, code=(number - 1) % 2)


def waits_for_deploys(kind: str) -> bool:
    """Whether a span waits until no deploy runs, in case one takes longer than planned."""
    return kind in (LIMITED, JOB, DEPLOY)
