#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_files
short_description: Put an app's project and the overlay that hardens it in place
version_added: 1.0.0
description:
  - Puts the project that was copied to C(/var/lib/selfheal/<app>/incoming/project) into the app's directory, byte for
    byte and in its own layout, and writes C(compose.hardened.yaml), which Compose merges on top of its compose files.
    All of it is written, or nothing.
  - Every file that the compose files name is part of the release. That is what they include, extend and mount
    read-only, env files, and the files of C(configs:) and C(secrets:). One that the project no longer has is removed,
    unless it was changed on the host.
  - A folder that a service mounts writable is data. It is copied where the host has nothing there, and never again.
    When the project has other files there than the host, nothing is written, and the message names the line to add.
    It keeps the numeric owner, group and mode that it has on the controller, an empty folder, too. What belongs to the
    user who runs Ansible there is given to the user of the service, when that is a number.
  - The overlay gives every service limits and reservations of CPU and memory, no swap, a limit of processes, a
    healthcheck, a restart policy, a read-only root file system with a tmpfs, no capabilities, no new privileges, an
    init, a stop grace period, and logs that rotate.
  - For each setting the first that says something wins, of O(services), the compose file, the default.
  - The defaults of official images (postgres, mysql, mariadb, redis, valkey, mongo, rabbitmq, nginx, caddy and others)
    hold what their entrypoints need. That is capabilities, folders in memory, a healthcheck that only the real server
    passes, and time to end cleanly. A service with a C(build) section, or of another image, gets the general defaults.
  - A service whose configs or secrets have C(content) or C(environment) keeps a writable root file system. Compose
    copies these into the container, which a read-only root refuses.
  - Before anything is written, C(docker compose config) has read both together, each service in O(services) exists,
    the limits fit the host, and no container would get a placeholder. Nothing is started; that is what
    M(christmas.selfheal.app_deploy) is for.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: partial
    details:
      - On a host without an engine, or without the C(.env) that the compose file may need, the overlay is not known
        yet, and nothing is compared.
  diff_mode:
    support: full
