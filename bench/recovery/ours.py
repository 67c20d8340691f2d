# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collection's own recovery, now and before: playbooks/drill.yml, some rounds of one fault at a time."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.christmas.selfheal.bench.recovery.hosts import INVENTORY, Host, Trouble, play
from ansible_collections.christmas.selfheal.bench.recovery.results import Slice
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.fault import Fault

ALONE = ("oom", "overload", "reboot")
"""Faults that affect the machine's other hosts: they share its CPUs, and the kernel's count of processes killed for
lack of memory. They are measured one by one."""
KEPT = ("mttd", "failed", "cause", "remedies", "problems", "whole")


def able(host: Host, faults: Mapping[str, Fault]) -> tuple[list[str], list[str]]:
    """The faults that can be injected on this host, and sentences about those that cannot."""
    left_out = []
    if host.shell("systemctl is-active --quiet prometheus-alertmanager.service")[0]:
        left_out = [name for name, fault in faults.items() if "alertmanager" in fault.needs]
    sentences = [f"{name} is left out: the host has no Alertmanager" for name in left_out]
    return [name for name in faults if name not in left_out], sentences


def drill(system: str, host: Host, part: Slice, stopping: threading.Event) -> tuple[list[dict[str, Any]], str]:
    """Run a slice; (its runs, why some are missing or "")."""
    folder = INVENTORY.parent / "reports" / host.name / part.fault
    before = set(folder.glob("*.json"))
    options = {"drill_faults": part.fault, "drill_rounds": part.rounds, "drill_reports_directory": str(folder)}
    _unused, out = play("playbooks/drill.yml", "-l", host.name, "-e", json.dumps(options), stopping=stopping)
    new = set(folder.glob("*.json")) - before
    if not new:
        return [], f"drill.yml wrote no report: {_reason(out)}"
    report = json.loads(max(new).read_text(encoding="utf-8"))
    runs = [
        {
            "system": system,
            "fault": part.fault,
            "host": host.name,
            "at": run["injected"],
            "seconds": run["mttr"],
            **{key: run[key] for key in KEPT},
        }
        for run in report["runs"]
    ]
    return runs, "; ".join(report["troubles"])


def _reason(out: str) -> str:
    lines = [line.strip() for line in out.splitlines() if "fatal:" in line or "ERROR" in line]
    return (lines or out.split("\n"))[-1][:300]


def measure(
    system: str, hosts: Sequence[Host], parts: Sequence[Slice], record: Any, say: Any, stopping: threading.Event
) -> list[str]:
    """Run all slices of a system, those that may share the machine on all hosts at once, then the others; the troubles.

    :arg record: is called with the runs of each slice.
    """
    broken: dict[str, str] = {}
    for crew, own in (
        (hosts, [part for part in parts if part.fault not in ALONE]),
        (hosts[:1], [part for part in parts if part.fault in ALONE]),
    ):
        waiting: queue.SimpleQueue[Slice] = queue.SimpleQueue()
        for part in own:
            waiting.put(part)
        threads = [
            threading.Thread(target=_work, args=(system, host, waiting, broken, record, say, stopping), daemon=True)
            for host in crew
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)
    return [f"{fault}: {reason}" for fault, reason in broken.items()]


def _work(
    system: str,
    host: Host,
    waiting: queue.SimpleQueue[Slice],
    broken: dict[str, str],
    record: Any,
    say: Any,
    stopping: threading.Event,
) -> None:
    while not stopping.is_set():
        try:
            part = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            _slice(system, host, part, broken, record, say, stopping)
        except Trouble as trouble:
            if not stopping.is_set():
                broken[part.fault] = str(trouble)
                say(f"{host.name}: {part.fault}: {trouble}")
        except Exception as error:
            broken[part.fault] = repr(error)
            say(f"{host.name}: {part.fault}: {error!r}")
            raise


def _slice(
    system: str,
    host: Host,
    part: Slice,
    broken: dict[str, str],
    record: Any,
    say: Any,
    stopping: threading.Event,
) -> None:
    """One slice; if it ends early, the host is converged again, and the rest is tried once more."""
    left = part.rounds
    for attempt in (1, 2):
        if part.fault in broken:
            return
        runs, trouble = drill(system, host, Slice(part.fault, left), stopping)
        record(runs)
        left -= len(runs)
        times = ["-" if run["seconds"] is None else f"{run['seconds']:.1f} s" for run in runs]
        problems = sorted({problem for run in runs for problem in run["problems"]})
        wrong = f" PROBLEM: {'; '.join(problems)}" if problems else ""
        say(f"{host.name}: {part.fault}: {', '.join(times) or 'nothing'}{wrong}")
        if not trouble and left <= 0:
            return
        say(f"{host.name}: {part.fault}: {trouble or 'rounds are missing'}; site.yml puts the host in order")
        play("playbooks/site.yml", "-l", f"localhost,{host.name}", stopping=stopping, root=host.root)
        if attempt == 2:
            broken[part.fault] = trouble or "rounds are missing"
        if left <= 0:
            return
