# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The questions that a verification asks of the restored data, and how answers are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, Union, cast

from .databases import BackupError, Database

# --- checks of a restored backup -------------------------------------------------------------------------------------

_CHECK_KEYS = {"database", "ask", "volume", "path", "sums", "minimum", "equals"}
Ask = Union[str, list[str]]
"""What a database is asked: one text, or the words of a command."""


class DataCheck(TypedDict, total=False):
    """A row of `backup_checks`: a question to a `database` or a `volume`, and the answer that is expected.

    `path` is in the volume; `sums` is the path there of a file that sha256sum wrote. An answer is at least `minimum`,
    or it `equals` a text.
    """

    database: str
    ask: Ask
    volume: str
    path: str
    sums: str
    minimum: float
    equals: str


class Answer(TypedDict):
    """What was asked of restored data, and why the answer is wrong, "" when it is not."""

    about: str
    problem: str


def read_checks(given: object, databases: Sequence[Database]) -> list[DataCheck]:
    """Read `backup_checks`. Raises BackupError, which names the row and the fix."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise BackupError('backup_checks: expected a list. Fix: write - {database: shop, ask: "SELECT 1", minimum: 1}')
    names = [one.name for one in databases]
    found = []
    for number, row in enumerate(given, 1):
        where = f"backup_checks, row {number}"
        if not isinstance(row, Mapping) or set(row) - _CHECK_KEYS:
            raise BackupError(f"{where}: unknown keys. Fix: use {', '.join(sorted(_CHECK_KEYS))}")
        if ("database" in row) == ("volume" in row):
            raise BackupError(f"{where}: names a database or a volume. Fix: write one of both")
        if "database" in row and (row["database"] not in names or not row.get("ask")):
            keys = f"`ask`, the query to run, and `database`, a name from backup_databases ({', '.join(names)})"
            raise BackupError(f"{where}: needs {keys}")
        if "volume" in row and ("sums" in row) == ("path" in row):
            raise BackupError(f"{where}: needs `path`, or `sums`, the path of a file that sha256sum wrote")
        if "sums" not in row and ("minimum" in row) == ("equals" in row):
            raise BackupError(f"{where}: needs `minimum`, a number, or `equals`, a text")
        try:
            float(row.get("minimum", 0))
        except (TypeError, ValueError):
            raise BackupError(f"{where}: `minimum` is {row['minimum']!r}. Fix: write a number") from None
        found.append(cast(DataCheck, dict(row)))
    return found


def about(check: DataCheck) -> str:
    """What a check asks, in words."""
    if "database" in check:
        return f"database {check['database']}: {' '.join(_words(check['ask']))}"
    return f"volume {check['volume']}: {check.get('sums') or check['path']}"


def _words(ask: Ask) -> list[str]:
    return [str(word) for word in ask] if isinstance(ask, list) else [str(ask)]


def question(database: Database, ask: Ask) -> list[str]:
    """The command, within the container, that asks a database."""
    words = _words(ask)
    return [*database.ask, *(words if database.kind != "redis" or len(words) > 1 else words[0].split())]


def judge(check: DataCheck, answer: str) -> str:
    """Say why an answer is not what a check expects, "" when it is."""
    text = answer.strip()
    if "equals" in check:
        return "" if text == str(check["equals"]) else f"{about(check)} gives {text[:80]!r}, not {check['equals']!r}"
    try:
        value = float(text)
    except ValueError:
        return f"{about(check)} gives {text[:80]!r}, which is not a number"
    if value >= float(check["minimum"]):
        return ""
    return f"{about(check)} gives {value:g}, and at least {float(check['minimum']):g} is expected"
