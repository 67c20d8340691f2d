# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Break single services of an app, and measure which of three systems heals them.

The systems are the watcher, Docker's restart policy alone, and a loop that restarts unhealthy containers.

The app is the project of molecule/multi-service, on two lab hosts: without a load balancer, and behind one. The load
balancer balances the proxy, which holds the port. A fault hits all containers of its service. A prober asks ten times a
second from outside, and a writer sends a numbered record fifty times a second. The watcher is measured on one host
after the other; the alternatives, which mostly wait, on both at the same time.

Each measurement is written to `results/services.json` at once; --resume continues an interrupted run. Prints tables and
draws `results/services.svg` (a shorter run: in `.lab/bench-services`). The exit code is 1 when a goal is missed, 2 when
something could not be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.christmas.selfheal.bench.recover import RESULTS
from ansible_collections.christmas.selfheal.bench.recovery import hosts, picture
from ansible_collections.christmas.selfheal.bench.recovery import results as shared
from ansible_collections.christmas.selfheal.bench.recovery.__main__ import now, rest, say
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Trouble
from ansible_collections.christmas.selfheal.bench.services import results
from ansible_collections.christmas.selfheal.bench.services.faults import APP, FAULTS, Fault, Target
from ansible_collections.christmas.selfheal.bench.services.multi_service_app import NAME, SERVICES, MultiServiceApp
from ansible_collections.christmas.selfheal.bench.services.results import OURS, Run
from ansible_collections.christmas.selfheal.bench.services.rounds import Asked, one_round
from ansible_collections.christmas.selfheal.plugins.module_utils.core import files

ROUNDS, TIMEOUT = 10, 60.0
PROJECT = "molecule/multi-service/project.yml"
INTERRUPTED = 130
"""Exit code."""


class Book:
    """The results so far, in a file that is replaced atomically after each round."""

    def __init__(self, path: Path, about: Mapping[str, Any], resume: bool) -> None:
        self.path, self.about, self.runs, self.lock = path, dict(about), list[Run](), threading.Lock()
        self.troubles: list[str] = []
        if resume and path.exists():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                self.runs, self.about = kept.pop("runs"), {**kept, **about, "begun": kept["begun"]}
                self.troubles = [] if about else kept["troubles"]
            except (ValueError, KeyError, AttributeError) as error:
                sys.exit(f"{NAME}: {path} cannot be gone on with ({error!r}): remove it, or leave out --resume")

    def record(self, run: Run) -> None:
        """Add a round."""
        with self.lock:
            self.runs.append(run)
            self.about["ended"] = now()
            self.write()

    def rows(self) -> list[results.Row]:
        """The table."""
        return results.table(FAULTS, self.runs)

    def write(self) -> None:
        """Write the file."""
        kept = {**self.about, "table": self.rows(), "troubles": self.troubles, "runs": self.runs}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.atomic_write(str(self.path), (json.dumps(kept, indent=1) + "\n").encode(), mode=0o644)


def measure(app: MultiServiceApp, system: str, given: argparse.Namespace, book: Book) -> str:
    """Measure one system with all faults, in turns; why it ended early, "" when it did not."""
    rounds = given.rounds if system == OURS else given.alternative_rounds
    name, failures = results.key(system, app.variant), 0
    app.use(system)
    while (found := shared.next_round(name, given.faults, rounds, book.runs)) is not None:
        fault, number = found
        try:
            run = one_round(app, Asked(fault, number, rounds, given.timeout))
        except Exception as error:
            trouble = str(error) if isinstance(error, Trouble) else repr(error)
            failures += 1
            say(f"{name}: {fault}: {trouble}")
            if failures == 3:
                return f"{name}: {trouble}"
            _put_in_order(app, FAULTS[fault])
            continue
        failures = 0
        book.record(run)
        say(f"{name}: {fault} {number}/{rounds}: {_line(run)}")
    return ""


def _put_in_order(app: MultiServiceApp, fault: Fault) -> None:
    """Repair the app after a round that could not be measured. If this fails, the next round reports it."""
    first = f"{APP}-{fault.service}-1"
    try:
        app.mend(fault, Target(first, first, "0"))
    except Trouble as trouble:
        say(str(trouble))


def _line(run: Run) -> str:
    took = "never" if run["seconds"] is None else f"{run['seconds']:.1f} s"
    incident = f", {run['cause']} of {', '.join(run['services']) or '-'}" if run["cause"] else ""
    wrong = f" PROBLEM: {'; '.join(run['problems'])}" if run["problems"] else ""
    return f"{took}{incident}, {run['lost']} of {run['acknowledged']} rows lost{wrong}"


