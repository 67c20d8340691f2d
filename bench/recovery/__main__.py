# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure how long a host takes to recover its app from every fault of the drill catalogue.

Some of the faults are also measured with an earlier revision of this collection, and with what Debian carries instead:
Docker alone, Docker Swarm, Monit, and the script of the incident report.

Makes its own lab hosts, and removes them at the end. What has been measured is written at once to
`results/recovery.json`; a run that was interrupted goes on with --resume. Prints a table and draws
`results/recovery.svg`. The exit code is 1 when a goal is missed, 2 when something could not be measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.christmas.selfheal.bench.recover import REPOSITORY, RESULTS
from ansible_collections.christmas.selfheal.bench.recovery import before, hosts, others, ours, picture, results
from ansible_collections.christmas.selfheal.plugins.module_utils.core import files
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.fault import Fault
from ansible_collections.christmas.selfheal.plugins.plugin_utils import fault_catalogue

CATALOGUE = REPOSITORY / "roles/drill/faults"
FULL_ROUNDS = 20
FIRST_HOST, MOST_HOSTS = 31, 3
FIRST_TWO, MOST_TWO = 39, 2
BEFORE_HOST = 42
# The revision before a patience was learnt.
REVISION = "2bf3d93"
# A receiver that does not exist: Alertmanager gets the alerts, and keeps them.
ALERTED = {
    "alerting_receivers": [
        {
            "kind": "telegram",
            "chat_id": -1,
            "token": f"1:{hashlib.sha256(b'bench').hexdigest()[:35]}",
            "api_url": f"http://{hosts.PREFIX}.1:9",
        }
    ]
}
OWN = (results.OURS, results.BEFORE, results.TWO)
TITLES = {
    results.OURS: "christmas.selfheal",
    results.TWO: "christmas.selfheal, one of two instances",
    results.BEFORE: "christmas.selfheal, before",
    **{name: one.title for name, one in others.ALTERNATIVES.items()},
}


def arguments(words: Sequence[str] | None, catalogue: dict[str, Fault]) -> argparse.Namespace:
    """Read the options; a bad one ends the program with a sentence that names it."""
    parser = argparse.ArgumentParser(
        prog="bench-recovery", description=" ".join((__doc__ or "").partition("\n\n")[0].split()), allow_abbrev=False
    )
    whole: dict[str, Any] = {"type": int, "metavar": "N"}
    names: dict[str, Any] = {"type": lambda text: text.split(","), "metavar": "NAME,NAME"}
    add = parser.add_argument
    add("--rounds", **whole, default=FULL_ROUNDS, help=f"how often each fault is injected (default: {FULL_ROUNDS})")
    add("--alternative-rounds", **whole, default=FULL_ROUNDS, help=f"of the alternatives (default: {FULL_ROUNDS})")
    add("--hosts", **whole, default=1, help=f"lab hosts that share our rounds (default: 1; at most {MOST_HOSTS})")
    add("--slice", **whole, default=5, help="rounds of one fault in one go: what an interruption loses (default: 5)")
    add("--timeout", **whole, default=200, help="seconds after which an alternative has not recovered (default: 200)")
    add("--faults", **names, default=list(catalogue), help="our faults (default: the whole catalogue)")
    add(
        "--alternative-faults",
        **names,
        default=None,
        help=f"(default: {','.join(results.PUT_TO_ALL)}, those of --faults)",
    )
    add("--systems", **names, default=list(TITLES), help=f"what is measured (default: {','.join(TITLES)})")
    add("--before", default=REVISION, metavar="REVISION", help=f"of this repository (default: {REVISION})")
    add("--resume", action="store_true", help="keep what results/recovery.json has, and measure what is missing")
    add("--keep", action="store_true", help="leave the lab hosts as they are at the end")
    add("--draw", action="store_true", help="measure nothing: table and picture of what results/recovery.json has")
    given = parser.parse_args(words)
    if given.alternative_faults is None:
        given.alternative_faults = [name for name in results.PUT_TO_ALL if name in given.faults]
    for option in ("rounds", "alternative_rounds", "hosts", "slice", "timeout"):
        if getattr(given, option) < 1:
            parser.error(f"--{option.replace('_', '-')}: {getattr(given, option)}: 1 or more is needed")
    if given.hosts > MOST_HOSTS:
        parser.error(f"--hosts: {given.hosts}: there are addresses for {MOST_HOSTS}")
    for option, known in (
        ("faults", list(catalogue)),
        ("alternative_faults", [name for name, fault in catalogue.items() if others.possible(fault)]),
        ("systems", list(TITLES)),
    ):
        for name in getattr(given, option):
            if name not in known:
                parser.error(f"--{option.replace('_', '-')}: {name!r} is not known here; use {', '.join(known)}")
    return given


