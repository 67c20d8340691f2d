# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read: everything that a diagnosis needs, and everything that a restart would wipe away. Changes nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple

from . import balancer, dotenv, engine, host, kernel, probe, release, secret_rules, supabase
from .app import App
from .diagnosis import diagnose, is_busy
from .files import NoFile, explain, fingerprint, read_small
from .redact import redact
from .web import Answer, Fault, Request

LOG_LINES = 200
# An upstream that takes longer than this is down for an app that promises answers within two seconds.
UPSTREAM_SECONDS = 2.0
# On a busy host an answer may be late; an app that works at nothing and gives none within this time hangs.
PATIENCE_SECONDS = 5.0
# All evidence together is kept within this, so that keeping it never delays the cure by more.
EVIDENCE_SECONDS = 0.8


class Clock(NamedTuple):
    """Time comes in from outside, so that tests can say what time it is."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Seen(NamedTuple):
    """What a watcher has seen already, so that it need not be asked again while users wait.

    `probe`: the result that made it look closer; `load` as in `facts`; `good`: when the probe passed last (epoch s);
    `passed`: how many seconds ago, at most, something began that is over already, None without such a thing.
    """

    probe: Mapping[str, Any] | None = None
    load: Mapping[str, Any] = {}
    good: float | None = None
    passed: float | None = None


def read_env(app: App, now: float) -> dict[str, Any]:
    """Read and prove the `.env` on the host: {exists, values, findings, fingerprint}. `values` must not be shown."""
    content: bytes | None = b""
    try:
        content = read_small(app.env)
        if content is None:
            finding = _env_finding("missing", f"{app.env} does not exist")
            return {"exists": False, "values": {}, "findings": [finding], "fingerprint": ""}
        values = dotenv.parse(content.decode("utf-8"))
    except NoFile as problem:
        finding = _env_finding("unreadable", str(problem))
        return {"exists": True, "values": {}, "findings": [finding], "fingerprint": ""}
    except OSError as error:
        finding = _env_finding("unreadable", explain(error))
        return {"exists": True, "values": {}, "findings": [finding], "fingerprint": ""}
    except UnicodeDecodeError:
        finding = _env_finding("unreadable", f"{app.env} is not UTF-8 text")
        return {"exists": True, "values": {}, "findings": [finding], "fingerprint": fingerprint(content or b"")}
    except dotenv.DotenvError as error:
        finding = _env_finding("unreadable", f"{app.env}: {error}")
        return {"exists": True, "values": {}, "findings": [finding], "fingerprint": fingerprint(content or b"")}
    findings = secret_rules.prove(app.variables, values, now)
    return {"exists": True, "values": values, "findings": list(findings), "fingerprint": fingerprint(content)}


def _env_finding(rule: str, reason: str) -> dict[str, str]:
    return {"variable": ".env", "rule": rule, "reason": reason, "fix": "write it anew from the vault"}


def ask(app: App, values: Mapping[str, str], seconds: float, clock: Clock) -> dict[str, Any]:
    """Run the journey until it passes, for at most `seconds` (0: once)."""
    found: dict[str, Any] = probe.run_checks(app.checks, values, seconds, clock.monotonic, clock.sleep)
    return found


def read(
    app: App, given: Mapping[str, str] | None, confirm: float, clock: Clock, seen: Seen | None = None
) -> dict[str, Any]:
    """Read the facts that `diagnose` needs. While the probe passes and nothing else is odd, no docker command is run.

    :arg given: the proved values from the vault, None when there are none.
    :arg confirm: for how many seconds a failing probe may be asked again before it counts.
    :arg seen: what a watcher knows already; with its probe result, nothing is asked twice.
    """
    seen = seen or Seen()
    env = read_env(app, clock.now())
    known = {**env["values"], **(given or {})}
    facts: dict[str, Any] = {
        "engine": engine_by_its_process(),
        "disk": host.disk([app.directory, app.state, engine.data_root()]),
        "env": env,
        "config_error": "",
        "services": [],
        "instances": [],
        "environments": [],
        "oom": [],
        "images_missing": [],
        "ports": [],
        "upstream": [],
        "network": [],
        "load": {"cpu_busy": 0.0, "answered_seconds": None, "idle": False, **_pressure(), **seen.load},
        "probe": seen.probe or ask(app, known, 0.0, clock),
        "passed": seen.passed,
        "few": "",
        # When the engine was asked (epoch s): what is so many seconds old was so then.
        "at": clock.now(),
        "balancer": "",
        # The one instance that this is about, while others serve; "" when it is about the app.
        "one": "",
    }
    lacking = _lacking(app, facts) if app.balancer else 0
    if facts["probe"]["ok"] and seen.passed is None and not lacking:
        return facts
    facts["at"] = clock.now()
    read_engine(app, facts, facts["at"])
    if app.balancer and facts["engine"]["answers"] and (lacking or not facts["probe"]["ok"]):
        _look_at_instances(app, facts, clock)
        if facts["one"]:
            return facts
    running = bool(facts["instances"]) and all(item["state"] == "running" for item in facts["instances"])
    if running and not env["findings"]:
        if seen.probe is None:
            facts["probe"] = ask(app, known, confirm, clock)
        if not facts["probe"]["ok"]:
            _read_upstream(app, facts, clock)
            facts["network"] = engine.broken_network(facts["instances"])
            if is_busy(facts["load"]):
                _read_slowness(app, facts, clock)
    at_fault = not facts["probe"]["ok"] and not env["findings"] and diagnose(facts).cause != "upstream_down"
    if given is not None and at_fault:
        env["findings"] = _differences(app, env["values"], given)
    return facts


def _lacking(app: App, facts: dict[str, Any]) -> int:
    """How many instances HAProxy misses; when it does not answer, `facts["balancer"]` says why."""
    assert app.balancer is not None
    try:
        return max(0, app.balancer.instances - balancer.serving(app))
    except balancer.BalancerError as error:
        facts["balancer"] = str(error)
        return 0


def _look_at_instances(app: App, facts: dict[str, Any], clock: Clock) -> None:
    """Ask each instance through its own port, and find out whether one is at fault, all, or what stands before them.

    While some serve, the facts become those of the first that does not: it is healed alone, as if it were the app.
    """
    assert app.balancer is not None
    mine = [item for item in facts["instances"] if item["service"] == app.balancer.service]
    wanted, sick = app.balancer.instances, []
    for item in mine:
        # For whoever asks the balancer's port, it is this instance that answers.
        port = next((one for one in item["ports"] if one in app.balancer.slots), 0)
        item["ports"] = sorted({*item["ports"], *app.balancer.ports})
        ask_it = balancer.aside(app.balancer, port) if port else _nobody
        values = facts["env"]["values"]
        asked = probe.run_checks(app.quick, values, 0.0, clock.monotonic, clock.sleep, ask=ask_it)
        if not asked["ok"]:
            sick.append((item, asked))
    serving = len(mine) - len(sick)
    if sick and serving:
        item, asked = sick[0]
        facts.update(one=item["id"], instances=[item], services=[item["service"]], probe=asked, ports=[])
        facts["images_missing"] = []
    elif sick and facts["balancer"] == "":
        # HAProxy answers for them with an error of its own; what they say themselves tells more.
        facts["probe"] = sick[0][1]
    elif serving < wanted and serving and facts["services"]:
        told = f"service {app.balancer.service} has {serving} of {wanted} instances"
        facts.update(one=app.balancer.service, few=told)
    elif serving and not facts["balancer"] and _through(app, facts):
        facts["balancer"] = "HAProxy answers badly, and every instance passes through its own port"


def _through(app: App, facts: Mapping[str, Any]) -> bool:
    """Whether what fails was asked at the balancer."""
    ports = app.balancer.ports if app.balancer else ()
    return any(not item["ok"] and item["port"] in ports for item in facts["probe"]["results"])


def _nobody(_request: Request, _now: Callable[[], float]) -> Answer:
    raise Fault("refused", "the instance does not run, so nothing listens at its port")


def _pressure() -> dict[str, float]:
    found = host.pressure()
    return {f"{name}_pressure": found[name] for name in ("cpu", "memory", "io")}


def engine_by_its_process() -> dict[str, Any]:
    """What can be said of the engine without asking it: whether its process lives."""
    process = host.engine_process()
    if process["known"] and not process["alive"]:
        return {"answers": False, "kind": "down", "reason": "its process is gone"}
    return {"answers": True, "kind": "", "reason": ""}


def read_engine(app: App, facts: dict[str, Any], now: float) -> None:
    """Add what the engine says of the app to `facts`."""
    facts["engine"] = engine.state()
    if not facts["engine"]["answers"]:
        return
    project = engine.Project(app.name, app.directory)
    try:
        documents = project.documents()
    except engine.EngineError as error:
        facts["engine"] = {**facts["engine"], "answers": False, "kind": error.kind, "reason": str(error)}
        return
    facts["instances"] = [engine.instance(document, now) for document in documents]
    facts["environments"] = [engine.environment(document) for document in documents]
    facts["oom"] = kernel.oom_kills(kernel.read(), facts["instances"], time.clock_gettime(time.CLOCK_BOOTTIME))
    try:
        model = project.config()
    except engine.EngineError as error:
        # Compose refuses the whole project for an env_file that is missing or does not parse, and quotes the line; then
        # the env is what is wrong, and the line may be a secret.
        readable = facts["env"]["exists"] and bool(facts["env"]["values"])
        facts["config_error"] = redact(str(error), secrets(app, facts, None)) if readable else ""
        return
    facts["services"] = sorted(model.get("services") or {})
    facts["ports"] = [
        {**port, "holders": host.listeners(port["port"])} for port in engine.unheld_ports(model, facts["instances"])
    ]
    if {item["service"] for item in facts["instances"]} < set(facts["services"]):
        facts["images_missing"] = project.images_missing(model)


def _read_slowness(app: App, facts: dict[str, Any], clock: Clock) -> None:
    """On a busy host, find out whether a late answer comes after all, and whether the app works at it."""
    late = {item["name"] for item in facts["probe"]["results"] if item["kind"] == "timeout"}
    asked = [{**check, "timeout": PATIENCE_SECONDS} for check in app.checks if check["name"] in late][:1]
    if not asked:
        return
    answer = probe.run_checks(asked, facts["env"]["values"], 0.0, clock.monotonic, clock.sleep)
    if any(item["status"] is not None for item in answer["results"]):
        facts["load"]["answered_seconds"] = 0.0
    else:
        facts["load"]["idle"] = host.idle([item["pid"] for item in facts["instances"]], clock.sleep)


def _read_upstream(app: App, facts: dict[str, Any], clock: Clock) -> None:
    """Ask what the app depends on: its Supabase project, the declared upstreams; else believe what /health says."""
    values = facts["env"]["values"]
    for finding in supabase.prove_online(app.variables, values, UPSTREAM_SECONDS):
        if finding["rule"] == "unreachable":
            facts["upstream"].append({"name": finding["variable"], "reason": finding["reason"]})
        else:
            facts["env"]["findings"].append(finding)
    if app.upstreams:
        asked = probe.run_checks(app.upstreams, values, 0.0, clock.monotonic, clock.sleep)
        failed = [item for item in asked["results"] if not item["ok"]]
        facts["upstream"] += [{"name": item["name"], "reason": item["reason"]} for item in failed]
    elif not supabase.asks(app.variables, values):
        # Nobody here can ask the dependency itself, so what the app says of it has to do.
        facts["upstream"] += [down for item in facts["probe"]["results"] for down in item.get("down", [])]


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


def secrets(app: App, facts: Mapping[str, Any], given: Mapping[str, str] | None) -> dict[str, str]:
    """All values to hide, by name: the vault's, the file's, and those that containers run with, which may be older."""
    found = {}
    for number, values in enumerate(facts["environments"], start=1):
        found.update({f"{name} ({number})": v for name, v in secret_rules.secrets_of(app.variables, values).items()})
    found.update(
        {f"{name} (env)": v for name, v in secret_rules.secrets_of(app.variables, facts["env"]["values"]).items()}
    )
    return {**found, **secret_rules.secrets_of(app.variables, given or {})}


def shown(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts without the values that they hold."""
    kept = {key: value for key, value in facts.items() if key != "environments"}
    return {**kept, "env": {key: value for key, value in facts["env"].items() if key != "values"}}