options:
  app:
    description: Name of the app; the compose project and everything on the host are keyed by it.
    type: str
    required: true
  directory:
    description:
      - Where the files are written, and what relative paths in the compose file start from; C(/opt/<app>) when not
        given.
    type: path
  source:
    description:
      - Folder on the controller that the project was copied from. Its compose files are read there for what they
        include and extend, and for paths that lead out of it, which are refused.
    type: path
  files:
    description:
      - The compose files in the project, in the order in which they are merged. Relative paths in them start from the
        folder of the first.
      - When empty and O(source) is given, those that C(docker compose) finds by itself, with an override file.
      - When empty and O(source) is not given, those of the last good release, whose files stay.
    type: list
    elements: str
    default: []
  more:
    description: Files that the compose files include or extend; follows from O(source).
    type: list
    elements: str
    default: []
  owners:
    description: Whom the data in O(source) belongs to; follows from O(source).
    type: dict
    default: {}
  separate_from:
    description:
      - Compose projects on the host that are other apps, although they look like this one, since they run from the same
        folder, or have the same services and volumes. Before its first deploy an app is refused next to such a project.
    type: list
    elements: str
    default: []
  configuration:
    description: Folders of the project that are configuration, although services mount them writable.
    type: list
    elements: str
    default: []
  exclude:
    description: The patterns of what was not copied. What they name is not removed from the host.
    type: list
    elements: str
    default: []
  promoted:
    description: Whether what was copied is a release of staging.
    type: bool
    default: false
  services:
    description:
      - What the inventory says about each service, by its name, usually the variable C(compose_app_services). A
        service that is not named gets the defaults; its own healthcheck, or that of its image, stays.
      - B(port) - The port inside the container, for the healthcheck.
      - B(health_path) - A path that answers with a status below 400 while the service is well. The healthcheck asks
        for it with the first of curl, wget, python3 and node that the image has; an image without a shell needs
        C(healthcheck.test).
      - B(healthcheck) - Any of C(test), C(interval) (V(30s) when not given), C(timeout) (V(10s)), C(retries) (V(3)),
        C(start_period) (V(40s)), and with Docker Engine 25 or newer C(start_interval) (V(1s)), as in a compose file,
        where V($$) is a literal V($).
      - B(cpus) and B(memory) - The limits, V(1.0) and V(512M) when not given.
      - B(cpus_reservation) and B(memory_reservation) - V(0.5) and V(256M) when not given, or the limit when that is
        lower. Docker Compose gives the memory reservation to the engine. It does not do so with that of CPU, which is
        for Swarm.
      - B(pids) - The limit of processes and threads, V(256) when not given.
      - B(tmpfs) - A list of what is writable besides volumes, V([/tmp]) and what its image needs when not given. It is
        emptied with the container, and counts as its memory.
      - B(user) - The user to run as, V(uid:gid) or names that the image has.
      - B(job) - V(true) for a service that runs once and exits. It is not restarted. Needed only where no service waits
        for it with C(service_completed_successfully), and its C(deploy.mode) does not say so.
      - B(stop_grace_period) - V(10s) when not given.
      - B(log_max_size) and B(log_max_file) - V(10m) and V(3) when not given.
      - "B(loosen) - What a service cannot live with, each as C({to: value, because: the reason}). The reason becomes
        a comment in the overlay. Can be loosened: C(read_only), C(no_new_privileges) and C(init) to V(false);
        C(cap_drop) and C(cap_add) to a list of capabilities; C(restart) to another policy; C(cpus), C(memory),
        C(pids), C(healthcheck) and C(logging) to V(none); C(memory_swap), which is the memory limit, to a larger size
        or V(none); C(logging) to a mapping with C(driver) and C(options)."
    type: dict
    default: {}
  variables:
    description:
      - The table of variables, as for M(christmas.selfheal.secrets_validate). A secret of it that C(environment:) or
        another C(env_file) of the compose file overrides is refused, with the service, the name and the place. Another
        value of a variable that is not a secret has to be of its kind, and is noted.
      - Variables that the table does not list are looked at for placeholders only, in every env file, in
        C(environment:) and in the files of C(secrets:).
    type: list
    elements: dict
    default: []
  checks:
    description:
      - The app's checks, as for M(christmas.selfheal.health_probe). A healthcheck that is made of C(health_path) sends
        the Host and the headers of the first one with C(proves=health), or of the first, when that asks for the same
        path of the same service.
    type: list
    elements: dict
    default: []
  balancer:
    description:
      - The load balancer in front of the app's instances, as for M(christmas.selfheal.app_deploy). Its service is
        published at loopback ports, one for each instance and one more for a deploy, instead of where the compose file
        publishes it; its row in O(services) has to name the C(port) inside the container.
    type: dict
    default: {}
  backing:
    description:
      - The app's cache and connection pool, usually the variable C(compose_app_backing). Each is a service of the
        overlay, with the hardened defaults and no published port. A row in O(services) sets another C(memory), say.
      - B(service) - The service of the app. It gets their addresses as C(REDIS_HOST), C(REDIS_PORT), C(DATABASE_HOST)
        and C(DATABASE_PORT), and starts once the pool is healthy. It has to work without the cache.
      - B(cache) - C(image), of Redis, and C(persistent). The service C(cache), with the password C(REDIS_PASSWORD) of
        the env.
      - B(pool) - C(image), of PgBouncer, C(size) (V(20) when not given), the connections to the database, and C(tls)
        (V(prefer)), V(disable) or V(require). The service C(pool), in front of the database that C(DATABASE_HOST),
        C(DATABASE_PORT), C(DATABASE_NAME), C(DATABASE_USER) and C(DATABASE_PASSWORD) of the env lead to; the app logs
        in with the same three.
    type: dict
    default: {}
seealso:
  - module: christmas.selfheal.app_deploy
