# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read → diagnose → decide → act → record: one recovery, now. The only file that knows all the layers."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from . import dotenv, engine, env_store, host, incident, ladder, probe, release, remedies, secret_rules, supabase
from .app import App
from .diagnosis import HEALTHY, MEANING, Diagnosis, diagnose
from .files import atomic_write, explain, fingerprint, hold_lock
from .redact import redact

STEPS = ("env_backup", "service_key", "containers", "health", "api", "frontend")
# A single bad answer is no incident: a second one within this time is asked for before anything is touched.
CONFIRM_SECONDS = 1.0
# How long to wait for another deploy or recovery to let go of the lock.
LOCK_SECONDS = 60.0
LOG_LINES = 50


_ENV_REMEDIES = (ladder.PROVED_ENV, ladder.LAST_GOOD_ENV)


@dataclass(frozen=True)
class Clock:
    """Time comes in from outside, so that tests can say what time it is."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def read_env(app: App, now: float) -> dict[str, Any]:
    """Read and prove the `.env` on the host: {exists, values, findings, fingerprint}. `values` must not be shown."""
    try:
        with open(app.env, "rb") as stream:
            content = stream.read()
        values = dotenv.parse(content.decode("utf-8"))
    except FileNotFoundError:
        finding = _env_finding("missing", f"{app.env} does not exist")
        return {"exists": False, "values": {}, "findings": [finding], "fingerprint": ""}
    except OSError as error:
        finding = _env_finding("unreadable", explain(error))
        return {"exists": True, "values": {}, "findings": [finding], "fingerprint": ""}
    except UnicodeDecodeError:
        finding = _env_finding("unreadable", f"{app.env} is not UTF-8 text")
        return {"exists": True, "values": {}, "findings": [finding], "fingerprint": fingerprint(content)}
    except dotenv.DotenvError as error:
        finding = _env_finding("unreadable", f"{app.env}: {error}")
        return {"exists": True, "values": {}, "findings": [finding], "fingerprint": fingerprint(content)}
    findings = secret_rules.prove(app.variables, values, now)
    return {"exists": True, "values": values, "findings": list(findings), "fingerprint": fingerprint(content)}


def _env_finding(rule: str, reason: str) -> dict[str, str]:
    return {"variable": ".env", "rule": rule, "reason": reason, "fix": "write it anew from the vault"}


def _probe(app: App, values: Mapping[str, str], deadline: float, clock: Clock) -> dict[str, Any]:
    found: dict[str, Any] = probe.run_checks(app.checks, values, deadline, clock.monotonic, clock.sleep)
    return found


def read(app: App, given: Mapping[str, str] | None, confirm: float, clock: Clock) -> dict[str, Any]:
    """Read the facts that `diagnose` needs. While the probe passes and the env is sound, no docker command is run.

    :arg given: the proved values from the vault, None when there are none.
    :arg confirm: for how many seconds a failing probe may be asked again before it counts.
    """
    env = read_env(app, clock.now())
    known = {**env["values"], **(given or {})}
    facts: dict[str, Any] = {
        "engine": {"answers": True, "reason": ""},
        "disk": [],
        "env": env,
        "config_error": "",
        "services": [],
        "instances": [],
        "environments": [],
        "ports": [],
        "upstream": [],
        "probe": _probe(app, known, 0.0, clock),
    }
    if facts["probe"]["ok"]:
        return facts
    _read_engine(app, facts)
    running = bool(facts["instances"]) and all(item["state"] == "running" for item in facts["instances"])
    if running and not env["findings"]:
        facts["probe"] = _probe(app, known, confirm, clock)
        if not facts["probe"]["ok"]:
            _read_upstream(app, facts)
    at_fault = not facts["probe"]["ok"] and not env["findings"] and diagnose(facts).cause != "upstream_down"
    if given is not None and at_fault:
        env["findings"] = _differences(app, env["values"], given)
    return facts


def _read_engine(app: App, facts: dict[str, Any]) -> None:
    facts["engine"] = engine.state()
    facts["disk"] = host.disk([app.directory, app.state, "/var/lib/docker"])
    if not facts["engine"]["answers"]:
        return
    project = engine.Project(app.name, app.directory)
    try:
        documents = project.documents()
    except engine.EngineError as error:
        facts["engine"] = {**facts["engine"], "answers": False, "reason": str(error)}
        return
    facts["instances"] = [engine.instance(document) for document in documents]
    facts["environments"] = [engine.environment(document) for document in documents]
    try:
        model = project.config()
    except engine.EngineError as error:
        # Compose refuses the whole project for an env_file that is missing or does not parse, and quotes the line; then
        # the env is what is wrong, and the line may be a secret.
        readable = facts["env"]["exists"] and bool(facts["env"]["values"])
        facts["config_error"] = redact(str(error), _secrets(app, facts, None)) if readable else ""
        return
    facts["services"] = sorted(model.get("services") or {})
    facts["ports"] = [
        {**port, "holders": host.listeners(port["port"])} for port in engine.unheld_ports(model, facts["instances"])
    ]


def _read_upstream(app: App, facts: dict[str, Any]) -> None:
    for finding in supabase.prove_online(app.variables, facts["env"]["values"], 3.0):
        if finding["rule"] == "unreachable":
            facts["upstream"].append(finding)
        else:
            facts["env"]["findings"].append(finding)


def _differences(app: App, values: Mapping[str, str], given: Mapping[str, str]) -> list[dict[str, str]]:
    wanted = secret_rules.texts(app.variables, given)
    return [
        {
            "variable": name,
            "rule": "differs",
            "reason": "the env in force and the vault differ",
            "fix": "write the vault's",
        }
        for name, value in wanted.items()
        if values.get(name) != value
    ]


@dataclass
class _Run:
    """What one recovery has done so far."""

    app: App
    clock: Clock
    secrets: dict[str, str]
    started: float = 0.0
    timeline: list[dict[str, Any]] = field(default_factory=list)
    remedies: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 0.0))

    def __post_init__(self) -> None:
        self.started = self.clock.monotonic()

    @property
    def elapsed(self) -> float:
        return round(self.clock.monotonic() - self.started, 3)

    def note(self, what: str) -> None:
        self.timeline.append(
            {"time": incident.iso(self.clock.now()), "seconds": self.elapsed, "what": redact(what, self.secrets)}
        )

    @property
    def env_in_force(self) -> bool:
        """Whether containers were made since the env was last written."""
        names = [str(item["name"]) for item in self.remedies if item["done"]]
        return bool(names) and names[-1] not in _ENV_REMEDIES

    @property
    def tried(self) -> list[str]:
        return [str(item["name"]) for item in self.remedies]

    def apply(self, name: str, act: Callable[[], str]) -> bool:
        """Apply one remedy, timed and noted; say whether it could be applied."""
        begun = self.clock.monotonic()
        try:
            told, done = act(), True
        except (remedies.RemedyError, engine.EngineError, env_store.EnvError, OSError) as error:
            told, done = str(error), False
        seconds = round(self.clock.monotonic() - begun, 3)
        step = "service_key" if name in _ENV_REMEDIES else "containers"
        self.seconds[step] += seconds
        told = redact(told, self.secrets)
        self.note(f"{name}: {told}")
        self.remedies.append({"name": name, "done": done, "result": told, "seconds": seconds})
        return done


def recover(
    app: App,
    values: Mapping[str, str] | None = None,
    build: bool = True,
    deadline: float = 120.0,
    check: bool = False,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Bring the app back, once: read the state, and climb the ladder of its cause until the probe passes.

    :arg values: proved values from the vault; without them only the last good env can be put back.
    :arg deadline: seconds to wait for the probe after the containers were started, altogether.
    :arg check: say what would be done, and do nothing.
    :returns: {changed, healthy, cause, meaning, evidence, remedies, checklist, timeline, checks, next_step, incident,
        seconds}; no value of a secret is in it.
    :raises LockHeld: another deploy or recovery of this app goes on.
    """
    clock = clock or Clock()
    if check:
        return _plan(app, values, clock)
    with hold_lock(app.lock, LOCK_SECONDS, f"recover {app.name}"):
        return _recover(app, values, build, deadline, clock)


