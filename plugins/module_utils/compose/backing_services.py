# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is behind the app: a cache (Redis), a connection pool (PgBouncer) → services of the overlay. Pure.

They get every hardened default of the other services, and no published port. Their secrets are the env's: Compose hands
each service those it needs, and a script makes its configuration of them at its start, so they are neither in the
overlay nor in an argument. The app finds both under the names of their services.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

from ..docker.model import Services, Spec
from .overlay import flow, scalar
from .services import NONE, Healthcheck, OverlayError, Service, Settings, one_line, size

CACHE, POOL = "cache", "pool"
ENABLED = {CACHE: "compose_app_cache_enabled", POOL: "compose_app_pool_enabled"}
CACHE_PORT, POOL_PORT = 6379, 6432
CACHE_VOLUME = "selfheal-cache"
TLS = ("disable", "prefer", "require")

CACHE_MEMORY, POOL_MEMORY = "256M", "128M"
# Of the cache's memory, what it may fill with data. The rest is for clients' buffers and for what was freed and is not
# given back; where it is persistent, also for what changes while a child of it rewrites the log.
CACHE_SHARE, PERSISTENT_SHARE = 0.7, 0.45

# The password goes in as its hash, so no character of it can mean anything. Without @admin, who has got hold of the app
# cannot make the cache write files (CONFIG), or follow another server (REPLICAOF).
_CACHE_SCRIPT = """\
: "${{REDISCLI_AUTH:?REDIS_PASSWORD is empty}}"
hash=$(printf %s "$REDISCLI_AUTH" | sha256sum | cut -c 1-64)
exec redis-server - <<END
user default on #$hash ~* &* +@all -@admin
maxmemory {memory}mb
maxmemory-policy {policy}
save ""
{log}
dir {directory}
tcp-keepalive 60
END"""

# Server connections are for all clients, so what a client leaves set would be the next one's: mode `transaction`.
_POOL_SCRIPT = """\
umask 077
doubled() {{ printf %s "$2" | sed "s/$1/&&/g"; }}
cat >/tmp/userlist.txt <<END
"$(doubled '"' "$DATABASE_USER")" "$(doubled '"' "$DATABASE_PASSWORD")"
END
cat >/tmp/pgbouncer.ini <<END
[databases]
* = host='$(doubled "'" "$DATABASE_HOST")' port=$DATABASE_PORT dbname='$(doubled "'" "$DATABASE_NAME")'
[pgbouncer]
listen_addr = *
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = /tmp/userlist.txt
stats_users = $DATABASE_USER
pool_mode = transaction
default_pool_size = {size}
max_client_conn = {clients}
max_prepared_statements = 200
query_wait_timeout = {wait}
server_idle_timeout = 60
server_connect_timeout = 5
server_login_retry = 1
server_tls_sslmode = {tls}
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
END
exec pgbouncer /tmp/pgbouncer.ini"""
# One file descriptor each, so it has to stay below 1024, which is what an engine may give. 25 for a server connection.
POOL_CLIENTS = 500
# A client that waits longer for a server connection gets an error: a request is to fail rather than to hang.
POOL_WAIT = 10

# It says nothing of the database behind the pool: that may be down without the pool being at fault, and the app has to
# be able to start all the same. An image without a client of PostgreSQL shows at least that it listens.
_POOL_ANSWERS = (
    f"if command -v pg_isready >/dev/null; then pg_isready -q -t 3 -h 127.0.0.1 -p {POOL_PORT}"
    ' -U "$DATABASE_USER" -d pgbouncer;'
    f" else grep -q ':{POOL_PORT:04X} 0*:0000 0A' /proc/net/tcp; fi"
)
# While it reads its log it answers, and something else.
_CACHE_ANSWERS = 'said=$(timeout 3 redis-cli ping) && { [ "$said" = PONG ] || exit 1; }'
# Docker restarts what has ended, and never what hangs; the watcher asks the app alone. So what has been well and
# then does not answer twice in a row is ended from within, by its own user, and its restart policy starts it.
_HEALTH = (
    "if {answers}; then : >/tmp/well; rm -f /tmp/sick; exit 0; fi;"
    " [ ! -e /tmp/sick ] || kill -9 -1; [ ! -e /tmp/well ] || : >/tmp/sick; exit 1"
)