def evidence(app: App, facts: Mapping[str, Any], hidden: Mapping[str, str], clock: Clock) -> dict[str, str]:
    """What a restart would wipe away, as file name → redacted text, gathered within EVIDENCE_SECONDS.

    What did not come in time is named in `evidence.txt`: a sick engine must not delay the cure.
    """
    until = clock.monotonic() + EVIDENCE_SECONDS
    project = engine.Project(app.name, app.directory)
    files = {"facts.json": json.dumps(shown(facts), indent=2)}
    missing: list[str] = []

    def take(name: str, read: Callable[[float], str]) -> None:
        left = until - clock.monotonic()
        try:
            text = read(left) if left > 0 else ""
        except (engine.EngineError, OSError) as error:
            text, left = "", 0.0
            missing.append(f"{name}: {error}")
        if text:
            files[name] = text
        elif left <= 0:
            missing.append(f"{name}: no time was left")

    take("host.txt", lambda _: _host_text(facts))
    for item in facts["instances"]:
        identity, name = item["id"], item["name"]
        take(f"log-{name}.txt", lambda left, one=identity: project.logs(one, LOG_LINES, left))  # type: ignore[misc]
        if item["state"] == "running":
            take(f"top-{name}.txt", lambda left, one=identity: project.top(one, left))  # type: ignore[misc]
        take(f"inspect-{name}.json", lambda left, one=identity: project.inspect(one, left))  # type: ignore[misc]
    take("fingerprints.json", lambda _: json.dumps(_fingerprints(app, facts), indent=2))
    if missing:
        files["evidence.txt"] = "Not kept:\n" + "\n".join(missing)
    return {name: redact(text, hidden).rstrip("\n") + "\n" for name, text in files.items()}