def _secrets(app: App, facts: Mapping[str, Any], given: Mapping[str, str] | None) -> dict[str, str]:
    """All values to hide, by name: the vault's, the file's, and those that containers run with, which may be older."""
    found = {}
    for number, values in enumerate(facts["environments"], start=1):
        found.update({f"{name} ({number})": v for name, v in secret_rules.secrets_of(app.variables, values).items()})
    found.update(
        {f"{name} (env)": v for name, v in secret_rules.secrets_of(app.variables, facts["env"]["values"]).items()}
    )
    return {**found, **secret_rules.secrets_of(app.variables, given or {})}


def _plan(app: App, values: Mapping[str, str] | None, clock: Clock) -> dict[str, Any]:
    facts = read(app, values, CONFIRM_SECONDS, clock)
    found = diagnose(facts)
    run = _Run(app, clock, _secrets(app, facts, values))
    available = remedies.table(app, True, values)
    # An env remedy alone brings nothing back: the containers are made anew with it.
    first = ladder.next_remedy(found.cause, [], available)
    planned = [first] if first else []
    if first in _ENV_REMEDIES and not facts["probe"]["ok"]:
        planned.append(ladder.RECREATE)
    run.remedies = [{"name": name, "done": False, "result": "would be applied", "seconds": 0.0} for name in planned]
    return _outcome(run, found, found, facts, changed=bool(planned), next_step="")


