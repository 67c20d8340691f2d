# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the roles put on a host: what goes with an app, what with the last app, and what stays. Pure.

A test compares this table with what the roles write: a new file needs a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

APP, LAST, STAYS = "app", "last", "stays"
"""When something is removed: with its app, with the last app of the host that uses it, or never."""


class Belonging(NamedTuple):
    """A file, folder or unit of a role. In `name`, {app}, {host} (in the inventory), {directory} stand for the app's.

    `name` is a path, or the name of a unit; a path may be a shell pattern. `why` says why it stays.
    """

    role: str
    when: str
    name: str
    why: str = ""


# By role, the configuration files of all apps of a host that use it; the others are used by every app with a watcher.
USERS = {
    "backup": "/etc/selfheal/backup/{app}.json",
    "slo": "/etc/selfheal/slo/{app}.json",
    "status_page": "/etc/selfheal-page/{app}.json",
    "load_balancer": "/etc/haproxy/selfheal/{app}.cfg",
}
WATCHED = "/etc/selfheal/{app}.json"

_SYSTEMD = "/etc/systemd/system"
# When a timer with Persistent=true ran last.
_TIMERS = "/var/lib/systemd/timers"
_PROMETHEUS = "/etc/prometheus"
_CONFFILE = (
    "it is a configuration file of a Debian package that is still installed; `apt purge` of the package removes it"
)

# The watcher comes first: until then it takes care of an app whose removal was killed.
UNITS = (
    Belonging("watcher", APP, "selfheal@{app}.timer"),
    Belonging("watcher", APP, "selfheal@{app}.service"),
    Belonging("backup", APP, "selfheal-backup@{app}.timer"),
    Belonging("backup", APP, "selfheal-verify@{app}.timer"),
    Belonging("backup", APP, "selfheal-restore@{app}.path"),
    Belonging("backup", APP, "selfheal-restore@{app}.service"),
    Belonging("slo", APP, "selfheal-report@{app}.timer"),
    Belonging("load_balancer", APP, "selfheal-certificate@{app}.timer"),
    Belonging("load_balancer", APP, "selfheal-certificate@{app}.service"),
    Belonging("monitoring", APP, "selfheal-cache-{app}.service"),
    Belonging("monitoring", APP, "selfheal-pool-{app}.service"),
    Belonging("monitoring", APP, "selfheal-database-{app}.service"),
    Belonging("status_page", LAST, "selfheal-page.socket"),
    Belonging("status_page", LAST, "selfheal-page.service"),
    Belonging("monitoring", LAST, "selfheal-containers.service"),
    # As packaged, they would listen on every address, without our options.
    Belonging("monitoring", LAST, "prometheus.service"),
    Belonging("monitoring", LAST, "prometheus-node-exporter.service"),
    Belonging("monitoring", LAST, "prometheus-blackbox-exporter.service"),
    Belonging("alerting", LAST, "prometheus-alertmanager.service"),
)