class CacheSettings(TypedDict, total=False):
    """What the inventory says of the cache. Empty: the app has none."""

    image: str
    persistent: bool


class PoolSettings(TypedDict, total=False):
    """What the inventory says of the connection pool. Empty: the app has none. `tls` is one of TLS."""

    image: str
    size: int | str
    tls: str


class BackingSettings(TypedDict, total=False):
    """What the inventory says of the services behind the app's `service`."""

    service: str
    cache: CacheSettings
    pool: PoolSettings


class Backing(NamedTuple):
    """What is behind the app's `service`; an image is "" without a cache or pool."""

    service: str
    cache_image: str
    persistent: bool
    pool_image: str
    pool_size: int
    tls: str

    @property
    def names(self) -> list[str]:
        """The services that it adds."""
        return [name for name, image in ((CACHE, self.cache_image), (POOL, self.pool_image)) if image]


class Joined(NamedTuple):
    """Table and project with the services that are added; the lines that each service's block begins with; the rest."""

    table: dict[str, Service]
    project: dict[str, Spec]
    lines: dict[str, list[str]]
    volumes: list[str]


def read_backing(given: BackingSettings | None) -> Backing | None:
    """Read the settings; None when there is neither cache nor pool.

    :raises OverlayError: naming the role's variable that is wrong.
    """
    given = given or {}
    cache, pool = given.get("cache") or CacheSettings(), given.get("pool") or PoolSettings()
    if not cache and not pool:
        return None
    images = {name: said.get("image", "") for name, said in ((CACHE, cache), (POOL, pool)) if said}
    for name, image in images.items():
        if not isinstance(image, str) or not image or one_line(image) != image or " " in image:
            where = f"compose_app_{name}_image"
            raise OverlayError(where, "names no image", "write one with its version, or leave the service off")
    count = str(pool.get("size", 20))
    if not count.isdecimal() or not 1 <= int(count) <= POOL_CLIENTS:
        raise OverlayError("compose_app_pool_size", f"is not between 1 and {POOL_CLIENTS}", "write e.g. 20")
    if pool.get("tls", TLS[1]) not in TLS:
        raise OverlayError("compose_app_pool_tls", "is not a way to use TLS", f"use one of {', '.join(TLS)}")
    return Backing(
        str(given.get("service") or ""),
        str(cache.get("image", "")),
        bool(cache.get("persistent")),
        str(pool.get("image", "")),
        int(count),
        str(pool.get("tls", TLS[1])),
    )


def join(backing: Backing | None, table: Mapping[str, Service], project: Services) -> Joined:
    """Add the services to what the inventory and the user's file say.

    :raises OverlayError: the user's file has such a service already, or no place for it.
    """
    joined = Joined(dict(table), dict(project), {}, [])
    if backing is None:
        return joined
    for name in backing.names:
        if name in project:
            reason = f"has the name of the service that {ENABLED[name]} adds"
            raise OverlayError(f"compose.yaml: services.{name}", reason, "give it another name, or leave that off")
        joined.project[name] = {}
    if backing.service not in project:
        there = ", ".join(sorted(project)) or "none"
        reason = f"{backing.service or 'nothing'} is not a service of compose.yaml"
        raise OverlayError("compose_app_service", reason, f"use one of its services: {there}")
    networks = _networks(backing.service, project[backing.service])
    environment: dict[str, str] = {}
    joined.lines[backing.service] = []
    if backing.cache_image:
        # Not depended on: the app has to work without it, and to start while it does not.
        environment.update(REDIS_HOST=CACHE, REDIS_PORT=str(CACHE_PORT))
        joined.table[CACHE] = _row(joined.table.get(CACHE), {"user": "redis", "memory": CACHE_MEMORY}, _CACHE_ANSWERS)
        joined.lines[CACHE] = [*_cache(backing, joined.table[CACHE]), *networks]
        joined.volumes.extend([CACHE_VOLUME] if backing.persistent else [])
    if backing.pool_image:
        environment.update(DATABASE_HOST=POOL, DATABASE_PORT=str(POOL_PORT))
        # It writes nothing but what is in its tmpfs, so any user will do, whatever the image.
        said: Settings = {"user": "65532:65532", "memory": POOL_MEMORY}
        joined.table[POOL] = _row(joined.table.get(POOL), said, _POOL_ANSWERS)
        joined.lines[POOL] = [*_pool(backing), *networks]
        joined.lines[backing.service] += ["depends_on:", f"  {POOL}: {{condition: service_healthy}}"]
    joined.lines[backing.service] += [
        "environment:",
        *(f"  {name}: {scalar(value)}" for name, value in environment.items()),
    ]
    return joined


