# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of validate.yml: a line for each thing that was validated. No line holds the value of a secret. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypedDict

from ansible.module_utils.common.text.formatters import bytes_to_human, human_to_bytes

from ansible_collections.christmas.selfheal.plugins.module_utils.env.rules import Finding
from ansible_collections.christmas.selfheal.plugins.module_utils.health.diagnosis import held_by, to_free
from ansible_collections.christmas.selfheal.plugins.module_utils.health.fact_types import HeldPort
from ansible_collections.christmas.selfheal.plugins.module_utils.host.procfs import Disk
from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages.reach import Reach

FULL_INODES = 95
# Further lines of a detail begin where its first one does.
INDENT = " " * 14


class Engine(TypedDict):
    """Whether the Docker engine answers, the versions when it does, else the reason."""

    answers: bool
    version: str
    compose: str
    reason: str


class _State(TypedDict):
    engine: Engine
    disk: list[Disk]
    healthy: bool
    release: str
    summary: str


class State(_State, total=False):
    """What is read of the result of app_info; without `ports` where they are not read."""

    ports: list[HeldPort]


class Written(TypedDict, total=False):
    """What is read of the result of compose_files."""

    proved: bool
    files: list[str]


class Found(TypedDict):
    """What validate.yml found.

    `secrets`, `engine`, `project`: why this failed, "" when it did not.
    `findings`: of the values that did not pass; `variables`, how many there are; `online`, whether online too.
    `reach`: whether the host was reached.
    `balancer`: why HAProxy cannot have its ports, "" when it can.
    `packages`: of each optional part that the host has no packages for, why.
    `written`, `state`: what the modules compose_files and app_info returned.
    `free_disk`: the room that each disk must have.
    """

    secrets: str
    findings: list[Finding]
    variables: int
    online: bool
    reach: Reach
    engine: str
    balancer: str
    packages: dict[str, str]
    project: str
    written: Written
    state: State
    free_disk: str


class Line(NamedTuple):
    """What was validated, whether it passed, and what was found."""

    what: str
    ok: bool
    detail: str


class Report(TypedDict):
    """What a person reads, and what to do next, "" when nothing failed."""

    text: str
    failure: str


def validation_report(found: Found, app: str, host: str) -> Report:
    """Return the report, its lines in the order in which a person corrects them."""
    lines = validation_lines(found, app)
    text = "\n".join([f"{app} on {host}", *map(_text, lines)])
    return Report(text=text, failure=_failure(lines, app, host))


def _text(line: Line) -> str:
    detail = line.detail.replace("\n", f"\n{INDENT}")
    return f"[{'x' if line.ok else ' '}] {line.what:<9} {detail}"


def _failure(lines: Sequence[Line], app: str, host: str) -> str:
    failed = [line.what for line in lines if not line.ok]
    if not failed:
        return ""
    return (
        f"{app} on {host}: {len(failed)} of {len(lines)} validations failed ({', '.join(failed)}). "
        "Correct what is named above, then run validate.yml again. Nothing was changed."
    )


def validation_lines(found: Found, app: str) -> list[Line]:
    """Return the lines, in the order in which a person corrects them."""
    lines = list(_secrets(found))
    reach = found["reach"]
    if reach["problem"]:
        return [*lines, _line("host", False, f"{reach['problem']}. {reach['next_step']}")]
    lines.append(_line("host", True, f"reached over ssh, {reach['text']}"))
    if found["engine"]:
        lines.append(_line("engine", False, found["engine"]))
    if found["balancer"]:
        lines.append(_line("balancer", False, found["balancer"]))
    lines += [_line(part, False, lack) for part, lack in found["packages"].items()]
    if found["project"]:
        return [*lines, _line("project", False, found["project"])]
    state = found["state"]
    lines.append(_project(found["written"]))
    if not found["engine"]:
        lines.append(_engine(state["engine"]))
    lines += [_disk(disk, found["free_disk"]) for disk in state["disk"]]
    lines += [_port(port, app) for port in state.get("ports", [])]
    return [*lines, _app(state)]


def _line(what: str, ok: object, detail: object) -> Line:
    return Line(str(what), bool(ok), str(detail))


def _secrets(found: Found) -> Iterator[Line]:
    if found["secrets"]:
        yield _line("secrets", False, found["secrets"])
        return
    findings, count = found["findings"], found["variables"]
    for one in findings:
        yield _line(one["variable"], False, f"{one['rule']}: {one['reason']}. Fix: {one['fix']}")
    if findings:
        return
    if not count:
        yield _line("secrets", True, "no variables: the app has no env")
        return
    online = ", online too" if found["online"] else ""
    yield _line("secrets", True, f"{count} of {count} variables are validated{online}")


def _project(written: Written) -> Line:
    detail = "the compose file and the table of services fit the host"
    if not written.get("proved", True):
        detail = (
            "the table of services is sound; Compose reads the files once the host has an engine and an env (site.yml)"
        )
    differ = written.get("files", [])
    if differ:
        detail += f"; site.yml would write {', '.join(differ)}"
    return _line("project", True, detail)


def _engine(engine: Engine) -> Line:
    """Report the engine; one that is not installed yet is not an error, since site.yml installs it."""
    if engine["answers"]:
        return _line("engine", True, f"engine {engine['version']}, Compose {engine['compose']}")
    reason = engine["reason"]
    if "not installed" in reason:
        return _line("engine", True, f"{reason}; site.yml installs it")
    return _line("engine", not reason, reason)


def _disk(disk: Disk, needed: str) -> Line:
    enough = disk["free_bytes"] >= human_to_bytes(needed)
    free, inodes = bytes_to_human(disk["free_bytes"]), disk["inodes_percent"]
    detail = f"{disk['path']}: {free} free, {needed} asked for; {round(inodes, 1)} % of the inodes used"
    return _line("disk", enough and inodes < FULL_INODES, detail)


def _port(port: HeldPort, app: str) -> Line:
    holders = port["holders"]
    if not holders:
        return _line("port", True, f"{port['port']} is free")
    held = ", ".join(map(held_by, holders))
    return _line("port", False, f"{port['port']} of {port['service']} is held by {held}. {to_free(holders[0], app)}")


def _app(state: State) -> Line:
    if state["healthy"]:
        return _line("app", True, state["summary"])
    if not state["release"]:
        return _line("app", True, "nothing is deployed yet")
    return _line("app", False, f"not healthy: {state['summary']}")