def _host_text(facts: Mapping[str, Any]) -> str:
    """Disk, memory, load and what the kernel said of memory, for a person."""
    memory = host.memory()
    lines = [
        f"{item['path']}: {item['free_bytes'] >> 20} MiB of {item['total_bytes'] >> 20} MiB free, "
        f"{item['used_percent']:.0f} % used, {item['inodes_percent']:.0f} % of the inodes"
        for item in facts["disk"]
    ]
    lines.append(f"memory: {memory['available_bytes'] >> 20} MiB of {memory['total_bytes'] >> 20} MiB available")
    lines += [f"{name}: {value}" for name, value in sorted(facts["load"].items())]
    lines += [f"kernel: {item['line']}" for item in facts["oom"] if item["line"]]
    return "\n".join(lines)


def _fingerprints(app: App, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The files in force beside those of the last good release."""
    good = release.last_good(app.directory)
    kept = {key: good[key] for key in ("id", "files", "env", "images")} if good else None
    in_force = {"files": release.files(app.directory), "env": facts["env"]["fingerprint"]}
    images = {item["service"]: item["digest"] for item in facts["instances"]}
    return {"in_force": {**in_force, "images": images}, "last_good": kept}


def env_stamp(app: App) -> Sequence[Any]:
    """What changes when somebody writes the env: cheap enough to be asked every second."""
    try:
        found = os.stat(app.env)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
