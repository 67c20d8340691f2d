# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a database's log says of its recovery after it was ended in the middle of its work. Pure."""

from __future__ import annotations

import re

# What PostgreSQL 13 to 17, MySQL 8, MariaDB 11, Redis 7 and MongoDB 7 write while they recover, and once that is done.
_RECOVERS = re.compile(
    r"automatic recovery in progress|redo (?:starts at|in progress)|starting backup recovery"
    r"|InnoDB: (?:Starting crash recovery|Starting recovery|Doing recovery|Applying a batch|Starting to apply|"
    r"Starting an apply batch|Recovered page|To recover)"
    r"|Loading RDB produced|Reading RDB base file|Loading DB in memory|loading the dataset in memory"
    r"|WiredTiger.{0,200}recovery log replay (?:is|has been) running|Starting WiredTiger recovery",
    re.IGNORECASE,
)
# What PostgreSQL answers a client meanwhile. The answer to an earlier one may be logged just after it is ready.
_REFUSES = re.compile(
    r"the database system is (?:starting up|in recovery mode|not yet accepting connections)", re.IGNORECASE
)
_READY = re.compile(
    r"ready to accept (?:read-only |read only )?connections|ready for connections|waiting for connections"
    r"|DB loaded from|database system is (?:ready|shut down)",
    re.IGNORECASE,
)
_LONGEST_LINE = 200


def recovering(log: str) -> str:
    """Return the line that says that a database still recovers, "" when it has said since that it is ready.

    :arg log: its last lines, oldest first. They hold no value of a row, but may name files.
    """
    refuses = ""
    for line in reversed(log.splitlines()):
        if _READY.search(line):
            return ""
        if _RECOVERS.search(line):
            return _short(refuses or line)
        if not refuses and _REFUSES.search(line):
            refuses = line
    # So many were refused that its beginning is not among these lines.
    return _short(refuses)


def _short(line: str) -> str:
    return line.strip()[:_LONGEST_LINE]
