# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command on the host: `selfheal status|probe|recover|incidents|report|pause|resume|backup|restore|watch|…`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypedDict

from ..compose import start_order
from ..core.clock import Clock, iso, moment
from ..core.files import explain
from ..core.locks import LockHeld, is_locked
from ..docker import containers as docker_containers
from ..docker import engine
from ..env import read as env_file
from ..health import facts as health_facts
from ..host import timers
from ..records import incidents, state
from ..records.incidents import IncidentRecord, IncidentSummary
from ..recovery import config as agent_config
from ..recovery import watcher, watcher_note
from ..recovery.config import Config, ConfigError
from ..recovery.run import Outcome, recover
from ..recovery.watcher_note import SeenChecks
from ..releases import haproxy
from ..releases import store as release_store
from ..reporting import recovery_report
from . import watch
from .outcome import GOOD, SICK, WRONG, Refused, carry_out

BACKUP = ("now", "verify", "list", "settle")
CERTIFICATE = ("show", "renew")
# A restore that lives goes on for this long at the most.
SETTLE_SECONDS = 43200.0

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_PAUSE = 7 * 86400


def main(argv: Sequence[str] | None = None, root: str = "/") -> int:
    """Carry out one command and return its exit code."""
    given = _parser().parse_args(argv)
    return carry_out(lambda: int(given.act(given, root)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="selfheal", description="What keeps an app of Docker Compose alive.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, act: Callable[[argparse.Namespace, str], int], text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(act=act)
        if not name.startswith("check-"):
            one.add_argument("--app", help="the app's name; not needed when there is one on this host")
        if name in ("status", "probe", "recover", "incidents", "report"):
            one.add_argument("--json", action="store_true", help="for programs")
        return one

    command("status", _status, "how the app is, as the watcher saw it last, and what the watcher does about it")
    command("probe", _probe, "run the checks once")
    command("recover", _recover, "recover the app now; a healthy one is left alone").add_argument(
        "--check", action="store_true", help="say what would be done, and do nothing"
    )
    command("incidents", _incidents, "what happened, newest first").add_argument(
        "--last", type=int, default=10, metavar="N", help="how many (default: 10)"
    )
    month = command("report", _report, "a month against its goals (the role slo sets them, and reports once a month)")
    month.add_argument("--month", default="", metavar="YYYY-MM", help="which (default: the last one that is over)")
    month.add_argument("--keep", action="store_true", help="write it as Markdown and JSON, too")
    month.add_argument("--send", action="store_true", help="mail it, where notifications go by mail")
    pause = command("pause", _pause, "leave the app alone for a while, for work on it")
    pause.add_argument("--for", dest="duration", required=True, metavar="TIME", help="for how long: 90s, 30m, 2h, 1d")
    pause.add_argument("--reason", required=True, help="why, for those who find it paused")
    command("resume", _resume, "end a pause, and forget the attempts that opened the breaker")
    saved = command(
        "backup", _backup, "make a backup now; or verify the newest one, list them, undo an interrupted restore"
    )
    saved.add_argument("what", nargs="?", choices=BACKUP, default=BACKUP[0], help="what to do (default: now)")
    saved.add_argument("--why", choices=("hand", "schedule"), default="hand", help="for its record")
    saved.add_argument("--wait", action="store_true", help="settle: wait until no restore goes on")
    brought = command("restore", _restore, "restore the app, or a part of it, from a backup")
    brought.add_argument(
        "--to", default="latest", metavar="BACKUP", help="latest, an id of `selfheal backup list`, a time"
    )
    brought.add_argument("--what", default="app", metavar="WHAT", help="app, env, volume:NAME or database:NAME")
    brought.add_argument("--check", action="store_true", help="say what would change, and change nothing")
    held = command("certificate", _certificate, "show the certificate of the app's domain, or renew it when it is due")
    held.add_argument("what", nargs="?", choices=CERTIFICATE, default=CERTIFICATE[0], help="what to do (default: show)")
    held.add_argument("--force", action="store_true", help="renew: also when none is due; the CA counts each")
    held.add_argument("--patient", action="store_true", help="renew: wait longer the longer it fails, as the timer")
    judge = command("check-backup-config", _check_backup_config, "say whether a backup's config can be used")
    judge.add_argument("file", metavar="FILE")
    command("watch", _watch, "watch one app (the unit selfheal@APP.service does)")
    command("check-config", _check_config, "say whether a config can be used").add_argument("file", metavar="FILE")
    return parser


# --- which app -------------------------------------------------------------------------------------------------------


def _name(given: argparse.Namespace, root: str) -> str:
    known = sorted({*agent_config.apps(root), *_without_config(root)})
    if given.app:
        if given.app not in (*known, *agent_config.kept(root)):
            have = f"known: {', '.join(known)}" if known else "there are no configs: run playbooks/site.yml"
            raise Refused(f"no app {given.app!r} has a config in {os.path.join(root, agent_config.FOLDER)}; {have}")
        return str(given.app)
    if len(known) != 1:
        have = f"{', '.join(known)}: say which with --app" if known else "none: run playbooks/site.yml"
        raise Refused(f"apps with a config in {os.path.join(root, agent_config.FOLDER)}: {have}")
    return known[0]


def _without_config(root: str) -> list[str]:
    """The apps that are watched by a config that is gone. One that is not watched was taken out on purpose."""
    gone = set(agent_config.kept(root)) - set(agent_config.apps(root))
    return sorted(name for name in gone if is_locked(watcher.lock_path(root, name)))


def _config(given: argparse.Namespace, root: str) -> Config:
    config, problem = agent_config.in_force(_name(given, root), root)
    if problem:
        print(f"selfheal: {problem}", file=sys.stderr)
    return config


# --- status, probe, recover, incidents -------------------------------------------------------------------------------


class _Paused(TypedDict):
    """A pause: until when (epoch s), why, and for how many seconds more."""

    until: float
    reason: str
    left: int


class _Instances(TypedDict):
    """How many instances HAProxy sends requests to, and how many there should be."""

    serving: int
    of: int


class _WatcherNow(TypedDict):
    """The watcher; its note is `since_seconds` old. `enabled` is what the config says, `timer` what systemd says."""

    alive: bool
    since_seconds: float | None
    pid: int
    enabled: bool
    timer: str


class _Breaker(TypedDict):
    """The circuit breaker: how many attempts it counts, of how many that are allowed."""

    open: bool
    attempts: int
    of: int


class _OpenIncident(TypedDict):
    """The incident that goes on."""

    id: str
    cause: str
    seconds: float
    next_step: str


class _Status(TypedDict):
    """What `selfheal status --json` prints. A service of `others` is not of the release."""

    app: str
    healthy: bool
    checks: str
    services: list[str]
    others: list[str]
    watcher: _WatcherNow
    instances: _Instances | None
    cause: str
    hold: str
    paused: _Paused | None
    breaker: _Breaker
    incident: _OpenIncident | None
    last_incident: IncidentSummary | None
    alerts_waiting: int
    backup: state.BackupAges | None
    certificate: state.CertificateMemory | None
    problems: list[str]


def _status(given: argparse.Namespace, root: str) -> int:
    clock, name = Clock(), _name(given, root)
    try:
        config, of_config = agent_config.in_force(name, root)
    except ConfigError as problem:
        unusable = {"app": name, "healthy": False, "problems": [str(problem)], "watcher": {"alive": False}}
        print(json.dumps(unusable, indent=2) if given.json else f"{name}: {problem}")
        return WRONG
    memory, damaged = state.load(config.app.paths.state, config.app.paths.spare, repair=False)
    orders = state.read_orders(config.app.paths.state)
    facts = watcher_note.status_facts(config, memory, clock)
    note = watcher_note.read_note(config, clock)
    ok, checks = _checks(config, note["checks"], clock)
    newest = incidents.latest(config.app.paths.incidents)
    open_one, pause = facts["incident"], facts["paused"]
    services, others = _services(config)
    timer = timers.read([name]).get(name)
    of_timer = timers.problem(name, timer) if config.enabled and timer else ""
    problems = filter(None, (of_timer, of_config, damaged, orders["problem"]))
    status: _Status = {
        "app": config.app.name,
        "healthy": ok and open_one is None and not services,
        "checks": checks,
        "services": services,
        "others": others,
        "watcher": {
            "alive": note["alive"],
            "since_seconds": note["age"],
            "pid": note["pid"],
            "enabled": config.enabled,
            "timer": timer.state if timer else "",
        },
        "instances": _instances(config),
        "cause": open_one["cause"] if open_one else "",
        "hold": open_one["hold"] if open_one else note["hold"],
        "paused": {"until": pause["until"], "reason": pause["reason"], "left": pause["left"]} if pause else None,
        "breaker": {"open": facts["breaker_open"], "attempts": facts["attempts"], "of": config.policy.attempts},
        "incident": _open_incident(open_one) if open_one else None,
        "last_incident": incidents.summary_of(newest) if newest else None,
        "alerts_waiting": facts["alerts_waiting"],
        "backup": state.backups(config.app.paths.backup, clock.now()),
        "certificate": state.read_certificate(config.app.paths.certificate),
        "problems": list(dict.fromkeys([*problems, *note["problems"]])),
    }
    print(json.dumps(status, indent=2) if given.json else _status_text(status))
    return GOOD if status["healthy"] else SICK


def _open_incident(record: IncidentRecord) -> _OpenIncident:
    return {
        "id": record["id"],
        "cause": record["cause"],
        "seconds": record["seconds"],
        "next_step": record["next_step"],
    }


def _checks(config: Config, seen: SeenChecks | None, clock: Clock) -> tuple[bool, str]:
    """Whether the checks passed, and how they went: as the watcher saw it. Without one, the app is asked now."""
    if seen is None:
        values = env_file.read(config.app.paths, config.app.variables, clock.now())["values"]
        found = health_facts.ask(config.app.checks, values, 0.0, clock)
        return bool(found["ok"]), str(found["summary"])
    went = f"{seen['passed']} of {seen['total']} checks passed" if seen["total"] else "no check asks it"
    return bool(seen["ok"]), f"{went}, as the watcher saw {seen['age']:.0f} s ago"


def _services(config: Config) -> tuple[list[str], list[str]]:
    """Which services do not run as they should, whether a check asks them or not; none when the engine is down.

    :returns: a sentence each: of those of the last good release, and of what was run of another profile.
    """
    try:
        documents = docker_containers.inspected(config.app.name)
    except engine.EngineError:
        return [], []
    instances = [docker_containers.instance(document, time.time()) for document in documents]
    known = (release_store.last_good(config.app.paths.directory) or {}).get("services")
    mine = [item for item in instances if not known or item["service"] in known]
    return start_order.troubles(mine), start_order.troubles([item for item in instances if item not in mine])


def _instances(config: Config) -> _Instances | None:
    """How many instances HAProxy sends requests to, and how many there should be; None without a balancer."""
    if config.app.balancer is None:
        return None
    try:
        serving = haproxy.serving(config.app.paths)
    except haproxy.BalancerError:
        serving = 0
    return {"serving": serving, "of": config.app.balancer.instances}


def _backup_text(ages: state.BackupAges) -> list[str]:
    def ago(seconds: float | None) -> str:
        return "never" if seconds is None else f"{seconds / 3600:.1f} h ago"

    lines = [f"backup: verified {ago(ages['proved'])}, made {ago(ages['made'])}"]
    lines += [f"backup: verified: {line}" for line in ages["contents"]]
    return lines + [f"backup: {problem}" for problem in ages["problems"]]


def _watcher_text(name: str, watcher_now: _WatcherNow) -> str:
    if watcher_now["alive"]:
        return "alive"
    if not watcher_now["enabled"]:
        return "off, as watcher_enabled says"
    return f"NOT alive: systemctl status {timers.unit(name)}"


def _status_text(status: _Status) -> str:
    lines = [f"{status['app']}: {'healthy' if status['healthy'] else 'NOT healthy'} ({status['checks']})"]
    lines.append(f"watcher: {_watcher_text(status['app'], status['watcher'])}")
    lines += status["services"]
    lines += [f"not of the release: {other}" for other in status["others"]]
    if status["instances"]:
        lines.append(f"instances: {status['instances']['serving']} of {status['instances']['of']} serve")
    if status["paused"]:
        left = status["paused"]["left"]
        lines.append(f"PAUSED for another {left // 60} min {left % 60} s: {status['paused']['reason']}")
    if status["incident"]:
        lines.append(f"incident {status['incident']['id']}: {status['hold'] or 'being worked on'}")
        lines += [f"next: {status['incident']['next_step']}"] if status["incident"]["next_step"] else []
    elif status["hold"] and not status["paused"]:
        lines.append(f"nothing is done just now: {status['hold']}")
    breaker = status["breaker"]
    word = "OPEN, nothing more is tried until the oldest attempt is out of its window" if breaker["open"] else "closed"
    lines.append(f"breaker: {word} ({breaker['attempts']} of {breaker['of']} attempts)")
    last = status["last_incident"]
    if last:
        ended = f"healthy after {last['seconds']:.1f} s" if last["healthy"] else "not over"
        lines.append(f"last incident: {last['id']}, {ended}")
    if status["backup"]:
        lines += _backup_text(status["backup"])
    lines += _certificate_text(status["certificate"], time.time())
    if status["alerts_waiting"]:
        lines.append(f"alerts not delivered yet: {status['alerts_waiting']}")
    return "\n".join(lines + [f"problem: {problem}" for problem in status["problems"]])


def _probe(given: argparse.Namespace, root: str) -> int:
    config, clock = _config(given, root), Clock()
    values = env_file.read(config.app.paths, config.app.variables, clock.now())["values"]
    found = health_facts.ask(config.app.checks, values, 0.0, clock)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for one in found["results"]:
            print(f"[{'x' if one['ok'] else ' '}] {one['name']}: {one['reason']}")
        print(found["summary"])
    return GOOD if found["ok"] else SICK


def _recover(given: argparse.Namespace, root: str) -> int:
    config = _config(given, root)
    outcome = recover(config.app, check=given.check)
    if given.json:
        print(json.dumps(outcome, indent=2))
    else:
        for number, line in enumerate(outcome["checklist"], start=1):
            mark = recovery_report.MARKS[line["done"]]
            print(f"[{mark}] {line['seconds']:6.2f} s  {number}. {line['step']} ({line['detail']})")
        for one in outcome["remedies"]:
            print(f"{one['name']} ({one['seconds']:.2f} s): {one['result']}")
        print(_verdict(config, outcome, given.check))
    return GOOD if outcome["healthy"] or given.check else SICK


def _verdict(config: Config, outcome: Outcome, check: bool) -> str:
    name, why = config.app.name, f"{outcome['cause']}: {outcome['meaning']}"
    if outcome["healthy"]:
        acted = outcome["remedies"]
        return f"{name}: recovered in {outcome['seconds']:.1f} s ({why})" if acted else f"{name}: healthy, left alone"
    if check:
        return (
            f"{name}: would be recovered ({why})" if outcome["remedies"] else f"{name}: nothing here can help ({why})"
        )
    return f"{name}: NOT recovered ({why}). Next: {outcome['next_step']}"


def _incidents(given: argparse.Namespace, root: str) -> int:
    config = _config(given, root)
    if given.last < 1:
        raise Refused("--last: a number of 1 or more is needed")
    folder = config.app.paths.incidents
    found = [one for _, one in zip(range(given.last), incidents.every(folder))]
    if given.json:
        print(json.dumps(found, indent=2))
        return GOOD
    for one in found:
        ended = f"healthy after {one['seconds']:.1f} s" if one["healthy"] else "NOT over"
        done = ", ".join(item["name"] for item in one.get("remedies", [])) or "nothing had to be done"
        print(f"{one['id']}: {ended}; {done}")
    print(f"{len(found)} shown; each with its evidence in {folder}" if found else "no incident so far")
    return GOOD


def _report(given: argparse.Namespace, root: str) -> int:
    # Not needed by a watcher, whose memory it would take.
    from ..monitoring import monthly_report
    from ..probe import prometheus_client
    from ..reporting import slo_queries, slo_report

    try:
        config, clock = _config(given, root), Clock()
        by = monthly_report.load(config.app.name, root)
        report = monthly_report.measure(config, by, given.month, clock.now())
        print(json.dumps(report, indent=2, ensure_ascii=False) if given.json else slo_report.text(report))
        if given.keep:
            print(f"kept: {monthly_report.keep(config, report)}", file=sys.stderr)
        if given.send:
            print(monthly_report.send(by, report, clock.now()), file=sys.stderr)
    except (slo_queries.SloError, prometheus_client.PrometheusError) as problem:
        raise Refused(str(problem).replace("slo_month", "--month", 1)) from None
    return GOOD


# --- pause, resume ---------------------------------------------------------------------------------------------------


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    seconds = int(found.group(1)) * _UNITS[found.group(2)] if found else 0
    if not 1 <= seconds <= _LONGEST_PAUSE:
        raise Refused(f"--for: {text!r} is not a duration from 1s to 7d: write 90s, 30m, 2h or 1d")
    return seconds


def _pause(given: argparse.Namespace, root: str) -> int:
    config, now = _config(given, root), moment()
    seconds, reason = _seconds(given.duration), " ".join(given.reason.split())
    if not reason:
        raise Refused("--reason: say why, for those who find it paused")
    orders = state.read_orders(config.app.paths.state)
    paused: state.Pause = {"until": now["wall"] + seconds, "reason": reason, "since": now}
    state.write_orders(config.app.paths.state, {"paused": paused, "resumed": orders["resumed"]})
    print(f"{config.app.name}: paused until {iso(paused['until'])} ({given.duration}): {reason}")
    return GOOD


def _resume(given: argparse.Namespace, root: str) -> int:
    config = _config(given, root)
    was = state.read_orders(config.app.paths.state)["paused"]
    state.write_orders(config.app.paths.state, {"paused": None, "resumed": moment()})
    print(f"{config.app.name}: {'the pause is over' if was else 'was not paused'}; attempts so far are forgotten")
    return GOOD


# --- backup, restore -------------------------------------------------------------------------------------------------
# What they need is loaded when it is needed: a watcher lives without it.


def _say(text: str) -> None:
    # A reader that is gone must not stop the work.
    with contextlib.suppress(OSError):
        print(f"selfheal: {text}", flush=True)


def _backup(given: argparse.Namespace, root: str) -> int:
    from ..backup import config as backup_config
    from ..backup import create as backup_create
    from ..backup import restore
    from ..backup import verify as backup_verify

    config, clock = backup_config.load(_name(given, root), root), Clock()
    try:
        if given.what == "verify":
            backup_verify.verify(config, _say, clock)
        elif given.what == "list":
            for one in backup_create.list_sets(config):
                print(f"{one.id}  {one.why}")
        elif given.what == "settle":
            with backup_create.alone(config, "settle", SETTLE_SECONDS if given.wait else 0.0):
                killed = backup_create.killed(os.environ.get("SERVICE_RESULT", ""))
                paused = backup_create.end_pause(config)
                if paused or killed:
                    backup_create.trouble(config, clock, "backup", paused or killed)
                restore.settle(config, _say, clock)
                backup_create.remember(config)
                if paused:
                    raise Refused(paused)
        else:
            backup_create.back_up(config, given.why, _say, clock)
            with contextlib.suppress(LockHeld), backup_create.alone(config, "remove what was replaced of"):
                restore.remove_kept(config, clock)
    except restore.EXPECTED as error:
        raise Refused(explain(error) if isinstance(error, OSError) else str(error)) from None
    return GOOD


def _restore(given: argparse.Namespace, root: str) -> int:
    from ..backup import config as backup_config
    from ..backup import restore
    from ..backup import sets as backup_sets

    config = backup_config.load(_name(given, root), root)
    try:
        done = restore.restore(config, given.to, backup_sets.read_what(given.what), _say, Clock(), given.check)
    except restore.EXPECTED as error:
        raise Refused(explain(error) if isinstance(error, OSError) else str(error)) from None
    if given.check:
        print("\n".join(done["differences"]))
    return GOOD


# --- the certificate of a domain -------------------------------------------------------------------------------------


def _certificate(given: argparse.Namespace, root: str) -> int:
    from ..domain import config as domain_config
    from ..domain import renewal

    name, clock = _name(given, root), Clock()
    domain = domain_config.load(name, root)
    if given.what == "show":
        return _show_certificate(domain.paths.certificate, clock)
    try:
        done = renewal.renew(domain, clock, force=given.force, patient=given.patient)
    except renewal.DomainError as error:
        raise Refused(str(error)) from None
    said = f"a new certificate ({done.why})" if done.changed else done.why or "nothing to do"
    print(f"{name}: {said}: {done.certificate.describe()}")
    return GOOD


def _show_certificate(path: str, clock: Clock) -> int:
    record = state.read_certificate(path)
    print("\n".join(_certificate_text(record, clock.now())) or "no certificate was asked for so far")
    return GOOD if record and record["names"] and not record["problem"] else SICK


def _certificate_text(record: state.CertificateMemory | None, now: float) -> list[str]:
    """What is known of the certificate, a line each; [] for an app without a domain."""
    if record is None:
        return []
    if record["names"]:
        days = (record["ends"] - now) / 86400
        ends = iso(record["ends"])[:16].replace("T", " ")
        lines = [f"certificate: {', '.join(record['names'])}, until {ends} UTC ({days:.1f} days)"]
    else:
        lines = [f"certificate: none yet for {', '.join(record['wanted'])}"]
    problem = record["problem"]
    return lines + ([f"certificate: not renewed since {iso(problem['since'])}: {problem['text']}"] if problem else [])


def _check_backup_config(given: argparse.Namespace, root: str) -> int:
    from ..backup import config as backup_config

    try:
        name = os.path.splitext(os.path.basename(given.file))[0]
        config = backup_config.load(name, root, given.file)
    except ConfigError as problem:
        print(f"selfheal: {problem}", file=sys.stderr)
        return SICK
    print(f"{given.file}: good, for {config.paths.name}")
    return GOOD


# --- watch, check-config ---------------------------------------------------------------------------------------------


def _check_config(given: argparse.Namespace, root: str) -> int:
    try:
        config = agent_config.load(given.file, root)
    except ConfigError as problem:
        print(f"selfheal: {problem}", file=sys.stderr)
        return SICK
    print(f"{given.file}: good, for {config.app.name}")
    return GOOD


def _watch(given: argparse.Namespace, root: str) -> int:
    return watch.main(given.app or _name(given, root), root)
