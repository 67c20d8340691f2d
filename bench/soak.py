# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An hour of healthy load: does the watcher leave the app alone, and what does it cost?

The soak creates two lab hosts and removes them at the end. On `soak-load` the app answers 1 % of the requests with 500,
and all of them up to 1.9 s late. A client sends steady requests, and for a while all cores are busy: nothing may be
restarted. `soak-quiet` is idle: there the watcher's CPU time and memory are sampled, and calls to the engine counted.

Prints a table, writes `results/soak.json` and `results/soak.svg` (a run of less than an hour: in `.lab/soak`). The exit
code is 1 when a goal is missed, 2 when the measurement itself is void.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.client
import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ansible_collections.christmas.selfheal.bench.engine_calls import Call, EngineCalls, Uncounted
from ansible_collections.christmas.selfheal.bench.recover import APP, REPOSITORY, RESULTS, p95, playbook

LOAD, QUIET = "soak-load", "soak-quiet"
ADDRESS = {LOAD: "172.30.57.41", QUIET: "172.30.57.42"}
# Two folders deep, as inventory/lab is: its variables lead from a host's inventory to the repository.
INVENTORY = REPOSITORY / ".lab" / "soak" / "hosts.yml"
UNIT = f"selfheal@{APP}.service"
FULL_MINUTES = 60
SAMPLE_SECONDS = 5.0
# Requests a second, by enough threads that the slowest answers do not hold up the next ones.
RATE, THREADS = 5.0, 16
FLAKY_PERCENT = 1
CLIENT_TIMEOUT = 10.0
CPU_PERCENT, MEMORY_BYTES = 0.5, 25e6
# The kernel counts processes killed for lack of memory for the whole machine. On this one the neighbours are other lab
# hosts, and the watcher takes such a death for one of its app's, and looks.
OOM_SECONDS = 10.0


class Void(Exception):
    """Nothing can be said, because the measurement itself did not work; the text says why."""


def ssh(host: str, *words: str) -> list[str]:
    """The command that runs `words` on a lab host."""
    options = {
        "IdentityFile": REPOSITORY / ".lab" / "id_ed25519",
        "UserKnownHostsFile": REPOSITORY / ".lab" / "host_keys" / "%h",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ServerAliveInterval": "5",
    }
    return ["ssh", *(f"-o{name}={value}" for name, value in options.items()), f"root@{ADDRESS[host]}", *words]


def run(host: str, command: str, stdin: str = "") -> str:
    """Run a shell command on a lab host; what it prints."""
    try:
        ended = subprocess.run(ssh(host, command), text=True, input=stdin, capture_output=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        raise Void(f"{host}: {command}: not done within 60 s") from None
    if ended.returncode:
        raise Void(f"{host}: {command}: exit code {ended.returncode}: {(ended.stderr or ended.stdout).strip()[-500:]}")
    return ended.stdout.strip()


# --- the hosts -------------------------------------------------------------------------------------------------------


def make_hosts() -> None:
    """Make both lab hosts, and everything on them, the watcher included."""
    INVENTORY.parent.mkdir(parents=True, exist_ok=True)
    hosts = {host: {"ansible_host": address} for host, address in ADDRESS.items()}
    INVENTORY.write_text(json.dumps({"backends": {"hosts": hosts}}) + "\n", encoding="utf-8")
    wanted = [{"name": host, "address": address, "variant": "prepared"} for host, address in ADDRESS.items()]
    playbook("lab/create.yml", "-e", json.dumps({"lab_hosts": wanted}))
    inventory = ("-i", "inventory/lab", "-i", str(INVENTORY))
    playbook("playbooks/site.yml", *inventory, "-l", ",".join(["localhost", *ADDRESS]))


def remove_hosts() -> None:
    """Remove both lab hosts."""
    wanted = [{"name": host, "address": address} for host, address in ADDRESS.items()]
    playbook("lab/destroy.yml", "-e", json.dumps({"lab_hosts": wanted}))


def container(host: str) -> dict[str, str]:
    """The app's container: what changes when somebody starts it again."""
    shown = run(host, f"docker inspect $(docker ps -aq --filter label=com.docker.compose.project={APP})")
    found = json.loads(shown)
    if len(found) != 1:
        raise Void(f"{host}: one container was expected, there are {len(found)}")
    state = found[0]["State"]
    return {
        "id": found[0]["Id"],
        "started": state["StartedAt"],
        "restarts": str(found[0]["RestartCount"]),
        "state": state["Status"],
    }


def incidents(host: str) -> list[dict[str, Any]]:
    """Every incident that the host remembers."""
    found: list[dict[str, Any]] = json.loads(run(host, f"selfheal incidents --app {APP} --last 100000 --json"))
    return found


def healthy(host: str, seconds: float) -> bool:
    """Whether `selfheal status` says so within some seconds."""
    until = time.monotonic() + seconds
    while True:
        status = json.loads(run(host, f"selfheal status --app {APP} --json || true"))
        if status["healthy"] and status["watcher"]["alive"]:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(1)


# --- what is measured ------------------------------------------------------------------------------------------------


class Sampler(threading.Thread):
    """Reads what `soak_sampler.py` prints on a host. An ssh that breaks off ends it; `check` tells."""

    def __init__(self, host: str) -> None:
        super().__init__(daemon=True)
        self.host, self.samples = host, list[dict[str, Any]]()
        with open(REPOSITORY / "bench" / "soak_sampler.py", encoding="utf-8") as program:
            command = ssh(host, f"python3 -u - {UNIT} {SAMPLE_SECONDS}")
            self.process = subprocess.Popen(command, stdin=program, stdout=subprocess.PIPE, text=True)

    def run(self) -> None:
        """Read line by line."""
        for line in self.process.stdout or ():
            self.samples.append(json.loads(line))

    def check(self) -> None:
        """Raise Void when it ended by itself."""
        if self.process.poll() is not None:
            raise Void(f"{self.host}: the sampler ended by itself, exit code {self.process.returncode}")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)
        self.join(10)