def _recover(app: App, values: Mapping[str, str] | None, build: bool, deadline: float, clock: Clock) -> dict[str, Any]:
    facts = read(app, values, CONFIRM_SECONDS, clock)
    first = found = diagnose(facts)
    run = _Run(app, clock, _secrets(app, facts, values))
    run.note(f"cause: {found.cause}: {'; '.join(found.evidence)}")
    begun = clock.monotonic()
    kept = False
    try:
        kept = env_store.remember(app.env, app.history, now=clock.now())
    except (env_store.EnvError, OSError) as error:
        # A full disk is a cause to deal with, not a reason to give up before it is named.
        run.note(f"the env could not be kept: {error}")
    run.seconds["env_backup"] = round(clock.monotonic() - begun, 3)
    if found.healthy:
        return _outcome(run, first, found, facts, changed=kept, next_step="")

    before = _bytes(app.env)
    record = _open_incident(run, first, facts)
    waited = 0.0
    while not found.healthy:
        available = remedies.table(app, build, values)
        name = ladder.next_remedy(found.cause, run.tried, available)
        if name is None:
            break
        done = run.apply(name, available[name])
        if done and name in (ladder.UP, ladder.RECREATE):
            begun = clock.monotonic()
            wait_healthy(app, values, deadline - waited, clock)
            spent = clock.monotonic() - begun
            waited += spent
            run.seconds["health"] += round(spent, 3)
        if name == ladder.LAST_GOOD_ENV:
            # From here on the last good env counts, though the vault says something else.
            values = None
        if done and name in _ENV_REMEDIES and facts["services"] and not facts["probe"]["ok"]:
            # Nothing but the file has changed: asking the engine again would only take time.
            facts = {**facts, "env": read_env(app, clock.now())}
        else:
            facts = read(app, values, CONFIRM_SECONDS, clock)
        found = diagnose(facts)
        run.note(
            f"healthy: {facts['probe']['summary']}"
            if found.healthy
            else f"cause: {found.cause}: {'; '.join(found.evidence)}"
        )

    step = ""
    if found.healthy:
        # Only containers made with the file say something about it.
        if run.env_in_force:
            _mark_good(app, facts)
    else:
        step = ladder.next_step(found.cause)
        _put_back(run, before)
    outcome = _outcome(run, first, found, facts, changed=True, next_step=step)
    _close_incident(run, record, outcome)
    return outcome


