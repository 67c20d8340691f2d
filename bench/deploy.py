# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Deploy good and bad releases under a steady load, count failed requests, and compare with `docker compose up`.

It runs on a lab host of its own, with two instances behind HAProxy. k6 sends requests at a constant rate from outside,
each on a new connection and without waiting for earlier answers (an open loop). Some releases are good, some exit at
once, some never listen, some fail while they are watched, and some plays are killed half-way. Two rollbacks follow.
Then the same app runs alone on its port, and a plain `docker compose up -d --build` deploys it at the same load.

Each measurement is written to `results/deploy.json` at once; --resume continues an interrupted run.
Prints a table, draws `results/deploy.svg`. The exit code is 1 when a goal is missed, 2 when it could not be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from ansible_collections.christmas.selfheal.bench.recover import APP, REPOSITORY, RESULTS
from ansible_collections.christmas.selfheal.bench.recovery import hosts
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Host, Trouble
from ansible_collections.christmas.selfheal.plugins.module_utils.core import files

# Twenty deploys: 10 good, 5 that never get healthy, 3 that fail while watched, 2 whose play is killed.
ORDER = (
    *("good", "exits", "good", "silent", "good", "turns bad", "good", "killed", "good", "exits"),
    *("good", "silent", "good", "turns bad", "good", "killed", "good", "exits", "turns bad", "good"),
)
KINDS = {
    "good": "a good release",
    "exits": "exits at its start",
    "silent": "never listens",
    "turns bad": "answers 500 from 5 s after its start",
    "killed": "the play is killed while it watches",
    "rollback": "rollback.yml",
    "compose": "docker compose up -d --build",
}
ROLLBACKS = 2
FULL_ROUNDS, PLAIN_ROUNDS = 20, 5
RATE, ANSWER_SECONDS, TIMEOUT = 200, 0.03, 10
LEAD = 2.0
"""Seconds of load before and after what is measured."""
GATE, SETTLE, ROLLBACK_SECONDS = 15, 60, 10.0
BIN = 0.1
PORT, PLAIN_PORT, PLAIN = 8000, 8001, "/opt/plain"
# A new connection for each request: k6 itself would retry on a kept one.
K6 = """
import http from 'k6/http';
import { Trend } from 'k6/metrics';
const answered = new Trend('answered'), failed = new Trend('failed');
export const options = {
  noConnectionReuse: true,
  scenarios: { users: { executor: 'constant-arrival-rate', rate: Number(__ENV.RATE), timeUnit: '1s', duration: '10m',
                        preAllocatedVUs: 400, maxVUs: 2200 } },
};
export default function () {
  const begun = Date.now();
  const answer = http.get(__ENV.URL, { timeout: `${__ENV.TIMEOUT}s` });
  (answer.status >= 200 && answer.status < 400 ? answered : failed).add(
    Date.now() - begun,
    { code: String(answer.status || `error ${answer.error_code}`), release: answer.headers['X-Release'] || '' });
}
"""


class Request(NamedTuple):
    """One request of the load; `at` is when it began, in epoch seconds."""

    at: float
    seconds: float
    ok: bool
    code: str
    release: str


# --- the load --------------------------------------------------------------------------------------------------------


