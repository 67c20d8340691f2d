# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The evidence of an incident: logs and state that a restart would wipe away, without secrets."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from ..core.app_paths import AppPaths
from ..core.clock import Clock
from ..core.redact import redact
from ..core.variable import Variable
from ..docker import engine
from ..docker import project as docker_project
from ..docker.containers import Container
from ..env import rules as secret_rules
from ..env.read import EnvState
from ..host import procfs
from ..releases import store as release_store
from .fact_types import Facts

LOG_LINES = 200
# All evidence together is kept within this, so that keeping it never delays the cure by more.
EVIDENCE_SECONDS = 0.8
Take = tuple[str, Callable[[float], str]]


def secrets(variables: Sequence[Variable], facts: Facts, given: Mapping[str, str] | None) -> dict[str, str]:
    """All values to hide, by name: the vault's, the file's, and those that containers run with, which may be older."""
    return known_secrets(variables, facts["env"], of_containers_by_number(facts["environments"]), given)


def of_containers_by_number(environments: Sequence[Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """The environments of containers whose names are not at hand, with where they are from."""
    return {f"in container {number}": values for number, values in enumerate(environments, start=1)}


def known_secrets(
    variables: Sequence[Variable],
    env: EnvState,
    environments: Mapping[str, Mapping[str, str]],
    given: Mapping[str, str] | None,
) -> dict[str, str]:
    """The same, of an env and of other environments.

    :arg environments: where each is from, in words that no other one has: they are shown.
    """
    found = {}
    for place, values in environments.items():
        found.update({f"{name} ({place})": v for name, v in secret_rules.secrets_of(variables, values).items()})
    found.update({f"{name} (env)": v for name, v in secret_rules.secrets_of(variables, env["values"]).items()})
    return {**found, **secret_rules.secrets_of(variables, given or {})}


def _shown(facts: Facts) -> dict[str, object]:
    """The facts without the values that they hold."""
    kept = {key: value for key, value in facts.items() if key != "environments"}
    return {**kept, "env": {key: value for key, value in facts["env"].items() if key != "values"}}


def gather(
    paths: AppPaths,
    variables: Sequence[Variable],
    facts: Facts,
    hidden: Mapping[str, str],
    clock: Clock,
    services: Collection[str] = (),
) -> dict[str, str]:
    """What a remedy would wipe away, as file name → redacted text, gathered within EVIDENCE_SECONDS.

    What did not come in time is named in `evidence.txt`: a sick engine must not delay the cure.

    :arg services: those that a remedy may touch; () for all.
    """
    touched = [item for item in facts["instances"] if not services or item["service"] in services]
    takes: list[Take] = [
        ("host.txt", lambda _: _host_text(facts)),
        *_of_containers(paths, touched),
        ("fingerprints.json", lambda _: json.dumps(_fingerprints(paths, variables, facts), indent=2)),
    ]
    return _gather(takes, {"facts.json": json.dumps(_shown(facts), indent=2)}, hidden, clock)


def of_containers(
    paths: AppPaths, instances: Sequence[Container], hidden: Mapping[str, str], clock: Clock
) -> dict[str, str]:
    """The same of some containers alone."""
    return _gather(_of_containers(paths, instances), {}, hidden, clock)


def names_of(item: Container) -> tuple[str, str, str]:
    """The names of the files with a container's log, its processes, and what the engine said of it."""
    return f"log-{item['name']}.txt", f"top-{item['name']}.txt", f"inspect-{item['name']}.json"


def _of_containers(paths: AppPaths, instances: Sequence[Container]) -> Iterator[Take]:
    project = docker_project.Project(paths.name, paths.directory)
    for item in instances:
        log, top, inspect = names_of(item)
        yield log, functools.partial(project.logs, item["id"], LOG_LINES)
        if item["state"] == "running":
            yield top, functools.partial(project.top, item["id"])
        yield inspect, functools.partial(project.inspect, item["id"])


def _gather(takes: Iterable[Take], files: Mapping[str, str], hidden: Mapping[str, str], clock: Clock) -> dict[str, str]:
    until = clock.monotonic() + EVIDENCE_SECONDS
    found, missing = dict(files), list[str]()
    for name, read_it in takes:
        left = until - clock.monotonic()
        try:
            text = read_it(left) if left > 0 else ""
        except (engine.EngineError, OSError) as error:
            text, left = "", 0.0
            missing.append(f"{name}: {error}")
        except Exception as error:
            # What cannot be read must not keep the app from being recovered.
            text, left = "", 0.0
            missing.append(f"{name}: {type(error).__name__}: {error}")
        if text:
            found[name] = text
        elif left <= 0:
            missing.append(f"{name}: no time was left")
    if missing:
        found["evidence.txt"] = "Not kept:\n" + "\n".join(missing)
    return {name: redact(text, hidden).rstrip("\n") + "\n" for name, text in found.items()}


def _host_text(facts: Facts) -> str:
    """Disk, memory, load and what the kernel said of memory, for a person."""
    memory = procfs.memory()
    lines = [
        f"{item['path']}: {item['free_bytes'] >> 20} MiB of {item['total_bytes'] >> 20} MiB free, "
        f"{item['used_percent']:.0f} % used, {item['inodes_percent']:.0f} % of the inodes"
        for item in facts["disk"]
    ]
    lines.append(f"memory: {memory['available_bytes'] >> 20} MiB of {memory['total_bytes'] >> 20} MiB available")
    lines += [f"{name}: {value}" for name, value in sorted(facts["load"].items())]
    lines += [f"kernel: {item['line']}" for item in facts["oom"] if item["line"]]
    return "\n".join(lines)


def _fingerprints(paths: AppPaths, variables: Sequence[Variable], facts: Facts) -> dict[str, object]:
    """The files in force that differ from those of the last good release, with both fingerprints."""
    good = release_store.last_good(paths.directory)
    there = release_store.files(paths.directory)
    # A project may mount thousands of files: those that are as recorded would hide the one that is not.
    names = release_store.differing(there, good["files"]) if good else list(there)
    kept: dict[str, object] | None = None
    if good:
        kept = {"id": good["id"], "env": good["env"], "images": good["images"]}
        kept["files"] = {name: good["files"].get(name, "") for name in names}
    in_force = {"files": {name: there.get(name, "") for name in names}, "env": facts["env"]["fingerprint"]}
    images = {item["service"]: item["digest"] for item in facts["instances"]}
    others = stale(variables, facts)
    return {"in_force": {**in_force, "images": images}, "last_good": kept, "other_values_than_the_env": others}


def stale(variables: Sequence[Variable], facts: Facts) -> dict[str, list[str]]:
    """By container: the variables of the table of which it runs with another value than the env has now."""
    names = [variable.name for variable in variables]
    values = facts["env"]["values"]
    found = {}
    for item, running in zip(facts["instances"], facts["environments"]):
        differ = [name for name in names if name in values and running.get(name, values[name]) != values[name]]
        if differ:
            found[str(item["name"])] = differ
    return found