"""

EXAMPLES = r"""
- name: Put the project in place
  christmas.selfheal.compose_files:
    app: shop
    source: /home/me/shop
    services:
      backend:
        port: 8000
        health_path: /health
        memory: 768M

- name: Write them for services that cannot live with every default
  christmas.selfheal.compose_files:
    app: shop
    source: /home/me/shop
    files: [docker/compose.yaml, docker/compose.prod.yaml]
    services:
      backend:
        healthcheck: {test: [CMD, python3, /app/health.py]}
        tmpfs: [/tmp, /app/cache]
      proxy:
        loosen:
          cap_add: {to: [CHOWN, SETGID, SETUID], because: changes to its own user at start}
          read_only: {to: false, because: rewrites its configuration at start}

- name: Write them for an app with a cache in front of its database
  christmas.selfheal.compose_files:
    app: shop
    source: /home/me/shop
    backing:
      service: backend
      cache: {image: "redis:8.2-alpine"}
"""

RETURN = r"""
files:
  description: Names of the files that changed, relative to the app's directory.
  returned: success
  type: list
  elements: str
  sample: [compose.hardened.yaml]
services:
  description: By service, the settings that were left as the compose file has them.
  returned: success
  type: dict
  sample: {backend: [], worker: [restart, deploy.resources.limits.memory]}
notes:
  description: What the compose file opens that the overlay cannot make up for, and the like. Also warned of.
  returned: success
  type: list
  elements: str
proved:
  description: Whether Compose has read both files together; V(false) only in check mode.
  returned: success
  type: bool
engine:
  description: Versions of the engine and of Compose.
  returned: success
  type: dict
  contains:
    version:
      description: Of the engine.
      type: str
    compose:
      description: Of Compose.
      type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.backing_services import read_backing
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.services import OverlayError
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import App, read_balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppError, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.locks import LockHeld
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import compose_files, data_owners
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.staged_project import Moved
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.engine import EngineError
from ansible_collections.christmas.selfheal.plugins.module_utils.env import rules as secret_rules
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import check_spec

SPEC = {
    "app": {"type": "str", "required": True},
    "directory": {"type": "path"},
    "source": {"type": "path"},
    "files": {"type": "list", "elements": "str", "default": []},
    "more": {"type": "list", "elements": "str", "default": []},
    "owners": {"type": "dict", "default": {}},
    "separate_from": {"type": "list", "elements": "str", "default": []},
    "configuration": {"type": "list", "elements": "str", "default": []},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "promoted": {"type": "bool", "default": False},
    "services": {"type": "dict", "default": {}},
    "variables": {"type": "list", "elements": "dict", "default": []},
    "checks": {"type": "list", "elements": "dict", "default": []},
    "balancer": {"type": "dict", "default": {}},
    "backing": {"type": "dict", "default": {}},
}
EXPECTED = (
    AppError,
    check_spec.CheckError,
    EngineError,
    LockHeld,
    Moved,
    OverlayError,
    secret_rules.TableError,
    OSError,
)


def install(module: AnsibleModule) -> dict[str, Any]:
    """Put the project in place."""
    given = module.params
    variables = secret_rules.parse_table(given["variables"])
    checks = check_spec.parse_checks(given["checks"], may_be_empty=True)
    app = App(
        app_paths(given["app"], (given["directory"] or "").rstrip("/")),
        variables=variables,
        checks=checks,
        balancer=read_balancer(given["balancer"]),
    )
    source = compose_files.Source(
        *(given[key] for key in ("files", "more", "configuration", "exclude", "promoted", "separate_from"))
    )._replace(owners=data_owners.parse(given["owners"]))
    backing = read_backing(given["backing"])
    result = compose_files.install(app, source, given["services"], module.check_mode, backing)
    for note in result["notes"]:
        module.warn(note)
    return dict(result)


def main() -> None:
    """Put the project in place, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, install, EXPECTED)


if __name__ == "__main__":
    main()