def measure_all(apps: Sequence[MultiServiceApp], given: argparse.Namespace, book: Book) -> int:
    """Measure all systems with all faults, on the hosts of all variants."""
    book.about["versions"] = hosts.versions(apps[0].host)
    for app in apps:
        app.prepare(given.faults)
    rest()
    for system in given.systems:

        def work(app: MultiServiceApp, system: str = system) -> None:
            trouble = measure(app, system, given, book)
            if trouble:
                book.troubles.append(trouble)

        if system == OURS:
            for app in apps:
                work(app)
        else:
            hosts.at_once(work, apps)
    return 0


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options; a bad one ends the program with a sentence that names it."""
    parser = argparse.ArgumentParser(
        prog=NAME, description=" ".join((__doc__ or "").partition("\n\n")[0].split()), allow_abbrev=False
    )
    whole: dict[str, Any] = {"type": int, "metavar": "N"}
    names: dict[str, Any] = {"type": lambda text: text.split(","), "metavar": "NAME,NAME"}
    add = parser.add_argument
    add("--rounds", **whole, default=ROUNDS, help=f"how often each fault is injected (default: {ROUNDS})")
    add("--alternative-rounds", **whole, default=ROUNDS, help=f"of the alternatives (default: {ROUNDS})")
    wait = "seconds until a round is given up; what goes by a health check gets its time, too (default: 60)"
    add("--timeout", type=float, default=TIMEOUT, metavar="SECONDS", help=wait)
    known = {"faults": list(FAULTS), "systems": list(results.SYSTEMS), "variants": list(results.VARIANTS)}
    for option, there in known.items():
        add(f"--{option}", **names, default=there, help=f"(default: {','.join(there)})")
    add("--resume", action="store_true", help="keep what there is, and measure what is missing")
    add("--keep", action="store_true", help="leave the lab hosts as they are at the end")
    add("--draw", action="store_true", help="measure nothing: tables and picture of what there is")
    given = parser.parse_args(words)
    for option in ("rounds", "alternative_rounds", "timeout"):
        if getattr(given, option) < 1:
            parser.error(f"--{option.replace('_', '-')}: {getattr(given, option):g}: 1 or more is needed")
    for option, there in known.items():
        for name in getattr(given, option):
            if name not in there:
                parser.error(f"--{option}: {name!r} is not known here; use {', '.join(there)}")
    return given


def is_whole(given: argparse.Namespace) -> bool:
    """Whether a run is a full one; a shorter run does not overwrite its figures."""
    enough = given.rounds >= ROUNDS and given.alternative_rounds >= shared.GIVE_UP
    everything = (list(FAULTS), list(results.SYSTEMS), list(results.VARIANTS))
    return enough and (given.faults, given.systems, given.variants) == everything


def unmeasured(given: argparse.Namespace, runs: Sequence[Run], variants: Sequence[str]) -> int:
    """The number of requested rounds that are missing."""
    left = 0
    for system in given.systems:
        rounds = given.rounds if system == OURS else given.alternative_rounds
        keys = [results.key(system, variant) for variant in variants]
        left += results.unmeasured(keys, given.faults, rounds, runs)
    return left


def tell(given: argparse.Namespace, book: Book) -> int:
    """Print the tables, draw the picture; the exit code."""
    rows = book.rows()
    if not rows:
        print(f"{NAME}: nothing was measured", file=sys.stderr)
        return 2
    if not given.draw:
        book.troubles += results.slow_writer(book.runs)
    timeout = book.about.get("settings", {}).get("timeout", given.timeout)
    never = (
        f"never: not within {timeout:g} s, or, where a health check may notice, within {timeout:g} s after it has to"
    )
    worker = "a worker: until it runs and is healthy"
    book.write()
    picture.draw(rows, book.runs, results.titles(), book.path.with_suffix(".svg"), f"{never}\n{worker}")
    print("\nMedian / p95 in seconds (n), from the fault to the first of ten good answers in a row;")
    print(f"{worker}. {never[0].upper()}{never[1:]}.")
    print("Rows lost: acknowledged rows that the database did not have in the end, of each of the three.")
    for variant, title in results.VARIANTS.items():
        shown = results.shown(rows, variant)
        print(f"\n{title}:\n\n{shown}" if shown else f"\n{title}: not measured")
    left = 0 if given.draw else unmeasured(given, book.runs, given.variants)
    print(f"\n{book.path} and {book.path.stem}.svg are written")
    print(results.verdict(rows, book.troubles, left))
    if book.troubles or left:
        return 2
    return 1 if any(row["met"] is False for row in rows) else 0


def bring_project() -> None:
    """Create the copy of the project that the scenario's variables name. Raises Trouble."""
    hosts.announce([])
    hosts.played(PROJECT)


def measure_variants(given: argparse.Namespace, book: Book) -> int:
    """Measure what is missing, each variant on a host of its own; the exit code, 0 when nothing ended it."""
    apps = [MultiServiceApp(variant) for variant in given.variants if unmeasured(given, book.runs, [variant])]
    if not apps:
        return 0
    on = [app.host for app in apps]
    return hosts.measured(NAME, on, lambda: measure_all(apps, given, book), given.keep, "; go on with ARGS=--resume")


def main() -> int:
    """Copy the project, measure, print the results."""
    given = arguments()
    # Its inventory must not overwrite bench-recovery's.
    hosts.INVENTORY = hosts.LAB / NAME / "hosts.yml"
    keys = ("rounds", "alternative_rounds", "timeout", "faults", "systems", "variants")
    settings = {**{option: getattr(given, option) for option in keys}, "services": SERVICES, "rate": results.RATE}
    about = {"begun": now(), "machine": hosts.machine(), "settings": settings}
    kept = is_whole(given) or given.draw
    path = (RESULTS if kept else hosts.INVENTORY.parent) / "services.json"
    book = Book(path, {} if given.draw else about, given.resume or given.draw)
    if given.draw:
        return tell(given, book)
    try:
        bring_project()
    except Trouble as trouble:
        print(f"{NAME}: {trouble}", file=sys.stderr)
        return 2
    code = measure_variants(given, book)
    return code if code == INTERRUPTED else max(code, tell(given, book))


if __name__ == "__main__":
    sys.exit(main())