def _mark_good(app: App, facts: Mapping[str, Any]) -> None:
    # The app is healthy: that the mark finds no room on the disk must not turn this into a failure.
    with contextlib.suppress(OSError):
        env_store.mark_good(app.history, facts["env"]["fingerprint"])


def _restarts(project: engine.Project) -> dict[str, int]:
    try:
        return {str(item["id"]): int(item["restarts"]) for item in project.containers()}
    except engine.EngineError:
        return {}


def wait_healthy(app: App, values: Mapping[str, str] | None, seconds: float, clock: Clock) -> None:
    """Wait until the probe passes, a container gives up, or the time is over."""
    until = clock.monotonic() + seconds
    project = engine.Project(app.name, app.directory)
    known = {**read_env(app, clock.now())["values"], **(values or {})}
    before = _restarts(project)
    while clock.monotonic() < until:
        if _probe(app, known, min(2.0, until - clock.monotonic()), clock)["ok"]:
            return
        try:
            instances = project.containers()
        except engine.EngineError:
            continue
        # Two restarts within the wait is a loop: more waiting would only hide it.
        for item in instances:
            if item["restarts"] >= before.get(item["id"], 0) + 2:
                return
            if item["state"] in ("exited", "dead") and not item["job_done"]:
                return


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def _put_back(run: _Run, before: bytes | None) -> None:
    """After a failure, put the env back that was there, unless containers run with the new one already."""
    if _bytes(run.app.env) == before:
        return
    if run.env_in_force:
        run.note("the new env stays: the containers were made with it")
        return
    if before is None:
        os.unlink(run.app.env)
    else:
        atomic_write(run.app.env, before)
    run.note("the env that was there is put back")