FILES = (
    # The app's directory: what is left is the user's.
    Belonging("compose_app", APP, "{directory}/compose.hardened.yaml"),
    Belonging("compose_app", APP, "{directory}/releases"),
    Belonging("load_balancer", APP, "/etc/haproxy/selfheal/{app}.cfg"),
    Belonging("load_balancer", APP, "/etc/haproxy/selfheal-certs/{app}.pem"),
    Belonging("load_balancer", APP, "/etc/haproxy/selfheal-certs/{app}.domain.pem"),
    Belonging("load_balancer", APP, "/etc/haproxy/selfheal-certs/{app}.domain.map"),
    Belonging("load_balancer", APP, "/etc/selfheal/domain/{app}.json"),
    Belonging("load_balancer", APP, "/etc/selfheal/domain/{app}.ca.pem"),
    Belonging("load_balancer", APP, f"{_SYSTEMD}/selfheal-certificate@{{app}}.service"),
    Belonging("load_balancer", APP, f"{_SYSTEMD}/selfheal-certificate@{{app}}.timer"),
    Belonging("load_balancer", APP, f"{_TIMERS}/stamp-selfheal-certificate@{{app}}.timer"),
    Belonging("load_balancer", LAST, f"{_SYSTEMD}/haproxy.service.d/selfheal.conf"),
    Belonging("log_rotation", APP, "/etc/logrotate.d/selfheal-{app}"),
    Belonging("log_rotation", LAST, "/etc/systemd/journald.conf.d/60-selfheal.conf"),
    Belonging("log_rotation", LAST, f"{_SYSTEMD}/logrotate.timer.d/selfheal.conf"),
    Belonging("monitoring", APP, f"{_PROMETHEUS}/selfheal/rules-{{app}}.yml"),
    Belonging("monitoring", APP, f"{_PROMETHEUS}/selfheal/rules-{{app}}.backing.yml"),
    Belonging("monitoring", APP, f"{_PROMETHEUS}/selfheal/rules-{{app}}.backup.yml"),
    Belonging("monitoring", APP, f"{_PROMETHEUS}/selfheal/{{host}}.*.json"),
    Belonging("monitoring", APP, f"{_PROMETHEUS}/selfheal-secrets/{{app}}.cache"),
    Belonging("monitoring", APP, f"{_PROMETHEUS}/selfheal-secrets/{{app}}.pool"),
    Belonging("monitoring", APP, f"{_PROMETHEUS}/selfheal-secrets/{{app}}.database"),
    Belonging("monitoring", APP, f"{_SYSTEMD}/selfheal-cache-{{app}}.service"),
    Belonging("monitoring", APP, f"{_SYSTEMD}/selfheal-pool-{{app}}.service"),
    Belonging("monitoring", APP, f"{_SYSTEMD}/selfheal-database-{{app}}.service"),
    Belonging("monitoring", LAST, f"{_PROMETHEUS}/selfheal/rules-host.yml"),
    Belonging("monitoring", LAST, f"{_PROMETHEUS}/selfheal/rules-drift.yml"),
    Belonging("monitoring", LAST, f"{_SYSTEMD}/prometheus-redis-exporter.service"),
    Belonging("monitoring", LAST, f"{_SYSTEMD}/prometheus-pgbouncer-exporter.service"),
    Belonging("monitoring", LAST, f"{_SYSTEMD}/prometheus-postgres-exporter.service"),
    Belonging("monitoring", LAST, f"{_SYSTEMD}/prometheus.service.d/selfheal.conf"),
    Belonging("monitoring", LAST, f"{_SYSTEMD}/prometheus-node-exporter.service.d/selfheal.conf"),
    Belonging("monitoring", LAST, f"{_SYSTEMD}/prometheus-blackbox-exporter.service.d/selfheal.conf"),
    Belonging("monitoring", LAST, f"{_SYSTEMD}/selfheal-containers.service"),
    Belonging("monitoring", LAST, "/usr/local/bin/selfheal-containers"),
    Belonging("monitoring", LAST, "/etc/ssh/sshd_config.d/selfheal-tunnel.conf"),
    Belonging("monitoring", LAST, "/var/lib/selfheal-tunnel/.ssh/authorized_keys"),
    Belonging("watcher", APP, "/var/lib/prometheus/node-exporter/selfheal-{app}.prom"),
    Belonging("backup", APP, "/var/lib/prometheus/node-exporter/selfheal-{app}-backup.prom"),
    Belonging("alerting", LAST, f"{_PROMETHEUS}/alertmanager-secrets"),
    Belonging("alerting", LAST, f"{_PROMETHEUS}/alertmanager_templates/selfheal.tmpl"),
    Belonging("alerting", LAST, f"{_SYSTEMD}/prometheus-alertmanager.service.d/selfheal.conf"),
    Belonging("slo", APP, "/etc/selfheal/slo/{app}.json"),
    Belonging("slo", APP, f"{_TIMERS}/stamp-selfheal-report@{{app}}.timer"),
    Belonging("slo", LAST, f"{_SYSTEMD}/selfheal-report@.service"),
    Belonging("slo", LAST, f"{_SYSTEMD}/selfheal-report@.timer"),
    Belonging("status_page", APP, f"{_SYSTEMD}/selfheal-page.service.d/{{app}}.conf"),
    Belonging("status_page", APP, "/etc/selfheal-page/{app}.json"),
    Belonging("status_page", LAST, "/etc/haproxy/selfheal/_status-page.cfg"),
    Belonging("status_page", LAST, f"{_SYSTEMD}/selfheal-page.socket"),
    Belonging("status_page", LAST, f"{_SYSTEMD}/selfheal-page.service"),
    Belonging("status_page", LAST, "/usr/local/bin/selfheal-page"),
    Belonging("status_page", LAST, "/usr/local/share/selfheal-page"),
    Belonging("backup", APP, f"{_SYSTEMD}/selfheal-backup@{{app}}.timer.d/when.conf"),
    Belonging("backup", APP, f"{_SYSTEMD}/selfheal-verify@{{app}}.timer.d/when.conf"),
    Belonging("backup", APP, f"{_TIMERS}/stamp-selfheal-backup@{{app}}.timer"),
    Belonging("backup", APP, f"{_TIMERS}/stamp-selfheal-verify@{{app}}.timer"),
    Belonging("backup", APP, "/etc/selfheal/backup/{app}.json"),
    Belonging("backup", APP, "/etc/selfheal/backup/{app}.password"),
    Belonging("backup", APP, "/etc/selfheal/backup/{app}.key"),
    Belonging("backup", APP, "/etc/selfheal/backup/{app}.known_hosts"),
    Belonging("backup", APP, "/etc/selfheal/backup/{app}.env"),
    Belonging("backup", LAST, f"{_SYSTEMD}/selfheal-backup@.service"),
    Belonging("backup", LAST, f"{_SYSTEMD}/selfheal-backup@.timer"),
    Belonging("backup", LAST, f"{_SYSTEMD}/selfheal-verify@.service"),
    Belonging("backup", LAST, f"{_SYSTEMD}/selfheal-verify@.timer"),
    Belonging("backup", LAST, f"{_SYSTEMD}/selfheal-restore@.service"),
    Belonging("backup", LAST, f"{_SYSTEMD}/selfheal-restore@.path"),
    Belonging("backup", LAST, "/var/cache/selfheal"),
    Belonging("watcher", APP, f"{_SYSTEMD}/selfheal@{{app}}.service.d/app.conf"),
    Belonging("watcher", APP, "/etc/selfheal/{app}.json"),
    Belonging("watcher", APP, "/run/selfheal/{app}.*"),
    # Last of the app's own: it says from which files the app ran before it was adopted.
    Belonging("compose_app", APP, "/var/lib/selfheal/{app}"),
    Belonging("watcher", LAST, f"{_SYSTEMD}/selfheal@.service"),
    Belonging("watcher", LAST, f"{_SYSTEMD}/selfheal@.timer"),
    Belonging("watcher", LAST, "/usr/share/bash-completion/completions/selfheal"),
    Belonging("watcher", LAST, "/usr/local/bin/selfheal"),
    Belonging("watcher", LAST, "/usr/local/lib/selfheal"),
    Belonging("watcher", LAST, "/var/lib/selfheal/desired_files.json"),
    Belonging("watcher", LAST, "/var/lib/selfheal/desired_files.lock"),
    Belonging("app_env", STAYS, "{directory}/.env", "the app reads it; it holds secrets"),
    Belonging("app_env", STAYS, "{directory}/.env.example", "it lists the variables of .env, without values"),
    Belonging("docker_engine", STAYS, "/etc/docker/daemon.json", "the engine's settings"),
    Belonging("docker_engine", STAYS, "/etc/apt/sources.list.d/docker.sources", "the engine comes from there"),
    Belonging("monitoring", STAYS, "/etc/default/prometheus", _CONFFILE),
    Belonging("monitoring", STAYS, "/etc/default/prometheus-node-exporter", _CONFFILE),
    Belonging("monitoring", STAYS, "/etc/default/prometheus-blackbox-exporter", _CONFFILE),
    Belonging("monitoring", STAYS, f"{_PROMETHEUS}/blackbox.yml", _CONFFILE),
    Belonging("monitoring", STAYS, f"{_PROMETHEUS}/prometheus.yml", _CONFFILE),
    Belonging("alerting", STAYS, "/etc/default/prometheus-alertmanager", _CONFFILE),
    Belonging("alerting", STAYS, f"{_PROMETHEUS}/alertmanager.yml", _CONFFILE),
    Belonging("monitoring", STAYS, "/etc/selfheal/{host}.tunnel", "this host monitors others by it"),
    Belonging("monitoring", STAYS, "/etc/selfheal/{host}.known_hosts", "this host monitors others by it"),
    Belonging("monitoring", STAYS, f"{_SYSTEMD}/selfheal-tunnel@.service", "this host monitors others by it"),
    Belonging("monitoring", STAYS, "/var/lib/selfheal-hub", "the user selfheal-hub, by whom this host monitors others"),
    Belonging("monitoring", STAYS, "/var/lib/selfheal-tunnel", "the home of a user: userdel --remove selfheal-tunnel"),
)
"""In the order of removal: what a killed removal needs to go on comes last."""