def _row(row: Service | None, said: Settings, answers: str) -> Service:
    """What is said of such a service, unless the inventory says otherwise."""
    row = row or Service({}, {})
    test = _HEALTH.replace("{answers}", answers)
    health: Healthcheck = {"test": ["CMD-SHELL", _escaped(test)], "interval": "10s", "timeout": "5s"}
    merged: Settings = {**said, **row.said, "healthcheck": {**health, **row.said.get("healthcheck", {})}}
    return Service(merged, row.loosened)


def _networks(service: str, spec: Spec) -> list[str]:
    """The line that puts a service into the app's networks."""
    if spec.get("network_mode"):
        where = f"compose.yaml: services.{service}.network_mode"
        reason = f"is {spec['network_mode']}, where a cache or a pool cannot be reached by its name"
        raise OverlayError(where, reason, "remove it")
    names = sorted(spec.get("networks") or {"default": None})
    return [] if names == ["default"] else [f"networks: {flow(names)}"]


def _cache(backing: Backing, row: Service) -> list[str]:
    loosened = row.loosened.get("memory")
    limit = size(loosened.to if loosened and loosened.to != NONE else row.said["memory"]) or 0
    share = PERSISTENT_SHARE if backing.persistent else CACHE_SHARE
    script = _CACHE_SCRIPT.format(
        memory=max(1, int(limit * share) >> 20),
        # Who wants it to be kept keeps more in it than copies: only what has an expiry may go.
        policy="volatile-lru" if backing.persistent else "allkeys-lru",
        log="appendonly yes\nappendfsync everysec" if backing.persistent else "appendonly no",
        directory="/data" if backing.persistent else "/tmp",
    )
    volume = [f"volumes: {flow([f'{CACHE_VOLUME}:/data'])}"] if backing.persistent else []
    return _service(backing.cache_image, script, {"REDISCLI_AUTH": "REDIS_PASSWORD"}, volume)


def _pool(backing: Backing) -> list[str]:
    script = _POOL_SCRIPT.format(
        port=POOL_PORT, size=backing.pool_size, clients=POOL_CLIENTS, wait=POOL_WAIT, tls=backing.tls
    )
    names = [f"DATABASE_{part}" for part in ("HOST", "PORT", "NAME", "USER", "PASSWORD")]
    # With this signal it lets transactions end, and does not wait for clients to go, which those of a pool never do.
    return _service(backing.pool_image, script, dict(zip(names, names)), ["stop_signal: SIGINT"])


def _service(image: str, script: str, variables: Mapping[str, str], more: Sequence[str]) -> list[str]:
    """The lines of one service, up to those that harden it."""
    return [
        f"image: {scalar(image)}",
        "entrypoint: [sh, -euc]",
        "command:",
        "  - |",
        *(f"    {line}" for line in _escaped(script).splitlines()),
        "environment:",
        *(f"  {inside}: ${{{name}}}" for inside, name in variables.items()),
        *more,
    ]


def _escaped(text: str) -> str:
    """A text that Compose leaves as it is."""
    return text.replace("$", "$$")
