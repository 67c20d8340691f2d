# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A PostgreSQL on another server, of which the app has a DSN: how it is dumped, and its dump verified. Pure.

Both need programs that this host may not have, so both use an image of PostgreSQL: a throwaway container dumps, and the
dump is loaded into a throwaway server without a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qs, unquote, urlsplit

from ..docker.model import Spec
from .databases import BackupError, Database

CONNECT_SECONDS = 30
# What libpq calls the parameters of a DSN that matter to a dump; the others are for the app's driver.
_PARAMETERS = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "channel_binding": "PGCHANNELBINDING",
    "options": "PGOPTIONS",
}
_DATA = "/var/lib/postgresql"
# Where images keep PostgreSQL's own programs, when not in their PATH. Nothing is lost with a scratch server's host.
_SERVE = f"""
PATH="$PATH:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)"
initdb --pgdata={_DATA}/scratch --username=postgres --auth=trust --encoding=UTF8 --no-locale >/dev/null
exec postgres -D {_DATA}/scratch -c listen_addresses= -c unix_socket_directories=/tmp -c fsync=off \\
    -c max_parallel_maintenance_workers=0 -c max_parallel_workers_per_gather=0
"""


def environment(variable: str, dsn: str) -> dict[str, str]:
    """The environment by which PostgreSQL's programs connect as a DSN says. Raises BackupError, which does not show it.

    :arg variable: the variable of the app's env that holds it.
    """
    try:
        parts = urlsplit(dsn)
        host, port = parts.hostname or "", parts.port or 5432
        asked = parse_qs(parts.query)
    except ValueError:
        raise _unreadable(variable) from None
    database = unquote(parts.path.lstrip("/"))
    good = re.fullmatch(r"postgres(ql)?(\+[a-z0-9_]+)?", parts.scheme) and not parts.fragment
    if not good or not host or not parts.username or not database or "/" in parts.path[1:] or "," in parts.netloc:
        raise _unreadable(variable)
    found = {
        "PGHOST": host,
        "PGPORT": str(port),
        "PGUSER": unquote(parts.username),
        "PGDATABASE": database,
        "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS),
    }
    if parts.password:
        found["PGPASSWORD"] = unquote(parts.password)
    return {**found, **{_PARAMETERS[key]: values[-1] for key, values in asked.items() if key in _PARAMETERS}}


def _unreadable(variable: str) -> BackupError:
    return BackupError(
        f"backup_databases: {variable} of the app's env is not a DSN of one PostgreSQL server. Fix: write it as "
        "postgresql://user:password@host:5432/database, special characters of the password as %XX"
    )


def dump_label(app: str) -> str:
    """The label of the containers that dump for an app: those of a killed run are found by it."""
    return f"christmas.selfheal.dump={app}"


def dump_command(app: str, database: Database, names: Iterable[str]) -> list[str]:
    """The command that writes the dump to its output, in a container; of the variables only the names are in it."""
    base = ["docker", "run", "--rm", "--pull", "never", "--network", "host", "--log-driver", "none", "--read-only"]
    base += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65534:65534"]
    base += ["--label", dump_label(app), *(word for name in names for word in ("--env", name))]
    return [*base, "--entrypoint", database.dump[0], database.image, *database.dump[1:]]


def server(image: str, volume: str) -> Spec:
    """The service of a compose model in which a dump is verified: an empty server without a network.

    :arg volume: the key of the volume for its data, a folder that everybody may write to.
    """
    return {
        "image": image,
        "user": "postgres",
        # Compose takes $ for one of its own variables.
        "entrypoint": ["sh", "-ec", _SERVE.replace("$", "$$")],
        "environment": {"PGHOST": "/tmp", "PGUSER": "postgres", "PGDATABASE": "postgres", "LC_ALL": "C"},
        "network_mode": "none",
        "read_only": True,
        "restart": "no",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": "1g",
        # The last one, and the volume, are where images declare volumes: those would be created without a name.
        "tmpfs": ["/tmp", f"{_DATA}/data"],
        "volumes": [{"type": "volume", "source": volume, "target": _DATA, "volume": {"nocopy": True}}],
        "healthcheck": {"test": ["CMD", "pg_isready", "--quiet"], "interval": "1s", "retries": 120},
    }


def by_hand(words: str, database: Database) -> str:
    """How a person loads a dump into such a server.

    :arg words: the command that writes the dump to its output.
    """
    names = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD")
    given = " ".join(f"--env {name}" for name in names)
    return (
        f"export {', '.join(names)} and PGDATABASE, as {database.dsn_variable} has them or of a new server, then:\n"
        f"{words} | docker run --rm --interactive --network host {given} --entrypoint pg_restore {database.image} "
        '--no-owner --single-transaction --dbname "$PGDATABASE"'
    )