def cost(samples: list[dict[str, Any]], begun: float, ended: float) -> dict[str, Any]:
    """What the watcher cost between two moments (epoch s) on the host."""
    inside = [one for one in samples if begun <= one["at"] <= ended]
    if len(inside) < 2:
        raise Void(f"{len(inside)} samples are not enough")
    missing = sum(any(one[key] is None for key in ("cpu", "rss", "peak", "pss")) or not one["pid"] for one in inside)
    known = [one for one in inside if one["cpu"] is not None and one["rss"] is not None]
    if len(known) < 2 or missing > len(inside) // 10:
        raise Void(f"{missing} of {len(inside)} samples saw no watcher")
    # A restarted unit counts from zero.
    spent = sum(
        after["cpu"] - before["cpu"] if after["cpu"] >= before["cpu"] else after["cpu"]
        for before, after in zip(known, known[1:])
    )
    seconds = known[-1]["clock"] - known[0]["clock"]
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(spent, 3),
        "cpu_percent": round(100 * spent / seconds, 3),
        "rss_max_bytes": max(one["rss"] for one in known),
        "peak_bytes": max(one["peak"] for one in known if one["peak"]),
        "pss_max_bytes": max(one["pss"] or 0 for one in known),
        "rss_first_bytes": known[0]["rss"],
        "rss_last_bytes": known[-1]["rss"],
        "samples": len(inside),
        "samples_without_watcher": missing,
        "processes": len({one["pid"] for one in known}),
        "oom_kills_on_the_machine": inside[-1]["oom_kills"] - inside[0]["oom_kills"],
    }


def busy_share(samples: list[dict[str, Any]], begun: float, ended: float) -> float:
    """The share of all processors' time that was work."""
    inside = [one for one in samples if begun <= one["at"] <= ended]
    if len(inside) < 2:
        raise Void("the time with busy cores is too short for two samples")
    first, last = inside[0], inside[-1]
    return float((last["busy"] - first["busy"]) / max(1, last["ticks"] - first["ticks"]))


def for_a_death(calls: list[Call], samples: list[dict[str, Any]]) -> list[Call]:
    """The calls made just after the kernel killed a process of the machine for lack of memory."""
    spans = [
        (before["at"], after["at"] + OOM_SECONDS)
        for before, after in zip(samples, samples[1:])
        if after["oom_kills"] > before["oom_kills"]
    ]
    return [call for call in calls if any(begun <= call["at"] <= ended for begun, ended in spans)]


