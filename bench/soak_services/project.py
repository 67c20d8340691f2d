# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The project of molecule/multi-service, changed for the soak: eight services, a slow start, a rate limit, a job.

The texts are made by pure functions; `bring` writes them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.christmas.selfheal.bench.soak_services.schedule import START_SECONDS

# The limit of requests a second for users and checks together, and its burst. In ordinary minutes it is not reached:
# the visitors, the watcher, and HAProxy's own checks send some seven requests.
LIMIT_RATE, LIMIT_BURST = 10, 20

# As users write them, without any line for the hardened defaults.
MORE_SERVICES: dict[str, dict[str, Any]] = {
    "mailer": {"image": "letters", "command": ["python3", "worker.py"], "env_file": "app.env"},
    "pages": {"image": "nginx:1"},
    "sessions": {"image": "redis:8", "volumes": ["sessions:/data"]},
}
JOB_SERVICE = "report"
JOB_EXIT = "REPORT_EXIT"
"""The variable of the shell that starts the job: its exit code."""
_JOB: dict[str, Any] = {
    "image": "letters",
    "command": ["sh", "-c", f"sleep 3; exit $${JOB_EXIT}"],
    "environment": {JOB_EXIT: f"${{{JOB_EXIT}:-0}}"},
    "restart": "no",
    "profiles": ["jobs"],
}
_HEALTH = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"
_SLOW: dict[str, Any] = {
    "command": ["sh", "-c", f"sleep {START_SECONDS}; exec python3 app.py"],
    "healthcheck": {
        "test": ["CMD", "python3", "-c", _HEALTH],
        "interval": "10s",
        "timeout": "5s",
        "retries": 3,
        "start_period": "90s",
    },
}
_LISTENS = "    listen 80;\n"


def compose(text: str) -> str:
    """The compose file, with the further services, the job, and an app that starts slowly."""
    document = yaml.safe_load(text)
    services = document["services"]
    services["app"] |= _SLOW
    services |= {**MORE_SERVICES, JOB_SERVICE: _JOB}
    document["volumes"]["sessions"] = None
    return str(yaml.safe_dump(document, sort_keys=False, width=1000))


def nginx(text: str) -> str:
    """The proxy's configuration, with a limit that all clients share. Raises ValueError for an unexpected one."""
    if text.count(_LISTENS) != 1:
        raise ValueError(f"nginx.conf has no line {_LISTENS.strip()!r}, or more than one")
    zone = f"limit_req_zone $server_port zone=all:1m rate={LIMIT_RATE}r/s;\n"
    limit = f"    limit_req zone=all burst={LIMIT_BURST} nodelay;\n    limit_req_status 429;\n"
    return zone + text.replace(_LISTENS, _LISTENS + limit)


def bring(source: Path, target: Path) -> None:
    """Write the project over an older one. `source`: the folder that molecule/multi-service/project.yml has created."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    for name, make in (("compose.yaml", compose), ("nginx.conf", nginx)):
        path = target / name
        path.write_text(make(path.read_text(encoding="utf-8")), encoding="utf-8")


def next_release(project: Path, number: int) -> None:
    """Change a file of the app's container, so that the next deploy recreates it."""
    with (project / "app.env").open("a", encoding="utf-8") as file:
        file.write(f"RELEASE={number}\n")
