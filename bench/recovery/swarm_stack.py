# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on the lab host that has a Swarm: deploys the app's compose files, merged by Compose, as a stack of one service.

Usage: swarm_stack.py APP DIRECTORY [--force-recreate] [anything]. It replaces the `docker compose … up` of the other
systems, and ignores that command's other words.

Options that Swarm does not have are left out (memswap_limit, security_opt). Swarm's own are added: restart_policy any,
dnsrr and a port in host mode (the lab's kernel has no IPVS), and an update that fails is rolled back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

KEPT = ("image", "environment", "init", "read_only", "cap_drop", "healthcheck", "logging", "stop_grace_period")


def stack(project: dict[str, Any]) -> dict[str, Any]:
    """The stack file for a project, as `docker compose config --format json` prints it."""
    service = project["services"]["backend"]
    limits = service["deploy"]["resources"]
    deploy = {
        "replicas": 1,
        "endpoint_mode": "dnsrr",
        # Compose prints cpus as a number, and a stack file accepts a string only.
        "resources": {
            part: {key: value if key == "pids" else str(value) for key, value in limits[part].items()}
            for part in ("limits", "reservations")
        },
        "restart_policy": {"condition": "any"},
        "update_config": {"order": "stop-first", "failure_action": "rollback"},
    }
    ports = [{"target": 8000, "published": 8000, "protocol": "tcp", "mode": "host"}]
    # A stack ignores `tmpfs`, and accepts such a volume instead.
    volumes = [{"type": "tmpfs", "target": path} for path in service.get("tmpfs", [])]
    kept = {key: service[key] for key in KEPT if key in service}
    return {"services": {"backend": {**kept, "deploy": deploy, "ports": ports, "volumes": volumes}}}


def running(app: str) -> set[str]:
    """The ids of the stack's containers."""
    label = f"label=com.docker.stack.namespace={app}"
    return set(subprocess.check_output(["docker", "ps", "--quiet", "--filter", label], text=True).split())


def main() -> None:
    """Deploy; without a change, replace the task if asked to. Wait for the end of the old one."""
    app, directory, words = sys.argv[1], sys.argv[2], sys.argv[3:]
    files = [f"--file={directory}/{name}" for name in ("compose.yaml", "compose.hardened.yaml")]
    shown = subprocess.check_output(
        ["docker", "compose", f"--project-name={app}", *files, "config", "--format=json"], text=True
    )
    written, path = json.dumps(stack(json.loads(shown))), Path(f"/run/{app}-stack.json")
    command = ["docker", "stack", "deploy", "--detach=true", "--resolve-image=never", f"--compose-file={path}", app]
    if path.exists() and path.read_text(encoding="utf-8") == written:
        if "--force-recreate" not in words:
            subprocess.run(command, check=True)
            return
        command = ["docker", "service", "update", "--quiet", "--detach", "--force", f"{app}_backend"]
    # The file contains the env.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(written)
    old, deadline = running(app), time.monotonic() + 30
    subprocess.run(command, check=True)
    while old & running(app) and time.monotonic() < deadline:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
