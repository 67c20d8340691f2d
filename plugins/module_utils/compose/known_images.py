# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the entrypoints of official images need of the hardened defaults: an image's name → its needs. Pure.

Each entry was derived from the files that its `source` names. An image that is built from one of these has another
name, so nothing is known of it: `hints.py` reads what it says when it fails.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..docker import image_names
from ..docker.model import Spec

# Other names of Docker's own registry, and of its mirror of the official images.
_OFFICIAL = ("index.docker.io/library/", "public.ecr.aws/docker/library/", "library/", "index.docker.io/")

# The entrypoint gives folders to a user of its own, and becomes that user by gosu, su-exec or setpriv. On the next
# start root enters folders of mode 0700 that belong to that user, which takes DAC_OVERRIDE.
BECOMES_USER = ("CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID")
# Without it, root may not signal processes of another user. The init runs as root and hands the stop signal on. Where
# it may not (tini: "Unexpected error when forwarding signal"), it exits, and the server is killed at every stop.
SIGNALS = ("KILL",)
PRIVILEGED_PORT = "NET_BIND_SERVICE"
# Since then the engine lets containers bind any port, except in the host's network.
_ANY_PORT_ENGINE = (20, 10)


class Known(NamedTuple):
    """What an official image needs. "", 0, () and True are the defaults of every service.

    :arg source: the files that tell.
    :arg server: the commands that start the server. Another command gets no healthcheck of ours.
    :arg capabilities: what its entrypoint needs as root.
    :arg tmpfs: the folders that it writes to, unless a volume is there.
    :arg health: a shell command; it fails on the server that an entrypoint starts for the first initialization.
    :arg grace: how long it may take to end cleanly.
    :arg memory: what it does not start below.
    :arg low_port: it listens below port 1024.
    :arg data: the folder of a database's data, which is a volume of the image.
    :arg always: capabilities that it needs whatever its user.
    """

    source: str
    server: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    health: str = ""
    grace: str = ""
    memory: str = ""
    pids: int = 0
    init: bool = True
    read_only: bool = True
    low_port: bool = False
    data: str = ""
    always: tuple[str, ...] = ()


# In a compose file, `$$` is a `$`. TCP, because the temporary server of the first start has none (listen_addresses='').
_POSTGRES_HEALTH = (
    'exec pg_isready -q -t 3 -h 127.0.0.1 -p "$${PGPORT:-5432}" -U "$${POSTGRES_USER:-postgres}"'
    ' -d "$${POSTGRES_DB:-$${POSTGRES_USER:-postgres}}"'
)
# The temporary server has no network (--skip-networking). A server that refuses the user counts as alive, but logs it:
# so the container's own user is tried where there is one.
_MYSQL_HEALTH = (
    'export MYSQL_PWD="$${MYSQL_PASSWORD:-$${MYSQL_ROOT_PASSWORD:-}}";'
    ' exec mysqladmin ping --silent --connect-timeout=3 -h 127.0.0.1 -u "$${MYSQL_USER:-root}"'
)
# The name of the client differs between versions. Newer ones want a valid certificate, unless an option skips that.
_MARIADB_HEALTH = (
    'export MYSQL_PWD="$${MARIADB_PASSWORD:-$${MYSQL_PASSWORD:-$${MARIADB_ROOT_PASSWORD:-$${MYSQL_ROOT_PASSWORD:-}}}}";'
    " for a in mariadb-admin mysqladmin; do ! command -v $$a >/dev/null || exec $$a ping --silent --connect-timeout=3"
    ' --skip-ssl -h 127.0.0.1 -u "$${MARIADB_USER:-$${MYSQL_USER:-root}}"; done; exit 1'
)
_REDIS_HEALTH = 'case "$$({client} -h 127.0.0.1 ping 2>&1)" in PONG*|NOAUTH*) exit 0;; *) exit 1;; esac'
# The temporary server listens at 127.0.0.1, too; while it runs, its pid file is there. It may have come meanwhile.
_MONGO_HEALTH = (
    'p="$${TMPDIR:-/tmp}/docker-entrypoint-temp-mongod.pid"; [ ! -e "$$p" ] || exit 1; export HOME=/tmp;'
    ' m=$$(command -v mongosh || command -v mongo); "$$m" --quiet --host 127.0.0.1 --port 27017'
    " --eval 'quit(db.adminCommand({ping: 1}).ok ? 0 : 1)' >/dev/null && [ ! -e \"$$p\" ]"
)
# Their clients take a second of a processor each time, so they are not started before the server listens.
_LISTENS = "grep -qi ':{port} [^ ]* 0A ' /proc/net/tcp /proc/net/tcp6 2>/dev/null || exit 1; "
_RABBITMQ_HEALTH = _LISTENS.format(port=f"{5672:04X}") + "exec rabbitmq-diagnostics -q ping"
_MEMCACHED_HEALTH = (
    "if command -v bash >/dev/null; then exec bash -c"
    " 'exec 3<>/dev/tcp/127.0.0.1/11211; printf \"version\\r\\n\" >&3; read -r -t 3 a <&3; [[ $$a == VERSION* ]]';"
    " else printf 'version\\r\\nquit\\r\\n' | nc -w 3 127.0.0.1 11211 | grep -q ^VERSION; fi"
)
_ELASTIC_HEALTH = "curl -s -o /dev/null http://127.0.0.1:9200/ || exec curl -s -k -o /dev/null https://127.0.0.1:9200/"

