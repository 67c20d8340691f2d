# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask an app from outside, many times a second, and remember when it answered: drills and benchmarks measure with it.

Requests overlap: an app that hangs is asked as often as one that answers, so that the end of an outage is seen to
within one interval, whatever the beginning of it looked like.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from ..core.check import Check
from .run import expand, judge
from .web import Answer, Fault, address, fetch

RATE = 10.0
TIMEOUT = 2.0
IN_A_ROW = 10
"""How many good answers in a row count as recovered."""


class Sample(NamedTuple):
    """One request. Times are seconds since the epoch, by a clock that does not jump while the prober runs."""

    sent: float
    ended: float
    ok: bool
    reason: str


Ask = Callable[[], str]


def asker(
    checks: Sequence[Check], values: Mapping[str, str], timeout: float = TIMEOUT, outside: str = ""
) -> tuple[Ask, str]:
    """Choose the check that the prober repeats, and return (how to ask it, its URL).

    The first check with `proves: health` that needs nothing but `values`; else the first such check at all.

    :arg values: the values of the check's `${NAME}`; none of them needs to be secret.
    :arg outside: the host's address for this machine, when that is another one: a check runs on the host, and its
        127.0.0.1 is the host's own.
    :raises ValueError: all checks need other values.
    :raises web.Fault: with the values put in, the check cannot be sent.
    """
    usable = [check for check in checks if check.needs <= set(values)]
    chosen = next((check for check in usable if check.proves == "health"), usable[0] if usable else None)
    if chosen is None:
        raise ValueError(
            "selfheal_checks: no check can be asked from outside with the values that are not secret "
            "(app_env_plain); give the address with drill_url"
        )
    request = expand(chosen, values)._replace(timeout=timeout)
    if outside:
        request = request._replace(url=_from_outside(request.url, outside))
    return _asking(chosen, lambda: fetch(request)), request.url


def _from_outside(url: str, outside: str) -> str:
    """The URL with the host's address in place of a loopback or wildcard address."""
    where = address(url)
    if where is None or not _is_own(where.host):
        return url
    host = f"[{outside}]" if ":" in outside else outside
    return urlsplit(url)._replace(netloc=f"{host}:{where.port}").geturl()


def _is_own(host: str) -> bool:
    """Whether a name or address leads a machine to itself."""
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return parsed.is_loopback or parsed.is_unspecified


def _asking(check: Check, send: Callable[[], Answer]) -> Ask:
    def ask() -> str:
        try:
            judge(check, send(), time.time(), {})
        except Fault as fault:
            return str(fault)
        return ""

    return ask


class Prober:
    """Asks at a steady rate, in the background, from `start` to `stop`; a context manager.

    :arg ask: asks once, within its own timeout; returns what is wrong with the answer, "" when it is good.
    """

    def __init__(self, ask: Ask, rate: float = RATE) -> None:
        self._ask, self._interval = ask, 1.0 / rate
        self._anchor = time.time() - time.monotonic()
        self._lock = threading.Lock()
        self._samples: list[Sample] = []
        self._pending: set[float] = set()
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="prober", daemon=True)

    def __enter__(self) -> Prober:
        self._ticker.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._stopping.set()
        self._ticker.join()

    def now(self) -> float:
        """The prober's clock."""
        return self._anchor + time.monotonic()

    def samples(self, since: float = 0.0) -> list[Sample]:
        """Return the requests sent since then in the order of sending, up to the first that is still waited for."""
        with self._lock:
            end = min(self._pending, default=float("inf"))
            return sorted(sample for sample in self._samples if since <= sample.sent < end)

    def wait_healthy(self, since: float, seconds: float, poll: float = 0.05) -> float | None:
        """Wait until `IN_A_ROW` requests sent after `since` were answered well; return when the first answer arrived.

        None when that does not happen within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = first_of_row(self.samples(since))
            if found is not None or time.monotonic() >= deadline:
                return found
            time.sleep(poll)

    def _tick(self) -> None:
        next_at = time.monotonic()
        while not self._stopping.wait(max(next_at - time.monotonic(), 0.0)):
            threading.Thread(target=self._one, daemon=True).start()
            # After a stall of this machine: no burst to catch up.
            next_at = max(next_at + self._interval, time.monotonic() - self._interval)

    def _one(self) -> None:
        with self._lock:
            sent = self.now()
            self._pending.add(sent)
        reason = self._ask()
        with self._lock:
            self._pending.discard(sent)
            self._samples.append(Sample(sent, self.now(), not reason, reason))


def first_of_row(samples: Sequence[Sample], length: int = IN_A_ROW) -> float | None:
    """When the first of `length` good answers in a row was there: the moment from which the app was well again.

    That is not always the answer to the first of them: a connection that was tried while nothing listened may be tried
    again, by the kernel, only a second later.

    :arg samples: in the order of sending.
    """
    row: list[Sample] = []
    for sample in samples:
        row = [*row, sample] if sample.ok else []
        if len(row) == length:
            return min(one.ended for one in row)
    return None
