# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Users who write all the time, and know which records were acknowledged."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from typing import Any

from shared.acting import EVERYTHING

ADDRESS = "172.30.57.51"
EACH_SECONDS = 0.02 if EVERYTHING else 0.1
"""From one record to the next. A record costs the database, the cache, the ledger and the disk some milliseconds."""
KEPT = ("database", "cache", "ledger", "files")


class Writer(threading.Thread):
    """Writes a numbered record every EACH_SECONDS; `acked` is {number: (text, time of acknowledgement)}."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.acked: dict[int, tuple[str, float]] = {}
        self.failed: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Write until `over` is set; a refused record is not written again."""
        connection, number, due = None, 0, time.monotonic()
        while not self.over.is_set():
            number += 1
            text = f"{number} {hashlib.sha256(str(number).encode()).hexdigest()}"
            try:
                connection = connection or http.client.HTTPConnection(ADDRESS, 8000, timeout=3.0)
                connection.request("PUT", f"/records/{number}", text.encode())
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    self.acked[number] = (text, time.time())
                else:
                    self.failed.append(time.time())
            except (OSError, http.client.HTTPException):
                self.failed.append(time.time())
                if connection:
                    connection.close()
                connection = None
            due = max(due + EACH_SECONDS, time.monotonic() - 1.0)
            self.over.wait(max(0.0, due - time.monotonic()))
        if connection:
            connection.close()

    def forget(self, since: float) -> None:
        """Forget records that a restore has undone on purpose: those since a time that are not everywhere any more."""
        found = everything()
        kept = set.intersection(*(set(found[where]) for where in KEPT))
        until = time.time() - 1.0
        self.acked = {
            number: (text, when)
            for number, (text, when) in list(self.acked.items())
            if not since < when < until or number in kept
        }

    def before(self, moment: float) -> dict[int, str]:
        """The records that were acknowledged before a moment."""
        return {number: text for number, (text, when) in list(self.acked.items()) if when < moment}


def everything() -> dict[str, dict[int, str]]:
    """The records that the app has, by place."""
    connection = http.client.HTTPConnection(ADDRESS, 8000, timeout=60.0)
    try:
        connection.request("GET", "/records")
        found: dict[str, dict[str, str]] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return {where: {int(number): text for number, text in rows.items()} for where, rows in found.items()}


def lost(wanted: dict[int, str]) -> dict[str, Any]:
    """{place: records that are not there byte for byte}; empty when nothing is lost."""
    found = everything()
    missing = {where: [n for n, text in wanted.items() if found[where].get(n) != text] for where in KEPT}
    return {where: rows[:10] for where, rows in missing.items() if rows}
