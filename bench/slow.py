# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The drills on a host at a tenth of its speed: are the causes right, and is a slow service left alone?

The benchmark creates a lab host and removes it at the end. A loop keeps each CPU of this machine busy, and the host has
a small share of their time. The host sees CPUs that are always busy, as on a server with noisy neighbours. The goals in
seconds do not apply.

Prints a table, writes `results/slow.json` (a shorter run: in `.lab/bench-slow`). The exit code is 1 when a cause is
wrong, a remedy was applied twice, or an incident stayed open; 2 when it could not be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.christmas.selfheal.bench.recover import REPOSITORY, RESULTS
from ansible_collections.christmas.selfheal.bench.recovery import hosts
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Host, Trouble

NAME = "bench-slow"
# Together with a loop of weight 1024 on each CPU, this weight gets a tenth of one CPU.
WEIGHT, LOOP_WEIGHT = 114, 1024
IMAGE, LABEL = "selfheal-lab/host:prepared", "christmas.selfheal.lab=1"
SLOWEST, LEAST = 0.3, 3.0
"""Seconds that the work takes at full speed at most, and how many times as long it has to take at a tenth."""
FAULTS = (
    *("crash", "hang", "errors", "silent", "oom", "stopped", "container_removed", "image_removed", "env_placeholder"),
    *("env_deleted", "compose_damaged", "crash_loop", "engine_stopped", "engine_hung", "port_taken", "upstream_hangs"),
    *("overload", "firewall_flushed", "bridge_deleted", "packets_lost", "disk_full"),
)
WORK = "import time; t = time.monotonic(); sum(range(10**6)); print(time.monotonic() - t)"


def wrong(run: Mapping[str, Any]) -> list[str]:
    """What was not as it should be in a run of the drill's report, a few words each. Seconds do not count."""
    twice = [name for name, times in Counter(run["remedies"]).items() if times > 1]
    return [*run["problems"], *(f"{name} was applied twice" for name in twice)]


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """The runs as a Markdown table."""
    lines = ["| fault | noticed | recovered | cause | remedies | wrong |", "|---|---|---|---|---|---|"]
    for run in runs:
        seconds = ["-" if run[key] is None else f"{run[key]:.1f} s" for key in ("mttd", "mttr")]
        remedies = ", ".join(run["remedies"]) or "none"
        lines.append(
            f"| {run['fault']} | {' | '.join(seconds)} | {run['cause']} | {remedies} | {'; '.join(wrong(run))} |"
        )
    return "\n".join(lines)


@contextlib.contextmanager
def slowed(host: Host) -> Iterator[float]:
    """Slow a host down as long as this lasts; yields how many times as long its work takes. Raises Trouble."""
    loops: list[str] = []
    fast = speed(host)
    try:
        for processor in range(os.cpu_count() or 1):
            words = [f"--cpuset-cpus={processor}", f"--cpu-shares={LOOP_WEIGHT}", f"--label={LABEL}"]
            loops.append(docker("run", "--detach", "--rm", *words, "--entrypoint=sha256sum", IMAGE, "/dev/zero"))
        docker("update", f"--cpu-shares={WEIGHT}", host.name)
        slow = speed(host)
        if fast > SLOWEST or slow < LEAST * fast:
            raise Trouble(f"{host.name} is not slowed down: {fast:.2f} s before, {slow:.2f} s now")
        yield slow / fast
    finally:
        if loops:
            docker("rm", "--force", *loops)


def speed(host: Host) -> float:
    """Seconds that a bit of work takes there: the median of five."""
    return sorted(float(host.ask(f"python3 -c '{WORK}'")) for _unused in range(5))[2]


def docker(*words: str) -> str:
    """Run docker on this machine; its stdout. Raises Trouble."""
    ended = subprocess.run(["docker", *words], text=True, capture_output=True, check=False)
    if ended.returncode:
        raise Trouble(f"docker {words[0]}: {ended.stderr.strip()[-300:]}")
    return ended.stdout.strip()


def drilled(host: Host, faults: Sequence[str]) -> dict[str, Any]:
    """Drill, and return the report. Raises Trouble without one."""
    begun = time.time()
    folder = REPOSITORY / "reports"
    given = {"drill_faults": list(faults), "drill_rounds": 1, "drill_reports_directory": str(folder)}
    extra = json.dumps(given)
    _unused, out = hosts.play("playbooks/drill.yml", "-l", f"localhost,{host.name}", "-e", extra)
    reports = [path for path in folder.glob(f"*-drill-{host.name}.json") if path.stat().st_mtime >= begun]
    if not reports:
        raise Trouble(f"the drill left no report:\n{out}")
    found: dict[str, Any] = json.loads(max(reports).read_text(encoding="utf-8"))
    return found


def measure(host: Host, faults: Sequence[str], path: Path) -> int:
    """Slow the host down, drill, and tell; the exit code."""
    with slowed(host) as factor:
        print(
            f"{NAME}: work takes {factor:.0f} times as long; {len(faults)} faults, about half a minute each", flush=True
        )
        report = drilled(host, faults)
    runs = report["runs"]
    about = {"machine": hosts.machine(), "versions": hosts.versions(host), "slower": round(factor, 1)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "runs": runs, "troubles": report["troubles"]}, indent=2) + "\n", "utf-8")
    print(f"\n{table(runs)}\n\n{path} is written")
    bad = {run["fault"]: wrong(run) for run in runs if wrong(run)}
    missing = sorted(set(faults) - {run["fault"] for run in runs})
    if missing or report["troubles"]:
        print(f"{NAME}: not measured: {', '.join(missing) or '; '.join(report['troubles'])}", file=sys.stderr)
        return 2
    listed = "; ".join(f"{name}: {', '.join(problems)}" for name, problems in bad.items())
    print(f"{NAME}: {len(runs) - len(bad)} of {len(runs)} faults as they should be{': ' if listed else ''}{listed}")
    return 1 if bad else 0


def main() -> int:
    """Parse the arguments, measure, and return the exit code."""
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--faults", metavar="NAME,NAME", default=",".join(FAULTS), help="which faults (default: these)")
    parser.add_argument("--keep", action="store_true", help="leave the host as it is at the end")
    given = parser.parse_args()
    faults = given.faults.split(",")
    unknown = sorted(set(faults) - set(FAULTS))
    if unknown:
        parser.error(f"--faults: {', '.join(unknown)} is not known here; use {', '.join(FAULTS)}")
    whole = set(faults) == set(FAULTS)
    path = RESULTS / "slow.json" if whole else REPOSITORY / ".lab" / NAME / "slow.json"
    host = Host(NAME, 55)
    return hosts.measured(NAME, [host], lambda: measure(host, faults, path), keep=given.keep)


if __name__ == "__main__":
    sys.exit(main())