class Clients:
    """Asks the app steadily, as users do: a late answer does not hold up the next request."""

    def __init__(self, address: str) -> None:
        self.address, self.begun = address, time.monotonic()
        self.lock, self.next, self.stop = threading.Lock(), 0, threading.Event()
        self.outcomes: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _unused in range(THREADS)]

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(CLIENT_TIMEOUT + 1)

    def _ask(self) -> None:
        while True:
            with self.lock:
                # When all threads were held up, what was missed is not caught up with.
                self.next = max(self.next + 1, int((time.monotonic() - self.begun) * RATE))
                due = self.begun + self.next / RATE
            if self.stop.wait(max(0.0, due - time.monotonic())):
                return
            begun = time.monotonic()
            outcome = self._one()
            with self.lock:
                self.outcomes[outcome] += 1
                self.seconds.append(time.monotonic() - begun)

    def _one(self) -> str:
        connection = http.client.HTTPConnection(self.address, 8000, timeout=CLIENT_TIMEOUT)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()
            return str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()

    def summary(self) -> dict[str, Any]:
        """The clients' requests and their outcomes."""
        with self.lock:
            seconds, outcomes = sorted(self.seconds), dict(self.outcomes)
        if not seconds:
            raise Void("no request was sent")
        return {
            "requests": len(seconds),
            "outcomes": outcomes,
            "errors_percent": round(100 * outcomes.get("500", 0) / len(seconds), 2),
            "median_seconds": round(statistics.median(seconds), 3),
            "p95_seconds": round(p95(seconds), 3),
            "longest_seconds": round(seconds[-1], 3),
        }


# --- the hour --------------------------------------------------------------------------------------------------------


def wait(minutes: float, busy: float, samplers: dict[str, Sampler], clients: Clients, engine: EngineCalls) -> float:
    """Let the time pass, telling each minute how it goes, with all cores busy from the middle on; when that began.

    The time of the busy cores is the host's, in epoch seconds.
    """
    begun = time.monotonic()
    busy_at, busy_begun = begun + minutes * 30, 0.0
    for number in range(1, int(minutes) + 2):
        until = min(begun + number * 60, begun + minutes * 60)
        while (left := until - time.monotonic()) > 0:
            if not busy_begun and time.monotonic() >= busy_at:
                # It ends by itself, whatever becomes of this program.
                loops = "for i in $(seq $(nproc)); do (while :; do :; done) & done; wait"
                limit = f"systemd-run -q --collect --unit=soak-busy -p RuntimeMaxSec={busy:.0f} sh -c '{loops}'"
                run(LOAD, limit)
                busy_begun = time.time()
            for sampler in samplers.values():
                sampler.check()
            time.sleep(min(1.0, left))
        print(progress((time.monotonic() - begun) / 60, minutes, samplers[QUIET], clients, engine), flush=True)
        if until >= begun + minutes * 60:
            break
    return busy_begun


def progress(passed: float, minutes: float, quiet: Sampler, clients: Clients, engine: EngineCalls) -> str:
    """One line for the minute that has passed."""
    summary, samples = clients.summary(), quiet.samples
    spent = cost(samples, 0, time.time())
    memory = f"{spent['rss_last_bytes'] / 1e6:.1f} MB"
    return (
        f"{passed:5.1f} of {minutes:.0f} min: quiet: CPU {spent['cpu_percent']:.2f} %, RSS {memory}, "
        f"{len(engine.calls())} calls; load: {summary['requests']} requests, "
        f"{summary['outcomes'].get('500', 0)} x 500, p95 {summary['p95_seconds']:.2f} s"
    )


def soak(minutes: float, busy: float) -> dict[str, Any]:
    """Measure for some minutes, with all cores busy for `busy` seconds of them."""
    engine, before = EngineCalls(QUIET, functools.partial(run, QUIET)), container(LOAD)
    known = {host: {one["id"] for one in incidents(host)} for host in ADDRESS}
    for host in ADDRESS:
        if not healthy(host, 60):
            raise Void(f"{host} is not healthy before it begins")
    with contextlib.ExitStack() as stack:
        stack.enter_context(engine.counted())
        samplers = {}
        for host in ADDRESS:
            samplers[host] = Sampler(host)
            stack.callback(samplers[host].stop)
            samplers[host].start()
        run(LOAD, f"docker exec {before['id']} sh -c 'echo flaky {FLAKY_PERCENT} >/tmp/fault'")
        clients = stack.enter_context(Clients(ADDRESS[LOAD]))
        begun = time.time()
        engine.mark()
        print(f"soak: {minutes:g} minutes begin, {busy:.0f} s of them with all cores busy", flush=True)
        busy_begun = wait(minutes, busy, samplers, clients, engine)
        ended = time.time()
        calls = engine.calls()
        flaky = run(LOAD, f"docker exec {before['id']} cat /tmp/fault 2>/dev/null || true")
        after, summary = container(LOAD), clients.summary()
    samples = {host: sampler.samples for host, sampler in samplers.items()}
    run(LOAD, f"docker exec {after['id']} rm -f /tmp/fault")
    # The app's own log shows that the watcher checked all the time.
    probes = int(
        run(QUIET, f"docker logs --since {begun:.0f} $(docker ps -q) 2>&1 | grep -c 'GET /health 200' || true")
    )
    new = {host: [one for one in incidents(host) if one["id"] not in known[host]] for host in ADDRESS}
    explained = for_a_death(calls, samples[QUIET])
    result = {
        "minutes": minutes,
        "quiet": {
            **cost(samples[QUIET], begun, ended),
            "probes": probes,
            "calls": len(calls),
            "calls_after_an_oom_kill_elsewhere": len(explained),
            "calls_seen": sorted({call["what"] for call in calls}),
            "calls_counted_for_one_docker_ps": engine.calls_of_one_ps,
            "incidents": [brief(one) for one in new[QUIET]],
        },
        "load": {
            **cost(samples[LOAD], begun, ended),
            **summary,
            "busy_seconds": busy,
            "busy_share": round(busy_share(samples[LOAD], busy_begun, busy_begun + busy), 3),
            "container_before": before,
            "container_after": after,
            "healthy_after": healthy(LOAD, 60),
            "incidents": [brief(one) for one in new[LOAD]],
        },
        "series": {host: series(samples[host], begun) for host in ADDRESS},
    }
    verify(result, flaky)
    return result


