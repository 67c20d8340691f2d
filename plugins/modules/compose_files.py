#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_files
short_description: Write an app's compose file and the overlay that hardens it
version_added: 0.1.0
description:
  - Writes C(compose.yaml), which stays byte for byte what O(compose) is, and C(compose.hardened.yaml), which Compose
    merges on top of it. Both are written, or neither.
  - The overlay gives every service limits and reservations of CPU and memory, no swap, a limit of processes, a
    healthcheck, a restart policy, a read-only root file system with a tmpfs, no capabilities, no new privileges, an
    init, a stop grace period, and logs that rotate.
  - For each setting the first that says something wins, of O(services), the compose file, the default.
  - Before anything is written, C(docker compose config) has read both together, each service in O(services) exists,
    and the limits fit the host. Nothing is started; that is what M(christmas.selfheal.app_deploy) is for.
author: christmas.selfheal contributors
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: partial
    details:
      - On a host without an engine, or without the C(.env) that the compose file may need, the overlay is not known
        yet. Then only C(compose.yaml) is compared.
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
  compose:
    description:
      - Text of the user's compose file. When not given, that of the last good release stays.
      - The lookup P(ansible.builtin.file#lookup) takes off the last line end unless it is told V(rstrip=false).
    type: str
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
        where V($$) stands for V($).
      - B(cpus) and B(memory) - The limits, V(1.0) and V(512M) when not given.
      - B(cpus_reservation) and B(memory_reservation) - V(0.5) and V(256M) when not given, or the limit when that is
        lower. Docker Compose gives the memory reservation to the engine. It does not do so with that of CPU, which is
        for Swarm.
      - B(pids) - The limit of processes and threads, V(256) when not given.
      - B(tmpfs) - A list of what is writable besides volumes, V([/tmp]) when not given. It is emptied with the
        container, and counts as its memory.
      - B(user) - The user to run as, V(uid:gid) or names that the image has.
      - B(stop_grace_period) - V(10s) when not given.
      - B(log_max_size) and B(log_max_file) - V(10m) and V(3) when not given.
      - "B(loosen) - What a service cannot live with, each as C({to: value, because: the reason}). The reason becomes
        a comment in the overlay. Can be loosened: C(read_only), C(no_new_privileges) and C(init) to V(false);
        C(cap_drop) and C(cap_add) to a list of capabilities; C(restart) to another policy; C(cpus), C(memory),
        C(pids), C(healthcheck) and C(logging) to V(none); C(memory_swap), which is the memory limit, to a larger size
        or V(none); C(logging) to a mapping with C(driver) and C(options)."
    type: dict
    default: {}
  balancer:
    description:
      - The load balancer in front of the app's instances, as for M(christmas.selfheal.app_deploy). Its service is
        published at loopback ports, one for each instance and one more for a deploy, instead of where the compose file
        publishes it; its row in O(services) has to name the C(port) inside the container.
    type: dict
    default: {}
  backing:
    description:
      - What stands behind the app, usually the variable C(compose_app_backing). Each is a service of the overlay, with
        the hardened defaults, no published port, and a row in O(services) for whoever wants another C(memory), say.
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
- name: Write the compose files
  christmas.selfheal.compose_files:
    app: shop
    compose: "{{ lookup('ansible.builtin.file', 'compose.yaml', rstrip=false) }}"
    services:
      backend:
        port: 8000
        health_path: /health
        memory: 768M

- name: Write them for services that cannot live with every default
  christmas.selfheal.compose_files:
    app: shop
    compose: "{{ lookup('ansible.builtin.file', 'compose.yaml', rstrip=false) }}"
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
    compose: "{{ lookup('ansible.builtin.file', 'compose.yaml', rstrip=false) }}"
    backing:
      service: backend
      cache: {image: "redis:8.2-alpine"}
"""

RETURN = r"""
files:
  description: Names of the files that changed.
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

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils import ansible_door, compose_project
from ansible_collections.christmas.selfheal.plugins.module_utils.app import App, AppError, read_balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.backing import read_backing
from ansible_collections.christmas.selfheal.plugins.module_utils.engine import EngineError
from ansible_collections.christmas.selfheal.plugins.module_utils.files import LockHeld
from ansible_collections.christmas.selfheal.plugins.module_utils.services_table import OverlayError


def main() -> None:
    """Write both files, exit."""
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "directory": {"type": "path"},
            "compose": {"type": "str"},
            "services": {"type": "dict", "default": {}},
            "balancer": {"type": "dict", "default": {}},
            "backing": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        app = App(given["app"], (given["directory"] or "").rstrip("/"), balancer=read_balancer(given["balancer"]))
        result = compose_project.install(
            app, given["compose"], given["services"], module.check_mode, read_backing(given["backing"])
        )
    except (AppError, EngineError, LockHeld, OverlayError, OSError) as error:
        ansible_door.fail(module, error)
    before, after = result.pop("before"), result.pop("after")
    result["diff"] = [
        {"before": before[name] or "", "after": after[name] or "", "before_header": name, "after_header": name}
        for name in result["files"]
    ]
    for note in result["notes"]:
        module.warn(note)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
