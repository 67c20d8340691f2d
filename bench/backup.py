# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Back up 1 GB while the app serves a steady load, and say what its users notice.

On a lab host of its own, two instances behind HAProxy, k6 asks at a constant rate from outside. Each round measures the
same time with and without a backup, one after the other. Each backup finds the data changed, and reads and encrypts all
of it; the repository is on the host's own disk, which is the worst place for whoever shares it.

Prints a table, writes `results/backup.json` (a shorter run: to `.lab/bench-backup`). The exit code is 1 when a goal is
missed, 2 when it could not be measured.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible_collections.christmas.selfheal.bench import deploy
from ansible_collections.christmas.selfheal.bench.recover import APP, RESULTS
from ansible_collections.christmas.selfheal.bench.recovery import hosts
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Host, Trouble
from ansible_collections.christmas.selfheal.plugins.module_utils import files

ROUNDS, MEGABYTES = 5, 1000
SLOWER = 1.5
"""How much later 95 of 100 answers may come while a backup is made."""
BACKUP_SECONDS = 900.0
DATA = f"{hosts.DIRECTORY}/data"


def measure(host: Host, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """The same time without a backup and with one, so many times."""
    source = deploy.release(folder, "backup", "good")
    code, out = hosts.play("playbooks/deploy.yml", "-l", host.name, "-e", f"compose_app_source={source}")
    if code:
        raise Trouble(f"playbooks/deploy.yml failed:\n{out}")
    found = []
    for number in range(rounds):
        host.ask(f"mkdir -p {DATA} && head -c {MEGABYTES}M /dev/urandom >{DATA}/{number % 2} && sync", 300)
        with deploy.Load(host.address, deploy.PORT, folder) as load:
            begun = time.time()
            host.ask(f"selfheal backup --app {APP}", BACKUP_SECONDS)
            ended = time.time()
            time.sleep(deploy.LEAD)
        made = json.loads(host.ask(f"cat /var/lib/selfheal/{APP}/backup.json"))["last_success"]
        busy = deploy.figures(load, begun, ended)
        with deploy.Load(host.address, deploy.PORT, folder) as load:
            idle = time.time()
            time.sleep(min(60.0, ended - begun))
            over = time.time()
            time.sleep(deploy.LEAD)
        calm = deploy.figures(load, idle, over)
        run = {"seconds": made["seconds"], "bytes": made["bytes"], "added": made["added"], "busy": busy, "calm": calm}
        found.append(run)
        print(f"bench-backup: {number + 1} of {rounds}: {told(run)}", flush=True)
    return found


def told(run: dict[str, Any]) -> str:
    """One round in a line."""
    busy, calm = run["busy"], run["calm"]
    return (
        f"{run['added'] / 1e6:.0f} MB in {run['seconds']:.0f} s; {busy['failed']} of {busy['requests']} failed; "
        f"p95 {busy['p95']} ms, without {calm['p95']} ms"
    )


def main() -> int:
    """Make the host, measure, tell, remove the host."""
    parser = argparse.ArgumentParser(
        prog="bench-backup", description=" ".join((__doc__ or "").split("\n\n")[0].split()), allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, metavar="N", default=ROUNDS, help=f"backups (default: {ROUNDS})")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("--rounds: 1 or more")
    hosts.INVENTORY = hosts.LAB / "bench-backup" / "hosts.yml"
    path = (RESULTS if given.rounds >= ROUNDS else hosts.INVENTORY.parent) / "backup.json"
    host = Host(
        "bench-backup",
        53,
        {
            "compose_app_instances": 2,
            "load_balancer_address": "{{ ansible_host }}",
            "load_balancer_port": deploy.PORT,
            # All the load comes from one address.
            "load_balancer_trusted": ["127.0.0.0/8", f"{hosts.PREFIX}.1"],
            "backup_repository": "/var/lib/docker/bench-backup",
            "backup_password": "of-a-bench-that-keeps-nothing",
        },
    )
    # So that the host is removed when this is ended from outside, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        print("bench-backup: making a lab host", flush=True)
        hosts.make([host])
        with tempfile.TemporaryDirectory(prefix="bench-backup-") as folder:
            runs = measure(host, Path(folder), given.rounds)
        about = {"machine": hosts.machine(), "versions": hosts.versions(host), "rate": deploy.RATE, "runs": runs}
        files.atomic_write(str(path), (json.dumps(about, indent=1) + "\n").encode(), mode=0o644)
        failed = sum(run["busy"]["failed"] for run in runs)
        ratio = statistics.median(run["busy"]["p95"] / run["calm"]["p95"] for run in runs)
        print(f"bench-backup: {failed} requests failed; p95 is {ratio:.2f} times that without, median of {len(runs)}")
        return int(failed > 0 or ratio > SLOWER)
    except Trouble as trouble:
        print(f"bench-backup: {trouble}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench-backup: interrupted", file=sys.stderr)
        return 130
    finally:
        print("bench-backup: removing the lab host", flush=True)
        hosts.remove([host])


if __name__ == "__main__":
    sys.exit(main())
