# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on a host for `soak.py`: samples a unit's CPU time and memory, a JSON object a line, as long as somebody reads.

    python3 -u - UNIT SECONDS_BETWEEN_SAMPLES <soak_sampler.py

{at: epoch s, clock: monotonic s, pid, cpu: seconds of all processes that the unit's cgroup ever had, rss, peak, pss:
bytes of the main process (peak: of its program since it began), busy, ticks: of all processors, oom_kills: of the
machine}.
A value that cannot be read is None. It asks systemd and /proc, and never the engine.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time


def fields(path: str) -> dict[str, str]:
    """The lines of a file in /proc or a cgroup, as {first word: second word}; {} when there is no such file."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            rows = [line.replace(":", " ").split() for line in stream]
    except OSError:
        return {}
    return {row[0]: row[1] for row in rows if len(row) > 1}


def kilobytes(table: dict[str, str], name: str) -> int | None:
    """A line of /proc in bytes, None when it is not there."""
    return int(table[name]) * 1024 if name in table else None


def sample(unit: str) -> dict[str, float | int | None]:
    """One sample."""
    asked = ["systemctl", "show", unit, "-p", "MainPID", "-p", "ControlGroup"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    properties = dict(line.split("=", 1) for line in shown.split())
    pid = int(properties["MainPID"])
    # cgroup version 2's own figure needs no controller, so it exists with version 2 alone and together with version 1.
    roots = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
    cpu = next((found for root in roots if (found := fields(f"{root}{properties['ControlGroup']}/cpu.stat"))), {})
    status, rollup = fields(f"/proc/{pid}/status"), fields(f"/proc/{pid}/smaps_rollup")
    with open("/proc/stat", encoding="ascii") as stream:
        ticks = [int(word) for word in stream.readline().split()[1:9]]
    return {
        "at": time.time(),
        "clock": time.monotonic(),
        "pid": pid,
        "cpu": int(cpu["usage_usec"]) / 1e6 if properties["ControlGroup"] and "usage_usec" in cpu else None,
        "rss": kilobytes(status, "VmRSS"),
        "peak": kilobytes(status, "VmHWM"),
        "pss": kilobytes(rollup, "Pss"),
        # user nice system idle iowait irq softirq steal (proc(5)); waiting for a disk does not count as work.
        "busy": sum(ticks) - ticks[3] - ticks[4],
        "ticks": sum(ticks),
        "oom_kills": int(fields("/proc/vmstat").get("oom_kill", 0)),
    }


def main() -> None:
    """Sample until the reader closes the pipe."""
    unit, pause = sys.argv[1], float(sys.argv[2])
    while True:
        print(json.dumps(sample(unit)), flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