def brief(one: dict[str, Any]) -> dict[str, Any]:
    """What of an incident is kept."""
    keys = ("id", "cause", "healthy", "seconds", "hold")
    return {**{key: one.get(key) for key in keys}, "remedies": [item["name"] for item in one.get("remedies", [])]}


def series(samples: list[dict[str, Any]], begun: float) -> list[list[float | None]]:
    """For the picture: [[minute, CPU % since the sample before, RSS in MB]]."""
    found = []
    for before, after in zip(samples, samples[1:]):
        known = None not in (before["cpu"], after["cpu"]) and after["cpu"] >= before["cpu"]
        percent = 100 * (after["cpu"] - before["cpu"]) / (after["clock"] - before["clock"]) if known else None
        memory = None if after["rss"] is None else round(after["rss"] / 1e6, 3)
        minute = round((after["at"] - begun) / 60, 3)
        found.append([minute, None if percent is None else round(percent, 3), memory])
    return found


def verify(result: dict[str, Any], flaky: str) -> None:
    """Raise Void when the load was not what was asked for: then nothing was put to the test."""
    load, quiet = result["load"], result["quiet"]
    replaced = load["container_after"] != load["container_before"]
    if flaky != f"flaky {FLAKY_PERCENT}" and not replaced:
        raise Void(f"{LOAD}: the app was not flaky to the end")
    if not replaced and not 0.2 <= load["errors_percent"] <= 3:
        raise Void(f"{LOAD}: {load['errors_percent']} % of the requests failed, about {FLAKY_PERCENT} % were asked for")
    if not replaced and load["longest_seconds"] < 1.5:
        raise Void(f"{LOAD}: no answer took long")
    if load["busy_share"] < 0.9:
        raise Void(f"{LOAD}: the cores were busy for {load['busy_share']:.0%} only")
    if quiet["probes"] < 0.8 * quiet["seconds"]:
        raise Void(f"{QUIET}: {quiet['probes']} probes in {quiet['seconds']:.0f} s: the watcher did not watch")


# --- table, picture and exit code ------------------------------------------------------------------------------------


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool | None]]:
    """The table: what, measured, goal, whether it is met (None: for information)."""
    quiet, load = result["quiet"], result["load"]
    remedies = [name for one in load["incidents"] for name in one["remedies"]]
    same = load["container_before"] == load["container_after"]
    unexplained = quiet["calls"] - quiet["calls_after_an_oom_kill_elsewhere"]
    open_ones = Counter(f"{one['cause']} ({'held' if one['hold'] else 'reported'})" for one in load["incidents"])
    counts = ", ".join(f"{count} x {cause}" for cause, count in sorted(open_ones.items())) or "0"

    def megabytes(value: int) -> str:
        return f"{value / 1e6:.1f} MB"

    met_cpu, met_memory = quiet["cpu_percent"] <= CPU_PERCENT, quiet["peak_bytes"] <= MEMORY_BYTES
    return [
        ("idle: the watcher's CPU, of one core", f"{quiet['cpu_percent']:.2f} %", f"≤ {CPU_PERCENT} %", met_cpu),
        (
            "idle: its memory, RSS, the peak",
            megabytes(quiet["peak_bytes"]),
            f"≤ {MEMORY_BYTES / 1e6:.0f} MB",
            met_memory,
        ),
        (
            "idle: RSS at the end; PSS at most",
            f"{megabytes(quiet['rss_last_bytes'])}; {megabytes(quiet['pss_max_bytes'])}",
            "",
            None,
        ),
        ("idle: Docker calls while healthy", str(unexplained), "0", unexplained == 0),
        (
            "idle: calls after the kernel killed a process of another lab host",
            f"{quiet['calls_after_an_oom_kill_elsewhere']} after {quiet['oom_kills_on_the_machine']}",
            "",
            None,
        ),
        ("idle: incidents", str(len(quiet["incidents"])), "0", not quiet["incidents"]),
        ("load: remedies", ", ".join(remedies) or "0", "0", not remedies),
        ("load: the container is the one it was, never restarted", "yes" if same else "no", "yes", same),
        ("load: healthy at the end", "yes" if load["healthy_after"] else "no", "yes", load["healthy_after"]),
        ("load: incidents without a remedy", counts, "", None),
        (
            "load: the watcher's CPU; RSS, the peak",
            f"{load['cpu_percent']:.2f} %; {megabytes(load['peak_bytes'])}",
            "",
            None,
        ),
        ("load: requests; 500s", f"{load['requests']}; {load['errors_percent']} %", "", None),
        (
            "load: answers, median; p95; longest",
            f"{load['median_seconds']:.2f}; {load['p95_seconds']:.2f}; {load['longest_seconds']:.2f} s",
            "",
            None,
        ),
        ("load: all cores busy", f"{load['busy_seconds']:.0f} s at {load['busy_share']:.0%}", "", None),
    ]


