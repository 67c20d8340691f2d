# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Twenty apps on one lab host: what their watchers cost, whether one delays another, and how the status page starts.

The first app is sick: it takes connections and never answers, it answers a byte each half second, or it answers without
an end. It is paused, so that it stays sick; in other rounds it is recovered. Meanwhile another app is made to hang, and
the times between the checks of all others are read. Between such rounds are those in which the first app is well.

Prints a table and writes `results/apps.json` (a shorter run: in `.lab/bench-apps`). The exit code is 1 when a goal is
missed, 2 when it could not be measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from ansible_collections.christmas.selfheal.bench.recover import REPOSITORY, RESULTS, p95
from ansible_collections.christmas.selfheal.bench.recovery import hosts
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Host, Trouble

NAME, NUMBER = "bench-apps", 70
APPS, SECONDS, ROUNDS, PAGES = 20, 180, 6, 10
FEWEST, AT_ONCE = 4, 4
FIRST_PORT = 8101
FOLDER = REPOSITORY / ".lab" / "bench-apps"
SETTLE_SECONDS, HEALTHY_SECONDS = 60, 120
MEMORY_BYTES, CPU_PERCENT, DELAY, PAGE_OF_ONE, PAGE_OF_ALL = 40e6, 2.0, 0.2, 0.4, 1.0
"""The goals."""
COMPOSE = """\
services:
  web:
    image: selfheal-lab/python:latest
    command: [python3, /server.py, "{port}"]
    ports: ["{port}:{port}"]
    volumes: ["./server.py:/server.py:ro"]
"""
PAUSE, RESUME = "selfheal pause --app {app} --for 10m --reason bench", "selfheal resume --app {app}"
# With `docker kill`, only the container's init would stop.
PROCESSES = "docker top {app}-web-1 -eo pid | tail -n +2 | xargs kill"
STOP, CONTINUE = f"{PROCESSES} -STOP", f"{PROCESSES} -CONT"
WRITE, REMOVE = "docker exec {app}-web-1 sh -c 'echo {state} >/tmp/fault'", "docker exec {app}-web-1 rm -f /tmp/fault"
WELL, RECOVERED = "well", "recovered"
STATES = {
    WELL: ("true", "true"),
    "no answer": (f"{PAUSE} && {STOP}", f"{CONTINUE}; {RESUME}"),
    "slow": (f"{PAUSE} && {WRITE}", f"{REMOVE}; {RESUME}"),
    "endless": (f"{PAUSE} && {WRITE}", f"{REMOVE}; {RESUME}"),
    RECOVERED: (STOP, RESUME),
}
"""What the first app is meanwhile: what brings it there, and what ends it."""


class App(Host):
    """An app of the host: a name of its own in the inventory, and the same address."""

    def __init__(self, number: int) -> None:
        self.app, self.port = f"app{number:02}", FIRST_PORT + number - 1
        self.project = FOLDER / self.app
        variables = {
            "selfheal_app": self.app,
            "app_env_variables": [],
            "app_env_values": {},
            "app_env_plain": {},
            "compose_app_source": str(self.project),
            "compose_app_pull": False,
            "compose_app_services": {"web": {"port": self.port, "health_path": "/"}},
            "selfheal_checks": [{"name": "health", "url": f"http://127.0.0.1:{self.port}/", "proves": "health"}],
            "watcher_upstreams": [],
            "log_rotation_files": [],
            "monitoring_enabled": True,
            "monitoring_without_receivers": True,
        }
        super().__init__(f"{NAME}-{number:02}", NUMBER, variables)

    def write(self) -> None:
        """Write its project."""
        self.project.mkdir(parents=True, exist_ok=True)
        (self.project / "compose.yaml").write_text(COMPOSE.format(port=self.port), encoding="utf-8")
        shutil.copy(REPOSITORY / "bench" / "apps_server.py", self.project / "server.py")


# --- the host and its apps -------------------------------------------------------------------------------------------


def deploy(apps: list[App]) -> None:
    """Set up these apps by `site.yml`."""
    begun = time.monotonic()
    hosts.played("playbooks/site.yml", "-l", ",".join(["localhost", *(one.name for one in apps)]))
    print(f"site.yml took {time.monotonic() - begun:.0f} s for {len(apps)} apps", flush=True)


def on_host(host: Host, *words: str, seconds: float = 0.0) -> dict[str, Any]:
    """What `apps_on_host.py` measures there, in so many seconds and a minute."""
    program = (REPOSITORY / "bench" / "apps_on_host.py").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(host.ask(f"python3 - {' '.join(words)}", seconds + 90, program))
    return found


def wait_until_healthy(host: Host) -> None:
    """Wait until every app is healthy, and its watcher alive."""
    end = time.monotonic() + HEALTHY_SECONDS
    while True:
        code, out, err = host.shell("selfheal status")
        if not code:
            return
        if time.monotonic() > end:
            raise Trouble(f"not every app is healthy:\n{(out + err)[-1500:]}")
        time.sleep(1)


# --- what is measured ------------------------------------------------------------------------------------------------


def delays(host: Host, apps: list[App], rounds: int) -> dict[str, dict[str, list[float]]]:
    """By the first app's state: the seconds of other apps' recoveries, and those between checks.

    The states take turns, and so do the apps: each one's recovery is the mildest again.
    """
    sick, others = apps[0], apps[1:]
    found: dict[str, dict[str, list[float]]] = {state: {"recovery": [], "gaps": []} for state in STATES}
    for turn in range(rounds):
        for number, (state, (begin, end)) in enumerate(STATES.items()):
            at = (turn * len(STATES) + number) % len(others)
            victim, watched = others[at], others[:at] + others[at + 1 :]
            host.ask(begin.format(app=sick.app, state=state))
            try:
                gaps = on_host(host, "gaps", "5", *(one.app for one in watched))
                recovery = on_host(host, "fault", victim.app, str(victim.port))
            finally:
                host.ask(end.format(app=sick.app))
            wait_until_healthy(host)
            found[state]["gaps"] += [gap for one in gaps.values() for gap in one]
            found[state]["recovery"].append(recovery["seconds"])
            print(f"turn {turn + 1} of {rounds}, first app: {state}: {recovery['seconds']:.2f} s", flush=True)
    return found


