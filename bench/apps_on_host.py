# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on a host for `apps.py`, and prints one JSON object.

cost SECONDS: memory and CPU time of all watchers
gaps SECONDS APP...: the seconds between the checks of each app
fault APP PORT: the seconds from a hang of the app to its next good answer
page ROUNDS: the seconds from a request to the page's first byte, with a start of its service, and without
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

SLICE = "system.slice/selfheal@*.service"
# cgroup version 2's own figure of CPU time needs no controller, so it exists with version 2 alone and with version 1.
ROOTS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
SAMPLE_SECONDS, POLL_SECONDS = 5.0, 0.02
FAULT_SECONDS = 60.0
PAGE_PORT = 9418


def first_word(path: str, name: str) -> int:
    """The number after a name in a file of /proc or of a cgroup; 0 when the process has ended."""
    with contextlib.suppress(OSError), open(path, encoding="ascii") as stream:
        for line in stream:
            words = line.replace(":", " ").split()
            if words[0] == name:
                return int(words[1])
    return 0


def units() -> list[str]:
    """The cgroups of all watchers."""
    return sorted(next(found for root in ROOTS if (found := glob.glob(f"{root}/{SLICE}"))))


def pss(unit: str) -> list[int]:
    """The bytes of each process of a unit."""
    with open(f"{unit}/cgroup.procs", encoding="ascii") as stream:
        pids = stream.read().split()
    return [1024 * first_word(f"/proc/{pid}/smaps_rollup", "Pss") for pid in pids]


def cost(seconds: float) -> dict[str, Any]:
    """What all watchers cost for so long."""
    known = units()
    begun, before = time.monotonic(), {unit: first_word(f"{unit}/cpu.stat", "usage_usec") for unit in known}
    sums, single, processes = [], [], []
    while time.monotonic() - begun < seconds:
        found = [pss(unit) for unit in known]
        sums.append(sum(map(sum, found)))
        single += [sum(one) for one in found]
        processes.append(sum(map(len, found)))
        time.sleep(SAMPLE_SECONDS)
    took = time.monotonic() - begun
    after = {unit: first_word(f"{unit}/cpu.stat", "usage_usec") for unit in known}
    # The unit of a watcher that was started again counts from zero.
    spent = sum(now - before[unit] if now >= before[unit] else now for unit, now in after.items()) / 1e6
    return {
        "seconds": took,
        "watchers": len(known),
        "pss_bytes": sums,
        "pss_of_one_bytes": [min(single), max(single)],
        "processes": [min(processes), max(processes)],
        "cpu_seconds": spent,
        "cpu_percent": 100 * spent / took,
    }


def checked(app: str) -> float:
    """When the watcher of an app checked it last, in epoch s."""
    return os.stat(f"/run/selfheal/{app}.json").st_mtime


def gaps(seconds: float, apps: list[str]) -> dict[str, list[float]]:
    """The seconds between checks, for each app."""
    last = {app: checked(app) for app in apps}
    found: dict[str, list[float]] = {app: [] for app in apps}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for app, at in last.items():
            now = checked(app)
            if now != at:
                found[app].append(now - at)
                last[app] = now
        time.sleep(POLL_SECONDS)
    return found


def answers(port: int) -> bool:
    """Whether the app answers a request well within a quarter of a second."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.25) as channel:
        channel.settimeout(0.25)
        channel.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b" 200 " in channel.recv(100)
    return False


def fault(app: str, port: int) -> dict[str, float]:
    """Have the app hang just after a check: with another moment, the result would vary by the second between checks."""
    # With `docker kill`, only the container's init would stop.
    shown = subprocess.run(["docker", "top", f"{app}-web-1", "-eo", "pid"], check=True, capture_output=True, text=True)
    pids = [int(word) for word in shown.stdout.split()[1:]]
    last = checked(app)
    while checked(app) == last:
        time.sleep(POLL_SECONDS)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    while not answers(port):
        if time.monotonic() - begun > FAULT_SECONDS:
            raise SystemExit(f"{app} did not recover within {FAULT_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    return {"seconds": time.monotonic() - begun}


def page(rounds: int) -> dict[str, list[float]]:
    """The page's first byte, by a start of its service, and again, when the page is built already."""
    cold, warm = [], []
    for _unused in range(rounds):
        subprocess.run(["systemctl", "stop", "selfheal-page.service"], check=True, stderr=subprocess.DEVNULL)
        time.sleep(1)
        cold.append(first_byte())
        warm.append(first_byte())
    return {"cold": cold, "warm": warm}


def first_byte() -> float:
    """The seconds from a request to the first byte of its answer."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", PAGE_PORT), 30) as channel:
        channel.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        start = channel.recv(4096)
        took = time.monotonic() - begun
    if b" 200 " not in start[:20]:
        raise SystemExit(f"the page answers {start[:40]!r}")
    return took


def main(what: str, *words: str) -> dict[str, Any]:
    """Measure what is asked for."""
    if what == "cost":
        return cost(float(words[0]))
    if what == "gaps":
        return gaps(float(words[0]), list(words[1:]))
    if what == "fault":
        return dict(fault(words[0], int(words[1])))
    return dict(page(int(words[0])))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
