# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long a drift check takes for 1, 2, 4 and 8 converged lab hosts, in all and for each host.

The hosts have not changed since their first check, as at most checks. For comparison, a whole check of the same hosts,
in which the roles run in check mode, and `site.yml --check`: the roles alone, without facts, comparison and report.
Prints a table, writes `results/drift.json` and draws `results/drift.svg`. The exit code is 1 when a goal is missed, 2
when it could not be measured; a check that finds drift on a converged host is a goal that is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible_collections.christmas.selfheal.bench.recover import REPOSITORY, RESULTS, p95
from ansible_collections.christmas.selfheal.bench.recovery import hosts
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Host, Trouble

FIRST = 61
"""The last part of the first host's address."""
COUNTS = (1, 2, 4, 8)
ROUNDS = 5
ONE_HOST, OF_EIGHT, FLAT = 3.0, 1.0, 0.15
"""Goals: the seconds of one host, of each of eight, and how much more each of several may cost than one alone."""
KINDS = {"drift": "drift.yml", "whole": "drift.yml -e drift_whole=true", "check": "site.yml --check"}
COLOURS = {"drift": "#4c72b0", "whole": "#dd8452", "check": "#999999"}


def run(*words: str) -> tuple[float, int, str]:
    """Run a playbook; (seconds, exit code, what it printed)."""
    begun = time.monotonic()
    ended = subprocess.run(
        ["ansible-playbook", "-i", "inventory/lab", "-i", str(hosts.INVENTORY), *words],
        cwd=REPOSITORY,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return time.monotonic() - begun, ended.returncode, ended.stdout + ended.stderr


def measure(known: list[Host], counts: list[int], rounds: int, folder: str) -> dict[str, dict[int, list[float]]]:
    """Seconds by kind and number of hosts. The kinds take turns, so that other load of the machine affects both."""
    found: dict[str, dict[int, list[float]]] = {kind: {count: [] for count in counts} for kind in KINDS}
    keep = ["-e", json.dumps({"drift_reports_directory": folder})]
    accepted = run("playbooks/drift.yml", "-l", names(known), *keep)
    if accepted[1]:
        raise Trouble(f"the hosts were not accepted:\n{accepted[2][-3000:]}")
    for turn in range(1, rounds + 1):
        for count in counts:
            limit = ["-l", names(known[:count])]
            for kind, words in (
                ("drift", ["playbooks/drift.yml", *keep]),
                ("whole", ["playbooks/drift.yml", *keep, "-e", "drift_whole=true"]),
                ("check", ["playbooks/site.yml", "--check"]),
            ):
                seconds, code, said = run(*words, *limit)
                if code:
                    raise Trouble(f"{KINDS[kind]} for {count} hosts ended with {code}:\n{said[-3000:]}")
                found[kind][count].append(seconds)
            took = [found[kind][count][-1] for kind in KINDS]
            said = ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in zip(KINDS.values(), took))
            print(f"turn {turn} of {rounds}, {count} hosts: {said}")
    return found


def names(some: list[Host]) -> str:
    """What limits a play to these hosts."""
    return ",".join(["localhost", *(host.name for host in some)])


def missed(found: dict[str, dict[int, list[float]]]) -> list[str]:
    """The missed goals, in sentences. A lower cost for each host is fine."""
    medians = {count: statistics.median(seconds) / count for count, seconds in found["drift"].items()}
    first = medians[min(medians)]
    sentences = []
    if 1 in medians and medians[1] > ONE_HOST:
        sentences.append(f"one host takes {medians[1]:.1f} s, more than {ONE_HOST:.1f} s")
    if 8 in medians and medians[8] > OF_EIGHT:
        sentences.append(f"each of 8 hosts takes {medians[8]:.1f} s, more than {OF_EIGHT:.1f} s")
    sentences += [
        f"with {count} hosts each costs {cost:.1f} s, more than {1 + FLAT:.2f} times the {first:.1f} s of one"
        for count, cost in medians.items()
        if cost > first * (1 + FLAT)
    ]
    return sentences


def picture(found: dict[str, dict[int, list[float]]], path: Path) -> None:
    """Draw the seconds of a check, and of each host in it, by the number of hosts."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "bench-drift"
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6))
    for kind, colour in COLOURS.items():
        counts = list(found[kind])
        medians = [statistics.median(found[kind][count]) for count in counts]
        left.plot(counts, medians, "o-", color=colour, label=KINDS[kind])
        right.plot(counts, [median / count for median, count in zip(medians, counts)], "o-", color=colour)
    left.set_ylabel("seconds for all hosts")
    right.set_ylabel("seconds for each host")
    right.axhline(ONE_HOST, color="#b00020", linestyle=":", linewidth=1)
    for axes in (left, right):
        axes.set_xlabel("hosts")
        axes.set_ylim(bottom=0)
    left.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def tell(known: list[Host], found: dict[str, dict[int, list[float]]], rounds: int, folder: Path) -> int:
    """Print the table, write the results; the exit code."""
    print("\n| hosts | n | drift.yml s, median | p95 | for each host | whole s, median | site.yml --check s, median |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for count, seconds in found["drift"].items():
        median = statistics.median(seconds)
        others = " | ".join(f"{statistics.median(found[kind][count]):.1f}" for kind in ("whole", "check"))
        print(f"| {count} | {len(seconds)} | {median:.1f} | {p95(seconds):.1f} | {median / count:.1f} | {others} |")
    wrong = missed(found)
    about: dict[str, Any] = {"machine": hosts.machine(), "versions": hosts.versions(known[0]), "rounds": rounds}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**about, "seconds": found, "missed": wrong}, indent=2) + "\n"
    (folder / "drift.json").write_text(text, encoding="utf-8")
    picture(found, folder / "drift.svg")
    print("\n" + ("\n".join(f"MISSED: {one}" for one in wrong) or "every goal is met"))
    print(f"{folder}/drift.json and drift.svg are written")
    return 1 if wrong else 0


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how often each is measured (default: {ROUNDS})")
    parser.add_argument("--hosts", type=int, default=max(COUNTS), help=f"at most so many (default: {max(COUNTS)})")
    parser.add_argument("--keep", action="store_true", help="leave the hosts as they are in the end")
    given = parser.parse_args()
    counts = [count for count in COUNTS if count <= given.hosts]
    known = [Host(f"bench-drift-{number}", FIRST + number) for number in range(max(counts))]
    # A shorter run does not overwrite the figures in the repository.
    full = given.rounds >= ROUNDS and given.hosts >= max(COUNTS)
    try:
        hosts.make(known)
        with tempfile.TemporaryDirectory(prefix="selfheal-drift-") as folder:
            found = measure(known, counts, given.rounds, folder)
        return tell(known, found, given.rounds, RESULTS if full else REPOSITORY / ".lab" / "bench-drift")
    except Trouble as error:
        print(f"could not be measured: {error}", file=sys.stderr)
        return 2
    finally:
        if not given.keep:
            hosts.remove(known)


if __name__ == "__main__":
    sys.exit(main())