# What the role docker_engine writes there by default, below DAEMON.
DAEMON = "/etc/docker/daemon.json"
DAEMON_KEYS = ("default-ulimits", "live-restore", "log-driver", "log-opts")

# Debian packages that the roles install.
PACKAGES = (
    "rsync",
    "haproxy",
    "acme-tiny",
    "restic",
    "prometheus",
    "prometheus-node-exporter",
    "prometheus-blackbox-exporter",
    "prometheus-redis-exporter",
    "prometheus-pgbouncer-exporter",
    "prometheus-postgres-exporter",
    "prometheus-alertmanager",
    "libjs-dygraphs",
)

# Of the roles that every app needs, and of the load balancer: rows that an option brings, or a program later.
_LATER = (
    "/etc/apt/",
    "/etc/haproxy/selfheal-certs/",
    "/etc/selfheal/domain/",
    f"{_SYSTEMD}/selfheal-certificate@",
    f"{_TIMERS}/",
    "/run/",
    "/var/lib/prometheus/",
)

# Folders of ours that are removed when they are empty.
FOLDERS = (
    "/etc/haproxy/selfheal",
    "/etc/haproxy/selfheal-certs",
    f"{_PROMETHEUS}/selfheal",
    f"{_PROMETHEUS}/selfheal-secrets",
    f"{_PROMETHEUS}/alertmanager_templates",
    "/etc/selfheal-page",
    "/etc/selfheal/slo",
    "/etc/selfheal/backup",
    "/etc/selfheal/domain",
    "/etc/selfheal",
    "/etc/systemd/journald.conf.d",
    "/run/selfheal",
    "/var/lib/selfheal",
    "/usr/share/bash-completion/completions",
    "/usr/share/bash-completion",
)


class App(NamedTuple):
    """The app that the names are about: its name, its directory, and its host's name in the inventory."""

    app: str
    directory: str
    host: str

    def names(self, rows: Iterable[Belonging], when: str, roles: Iterable[str] = ()) -> list[str]:
        """The names of the rows with this `when`, of some roles or, with (), of all."""
        chosen = frozenset(roles)
        return [
            row.name.format(**self._asdict()) for row in rows if row.when == when and (not chosen or row.role in chosen)
        ]

    def written(self, roles: Iterable[str]) -> list[str]:
        """The files and folders that these roles write without further options, in the order of the table."""
        chosen = frozenset(roles)
        return [
            row.name.format(**self._asdict()) for row in FILES if row.role in chosen and not row.name.startswith(_LATER)
        ]


def roles() -> frozenset[str]:
    """Every role that puts something on a host."""
    return frozenset(row.role for row in (*FILES, *UNITS))


def users(role: str) -> str:
    """The pattern of the files that say which apps of a host use a role."""
    return USERS.get(role, WATCHED)