def _open_incident(run: _Run, found: Diagnosis, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the evidence before anything is touched: what a restart would wipe away."""
    attachments = {}
    project = engine.Project(run.app.name, run.app.directory)
    for item in facts["instances"]:
        with contextlib.suppress(engine.EngineError):
            text = project.logs(item["id"], LOG_LINES)
            attachments[f"log-{item['name']}.txt"] = redact(text, run.secrets) + "\n"
    shown = {key: value for key, value in facts.items() if key != "environments"}
    shown["env"] = {key: value for key, value in facts["env"].items() if key != "values"}
    attachments["facts.json"] = redact(json.dumps(shown, indent=2), run.secrets) + "\n"
    now = run.clock.now()
    record: dict[str, Any] = {
        "id": f"{incident.stamp(now)}-{found.cause}",
        "app": run.app.name,
        "cause": found.cause,
        "evidence": [redact(item, run.secrets) for item in found.evidence],
        "seen": incident.iso(now),
        "healthy": False,
        "seconds": 0.0,
        "timeline": run.timeline,
    }
    # A disk that is full must not stop the recovery: the incident is then written at its end, if that works.
    with contextlib.suppress(OSError):
        incident.write(run.app.incidents, record, attachments)
    return record


def _close_incident(run: _Run, record: dict[str, Any], outcome: dict[str, Any]) -> None:
    record.update(
        healthy=outcome["healthy"], seconds=run.elapsed, remedies=run.remedies, next_step=outcome["next_step"]
    )
    path = os.path.join(run.app.incidents, record["id"])
    try:
        incident.write(run.app.incidents, record, {})
    except OSError as error:
        path = f"not written: {error}"
    outcome["incident"] = {"id": record["id"], "path": path, "seconds": run.elapsed}


def _outcome(
    run: _Run, first: Diagnosis, last: Diagnosis, facts: Mapping[str, Any], changed: bool, next_step: str
) -> dict[str, Any]:
    return {
        "changed": changed,
        "healthy": last.healthy,
        "cause": first.cause,
        "cause_left": last.cause,
        "meaning": MEANING.get(first.cause, ""),
        "evidence": [redact(item, run.secrets) for item in first.evidence],
        "remedies": run.remedies,
        "checklist": _checklist(run, last, facts),
        "timeline": run.timeline,
        "checks": facts["probe"],
        "next_step": next_step,
        "incident": None,
        "seconds": run.elapsed,
    }


def _checklist(run: _Run, last: Diagnosis, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The report's checklist, in its order: {step, done, seconds, detail}."""
    newest = env_store.versions(run.app.history)[-1:]
    findings = [f"{item['variable']}: {item['rule']}" for item in facts["env"]["findings"]]
    written = [item["result"] for item in run.remedies if item["name"] in _ENV_REMEDIES]
    restarted = [item for item in run.remedies if item["name"] in (ladder.UP, ladder.RECREATE)]
    down = [item["name"] for item in facts["instances"] if item["state"] != "running" and not item["job_done"]]
    lines = [
        {
            "step": "env_backup",
            "done": bool(newest),
            "detail": f"{len(env_store.versions(run.app.history))} versions kept, newest {newest[0]['id']}"
            if newest
            else "no env to keep",
        },
        {
            "step": "service_key",
            "done": not findings,
            "detail": "; ".join(findings or written or ["the values in force are proved, nothing to write"]),
        },
        {
            "step": "containers",
            "done": last.healthy or (bool(facts["instances"]) and not down),
            "detail": "; ".join(item["result"] for item in restarted)
            or (
                ", ".join(down) + " not running"
                if down
                else "running, not restarted"
                if last.healthy
                else "not running"
            ),
        },
    ]
    for proves in ("health", "api", "frontend"):
        mine = [item for item in facts["probe"]["results"] if item["proves"] == proves]
        failed = [f"`{item['name']}`: {item['reason']}" for item in mine if not item["ok"]]
        run.seconds[proves] += round(sum(item["seconds"] for item in mine), 3)
        passed = (
            f"{len(mine)} of {len(mine)} checks passed"
            if mine
            else "not checked: no check in selfheal_checks proves this"
        )
        lines.append(
            {
                "step": proves,
                "done": not failed if mine else None,
                "detail": redact("; ".join(failed) or passed, run.secrets),
            }
        )
    return [{**line, "seconds": round(run.seconds[str(line["step"])], 3)} for line in lines]


def inform(app: App, clock: Clock | None = None) -> dict[str, Any]:
    """Return the state of the app as facts, for a table or a report; changes nothing, never fails for a sick app."""
    clock = clock or Clock()
    facts = read(app, None, CONFIRM_SECONDS, clock)
    if facts["probe"]["ok"]:
        _read_engine(app, facts)
    found = diagnose(facts)
    secrets = _secrets(app, facts, None)
    newest = incident.latest(app.incidents)
    good = release.last_good(app.directory)
    return {
        "app": app.name,
        "healthy": found.healthy,
        "cause": "" if found.cause == HEALTHY else found.cause,
        "summary": redact("; ".join(found.evidence), secrets),
        "instances": json.loads(redact(json.dumps(facts["instances"]), secrets)),
        "ports": facts["ports"],
        "engine": {**facts["engine"], "compose": engine.compose_version() if facts["engine"]["answers"] else ""},
        "release": good["id"] if good else "",
        "env_fingerprint": facts["env"]["fingerprint"],
        "env_findings": facts["env"]["findings"],
        "last_incident": {key: newest[key] for key in ("id", "cause", "healthy", "seconds")} if newest else None,
        "checks": facts["probe"],
        "disk": host.disk(["/", app.directory, "/var/lib/docker"]),
        "memory": host.memory(),
    }