def measure(host: Host, apps: list[App], seconds: float, rounds: int) -> dict[str, Any]:
    """Set up the first app, then all, and measure."""
    for one in apps:
        one.write()
    hosts.announce(apps)
    hosts.remove([host])
    hosts.create([host])
    deploy(apps[:1])
    wait_until_healthy(host)
    page_of_one = on_host(host, "page", str(PAGES))
    # All at once would keep two cores so busy that the engine does not answer for seconds.
    for begin in range(1, len(apps), AT_ONCE):
        deploy(apps[begin : begin + AT_ONCE])
    wait_until_healthy(host)
    time.sleep(SETTLE_SECONDS)
    spent = on_host(host, "cost", str(seconds), seconds=seconds)
    page_of_all = on_host(host, "page", str(PAGES))
    return {"cost": spent, "page": {1: page_of_one, len(apps): page_of_all}, "delays": delays(host, apps, rounds)}


# --- table and exit code ---------------------------------------------------------------------------------------------


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool | None]]:
    """The table: what, measured, goal, whether it is met (None: for information)."""
    spent, delayed = result["cost"], result["delays"]
    memory, cpu = max(spent["pss_bytes"]), spent["cpu_percent"]
    least, most = spent["pss_of_one_bytes"]
    table: list[tuple[str, str, str, bool | None]] = [
        ("watchers", str(spent["watchers"]), "", None),
        ("PSS of all, most", f"{memory / 1e6:.1f} MB", f"{MEMORY_BYTES / 1e6:.0f} MB", memory <= MEMORY_BYTES),
        ("PSS of one, least to most", f"{least / 1e6:.1f} to {most / 1e6:.1f} MB", "", None),
        ("processes, least to most", " to ".join(map(str, spent["processes"])), "", None),
        ("CPU of all, % of a core", f"{cpu:.2f} %", f"{CPU_PERCENT:.0f} %", cpu <= CPU_PERCENT),
    ]
    for (count, starts), most_seconds in zip(result["page"].items(), (PAGE_OF_ONE, PAGE_OF_ALL)):
        cold, warm = statistics.median(starts["cold"]), statistics.median(starts["warm"])
        text = f"{cold:.2f}; {max(starts['cold']):.2f}; {warm:.2f} s"
        what = f"page with {count} apps, first byte: cold; longest; warm"
        table.append((what, text, f"{most_seconds:.1f} s", cold <= most_seconds))
    well = delayed[WELL]
    for state, times in delayed.items():
        taken, gap = statistics.median(times["recovery"]), p95(times["gaps"])
        later, longer = taken - statistics.median(well["recovery"]), gap - p95(well["gaps"])
        text = f"{taken:.2f} ({later:+.2f}) s; {gap:.2f} ({longer:+.2f}) s; {max(times['gaps']):.2f} s"
        what = f"first app {state}: recovery of another; between checks, p95; longest"
        if state == WELL:
            table.append((what, text, "", None))
        else:
            table.append((what, text, f"+{DELAY} s", max(later, longer) <= DELAY))
    return table


def report(host: Host, result: dict[str, Any], folder: Path) -> int:
    """Print the table, write the results; the exit code."""
    table = rows(result)
    print("\n| what | measured | goal | met |\n|---|---:|---:|---|")
    for what, measured, goal, met in table:
        print(f"| {what} | {measured} | {goal} | {'' if met is None else 'yes' if met else '**no**'} |")
    missed = [what for what, _measured, _goal, met in table if met is False]
    for times in result["delays"].values():
        gaps = times["gaps"]
        times["gaps"] = {"checks": len(gaps), "median": statistics.median(gaps), "p95": p95(gaps), "longest": max(gaps)}
    about = {"machine": hosts.machine(), "versions": hosts.versions(host)}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**about, **result, "missed": missed}, indent=1) + "\n"
    (folder / "apps.json").write_text(text, encoding="utf-8")
    print(f"\n{folder}/apps.json is written")
    print(f"bench-apps: {'missed: ' + '; '.join(missed) if missed else 'every goal is met'}")
    return 1 if missed else 0


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--apps", type=int, default=APPS, help=f"so many apps (default: {APPS}; at least {FEWEST})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of idle watchers (default: {SECONDS})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each state (default: {ROUNDS})")
    parser.add_argument("--keep", action="store_true", help="leave the host as it is at the end")
    given = parser.parse_args()
    if given.apps < FEWEST:
        parser.error(f"--apps: {FEWEST} or more")
    host, apps = Host(NAME, NUMBER), [App(number) for number in range(1, given.apps + 1)]
    # A shorter run does not overwrite the figures in the repository.
    full = given.apps >= APPS and given.seconds >= SECONDS and given.rounds >= ROUNDS
    try:
        return report(host, measure(host, apps, given.seconds, given.rounds), RESULTS if full else FOLDER)
    except Trouble as error:
        print(f"bench-apps: could not be measured: {error}", file=sys.stderr)
        return 2
    finally:
        if not given.keep:
            hosts.remove([host])


if __name__ == "__main__":
    sys.exit(main())
