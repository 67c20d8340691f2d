# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Back up 1 GB under a steady load, measure the effect on users, and rebuild a lost host.

It runs on a lab host of its own, with two instances behind HAProxy. k6 sends requests at a constant rate from outside.
Each round measures the same time with and without a backup. All data changes before each backup, so the backup reads
and encrypts all of it. The repository is on the host's own disk, the worst case for the app's disk access. At the end
the host backs up to another host and is lost. `rebuild.yml` then recreates the app with its data on a host without an
engine.

Prints a table, writes `results/backup.json`, draws `results/backup.svg` (a shorter run: in `.lab/bench-backup`). The
exit code is 1 when a goal is missed, 2 when it could not be measured.
"""

from __future__ import annotations

import argparse
import json
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

ROUNDS, MEGABYTES = 5, 1000
SLOWER = 1.5
"""The limit for the p95 during a backup, as a multiple of the p95 without one."""
REBUILD_SECONDS = 300.0
"""Seconds that the rebuild of a bare host may take, up to the app with its data."""
BACKUP_SECONDS = 900.0
DATA = f"{hosts.DIRECTORY}/data"


def measure(host: Host, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """The same time without a backup and with one, so many times."""
    source = deploy.release(folder, "backup", "good")
    hosts.played("playbooks/deploy.yml", "-l", host.name, "-e", f"compose_app_source={source}")
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
        print(f"bench-backup: {number + 1} of {rounds}: {summary_line(run)}", flush=True)
    return found


def rebuild(host: Host, store: Host) -> dict[str, Any]:
    """The host is lost; how long the rebuild of another one takes, from a backup on `store`."""
    print("bench-backup: the host backs up to another one, and is lost", flush=True)
    hosts.remove([store])
    try:
        hosts.create([store])
        host.extra |= {
            "backup_repository": f"sftp:root@{store.address}:/srv/backup",
            "backup_ssh_key": f"{{{{ lookup('ansible.builtin.file', '{hosts.LAB}/id_ed25519') }}}}",
            "backup_known_hosts": f"{{{{ lookup('ansible.builtin.file', '{hosts.LAB}/host_keys/{store.address}') }}}}",
        }
        hosts.announce([host])
        host.ask(f"rm -rf {DATA}/1", 60)
        hosts.played("playbooks/site.yml", "-l", f"localhost,{host.name}", "--tags", "backup")
        hosts.played("playbooks/backup.yml", "-l", f"localhost,{host.name}")
        sums = f"cd {DATA} && find . -type f -exec sha256sum {{}} + | sort; du -sm . | cut -f1; sha256sum <../.env"
        before = host.ask(sums, 300)
        hosts.remove([host])
        hosts.create([host], "bare")
        begun = time.monotonic()
        hosts.played("playbooks/rebuild.yml", "-l", f"localhost,{host.name}")
        seconds = time.monotonic() - begun
        if host.ask(sums, 300) != before:
            raise Trouble(f"{host.name}: what came back is not what was backed up")
    finally:
        hosts.remove([store])
    return {"seconds": round(seconds, 1), "megabytes": int(before.splitlines()[-2])}


def summary_line(run: dict[str, Any]) -> str:
    """One round in a line."""
    busy, calm = run["busy"], run["calm"]
    return (
        f"{run['added'] / 1e6:.0f} MB in {run['seconds']:.0f} s; {busy['failed']} of {busy['requests']} failed; "
        f"p95 {busy['p95']} ms, without {calm['p95']} ms"
    )


def slower(run: dict[str, Any]) -> float:
    """The p95 during a backup, as a multiple of the p95 without one."""
    return float(run["busy"]["p95"] / run["calm"]["p95"])


def missed(about: dict[str, Any]) -> list[str]:
    """The missed goals, in sentences."""
    found = []
    failed = sum(run["busy"]["failed"] for run in about["runs"])
    if failed:
        found.append(f"{failed} requests failed while a backup was made")
    ratio = statistics.median(map(slower, about["runs"]))
    if ratio > SLOWER:
        found.append(f"the p95 was {ratio:.2f} times that without a backup, not {SLOWER}")
    if about["rebuild"]["seconds"] > REBUILD_SECONDS:
        found.append(f"the rebuild took {about['rebuild']['seconds']} s, not {REBUILD_SECONDS:.0f}")
    return found


def picture(run: dict[str, Any], path: Path) -> None:
    """Draw the latency of a round, with a backup and without."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "bench-backup"
    figure, rows = pyplot.subplots(2, 1, sharex=True, sharey=True, figsize=(9, 4.6))
    for axes, key, title in zip(rows, ("busy", "calm"), (f"a backup of {run['added'] / 1e9:.1f} GB", "no backup")):
        deploy.draw(axes, run[key]["series"], run["seconds"] if key == "busy" else 0.0)
        axes.set_title(f"{title}: p95 {run[key]['p95']} ms, {run[key]['failed']} failed", fontsize=9, loc="left")
    rows[-1].set_xlabel(f"seconds (grey: as long as the backup takes), at {deploy.RATE} requests a second")
    rows[0].legend(loc="upper right", fontsize=8, ncols=3, frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def tell(about: dict[str, Any], path: Path) -> int:
    """Print the table, write the results, draw the picture; the exit code."""
    runs, lost = about["runs"], missed(about)
    typical = sorted(runs, key=slower)[len(runs) // 2]
    for run in runs:
        if run is not typical:
            run["busy"]["series"] = run["calm"]["series"] = []
    deploy.write(path, {**about, "missed": lost})
    picture(typical, path.with_suffix(".svg"))
    print(f"\n{deploy.RATE} requests a second, medians of {len(runs)} rounds\n")
    print("| | failed requests | p50 ms | p95 ms | p99 ms | max ms |")
    print("|---|---:|---:|---:|---:|---:|")
    for key, title in (("busy", "while a backup is made"), ("calm", "without")):
        own = [run[key] for run in runs]
        medians = [statistics.median(one[name] for one in own) for name in ("p50", "p95", "p99", "max")]
        times = " | ".join(f"{median:.0f}" for median in medians)
        failed = f"{sum(one['failed'] for one in own)} of {sum(one['requests'] for one in own)}"
        print(f"| {title} | {failed} | {times} |")
    seconds, added = (statistics.median(run[key] for run in runs) for key in ("seconds", "added"))
    ratio = statistics.median(map(slower, runs))
    print(f"\na backup of {added / 1e6:.0f} MB takes {seconds:.0f} s; the p95 is {ratio:.2f} times that without")
    rebuilt = about["rebuild"]
    print(f"from a bare host to the app with {rebuilt['megabytes']} MB of data: {rebuilt['seconds']:.0f} s")
    print(f"{path} and {path.stem}.svg are written")
    print(f"bench-backup: {'missed: ' + '; '.join(lost) if lost else 'every goal is met'}")
    return 1 if lost else 0


def main() -> int:
    """Create the host, measure, print the results, remove the host."""
    parser = argparse.ArgumentParser(
        prog="bench-backup", description=" ".join((__doc__ or "").partition("\n\n")[0].split()), allow_abbrev=False
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

    def work() -> int:
        with tempfile.TemporaryDirectory(prefix="bench-backup-") as folder:
            runs = measure(host, Path(folder), given.rounds)
        about = {"machine": hosts.machine(), "versions": hosts.versions(host), "rate": deploy.RATE, "runs": runs}
        # The figures of the backups are kept even if the rebuild cannot be measured.
        deploy.write(path, about)
        return tell({**about, "rebuild": rebuild(host, Host("bench-backup-store", 54))}, path)

    return hosts.measured("bench-backup", [host], work)


if __name__ == "__main__":
    sys.exit(main())