class Load:
    """Runs k6 inside the `with` block; then `requests`, and `dropped`, the requests that k6 could not send in time."""

    def __init__(self, address: str, port: int, folder: Path) -> None:
        self.url, self.folder = f"http://{address}:{port}/release", folder
        self.requests, self.dropped = list[Request](), 0

    def __enter__(self) -> Load:
        (self.folder / "load.js").write_text(K6, encoding="utf-8")
        (self.folder / "out.csv").unlink(missing_ok=True)
        settings = {"URL": self.url, "RATE": RATE, "TIMEOUT": TIMEOUT}
        command = ["k6", "run", "--quiet", "--no-summary", "--no-usage-report", "--system-tags=", "--log-output=none"]
        command += ["--out=csv=out.csv", *(f"--env={name}={value}" for name, value in settings.items()), "load.js"]
        environment = {**os.environ, "K6_CSV_TIME_FORMAT": "unix_micro"}
        self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL)
        time.sleep(2 * LEAD)
        return self

    def __exit__(self, kind: Any, *_unused: object) -> None:
        ended = self.process.poll() is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        if kind is None:
            if ended:
                raise Trouble(f"k6 ended by itself, exit code {self.process.returncode}")
            self._read()

    def _read(self) -> None:
        with open(self.folder / "out.csv", encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                name, value = row["metric_name"], float(row["metric_value"])
                if name in ("answered", "failed"):
                    tags = dict(pair.split("=", 1) for pair in row["extra_tags"].split("&"))
                    at = int(row["timestamp"]) / 1e6 - value / 1e3
                    self.requests.append(
                        Request(at, value / 1e3, name == "answered", tags["code"], tags.get("release", ""))
                    )
                elif name == "dropped_iterations":
                    self.dropped += int(value)
        self.requests.sort()


def figures(load: Load, begun: float, ended: float) -> dict[str, Any]:
    """The users' figures for some time. Failures just before and after it count too."""
    inside = [one for one in load.requests if begun <= one.at <= ended]
    # k6 needs a moment to reach its rate.
    around = [one for one in load.requests if begun - LEAD <= one.at]
    if len(around) + load.dropped < 0.9 * RATE * (ended - begun):
        raise Trouble(f"k6 sent {len(around)} requests in {ended - begun:.0f} s, which is not what was asked for")
    answers = sorted(one.seconds for one in inside if one.ok)
    bad = [one for one in around if not one.ok]
    return {
        "requests": len(around),
        "failed": len(bad),
        "codes": dict(sorted(Counter(one.code for one in bad).items())),
        "not_sent": load.dropped,
        **{f"p{share}": _rank(answers, share) for share in (50, 95, 99)},
        "max": _rank(answers, 100),
        "series": _series(around, begun),
    }


def _rank(values: Sequence[float], percent: int) -> float | None:
    """A percentile in ms, by the nearest rank."""
    return round(1e3 * values[max(0, -(-len(values) * percent // 100) - 1)], 1) if values else None


def _series(requests: Sequence[Request], begun: float) -> list[list[float | None]]:
    """For the picture: [[second, median ms, longest ms, failed]] of every tenth of a second."""
    bins: dict[int, list[Request]] = {}
    for one in requests:
        bins.setdefault(int((one.at - begun) // BIN), []).append(one)
    found = []
    for number, own in sorted(bins.items()):
        answers = sorted(one.seconds for one in own if one.ok)
        failed = sum(not one.ok for one in own)
        found.append([round(number * BIN, 1), _rank(answers, 50), _rank(answers, 100), failed])
    return found


# --- releases --------------------------------------------------------------------------------------------------------


def release(folder: Path, name: str, kind: str) -> Path:
    """Create the sample backend's next release: it names itself in each answer, and may fail."""
    source = folder / f"release-{name}"
    shutil.copytree(REPOSITORY / "lab/backend", source, ignore=shutil.ignore_patterns("__pycache__"))
    text = (source / "app.py").read_text(encoding="utf-8")
    begins = {"exits": "    return 1\n", "silent": "    time.sleep(600)\n"}.get(kind, "")
    bad = " or time.monotonic() - BORN > 5" if kind == "turns bad" else ""
    for old, new in (
        ("FLAKY_LONGEST = 1.9\n", f'FLAKY_LONGEST = 1.9\nRELEASE, BORN = "{name}", time.monotonic()\n'),
        ("def main() -> int:\n", f"def main() -> int:\n{begins}"),
        ("        if suffer(*injected_fault()):\n", f"        if suffer(*injected_fault()){bad}:\n"),
        (
            "        return self.server.app.reply(",
            '        if path == "/release":\n'
            f"            time.sleep({ANSWER_SECONDS})\n            return 200, RELEASE\n"
            "        return self.server.app.reply(",
        ),
        (
            '            self.send_header("Content-Length"',
            '            self.send_header("X-Release", RELEASE)\n            self.send_header("Content-Length"',
        ),
    ):
        if text.count(old) != 1:
            raise Trouble(f"lab/backend/app.py has {text.count(old)} times {old.strip()!r}: one was expected")
        text = text.replace(old, new)
    (source / "app.py").write_text(text, encoding="utf-8")
    return source


def serving(host: Host, port: int = PORT) -> list[str]:
    """The releases that answer, from enough requests to reach every instance."""
    found = set()
    for _unused in range(40):
        with urlopen(f"http://{host.address}:{port}/release", timeout=TIMEOUT) as answer:
            found.add(str(json.load(answer)))
    return sorted(found)


def images(host: Host) -> tuple[set[str], set[str]]:
    """Ids: of the images that the app's containers run, and of those of the last good release."""
    query = f"docker ps -aq --filter label=com.docker.compose.project={APP}"
    # A container that is removed between the two commands does not count.
    _code, running, _error = host.shell(f"docker inspect --format '{{{{.Image}}}}' $({query})")
    good = json.loads(host.ask(f"cat {hosts.DIRECTORY}/releases/last-good/release.json"))
    return {line for line in running.split() if line.startswith("sha256:")}, set(good["images"].values())


def settle(host: Host, seconds: float) -> None:
    """Wait until no rollout is under way, and what runs is the last good release."""
    until = time.monotonic() + seconds
    while True:
        running, good = images(host)
        if host.shell(f"test -e /var/lib/selfheal/{APP}/rollout.json")[0] and running == good:
            return
        if time.monotonic() > until:
            raise Trouble(
                f"{seconds:.0f} s later a rollout is still under way, or another release than the last good runs"
            )
        time.sleep(0.5)


# --- what is measured ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def playing(path: str, folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A running playbook; its output is in the file."""
    log = folder / "play.txt"
    command = ["ansible-playbook", path, "-i", "inventory/lab", "-i", str(hosts.INVENTORY), *words]
    with (
        open(log, "wb") as stream,
        subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield process, log
        finally:
            if process.poll() is None:
                kill(process.pid)


def kill(pid: int) -> None:
    """Kill a process and its child processes. Ansible's workers have their own sessions, and would continue."""
    shown = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], text=True, capture_output=True, check=True).stdout
    children: dict[int, list[int]] = {}
    for line in shown.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    doomed = [pid]
    for one in doomed:
        doomed += children.get(one, [])
    for one in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def rolled(host: Host, folder: Path, kind: str, expected: str, path: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Run a playbook under load; its outcome, and the users' figures."""
    fails = kind in ("exits", "silent", "turns bad")
    with Load(host.address, PORT, folder) as load:
        begun = time.time()
        with playing(path, folder, "-l", host.name, "-e", json.dumps(extra)) as (process, log):
            if kind == "killed":
                watching = f"journalctl -q -o cat --since @{begun:.0f} | grep -q ': watching .* for '"
                host.ask(f'timeout 60 sh -c "until {watching}; do sleep 0.2; done"', 70)
                time.sleep(2)
                kill(process.pid)
            code = process.wait(300)
        seconds = time.time() - begun
        settle(host, SETTLE)
        ended = time.time()
        time.sleep(LEAD)
    out = log.read_text(encoding="utf-8", errors="replace")
    if kind != "killed" and (code != 0) != fails:
        raise Trouble(f"{path} ended with exit code {code}:\n{out[-3000:]}")
    serves = serving(host)
    outcome = {"kind": kind, "seconds": round(seconds, 1), "settled": round(ended - begun, 1), "expected": expected}
    outcome |= {"serves": serves, "right": serves == [expected], **figures(load, begun, ended)}
    if kind == "rollback":
        last = max((one.at + one.seconds for one in load.requests if one.release not in ("", expected)), default=begun)
        outcome["last_answer_of_the_other"] = round(last - begun, 1)
    if fails:
        found = re.search("(the new instance did|the release turned bad)[^\n]{,160}", out)
        outcome["said"] = found[0] if found else ""
    return outcome


def composed(host: Host, folder: Path, name: str) -> dict[str, Any]:
    """Deploy a release with Compose alone."""
    source = release(folder, name, "good")
    host.put(f"{PLAIN}/app.py", (source / "app.py").read_text(encoding="utf-8"))
    with Load(host.address, PLAIN_PORT, folder) as load:
        begun = time.time()
        host.ask(f"cd {PLAIN} && docker compose up -d --build", 120)
        seconds = time.time() - begun
        time.sleep(1)
        ended = time.time()
        time.sleep(LEAD)
    serves = serving(host, PLAIN_PORT)
    outcome = {"kind": "compose", "seconds": round(seconds, 1), "settled": round(seconds, 1), "expected": name}
    return {**outcome, "serves": serves, "right": serves == [name], **figures(load, begun, ended)}


def prepare_plain(host: Host, folder: Path) -> None:
    """Set up the same app as most people run it: its own compose file, its own port, no balancer."""
    source = release(folder, "plain-0", "good")
    host.ask(f"mkdir -p {PLAIN} && cp {hosts.DIRECTORY}/.env {PLAIN}/.env")
    compose = (source / "compose.yaml").read_text(encoding="utf-8")
    for old, new in ((f"image: {APP}:1.0.0", "image: plain:1.0.0"), (f":{PORT}:", f":{PLAIN_PORT}:")):
        if old not in compose:
            raise Trouble(f"lab/backend/compose.yaml has no {old!r} any more")
        compose = compose.replace(old, new)
    host.put(f"{PLAIN}/compose.yaml", compose)
    for name in ("Dockerfile", "app.py"):
        host.put(f"{PLAIN}/{name}", (source / name).read_text(encoding="utf-8"))
    host.ask(f"cd {PLAIN} && docker compose up -d --build", 120)


def measure(host: Host, folder: Path, given: argparse.Namespace, book: Book) -> None:
    """Measure the missing rounds."""
    stamp, deploy, good = f"{int(time.time())}", "playbooks/deploy.yml", list[str]()
    extra = {"compose_app_gate_timeout": GATE}

    def unmeasured() -> None:
        good.append(f"{stamp}-first-{len(good)}")
        code, out = hosts.play(deploy, "-l", host.name, "-e", f"compose_app_source={release(folder, good[-1], 'good')}")
        if code:
            raise Trouble(f"{deploy} failed:\n{out}")

    unmeasured()
    done = {run.get("round") for run in book.runs if run["kind"] in ORDER}
    wanted = [(number, ORDER[(number - 1) % len(ORDER)]) for number in range(1, given.rounds + 1) if number not in done]
    for number, kind in wanted:
        name = f"{stamp}-{number}"
        source = release(folder, name, kind)
        good += [name] if kind == "good" else []
        outcome = rolled(host, folder, kind, good[-1], deploy, {**extra, "compose_app_source": str(source)})
        book.record({"round": number, **outcome})
        shutil.rmtree(source)
    rollbacks = range(len(of(book.runs, "rollback")), ROLLBACKS)
    while rollbacks and len(good) <= len(rollbacks):
        unmeasured()
    for number in rollbacks:
        # Each goes one release further back.
        good.pop()
        outcome = rolled(host, folder, "rollback", good[-1], "playbooks/rollback.yml", extra)
        book.record({"round": number + 1, **outcome})
    left = given.plain_rounds - len(of(book.runs, "compose"))
    if left > 0:
        prepare_plain(host, folder)
    for number in range(left):
        book.record(composed(host, folder, f"{stamp}-plain-{number + 1}"))


# --- table, picture and exit code ------------------------------------------------------------------------------------


class Book:
    """The results so far, in a file that is replaced atomically after each measurement."""

    def __init__(self, path: Path, about: dict[str, Any], resume: bool) -> None:
        self.path, self.about, self.runs = path, about, list[dict[str, Any]]()
        if resume and path.exists():
            try:
                saved = json.loads(path.read_text(encoding="utf-8"))
                self.runs, self.about = saved.pop("runs"), {**saved, **about}
            except (ValueError, KeyError, AttributeError) as error:
                sys.exit(f"bench-deploy: {path} cannot be gone on with ({error!r}): remove it, or leave out --resume")

    def record(self, run: dict[str, Any]) -> None:
        """Add a run."""
        self.runs.append({**run, "load": round(os.getloadavg()[0], 1)})
        self.write()
        print(
            f"{run.get('round', ''):>3} {KINDS[run['kind']]}: {run['seconds']:.1f} s, "
            f"{run['failed']} of {run['requests']} failed {run['codes'] or ''}, "
            f"p50 {run['p50']} p95 {run['p95']} p99 {run['p99']} max {run['max']} ms, "
            f"{'serves what it should' if run['right'] else 'serves ' + ', '.join(run['serves'])}",
            flush=True,
        )

    def write(self) -> None:
        """Write the file; one run of each kind keeps the series for the picture."""
        kept = {id(typical(self.runs, kind)) for kind in KINDS}
        runs = [run if id(run) in kept else {**run, "series": []} for run in self.runs]
        content = {**self.about, "table": table(self.runs), "missed": missed(self.runs), "runs": runs}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write(self.path, content)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the results as JSON, each point of a series on one line."""
    text = re.sub(r"\[[^][{}\"]*\]", lambda found: "".join(found[0].split()), json.dumps(content, indent=1))
    files.atomic_write(str(path), (text + "\n").encode(), mode=0o644)


def of(runs: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The runs of a kind."""
    return [run for run in runs if run["kind"] == kind]


def typical(runs: Sequence[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    """The run in the middle, by failed requests and then by the p99, of those that have a series."""
    own = sorted((run for run in of(runs, kind) if run["series"]), key=lambda run: (run["failed"], run["p99"] or 0))
    return own[len(own) // 2] if own else None


def table(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each kind."""
    found = []
    for kind, title in KINDS.items():
        own = of(runs, kind)
        if own:
            row: dict[str, Any] = {
                "kind": kind,
                "title": title,
                "n": len(own),
                "right": sum(run["right"] for run in own),
            }
            row |= {key: sum(run[key] for run in own) for key in ("requests", "failed", "not_sent")}
            row |= {"failed_most": max(run["failed"] for run in own)}
            row |= {"seconds": round(statistics.median(run["seconds"] for run in own), 1)}
            for key in ("p50", "p95", "p99"):
                row[key] = round(statistics.median(run[key] or 0 for run in own), 1)
            found.append({**row, "max": max(run["max"] or 0 for run in own)})
    return found


def missed(runs: Sequence[dict[str, Any]]) -> list[str]:
    """The missed goals, in sentences."""
    found = []
    for run in runs:
        what = f"{KINDS[run['kind']]}, round {run.get('round', 1)}"
        if run["kind"] != "compose" and run["failed"]:
            found.append(f"{what}: {run['failed']} requests failed")
        if not run["right"]:
            found.append(f"{what}: {', '.join(run['serves']) or 'no release'} serves")
        if run["kind"] == "rollback" and run["seconds"] > ROLLBACK_SECONDS:
            found.append(f"{what}: {run['seconds']} s, not {ROLLBACK_SECONDS:.0f}")
    return found


def draw(axes: Any, series: Sequence[Sequence[float | None]], until: float) -> None:
    """Draw the latency over the time of one run; the measured time has a grey background."""
    top, points = 3e3, [point for point in series if (point[0] or 0.0) >= -LEAD]
    at = [point[0] for point in points]
    axes.axvspan(0, until, color="#f0f0f0", linewidth=0)
    axes.fill_between(
        at,
        [point[1] or float("nan") for point in points],
        [point[2] or float("nan") for point in points],
        color="#4c72b0",
        alpha=0.35,
        linewidth=0,
        label="the slowest of 0.1 s",
    )
    axes.plot(at, [point[1] or float("nan") for point in points], color="#4c72b0", linewidth=1.2, label="the median")
    bad = [point for point in points if point[3]]
    axes.vlines([point[0] for point in bad], 10, top, color="#d62728", linewidth=1.6, label="requests that failed")
    axes.set_ylabel("ms")
    axes.set_yscale("log")
    axes.set_ylim(10, top)


def picture(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the latency over the time of a typical run of some kinds, one above the other."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "bench-deploy"
    drawn = [
        (title, run)
        for kind, title in (
            ("good", "deploy.yml, a good release"),
            ("turns bad", "deploy.yml, a release that answers 500 from 5 s after its start"),
            ("compose", "docker compose up -d --build, a good release"),
        )
        if (run := typical(runs, kind))
    ]
    figure, rows = pyplot.subplots(
        len(drawn), 1, sharex=True, sharey=True, squeeze=False, figsize=(9, 1 + 1.8 * len(drawn))
    )
    for axes, (title, run) in zip(rows[:, 0], drawn):
        draw(axes, run["series"], run["settled"])
        axes.set_title(f"{title}: {run['failed']} of {run['requests']} requests failed", fontsize=9, loc="left")
    rows[-1, 0].set_xlabel(f"seconds since the deploy began (grey: as long as it takes), at {RATE} requests a second")
    rows[0, 0].legend(loc="upper right", fontsize=8, ncols=3, frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def tell(book: Book) -> int:
    """Print the table, draw the picture; the exit code."""
    if not book.runs:
        print("bench-deploy: nothing was measured", file=sys.stderr)
        return 2
    book.write()
    picture(book.runs, book.path.with_suffix(".svg"))
    print(
        f"\n{RATE} requests a second, the app takes {ANSWER_SECONDS * 1e3:.0f} ms for each; percentiles: "
        "the median of the runs\n"
    )
    print("| what | n | right release serves | failed requests | s | p50 ms | p95 ms | p99 ms | max ms |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in table(book.runs):
        times = " | ".join(f"{row[key]:.0f}" for key in ("p50", "p95", "p99", "max"))
        failed = f"{row['failed']} of {row['requests']}"
        print(f"| {row['title']} | {row['n']} | {row['right']} | {failed} | {row['seconds']} | {times} |")
    for run in of(book.runs, "rollback"):
        print(f"\nrollback.yml: the last answer of the other release came after {run['last_answer_of_the_other']} s")
    lost = missed(book.runs)
    print(f"\n{book.path} and {book.path.stem}.svg are written")
    print(f"bench-deploy: {'missed: ' + '; '.join(lost) if lost else 'every goal is met'}")
    return 1 if lost else 0


def main() -> int:
    """Create the host, measure, print the results, remove the host."""
    parser = argparse.ArgumentParser(
        prog="bench-deploy", description=" ".join((__doc__ or "").partition("\n\n")[0].split()), allow_abbrev=False
    )
    whole: dict[str, Any] = {"type": int, "metavar": "N"}
    parser.add_argument("--rounds", **whole, default=FULL_ROUNDS, help=f"deploys (default: {FULL_ROUNDS})")
    parser.add_argument("--plain-rounds", **whole, default=PLAIN_ROUNDS, help=f"of Compose (default: {PLAIN_ROUNDS})")
    parser.add_argument("--resume", action="store_true", help="keep what there is, and measure what is missing")
    parser.add_argument("--keep", action="store_true", help="leave the lab host as it is at the end")
    parser.add_argument("--draw", action="store_true", help="measure nothing: table and picture of what there is")
    given = parser.parse_args()
    if given.rounds < 1 or given.plain_rounds < 0:
        parser.error("--rounds: 1 or more; --plain-rounds: 0 or more")
    # Its inventory must not overwrite bench-recovery's.
    hosts.INVENTORY = hosts.LAB / "bench-deploy" / "hosts.yml"
    # A shorter run does not overwrite the full run's figures.
    whole_run = given.rounds >= FULL_ROUNDS and given.plain_rounds >= 3
    path = (RESULTS if whole_run or given.draw else hosts.INVENTORY.parent) / "deploy.json"
    settings = {
        "rounds": given.rounds,
        "plain_rounds": given.plain_rounds,
        "rate": RATE,
        "answer_seconds": ANSWER_SECONDS,
    }
    book = Book(
        path, {} if given.draw else {"machine": hosts.machine(), "settings": settings}, given.resume or given.draw
    )
    if given.draw:
        return tell(book)
    host = Host(
        "bench-deploy",
        38,
        {
            "compose_app_instances": 2,
            "load_balancer_address": "{{ ansible_host }}",
            "load_balancer_port": PORT,
            # All the load comes from one address.
            "load_balancer_trusted": ["127.0.0.0/8", f"{hosts.PREFIX}.1"],
        },
    )

    def work() -> int:
        book.about["versions"] = hosts.versions(host)
        with tempfile.TemporaryDirectory(prefix="bench-deploy-") as folder:
            measure(host, Path(folder), given, book)
        return tell(book)

    return hosts.measured("bench-deploy", [host], work, given.keep, "; go on with ARGS=--resume")


if __name__ == "__main__":
    sys.exit(main())
