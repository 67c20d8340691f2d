# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Connections to the database and the cache, opened when they are needed."""

import os
from pathlib import Path
from typing import Any

import psycopg2
import redis

PAPER = Path("/data/letters.txt")


def database() -> Any:
    """A new connection, since a deploy may have replaced the server."""
    password = Path("/run/secrets/db_password").read_text(encoding="utf-8").strip()
    return psycopg2.connect(
        host=os.environ["DATABASE_HOST"], user="letters", password=password, dbname="letters", connect_timeout=2
    )


def cache() -> Any:
    """A client that connects when it is used."""
    return redis.Redis(os.environ["CACHE_HOST"], socket_timeout=10, socket_connect_timeout=2)
