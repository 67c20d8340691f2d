# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Log lines that report a full disk."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.health.disk_log import no_room

ENDED = "2026-01-02T03:04:05.678901234Z"
PANIC = 'PANIC:  could not write to file "pg_wal/xlogtemp.29": No space left on device'


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        (f"2026-01-02T03:04:05.1Z {PANIC}", PANIC),
        ("2026-01-02T03:04:00.1Z Error: ENOSPC, write", "Error: ENOSPC, write"),
        ("2026-01-02T03:04:00.1Z write /data/x: disk quota exceeded", "write /data/x: disk quota exceeded"),
        (f"2026-01-02T03:00:05.1Z {PANIC}", ""),
        ("2026-01-02T03:04:05.1Z Error: ENOSPC: System limit for number of file watchers reached", ""),
        ("2026-01-02T03:04:05.1Z could not resize shared memory segment: No space left on device", ""),
        ("2026-01-02T03:04:05.1Z ready", ""),
        (PANIC, ""),
        ("", ""),
    ],
    ids=["a database", "ENOSPC", "a quota", "too old", "inotify", "shared memory", "other", "no timestamp", "empty"],
)
def test_lines_that_report_a_full_disk(line: str, reported: str) -> None:
    assert no_room(f"2026-01-02T03:04:01.0Z starting\n{line}\n2026-01-02T03:04:05.5Z exiting", ENDED) == reported


def test_the_log_of_a_container_that_never_ended_is_ignored() -> None:
    assert no_room(f"2026-01-02T03:04:05.1Z {PANIC}", "") == ""