class Book:
    """What has been measured, in a file that is replaced whole after each piece."""

    def __init__(self, path: Path, faults: dict[str, Fault], about: dict[str, Any], resume: bool) -> None:
        self.path, self.faults, self.lock = path, faults, threading.Lock()
        self.about, self.runs = about, list[dict[str, Any]]()
        self.troubles: list[str] = []
        if resume:
            try:
                saved = json.loads(path.read_text(encoding="utf-8"))
                self.runs, self.about = saved.pop("runs"), {**saved, **about, "begun": saved["begun"]}
                self.troubles = [] if about else saved["troubles"]
            except FileNotFoundError:
                pass
            except (ValueError, KeyError, AttributeError) as error:
                sys.exit(f"bench-recovery: {path} cannot be gone on with ({error!r}): remove it, or leave out --resume")

    def record(self, runs: Sequence[dict[str, Any]]) -> None:
        """Add runs, with the round that each is, and how busy the machine has been in the last minute."""
        load, self.about["ended"] = round(os.getloadavg()[0], 1), now()
        with self.lock:
            for run in runs:
                number = len(results.of(self.runs, run["system"], run["fault"])) + 1
                self.runs.append({**run, "round": number, "load": load})
            self.write()

    def rows(self) -> list[dict[str, Any]]:
        """The table."""
        return results.table(self.faults, list(TITLES), self.runs)

    def write(self) -> None:
        """Write the file."""
        content = {
            **self.about,
            "titles": TITLES,
            "table": self.rows(),
            "troubles": self.troubles,
            "runs": sorted(self.runs, key=lambda run: (run["system"], run["fault"], run["round"])),
        }
        self.path.parent.mkdir(exist_ok=True)
        files.atomic_write(str(self.path), (json.dumps(content, indent=1) + "\n").encode(), mode=0o644)