_POSTGRES = Known(
    source="docker-library/postgres: docker-entrypoint.sh, Dockerfile-debian.template",
    server=("postgres",),
    # FOWNER: it sets the mode of the data folder, which belongs to postgres.
    capabilities=(*BECOMES_USER, "FOWNER", *SIGNALS),
    tmpfs=("/var/run/postgresql",),
    data="/var/lib/postgresql/data",
    health=_POSTGRES_HEALTH,
    grace="60s",
)
_REDIS = Known(
    source="docker-library/redis: docker-entrypoint.sh",
    server=("redis-server",),
    capabilities=(*BECOMES_USER, *SIGNALS),
    health=_REDIS_HEALTH.format(client="redis-cli"),
    data="/data",
    grace="60s",
)
_APACHE_TMPFS = ("/var/run/apache2", "/var/lock/apache2")

IMAGES: dict[str, Known] = {
    "postgres": _POSTGRES,
    # Both are built on the official image, and keep its entrypoint.
    "pgvector/pgvector": _POSTGRES._replace(source="pgvector/pgvector: Dockerfile; docker-library/postgres"),
    "postgis/postgis": _POSTGRES._replace(
        source="postgis/docker-postgis: Dockerfile.template; docker-library/postgres"
    ),
    "mysql": Known(
        source="docker-library/mysql: docker-entrypoint.sh",
        server=("mysqld",),
        capabilities=(*BECOMES_USER, *SIGNALS),
        tmpfs=("/var/run/mysqld",),
        data="/var/lib/mysql",
        health=_MYSQL_HEALTH,
        grace="60s",
        memory="768M",
    ),
    "mariadb": Known(
        source="MariaDB/mariadb-docker: docker-entrypoint.sh, healthcheck.sh",
        server=("mariadbd", "mysqld"),
        capabilities=(*BECOMES_USER, *SIGNALS),
        tmpfs=("/run/mysqld",),
        data="/var/lib/mysql",
        health=_MARIADB_HEALTH,
        grace="60s",
    ),
    "redis": _REDIS,
    "valkey/valkey": _REDIS._replace(
        source="valkey-io/valkey-container: docker-entrypoint.sh",
        server=("valkey-server",),
        health=_REDIS_HEALTH.format(client="valkey-cli"),
    ),
    # Its Dockerfile has a USER, so nothing runs as root.
    "memcached": Known(
        source="docker-library/memcached: Dockerfile-debian.template, docker-entrypoint.sh",
        server=("memcached",),
        health=_MEMCACHED_HEALTH,
    ),
    "mongo": Known(
        source="docker-library/mongo: docker-entrypoint.sh, Dockerfile-linux.template",
        server=("mongod",),
        data="/data/db",
        capabilities=(*BECOMES_USER, *SIGNALS),
        health=_LISTENS.format(port=f"{27017:04X}") + _MONGO_HEALTH,
        grace="60s",
        memory="768M",
        # A thread for each connection.
        pids=1024,
    ),
    "rabbitmq": Known(
        source="docker-library/rabbitmq: docker-entrypoint.sh, Dockerfile-ubuntu.template",
        server=("rabbitmq-server",),
        capabilities=(*BECOMES_USER, *SIGNALS),
        tmpfs=("/var/log/rabbitmq",),
        data="/var/lib/rabbitmq",
        health=_RABBITMQ_HEALTH,
        grace="60s",
        memory="768M",
        # The Erlang VM starts threads for each processor.
        pids=1024,
    ),
    # Its entrypoint is tini. It writes its keystore next to its configuration.
    "elasticsearch": Known(
        source="elastic/elasticsearch: distribution/docker/src/docker/Dockerfile, bin/docker-entrypoint.sh",
        server=("elasticsearch", "eswrapper"),
        data="/usr/share/elasticsearch/data",
        health=_ELASTIC_HEALTH,
        grace="60s",
        memory="2G",
        pids=2048,
        init=False,
        read_only=False,
    ),
    # The master process is root; CHOWN: it gives the folders of its cache to its workers.
    "nginx": Known(
        source="nginx/docker-nginx: entrypoint/docker-entrypoint.sh, Dockerfile-debian.template",
        server=("nginx",),
        capabilities=("CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"),
        tmpfs=("/var/cache/nginx", "/run"),
        low_port=True,
    ),
    # Its program file has the capability, so it cannot even be executed where that may not be had.
    "caddy": Known(
        source="caddyserver/caddy-docker: Dockerfile.tmpl",
        server=("caddy",),
        capabilities=("DAC_OVERRIDE",),
        tmpfs=("/config", "/data"),
        always=(PRIVILEGED_PORT,),
    ),
    # DAC_OVERRIDE: the file of its certificates has mode 0600, and may belong to a user of the host.
    "traefik": Known(
        source="traefik/traefik-library-image: entrypoint.sh",
        server=("traefik",),
        capabilities=("DAC_OVERRIDE",),
        low_port=True,
    ),
    # The parent process is root, and ends its children by a signal.
    "httpd": Known(
        source="docker-library/httpd: httpd-foreground, Dockerfile",
        server=("httpd-foreground",),
        capabilities=("DAC_OVERRIDE", "SETGID", "SETUID", *SIGNALS),
        tmpfs=("/usr/local/apache2/logs",),
        low_port=True,
    ),
    "haproxy": Known(
        source="docker-library/haproxy: docker-entrypoint.sh; its Dockerfile has a USER",
        server=("haproxy",),
        low_port=True,
    ),
    # It unpacks itself into its volume, with owners and modes.
    "wordpress": Known(
        source="docker-library/wordpress: docker-entrypoint.sh; docker-library/php: apache2-foreground",
        server=("apache2-foreground", "php-fpm"),
        capabilities=(*BECOMES_USER, "FOWNER", *SIGNALS),
        tmpfs=_APACHE_TMPFS,
        low_port=True,
    ),
    # The variants apache and fpm start workers as www-data; the command line needs nothing.
    "php": Known(
        source="docker-library/php: apache2-foreground, Dockerfile-linux.template",
        server=("apache2-foreground", "php-fpm"),
        capabilities=("DAC_OVERRIDE", "SETGID", "SETUID", *SIGNALS),
        tmpfs=_APACHE_TMPFS,
        low_port=True,
    ),
    # npm keeps its cache and its logs at home.
    "node": Known(
        source="nodejs/docker-node: Dockerfile-debian.template; npm's default cache, ~/.npm",
        tmpfs=("/root/.npm",),
    ),
    # It makes the folders of its certificates at home, and does not start where it cannot.
    "minio/minio": Known(
        source="minio/minio: dockerscripts/docker-entrypoint.sh, cmd/config-dir.go",
        capabilities=("DAC_OVERRIDE",),
        tmpfs=("/root/.minio",),
        grace="30s",
    ),
}
ALIASES = {
    "valkey": "valkey/valkey",
    "docker.elastic.co/elasticsearch/elasticsearch": "elasticsearch",
    "quay.io/minio/minio": "minio/minio",
}
# Variants whose entrypoint is another, by the image: what the tag has to hold for the entry to apply.
_ONLY_TAGS = {"php": ("apache", "fpm")}


