# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Logs of databases that start after a kill."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.health.database_log import recovering

POSTGRES = """\
2026-01-05 10:00:00.100 UTC [1] LOG:  starting PostgreSQL 17.6
2026-01-05 10:00:00.200 UTC [29] LOG:  database system was interrupted; last known up at 2026-01-05 09:58:12 UTC
2026-01-05 10:00:00.900 UTC [29] LOG:  database system was not properly shut down; automatic recovery in progress
2026-01-05 10:00:00.901 UTC [29] LOG:  redo starts at 0/1969A10
2026-01-05 10:00:02.000 UTC [30] FATAL:  the database system is not yet accepting connections
2026-01-05 10:00:02.000 UTC [30] DETAIL:  Consistent recovery state has not been yet reached.
"""
READY = "2026-01-05 10:05:00.000 UTC [1] LOG:  database system is ready to accept connections\n"


@pytest.mark.parametrize(
    ("log", "part"),
    [
        pytest.param(POSTGRES, "not yet accepting", id="PostgreSQL"),
        pytest.param(POSTGRES + READY, "", id="PostgreSQL is ready"),
        pytest.param(
            POSTGRES + READY + "UTC [31] FATAL:  the database system is starting up\n", "", id="a late refusal"
        ),
        pytest.param("UTC [31] FATAL:  the database system is starting up\n" * 200, "starting up", id="many refusals"),
        pytest.param(POSTGRES + READY + "x\n" * 50, "", id="PostgreSQL has long been ready"),
        pytest.param(
            POSTGRES + READY + "2026-01-05 11:00:00 UTC [1] LOG:  all server processes terminated; reinitializing\n"
            "2026-01-05 11:00:01 UTC [99] LOG:  redo starts at 0/2\n",
            "redo starts",
            id="one of its processes was killed later",
        ),
        pytest.param(
            "2026-01-05T10:00:00Z 1 [System] [MY-013576] [InnoDB] InnoDB: Starting crash recovery.\n",
            "crash recovery",
            id="MySQL",
        ),
        pytest.param(
            "InnoDB: Starting crash recovery.\n[Server] /usr/sbin/mysqld: ready for connections. Version: '8.4.6'\n",
            "",
            id="MySQL is ready",
        ),
        pytest.param("1:M * Loading RDB produced by version 7.2.5\n", "Loading RDB", id="Redis"),
        pytest.param("1:M * Loading RDB produced\n1:M * DB loaded from disk\n", "", id="Redis is ready"),
        pytest.param("LOG:  checkpoint complete\n", "", id="another message"),
        pytest.param("", "", id="empty"),
    ],
)
def test_a_recovering_database_is_distinguished_from_a_ready_one(log: str, part: str) -> None:
    found = recovering(log)
    assert part in found
    assert bool(part) is bool(found)