def picture(result: dict[str, Any], path: Path) -> None:
    """Draw CPU and memory of both watchers over time."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 4.5))
    for host, colour in ((QUIET, "#4c72b0"), (LOAD, "#dd8452")):
        points = result["series"][host]
        # A minute's mean: a probe costs some milliseconds, which a sample sees whole or not at all.
        width = max(1, round(60 / SAMPLE_SECONDS))
        means = []
        for at in range(0, len(points), width):
            known = [point[1] for point in points[at : at + width] if point[1] is not None]
            if known:
                means.append((points[at][0], statistics.fmean(known)))
        above.step(*zip(*means), where="post", color=colour, label=host.partition("-")[2])
        below.plot([point[0] for point in points], [point[2] for point in points], color=colour)
    for axes, goal, text in ((above, CPU_PERCENT, "CPU, % of one core"), (below, MEMORY_BYTES / 1e6, "RSS, MB")):
        axes.axhline(goal, color="black", linestyle=":", linewidth=1)
        axes.set_ylabel(text)
        axes.set_ylim(bottom=0)
    above.legend(loc="upper left")
    below.set_xlabel("minutes (dotted: the goal)")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def report(result: dict[str, Any]) -> bool:
    """Print the table, write the results; whether every goal is met."""
    table = rows(result)
    print("\n| what | measured | goal | met |\n|---|---:|---:|---|")
    for what, measured, goal, met in table:
        print(f"| {what} | {measured} | {goal} | {'' if met is None else 'yes' if met else '**no**'} |")
    missed = [what for what, _unused, _unused, met in table if met is False]
    # A trial does not take the place of the real figures.
    folder = RESULTS if result["minutes"] >= FULL_MINUTES else INVENTORY.parent
    (folder / "soak.json").write_text(json.dumps({**result, "missed": missed}, indent=1) + "\n", encoding="utf-8")
    picture(result, folder / "soak.svg")
    print(f"\n{folder / 'soak.json'} and soak.svg are written")
    print(f"soak: {'missed: ' + '; '.join(missed) if missed else 'every goal is met'}")
    return not missed


def main() -> int:
    """Make the hosts, measure, tell, remove the hosts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=FULL_MINUTES, help="how long (default: 60; at least 2)")
    parser.add_argument("--busy-minutes", type=float, help="how long all cores are busy (default: 5, at most a sixth)")
    parser.add_argument("--keep", action="store_true", help="leave both lab hosts as they are at the end")
    given = parser.parse_args()
    busy = given.busy_minutes if given.busy_minutes is not None else min(5.0, given.minutes / 6)
    if given.minutes < 2 or not 0.25 <= busy <= given.minutes / 2:
        parser.error("--minutes: 2 or more; --busy-minutes: from 0.25 to half of that")
    # So that the hosts are removed when this is ended from outside, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        print("soak: making two lab hosts", flush=True)
        make_hosts()
        return 0 if report(soak(given.minutes, busy * 60)) else 1
    except (Void, Uncounted) as reason:
        print(f"soak: the measurement is void: {reason}", file=sys.stderr)
        return 2
    finally:
        if not given.keep:
            remove_hosts()


if __name__ == "__main__":
    sys.exit(main())