class Needs(NamedTuple):
    """What a service of a known image needs, as it is set up. Defaults as those of `Known`."""

    image: str
    capabilities: tuple[str, ...]
    tmpfs: tuple[str, ...]
    health: str
    grace: str
    memory: str
    pids: int
    init: bool
    read_only: bool


def repository(image: str) -> str:
    """The name of an image without tag and digest, and without the registry's where it is Docker's own or a mirror.

    >>> repository("docker.io/library/postgres:17@sha256:0000")
    'postgres'
    """
    bare = image_names.repository(image)
    for prefix in _OFFICIAL:
        if bare.startswith(prefix):
            return bare[len(prefix) :]
    return bare


def known(image: str) -> Known | None:
    """The entry of an image, None when nothing is known of it."""
    name = repository(image)
    name = ALIASES.get(name, name)
    tags = _ONLY_TAGS.get(name)
    if tags and not any(tag in image for tag in tags):
        return None
    return IMAGES.get(name)


def data_folder(image: str) -> str:
    """The folder of the data of a database's image; "" of another image, and of an unknown one."""
    entry = known(image)
    if entry is None:
        return ""
    if entry.server != _POSTGRES.server:
        return entry.data
    # Tags are like 17.2, pg17 and 17-3.5. Since 18, each major version has a folder of its own below the volume.
    major = re.search(r":(?:pg)?(\d+)", image)
    return entry.data if major and int(major[1]) < 18 else entry.data.removesuffix("/data")


