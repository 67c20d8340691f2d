# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Counts the calls that reach a host's engine: in debug mode it logs each of them."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import TypedDict

Ask = Callable[[str, str], str]
"""Runs a shell text (the first argument) on the host, with a text as its stdin; its stdout. Raises on failure."""

# The engine up to 27, and from 28 on.
_CALL = re.compile(r'msg="(?:Calling ([A-Z]+ \S+?)|handling ([A-Z]+) request)"(?:.*?\brequest-url="?([^"\s]+))?')
# In debug mode the engine logs more than calls. This filter keeps other lines on the host.
_LINES = "grep -E 'Calling [A-Z]+ /|handling [A-Z]+ request'"
_CHECK_SECONDS = 10.0


class Uncounted(Exception):
    """The engine's calls cannot be counted; the text says why."""


class Call(TypedDict):
    """One call. `at`: epoch seconds by the host's clock; `what`: method and path, with its query."""

    at: float
    what: str


def read_call(message: str) -> str:
    """Read a line of the engine's log: method and path of its call, "" without a call."""
    found = _CALL.search(message)
    if not found:
        return ""
    return found[1] or f"{found[2]} {found[3] or ''}".rstrip()


class EngineCalls:
    """The calls to one host's engine, from its journal."""

    def __init__(self, host: str, ask: Ask) -> None:
        self.host, self.ask, self.cursor, self.calls_of_one_ps = host, ask, "", 0

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Debug mode inside the `with` block. Raises Uncounted when a call is not counted."""
        before = self.ask("cat /etc/docker/daemon.json", "")
        self._configure(json.dumps({**json.loads(before), "debug": True}, indent=2))
        try:
            self._check_that_calls_are_logged()
            yield
        finally:
            self._configure(before)

    def _configure(self, text: str) -> None:
        self.ask("cat >/etc/docker/daemon.json && systemctl reload docker", text)

    def _check_that_calls_are_logged(self) -> None:
        """Check that the journal has the calls of one `docker ps`."""
        self.mark()
        self.ask("docker ps", "")
        self.calls_of_one_ps = len(self.wait_for("/containers/json"))

    def wait_for(self, path: str) -> list[Call]:
        """The calls since `mark`, once one of this path is among them. Raises Uncounted when none comes."""
        until = time.monotonic() + _CHECK_SECONDS
        while True:
            found = self.calls()
            if any(path in call["what"] for call in found):
                return found
            if time.monotonic() > until:
                raise Uncounted(f"{self.host}: the engine's journal shows no call of {path}: calls cannot be counted")
            time.sleep(0.5)

    def mark(self) -> None:
        """Count from here. Raises Uncounted when the journal cannot say where that is."""
        shown = self.ask("journalctl -q -n1 --show-cursor -o cat", "").splitlines()
        self.cursor = shown[-1].partition("cursor: ")[2] if shown else ""
        if not self.cursor:
            raise Uncounted(f"{self.host}: the journal has no cursor")

    def calls(self) -> list[Call]:
        """The calls since `mark`, in their order."""
        journal = f"journalctl -q --after-cursor='{self.cursor}' -u docker -o json --output-fields=MESSAGE"
        found = list[Call]()
        for line in self.ask(f"set -o pipefail; {journal} | {{ {_LINES} || true; }}", "").splitlines():
            entry = json.loads(line)
            what = read_call(str(entry.get("MESSAGE", "")))
            if what:
                found.append({"at": int(entry["__REALTIME_TIMESTAMP"]) / 1e6, "what": what})
        return found