def now() -> str:
    """The time, for the file."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def say(text: str) -> None:
    """A line of progress."""
    print(f"{datetime.now().strftime('%H:%M:%S')} {text}", flush=True)


def rest(seconds: float = 180.0) -> None:
    """Wait until this machine has got over what went before: a busy one is what an overload looks like."""
    deadline, cores = time.monotonic() + seconds, os.cpu_count() or 1
    say(f"the hosts are ready; waiting, {seconds:.0f} s at most, until the machine is at rest")
    while os.getloadavg()[0] > cores and time.monotonic() < deadline:
        time.sleep(5)
    say(f"the machine's load is {os.getloadavg()[0]:.1f} on {cores} cores")


def two(number: int) -> hosts.Host:
    """A host with two instances behind the load balancer, at the port that the others publish themselves."""
    address = f"{hosts.PREFIX}.{FIRST_TWO + number}"
    extra = {
        "compose_app_instances": 2,
        "load_balancer_address": address,
        "load_balancer_port": 8000,
        "load_balancer_trusted": ["127.0.0.0/8", f"{hosts.PREFIX}.0/24"],
    }
    return hosts.Host(f"bench-two-{number + 1}", FIRST_TWO + number, extra)


def measure_ours(
    given: argparse.Namespace,
    book: Book,
    own: Mapping[str, Sequence[hosts.Host]],
    stopping: threading.Event,
) -> None:
    """The catalogue, and parts of it, in turns: what else the machine does affects all of them."""
    for rounds in (*range(given.slice, given.rounds, given.slice), given.rounds):
        for system, crew in own.items():
            measure_one(given, book, system, crew, rounds, stopping)


def measure_one(
    given: argparse.Namespace,
    book: Book,
    system: str,
    crew: Sequence[hosts.Host],
    rounds: int,
    stopping: threading.Event,
) -> None:
    """What is missing of the rounds of one system, up to this number of each fault."""
    wanted = {name: book.faults[name] for name in results.put_to(system, book.faults) if name in given.faults}
    names, left_out = ours.able(crew[0], wanted)
    book.about["left_out"] = sorted({*book.about.get("left_out", []), *left_out})
    for sentence in left_out:
        say(sentence)
    parts = results.slices(names, rounds, book.runs, given.slice, system)
    total = sum(part.rounds for part in parts)
    say(f"{TITLES[system]}: {total} rounds of {len(names)} faults, on {len(crew)} hosts")
    book.troubles += ours.measure(system, crew, parts, book.record, say, stopping)


def measure_others(given: argparse.Namespace, book: Book, systems: Sequence[str], stopping: threading.Event) -> None:
    """The alternatives, all at once: they mostly wait."""
    faults = {name: book.faults[name] for name in given.alternative_faults}

    def work(system: str) -> None:
        try:
            watched = others.Watched(system, say, stopping)
            watched.prepare()
            if watched.version:
                book.about["versions"][system] = watched.version
            say(f"{watched.host.name}: {TITLES[system]}: {given.alternative_rounds} rounds of {len(faults)} faults")
            trouble = others.measure(watched, faults, given.alternative_rounds, given.timeout, book.runs, book.record)
        except Exception as error:
            trouble = f"{system}: {error if isinstance(error, hosts.Trouble) else repr(error)}"
        if trouble and not stopping.is_set():
            book.troubles.append(trouble)
            say(trouble)

    hosts.at_once(work, systems)


def unmeasured(given: argparse.Namespace, book: Book) -> int:
    """How many rounds are missing of what was asked for."""
    skipped = {sentence.split()[0] for sentence in book.about.get("left_out", [])}
    left = 0
    for system in OWN:
        put = [name for name in results.put_to(system, book.faults) if name in given.faults and name not in skipped]
        left += len(results.slices(put, given.rounds, book.runs, 1, system)) if system in given.systems else 0
    for system in given.systems:
        for fault in given.alternative_faults if system not in OWN else ():
            own = results.of(book.runs, system, fault)
            left += 0 if results.given_up(own) else max(0, given.alternative_rounds - len(own))
    return left


def tell(given: argparse.Namespace, book: Book) -> int:
    """Print the table, draw the picture; the exit code."""
    rows = book.rows()
    if not rows:
        print("bench-recovery: nothing was measured", file=sys.stderr)
        return 2
    about = book.about
    timeout = about.get("settings", {}).get("timeout", given.timeout)
    note = (
        f"never: not recovered within {timeout} s. The report's script looked every {others.SCRIPT_SCALED} s, "
        f"and its wait is multiplied by {others.SCRIPT_EVERY // others.SCRIPT_SCALED}"
    )
    book.write()
    picture.draw(rows, book.runs, TITLES, book.path.with_suffix(".svg"), note)
    print("\nMedian / p95 in seconds (n), from the fault to the first of ten good answers in a row.")
    print(f"{note[0].upper()}{note[1:]}.\n")
    print(results.shown(rows, TITLES))
    for sentence in about.get("left_out", []):
        print(sentence)
    left = 0 if given.draw else unmeasured(given, book)
    print(f"\n{results.verdict(rows, book.troubles, left)}")
    if book.troubles or left:
        return 2
    return 1 if any(row["met"] is False for row in rows) else 0


def main() -> int:
    """Make the hosts, measure, tell, remove the hosts."""
    catalogue = fault_catalogue.read(str(CATALOGUE))
    given = arguments(None, catalogue)
    settings = {
        key: getattr(given, key)
        for key in ("rounds", "alternative_rounds", "hosts", "timeout", "faults", "systems", "before")
    }
    about = {"begun": now(), "machine": hosts.machine(), "settings": settings}
    # A trial does not take the place of the real figures; --resume adds to them.
    whole = given.rounds >= FULL_ROUNDS and given.faults == list(catalogue) and given.systems == list(TITLES)
    kept = whole or given.resume or given.draw
    book = Book(
        (RESULTS if kept else hosts.INVENTORY.parent) / "recovery.json",
        catalogue,
        {} if given.draw else about,
        given.resume or given.draw,
    )
    if given.draw:
        return tell(given, book)
    crew = [hosts.Host(f"bench-{number + 1}", FIRST_HOST + number, ALERTED) for number in range(given.hosts)]
    own = {system: on for system, on in ((results.OURS, crew),) if system in given.systems}
    if results.BEFORE in given.systems:
        try:
            root = before.check_out(given.before)
        except hosts.Trouble as trouble:
            print(f"bench-recovery: {trouble}", file=sys.stderr)
            return 2
        own[results.BEFORE] = [hosts.Host("bench-before", BEFORE_HOST, ALERTED, root)]
    if results.TWO in given.systems:
        own[results.TWO] = [two(number) for number in range(min(given.hosts, MOST_TWO))]
    alternatives = [system for system in given.systems if system in others.ALTERNATIVES and given.alternative_faults]
    everything = [*(host for on in own.values() for host in on), *(others.host_of(system) for system in alternatives)]
    stopping = threading.Event()

    def work() -> int:
        book.about["versions"] = {**book.about.get("versions", {}), **hosts.versions(everything[0])}
        rest()
        try:
            measure_ours(given, book, own, stopping)
            if alternatives:
                measure_others(given, book, alternatives, stopping)
        finally:
            stopping.set()
        return tell(given, book)

    return hosts.measured("bench-recovery", everything, work, given.keep, "; go on with ARGS=--resume")


if __name__ == "__main__":
    sys.exit(main())
