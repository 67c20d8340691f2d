# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make what runs equal to the files in the app's directory, behind a gate; if it fails, put the last good back."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from . import engine, env_store, hints, host, incident, release, secret_rules
from .app import App
from .diagnosis import MEANING, diagnose
from .files import hold_lock
from .observe import LOG_LINES, Clock, read, read_env
from .recovery import LOCK_SECONDS, wait_healthy
from .redact import redact

# How long a release that was good before may take to be so again.
PUT_BACK_SECONDS = 30.0


class DeployError(Exception):
    """The release was not deployed; the message says why, and what runs now. `hints` are lines for the inventory."""

    def __init__(self, message: str, hints: list[str] | None = None, checks: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.hints = hints or []
        self.checks = dict(checks or {})


def deploy(
    app: App, build: bool = True, gate_timeout: float = 120.0, check: bool = False, clock: Clock | None = None
) -> dict[str, Any]:
    """Deploy the files in the app's directory.

    :arg build: build the images of services that have a build section.
    :arg gate_timeout: seconds that the journey may take to pass once the containers run.
    :arg check: say what would change, and change nothing; works on a host without an engine.
    :returns: {changed, healthy, release, differences, checks, seconds}.
    :raises DeployError: the gate was not passed, or something is wrong before it; the last good release runs.
    :raises LockHeld: another deploy or recovery of this app goes on.
    """
    clock = clock or Clock()
    if check and not engine.state()["answers"]:
        return _result(True, False, "", ["everything: this host has no engine yet"], {}, 0.0)
    lock = contextlib.nullcontext() if check else hold_lock(app.lock, LOCK_SECONDS, f"deploy {app.name}")
    with lock:
        return _deploy(app, build, gate_timeout, check, clock)


def _result(
    changed: bool, healthy: bool, name: str, differences: list[str], checks: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    return {
        "changed": changed,
        "healthy": healthy,
        "release": name,
        "differences": differences,
        "checks": dict(checks),
        "seconds": round(seconds, 3),
    }


def _deploy(app: App, build: bool, gate_timeout: float, check: bool, clock: Clock) -> dict[str, Any]:
    begun = clock.monotonic()

    def would(differences: list[str]) -> dict[str, Any]:
        return _result(True, False, "", differences, {}, clock.monotonic() - begun)

    found = engine.state()
    if not found["answers"]:
        raise DeployError(f"the Docker engine does not answer: {found['reason']}. Try: systemctl status docker")
    project = engine.Project(app.name, app.directory)
    env = read_env(app, clock.now())
    # In check mode, earlier steps have not put right what they would.
    if check and (not project.files or env["findings"]):
        return would(["the env in force does not pass its rules" if project.files else "nothing was deployed here yet"])
    if env["findings"]:
        raise DeployError(f"nothing was started, {app.env} does not pass:\n{secret_rules.describe(env['findings'])}")
    secrets = secret_rules.secrets_of(app.variables, env["values"])
    try:
        engine.require_compose(engine.compose_version())
        model = project.config()
        hashes = project.hashes()
        instances = project.containers()
    except engine.EngineError as error:
        raise DeployError(redact(str(error), secrets)) from error

    contexts = release.contexts(model)
    wanted = release.describe(app.directory, app.env, hashes, release.source_fingerprint(contexts))
    good = release.last_good(app.directory)
    differences = _differences(wanted, good, instances)
    if not differences:
        facts = read(app, None, 0.0 if check else gate_timeout, clock)
        if facts["probe"]["ok"]:
            return _result(False, True, str((good or {})["id"]), [], facts["probe"], clock.monotonic() - begun)
        differences = [f"the checks fail: {facts['probe']['summary']}"]
    try:
        _require_ports(model, instances)
    except DeployError:
        # What the files say cannot run; what runs is what the last good files say.
        if good is not None and not check:
            release.put_back_files(app.directory, str(good["id"]))
        raise
    if check:
        return would(differences)
    loosening: list[str] = []
    try:
        failure, checks = _switch(app, project, build and bool(contexts), gate_timeout, clock)
        if failure:
            loosening = _hints(project, secrets)
        else:
            name = _record(app, project, {**wanted, "contexts": contexts}, clock)
            return _result(True, True, name, differences, checks, clock.monotonic() - begun)
    except (engine.EngineError, OSError) as error:
        failure, checks = str(error), {}
    told = f"{failure}\n{_put_back(app, good, bool(instances), clock)}"
    raise DeployError(redact(told, secrets), loosening, checks)


def _differences(
    wanted: Mapping[str, Any], good: Mapping[str, Any] | None, instances: list[dict[str, Any]]
) -> list[str]:
    """Say in what the wanted release differs from the last good one and from what runs; [] when in nothing."""
    if good is None:
        return ["nothing was deployed here yet"]
    found = [
        f"{name} differs from release {good['id']}"
        for name, mark in wanted["files"].items()
        if good["files"].get(name) != mark
    ]
    found += ["the env differs from release " + good["id"]] if wanted["env"] != good["env"] else []
    found += ["the build context differs from release " + good["id"]] if wanted["source"] != good["source"] else []
    found += (
        ["the merged configuration differs from release " + good["id"]]
        if wanted["services"] != good["services"]
        else []
    )
    for service in sorted(wanted["services"]):
        mine = [item for item in instances if item["service"] == service]
        if not mine:
            found.append(f"service {service} has no container")
        for item in mine:
            if item["job_done"]:
                continue
            if item["state"] != "running":
                found.append(f"{item['name']} is {item['state']}")
            elif item["config_hash"] != good.get("labels", {}).get(service, item["config_hash"]):
                found.append(f"{item['name']} was made with another configuration")
            elif item["digest"] != good.get("images", {}).get(service, item["digest"]):
                found.append(f"{item['name']} runs another image")
    return found


def _require_ports(model: Mapping[str, Any], instances: list[dict[str, Any]]) -> None:
    """Refuse before anything is touched when a foreign process holds a port that the app publishes."""
    for port in engine.unheld_ports(model, instances):
        for holder in host.listeners(port["port"]):
            raise DeployError(
                f"port {port['port']}, which service {port['service']} publishes, is held by {holder['process']} "
                f"(pid {holder['pid']}). Nothing was started. Stop that process, or publish another port."
            )


def _switch(
    app: App, project: engine.Project, build: bool, gate_timeout: float, clock: Clock
) -> tuple[str, dict[str, Any]]:
    """Build, start, and wait at the gate: (why it failed or "", the probe's result)."""
    if build:
        built = project.build()
        if built.code:
            return f"docker compose build failed: {built.reason}", {}
    started = project.up()
    if started.code:
        return f"docker compose up failed: {started.reason}", {}
    wait_healthy(app, None, gate_timeout, clock)
    facts = read(app, None, 0.0, clock)
    if facts["probe"]["ok"]:
        return "", facts["probe"]
    found = diagnose(facts)
    why = "; ".join(found.evidence)
    return f"the release did not pass its gate: {MEANING[found.cause]}: {why}. {facts['probe']['summary']}", facts[
        "probe"
    ]


def _hints(project: engine.Project, secrets: Mapping[str, str]) -> list[str]:
    """Read the logs of what failed, and name the inventory lines that would loosen what it cannot live with."""
    found: list[str] = []
    for document in project.documents():
        text = redact(project.logs(document["Id"], LOG_LINES), secrets)
        found += [redact(hint, secrets) for hint in hints.hints(text, document)]
    return list(dict.fromkeys(found))


def _put_back(app: App, good: Mapping[str, Any] | None, ran: bool, clock: Clock) -> str:
    """Bring back what served before, and say what runs now."""
    if good is not None:
        release.put_back_files(app.directory, str(good["id"]))
        if read_env(app, clock.now())["fingerprint"] != good["env"]:
            try:
                env_store.restore_env(app.env, app.history, now=clock.now())
            except (env_store.EnvError, OSError) as error:
                return f"The last good release {good['id']} could not be put back: {error}"
        project = engine.Project(app.name, app.directory)
        result = project.put_back_images(good["images"], good["names"])
        result = result if result.code else project.up()
        if result.code:
            return f"The last good release {good['id']} could not be started: {result.reason}"
        wait_healthy(app, None, PUT_BACK_SECONDS, clock)
        checks = read(app, None, 0.0, clock)["probe"]
        said = "serves" if checks["ok"] else f"does not pass either, so the cause lies elsewhere: {checks['summary']}"
        return f"The last good release {good['id']} is put back and {said}."
    if ran:
        # The app ran before it was ever deployed from here: its own compose file, without the overlay, is what it had.
        result = engine.Project(app.name, app.directory, [engine.USER_FILE]).up()
        return (
            f"The app runs again from its own {engine.USER_FILE}, not hardened." if result.code == 0 else result.reason
        )
    engine.Project(app.name, app.directory).down()
    return "There is no last good release: the containers were taken down, volumes are kept."


def _record(app: App, project: engine.Project, wanted: Mapping[str, Any], clock: Clock) -> str:
    """Record the release that runs now, and mark it and its env last good."""
    instances = project.containers()
    name = f"{incident.stamp(clock.now())}-{str(wanted['fingerprint'])[-8:]}"
    document = {
        "id": name,
        "app": app.name,
        "time": incident.iso(clock.now()),
        "images": {item["service"]: item["digest"] for item in instances},
        "names": {item["service"]: item["image"] for item in instances},
        # Compose labels a container with another hash than `config --hash` prints (2.26).
        "labels": {item["service"]: item["config_hash"] for item in instances},
        **wanted,
    }
    release.record(app.directory, document)
    project.keep_images(document["images"])
    release.mark_last_good(app.directory, name)
    env_store.mark_good(app.history, str(wanted["env"]))
    return name
