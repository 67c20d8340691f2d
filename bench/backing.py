# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The effect of a connection pool and a cache behind the app, compared with none.

It runs on a lab host of its own. The pool: 200 clients keep one connection each and send statements of 5 ms as fast as
they get answers, through PgBouncer and straight to PostgreSQL (100 connections, Debian's default). The connections of
the database are counted. The cache: users read from the app, with a cache, while it is stopped and started, and without
one. A read takes the database 20 ms more than the lab's few rows need, like a join or a database in another region.

Prints a table, writes `results/backing.json` and `results/backing.svg` (a shorter run: in `.lab/bench-backing`). The
exit code is 1 when a goal is missed, 2 when it could not be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.christmas.selfheal.bench.recover import APP, REPOSITORY, RESULTS
from ansible_collections.christmas.selfheal.bench.recovery import hosts
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Host, Trouble
from ansible_collections.christmas.selfheal.plugins.module_utils.core import files

CLIENTS, SERVERS, USERS = 200, 20, 20
ROUNDS, SECONDS = 3, 10
# How long the database takes for a statement of those clients, and by how much longer for a read of the app.
STATEMENT_SECONDS, READ_SECONDS = 0.005, 0.02
SAMPLE = 0.2
LAB = yaml.safe_load((REPOSITORY / "lab/vars/lab.yml").read_text(encoding="utf-8"))
DATABASE = (f"{hosts.PREFIX}.9", 5432)
NAME = "bench-backing"
PSQL = [*("docker", "exec", "-i", "-e", f"PGAPPNAME={NAME}", LAB["lab_database"]["name"]), "psql", "-qAt"]
BACKEND, CACHE = f"{APP}-backend-1", f"{APP}-cache-1"
KINDS = {
    "pool": f"{CLIENTS} clients through PgBouncer",
    "straight": f"{CLIENTS} clients straight to PostgreSQL",
    "cached": "reads with the cache",
    "stopped": "reads while the cache is stopped and started",
    "uncached": "reads without a cache",
}
READ = "FROM public.gifts ORDER BY"
# Runs in the app's container, which has psycopg2, and the password in its environment.
CLIENT = """
import json, os, sys, threading, time
import psycopg2
host, port, clients, seconds, statement = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
answers, errors, served, lock = [], {}, set(), threading.Lock()
ready, over = threading.Barrier(clients + 1), threading.Event()
def failed(error):
    text = str(error).strip().splitlines()[-1].split("FATAL: ")[-1].strip()
    with lock:
        errors[text] = errors.get(text, 0) + 1
def connect():
    name, user, password = (os.environ["DATABASE_" + part] for part in ("NAME", "USER", "PASSWORD"))
    try:
        connection = psycopg2.connect(host=host, port=port, dbname=name, user=user, password=password)
        connection.autocommit = True
        return connection
    except psycopg2.Error as error:
        failed(error)
        return None
def client(number):
    connection, own = connect(), []
    ready.wait()
    while not over.is_set():
        if connection is None:
            over.wait(0.5)
            connection = connect()
            continue
        begun = time.monotonic()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                cursor.fetchall()
        except psycopg2.Error as error:
            failed(error)
            connection = None
            continue
        own.append(time.monotonic() - begun)
    with lock:
        answers.extend(own)
        if own:
            served.add(number)
threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
for thread in threads:
    thread.start()
ready.wait()
time.sleep(seconds)
over.set()
for thread in threads:
    thread.join()
answers.sort()
at = lambda share: round(1e3 * answers[max(0, -(-len(answers) * share // 100) - 1)], 1) if answers else None
print(json.dumps({"requests": len(answers), "per_second": round(len(answers) / seconds), "p50": at(50), "p95": at(95),
                  "served": len(served), "failed": sum(errors.values()), "errors": errors}))
"""


# --- the pool --------------------------------------------------------------------------------------------------------


def end(which: str) -> None:
    """End connections of the database."""
    text = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {which}"
    subprocess.run([*PSQL, "-c", text], stdout=subprocess.DEVNULL, check=True, timeout=20)


class Connections:
    """Counts the database's connections from a host, five times a second, inside the `with` block."""

    def __init__(self, address: str) -> None:
        self.address, self.counted = address, list[int]()

    def __enter__(self) -> Connections:
        query = f"SELECT count(*) FROM pg_stat_activity WHERE client_addr = '{self.address}'"
        self.process = subprocess.Popen(
            PSQL,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdin
        self.process.stdin.write(f"{query}\n\\watch {SAMPLE}\n")
        self.process.stdin.flush()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        return self

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.strip().isdigit():
                self.counted.append(int(line))

    def __exit__(self, kind: Any, *_unused: object) -> None:
        # This process is only the ssh to the one that counts, which would continue.
        end(f"application_name = '{NAME}' AND pid <> pg_backend_pid()")
        self.process.wait(10)
        self.reader.join(10)
        if kind is None and len(self.counted) < 5:
            raise Trouble("the database did not say how many connections it has")


def pooled(host: Host, kind: str, seconds: int) -> dict[str, Any]:
    """Let the clients read."""
    # The pool keeps connections for a minute, and removed hosts leave some: they would take the clients' place.
    end(f"usename = '{LAB['lab_database']['user']}'")
    time.sleep(2)
    where = ("pool", 6432) if kind == "pool" else DATABASE
    statement = f"SELECT id, name FROM public.gifts, pg_sleep({STATEMENT_SECONDS})"
    with Connections(host.address) as connections:
        output = host.ask(
            f"docker exec -i {BACKEND} python3 - {where[0]} {where[1]} {CLIENTS} {seconds} '{statement}'",
            seconds + 60,
            CLIENT,
        )
    return {"kind": kind, **json.loads(output), "connections": max(connections.counted), "counted": connections.counted}


# --- the cache -------------------------------------------------------------------------------------------------------


class Users:
    """Users that read inside the `with` block, one request after the other on a kept connection."""

    def __init__(self, address: str, token: str) -> None:
        self.address, self.token = address, token
        self.begun, self.over, self.lock = time.monotonic(), threading.Event(), threading.Lock()
        self.answers, self.errors = list[tuple[float, float]](), dict[str, int]()

    def __enter__(self) -> Users:
        self.begun = time.monotonic()
        self.threads = [threading.Thread(target=self._read, daemon=True) for _unused in range(USERS)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self.seconds = time.monotonic() - self.begun
        self.over.set()
        for thread in self.threads:
            thread.join(15)

    def _read(self) -> None:
        connection = http.client.HTTPConnection(self.address, 8000, timeout=10)
        own, headers = list[tuple[float, float]](), {"Authorization": f"Bearer {self.token}"}
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                connection.request("GET", "/api/gifts", headers=headers)
                # The app sends head and body separately. Without this, a delayed ACK of 40 ms comes in between.
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                answer = connection.getresponse()
                answer.read()
                code = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                code = type(error).__name__
                connection.close()
            if code == "200":
                own.append((begun - self.begun, time.monotonic() - begun))
            else:
                with self.lock:
                    self.errors[code] = self.errors.get(code, 0) + 1
        connection.close()
        with self.lock:
            self.answers += own


def token(host: Host) -> str:
    """Log in, as the checks do."""
    env = host.ask(f"cat {hosts.DIRECTORY}/.env")
    found = dict(re.findall(r"""^(PROBE_\w+)=["']?(.*?)["']?$""", env, re.MULTILINE))
    connection = http.client.HTTPConnection(host.address, 8000, timeout=10)
    body = json.dumps({"email": found["PROBE_EMAIL"], "password": found["PROBE_PASSWORD"]})
    connection.request("POST", "/auth/login", body)
    answer = connection.getresponse()
    session = json.loads(answer.read())
    connection.close()
    if answer.status != 200:
        raise Trouble(f"the login was answered with {answer.status}")
    return str(session["access_token"])


def read(host: Host, kind: str, seconds: int) -> dict[str, Any]:
    """Let the users read."""
    away: list[float] = []
    with Users(host.address, token(host)) as users:
        if kind == "stopped":
            for command in ("stop", "start"):
                time.sleep(seconds / 3)
                host.ask(f"docker {command} -t 1 {CACHE}" if command == "stop" else f"docker {command} {CACHE}")
                away.append(round(time.monotonic() - users.begun, 1))
            time.sleep(seconds / 3)
        else:
            time.sleep(seconds)
    times = sorted(took for _unused, took in users.answers)
    return {
        "kind": kind,
        "requests": len(times),
        "per_second": round(len(times) / users.seconds),
        "p50": _rank(times, 50),
        "p95": _rank(times, 95),
        "max": _rank(times, 100),
        "failed": sum(users.errors.values()),
        "errors": users.errors,
        "away": away,
        "series": _series(users.answers),
    }


def _rank(values: Sequence[float], percent: int) -> float | None:
    """A percentile in ms, by the nearest rank."""
    return round(1e3 * values[max(0, -(-len(values) * percent // 100) - 1)], 1) if values else None


def _series(answers: Sequence[tuple[float, float]]) -> list[list[float | None]]:
    """For the picture: [[second, median ms, p95 ms]] of every fifth of a second."""
    bins: dict[int, list[float]] = {}
    for at, took in answers:
        bins.setdefault(int(at / SAMPLE), []).append(took)
    return [[round(at * SAMPLE, 1), _rank(sorted(own), 50), _rank(sorted(own), 95)] for at, own in sorted(bins.items())]


# --- all of it -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def source() -> Iterator[str]:
    """The sample backend, whose reads take the database a while."""
    with tempfile.TemporaryDirectory(prefix="bench-backing-") as folder:
        target = Path(folder) / "backend"
        shutil.copytree(REPOSITORY / "lab/backend", target, ignore=shutil.ignore_patterns("__pycache__"))
        text = (target / "app.py").read_text(encoding="utf-8")
        if text.count(READ) != 1:
            raise Trouble(f"lab/backend/app.py has {text.count(READ)} times {READ!r}: one was expected")
        text = text.replace(READ, READ.replace(" ORDER", f", pg_sleep({READ_SECONDS}) ORDER"))
        (target / "app.py").write_text(text, encoding="utf-8")
        yield str(target)


def measure(host: Host, rounds: int, seconds: int) -> list[dict[str, Any]]:
    """Everything, in turns."""
    runs: list[dict[str, Any]] = []

    def record(run: dict[str, Any]) -> None:
        runs.append({**run, "load": load})
        extra = f", {run['connections']} connections of the database" if "connections" in run else ""
        print(
            f"{KINDS[run['kind']]}: {run['per_second']}/s, p50 {run['p50']} p95 {run['p95']} ms, "
            f"{run['failed']} failed {run['errors'] or ''}{extra}",
            flush=True,
        )

    with source() as folder:
        for kinds, cache in ((("pool", "straight", "cached", "stopped"), True), (("uncached",), False)):
            extra = {"compose_app_source": folder, "compose_app_cache_enabled": cache}
            code, out = hosts.play("playbooks/deploy.yml", "-l", host.name, "-e", json.dumps(extra))
            if code:
                raise Trouble(f"playbooks/deploy.yml failed:\n{out}")
            for _unused in range(rounds):
                for kind in kinds:
                    time.sleep(2)
                    load = round(os.getloadavg()[0], 1)
                    record((pooled if kind in ("pool", "straight") else read)(host, kind, seconds))
    return runs


def table(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each kind: medians, and the worst value of what must not happen."""
    found = []
    for kind, title in KINDS.items():
        own = [run for run in runs if run["kind"] == kind]
        row: dict[str, Any] = {"kind": kind, "title": title, "n": len(own)}
        row |= {key: statistics.median(run[key] or 0 for run in own) for key in ("per_second", "p50", "p95")}
        row |= {key: sum(run[key] for run in own) for key in ("requests", "failed")}
        if "served" in own[0]:
            row |= {"served": min(run["served"] for run in own), "connections": max(run["connections"] for run in own)}
        found.append(row)
    return found


def missed(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The missed goals, in sentences."""
    by_kind = {row["kind"]: row for row in rows}
    pool = by_kind["pool"]
    found = [
        f"{by_kind[kind]['failed']} {KINDS[kind]} failed" for kind in ("cached", "stopped") if by_kind[kind]["failed"]
    ]
    if pool["failed"] or pool["served"] < CLIENTS:
        found.append(f"the pool served {pool['served']} of {CLIENTS} clients, and {pool['failed']} statements failed")
    if pool["connections"] > SERVERS:
        found.append(f"the pool had {pool['connections']} connections, not {SERVERS}")
    return found


def picture(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the database's connections, and the latency while the cache is stopped."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "bench-backing"
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(9, 5))
    rows = {row["kind"]: row for row in table(runs)}
    for kind, colour in (("straight", "#d62728"), ("pool", "#4c72b0")):
        run = next(run for run in runs if run["kind"] == kind)
        label = f"{KINDS[kind]}: {rows[kind]['served']} served, {rows[kind]['failed']} errors"
        above.plot([SAMPLE * at for at in range(len(run["counted"]))], run["counted"], color=colour, label=label)
    above.set_title("connections of the database", fontsize=9, loc="left")
    above.set_ylim(0, 135)
    above.legend(loc="upper right", fontsize=8, frameon=False)
    run = next(run for run in runs if run["kind"] == "stopped")
    below.axvspan(*run["away"], color="#f0f0f0", linewidth=0)
    at = [point[0] for point in run["series"]]
    below.plot(at, [point[2] for point in run["series"]], color="#4c72b0", alpha=0.4, label="95 % of the reads")
    below.plot(at, [point[1] for point in run["series"]], color="#4c72b0", label="the median")
    below.set_title(
        f"reads while the cache is stopped (grey): {run['failed']} of {run['requests']} failed", fontsize=9, loc="left"
    )
    below.set_ylabel("ms")
    below.set_ylim(bottom=0)
    below.set_xlabel("seconds")
    below.legend(loc="upper right", fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def tell(about: dict[str, Any], path: Path) -> int:
    """Write the file, print the table, draw the picture; the exit code."""
    runs = about["runs"]
    rows = table(runs)
    lost = missed(rows)
    text = json.dumps({**about, "table": rows, "missed": lost, "runs": runs}, indent=1)
    # A series on one line.
    text = re.sub(r"\[[^][{}\"]*\]", lambda found: "".join(found[0].split()), text)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.atomic_write(str(path), (text + "\n").encode(), mode=0o644)
    picture(runs, path.with_suffix(".svg"))
    print(
        f"\nA read takes the database {READ_SECONDS * 1e3:.0f} ms more than it would; {USERS} users read from the app\n"
    )
    print("| what | n | requests/s | p50 ms | p95 ms | failed | clients served | connections of the database |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        counts = f"{row.get('served', '')} | {row.get('connections', '')}"
        times = f"{row['per_second']:.0f} | {row['p50']:.0f} | {row['p95']:.0f}"
        failed = f"{row['failed']} of {row['requests'] + row['failed']}"
        print(f"| {row['title']} | {row['n']} | {times} | {failed} | {counts} |")
    print(f"\n{path} and {path.stem}.svg are written")
    print(f"bench-backing: {'missed: ' + '; '.join(lost) if lost else 'every goal is met'}")
    return 1 if lost else 0


def main() -> int:
    """Create the host, measure, print the results, remove the host."""
    parser = argparse.ArgumentParser(
        prog="bench-backing", description=" ".join((__doc__ or "").partition("\n\n")[0].split()), allow_abbrev=False
    )
    whole: dict[str, Any] = {"type": int, "metavar": "N"}
    parser.add_argument("--rounds", **whole, default=ROUNDS, help=f"of each measurement (default: {ROUNDS})")
    parser.add_argument("--seconds", **whole, default=SECONDS, help=f"that each takes (default: {SECONDS})")
    parser.add_argument("--keep", action="store_true", help="leave the lab host as it is at the end")
    parser.add_argument("--draw", action="store_true", help="measure nothing: table and picture of what there is")
    given = parser.parse_args()
    if given.rounds < 1 or given.seconds < 3:
        parser.error("--rounds: 1 or more; --seconds: 3 or more")
    # Its inventory must not overwrite bench-recovery's.
    hosts.INVENTORY = hosts.LAB / "bench-backing" / "hosts.yml"
    # A shorter run does not overwrite the full run's figures.
    full = given.rounds >= ROUNDS and given.seconds >= SECONDS
    path = (RESULTS if full or given.draw else hosts.INVENTORY.parent) / "backing.json"
    if given.draw:
        return tell(json.loads(path.read_text(encoding="utf-8")), path)
    scenario = REPOSITORY / "molecule/shared/host_vars/molecule-backing-services.yml"
    host = Host("bench-backing", 45, {**yaml.safe_load(scenario.read_text(encoding="utf-8")), "lab_backing": True})

    def work() -> int:
        settings = {
            "clients": CLIENTS,
            "users": USERS,
            "read_seconds": READ_SECONDS,
            "statement_seconds": STATEMENT_SECONDS,
            "seconds": given.seconds,
        }
        about = {"machine": hosts.machine(), "versions": hosts.versions(host), "settings": settings}
        return tell({**about, "runs": measure(host, given.rounds, given.seconds)}, path)

    return hosts.measured("bench-backing", [host], work, given.keep)


if __name__ == "__main__":
    sys.exit(main())