def needs(spec: Spec, user: str, engine: Sequence[int]) -> Needs | None:
    """What a service needs because of its image; None when that is not known, or built here.

    :arg spec: the service, as `docker compose config` has it.
    :arg user: the one that it is to run as, "" for the image's.
    """
    entry = known(str(spec.get("image") or ""))
    if entry is None or spec.get("build"):
        return None
    as_root = user.split(":")[0] in ("", "0", "root")
    names = set(entry.always)
    if as_root:
        names.update(entry.capabilities)
    if entry.low_port and (tuple(engine) < _ANY_PORT_ENGINE or spec.get("network_mode") == "host"):
        names.add(PRIVILEGED_PORT)
    if not entry.init:
        names.difference_update(SIGNALS)
    return Needs(
        repository(str(spec["image"])),
        tuple(sorted(names)),
        _writable((*entry.tmpfs, *_templates(spec)), as_root),
        entry.health if _runs_server(entry, spec) else "",
        entry.grace,
        entry.memory,
        entry.pids,
        entry.init,
        entry.read_only,
    )


def _writable(paths: Sequence[str], as_root: bool) -> tuple[str, ...]:
    """The tmpfs entries of folders. A tmpfs takes the mode of the image's folder, which is root's."""
    if as_root:
        return tuple(paths)
    return tuple(f"{path}:mode=1777" for path in paths if not path.startswith("/root/"))


def _templates(spec: Spec) -> tuple[str, ...]:
    """Where nginx writes what it makes of the user's templates."""
    if repository(str(spec["image"])) != "nginx":
        return ()
    targets = {str(volume.get("target", "")).rstrip("/") for volume in spec.get("volumes") or []}
    has_templates = any(target.startswith("/etc/nginx/templates") for target in targets)
    return ("/etc/nginx/conf.d",) if has_templates else ()


def _runs_server(entry: Known, spec: Spec) -> bool:
    """Whether a service starts the image's server, at its own port."""
    if spec.get("entrypoint"):
        return False
    command = [str(word) for word in spec.get("command") or []]
    if any(word == "-p" or "port" in word for word in command):
        return False
    first = command[0] if command else ""
    return not first or first.startswith("-") or first.endswith(".conf") or first in entry.server
