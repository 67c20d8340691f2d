# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lines of `validate.yml`: one for each thing that was validated. No line holds the value of a secret. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from ansible.module_utils.common.text.formatters import bytes_to_human, human_to_bytes

from ansible_collections.christmas.selfheal.plugins.module_utils.env.rules import Finding
from ansible_collections.christmas.selfheal.plugins.module_utils.host.procfs import Disk, Holder

FULL_INODES = 95


class Line(TypedDict):
    """What was validated, whether it passed, and what was found."""

    what: str
    ok: bool
    detail: str


class Engine(TypedDict):
    """Whether the Docker engine answers, the versions when it does, else the reason."""

    answers: bool
    version: str
    compose: str
    reason: str


class Port(TypedDict):
    """A port that the app publishes and does not hold yet, with the processes that do."""

    port: int
    holders: list[Holder]


class _State(TypedDict):
    engine: Engine
    disk: list[Disk]
    healthy: bool
    release: str
    summary: str


class State(_State, total=False):
    """What is read of the result of app_info; without `ports` where they are not read."""

    ports: list[Port]


class Written(TypedDict, total=False):
    """What is read of the result of compose_files."""

    proved: bool
    files: list[str]


class Found(TypedDict):
    """What was found.

    `secrets`, `engine`, `project`: why this failed, "" when it did not. `findings` are of the values that did not pass,
    `variables` is how many there are, `online` whether they were validated online too. `unreachable`: why the host was
    not reached, "" when it was; `reached`: how it was. `free_disk` is the room that each disk must have.
    """

    secrets: str
    findings: list[Finding]
    variables: int
    online: bool
    unreachable: str
    reached: str
    engine: str
    project: str
    written: Written
    state: State
    free_disk: str


def validation_lines(found: Found) -> list[Line]:
    """Return the lines, in the order in which a person corrects them."""
    lines = list(_secrets(found))
    if found["unreachable"]:
        return [*lines, _line("host", False, found["unreachable"])]
    lines.append(_line("host", True, f"reached over ssh, {found['reached']}"))
    if found["engine"]:
        lines.append(_line("engine", False, found["engine"]))
    if found["project"]:
        return [*lines, _line("project", False, found["project"])]
    state = found["state"]
    lines.append(_project(found["written"]))
    if not found["engine"]:
        lines.append(_engine(state["engine"]))
    lines += [_disk(disk, found["free_disk"]) for disk in state["disk"]]
    lines += [_port(port) for port in state.get("ports", [])]
    return [*lines, _app(state)]


def _line(what: str, ok: object, detail: object) -> Line:
    return Line(what=str(what), ok=bool(ok), detail=str(detail))


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
    """Report the engine; one that is not installed yet is no error, since site.yml installs it."""
    if engine["answers"]:
        return _line("engine", True, f"engine {engine['version']}, Compose {engine['compose']}")
    reason = engine["reason"]
    return _line("engine", not reason or "not installed" in reason, reason)


def _disk(disk: Disk, needed: str) -> Line:
    enough = disk["free_bytes"] >= human_to_bytes(needed)
    free, inodes = bytes_to_human(disk["free_bytes"]), disk["inodes_percent"]
    detail = f"{disk['path']}: {free} free, {needed} asked for; {round(inodes, 1)} % of the inodes used"
    return _line("disk", enough and inodes < FULL_INODES, detail)


def _port(port: Port) -> Line:
    holders = port["holders"]
    if not holders:
        return _line("port", True, f"{port['port']} is free")
    detail = f"{port['port']} is held by {holders[0]['process']} (pid {holders[0]['pid']})"
    return _line("port", False, detail)


def _app(state: State) -> Line:
    if state["healthy"]:
        return _line("app", True, state["summary"])
    if not state["release"]:
        return _line("app", True, "nothing is deployed yet")
    return _line("app", False, f"not healthy: {state['summary']}")
