# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command on the host: `selfheal status|logs|probe|recover|incidents|report|pause|backup|restore|…`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence

from ..core.clock import Clock, iso, moment
from ..core.files import explain
from ..core.locks import LockHeld
from ..env import read as env_file
from ..health import facts as health_facts
from ..records import incidents, state
from ..records.incidents import IncidentRecord
from ..recovery import config as agent_config
from ..recovery.config import Config, ConfigError
from ..recovery.run import Outcome, recover
from ..reporting import recovery_report
from . import choice, logs, status, watch
from .choice import config_named, config_of, name_of, names_of
from .outcome import GOOD, SICK, WRONG, Refused, carry_out

__all__ = ["GOOD", "SICK", "WRONG", "main", "parser"]

BACKUP = ("now", "verify", "list", "settle")
CERTIFICATE = ("show", "renew")
# A restore that lives goes on for this long at the most.
SETTLE_SECONDS = 43200.0

_LONGEST_PAUSE = 7 * 86400


def main(argv: Sequence[str] | None = None, root: str = "/") -> int:
    """Carry out one command and return its exit code."""
    given = parser().parse_args(argv)
    return carry_out(lambda: int(given.act(given, root)))


def parser() -> argparse.ArgumentParser:
    """The command line: every command and its options."""
    top = argparse.ArgumentParser(prog="selfheal", description="What keeps an app of Docker Compose alive.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, act: Callable[[argparse.Namespace, str], int], text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(act=act)
        if not name.startswith("check-"):
            one.add_argument("--app", help="the app's name; not needed when there is one on this host")
        if name in ("status", "probe", "recover", "incidents", "report"):
            one.add_argument("--json", action="store_true", help="for programs")
        return one

    command("status", _status, "how the app is, as the watcher saw it last, and what the watcher does about it")
    said = command("logs", _logs, "what the containers have logged, each line with its service, without secrets")
    said.add_argument("service", nargs="*", metavar="SERVICE", help="of these alone (default: of all)")
    said.add_argument("--since", default="", metavar="TIME", help="90s, 30m, 2h, 1d (default: the last lines)")
    said.add_argument("--all", action="store_true", help="also requests that name our checks, and every repetition")
    said.add_argument("--follow", action="store_true", help="go on with what is logged from now on, until Ctrl-C")
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
    return top


# --- status, logs, probe, recover, incidents --------------------------------------------------------------------------


def _status(given: argparse.Namespace, root: str) -> int:
    return status.show(names_of(given, root), given.json, root)


def _logs(given: argparse.Namespace, root: str) -> int:
    seconds = choice.seconds("--since", given.since, logs.LONGEST) if given.since else 0
    wanted = logs.Wanted(given.service, seconds, given.all)
    return logs.show(config_of(given, root), wanted, given.follow)


def _probe(given: argparse.Namespace, root: str) -> int:
    config, clock = config_of(given, root), Clock()
    values = env_file.read(config.app.paths, config.app.variables, clock.now())["values"]
    found = health_facts.ask(config.app.checks, values, 0.0, clock, config.app.shown)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for one in found["results"]:
            print(f"[{'x' if one['ok'] else ' '}] {one['name']}: {one['reason']}")
        print(found["summary"])
    return GOOD if found["ok"] else SICK


def _recover(given: argparse.Namespace, root: str) -> int:
    config = config_of(given, root)
    outcome = recover(config.app, check=given.check, say=lambda text: print(text, file=sys.stderr, flush=True))
    if given.json:
        print(json.dumps(outcome, indent=2))
    else:
        for number, line in enumerate(outcome["checklist"], start=1):
            mark = recovery_report.MARKS[line["done"]]
            title = recovery_report.TITLES["en"][line["step"]]
            print(f"[{mark}] {line['seconds']:6.2f} s  {number}. {title} ({line['detail']})")
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
    if given.last < 1:
        raise Refused("--last: a number of 1 or more is needed")
    names, found, code = names_of(given, root), list[IncidentRecord](), GOOD
    for name in names:
        try:
            folder = config_named(name, root).app.paths.incidents
        except ConfigError as problem:
            if len(names) == 1:
                raise
            # What happened to the others is shown all the same.
            print(f"selfheal: {problem}", file=sys.stderr)
            code = WRONG
            continue
        mine = [one for _unused, one in zip(range(given.last), incidents.every(folder))]
        found += mine
        if not given.json:
            of = f"{name}: " if len(names) > 1 else ""
            lines = [f"{of}{_incident_line(one)}" for one in mine]
            lines.append(
                f"{of}{len(mine)} shown; each with its evidence in {folder}" if mine else f"{of}{_NO_INCIDENT}"
            )
            print("\n".join(lines))
    if given.json:
        print(json.dumps(found, indent=2))
    return code


_NO_INCIDENT = "no incident so far"


def _incident_line(one: IncidentRecord) -> str:
    ended = f"healthy after {one['seconds']:.1f} s" if one["healthy"] else "NOT over"
    nothing = "nothing was restarted" if one["healthy"] else "nothing was done so far"
    if one["healthy"] and one["cause"] == "credentials_refused":
        nothing += "; it ended once the login was accepted"
    return f"{one['id']}: {ended}; {', '.join(item['name'] for item in one.get('remedies', [])) or nothing}"


def _report(given: argparse.Namespace, root: str) -> int:
    # Not needed by a watcher, whose memory it would take.
    from ..monitoring import monthly_report
    from ..probe import prometheus_client
    from ..reporting import slo_queries, slo_report

    try:
        config, clock = config_of(given, root), Clock()
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


def _pause(given: argparse.Namespace, root: str) -> int:
    config, now = config_of(given, root), moment()
    seconds, reason = choice.seconds("--for", given.duration, _LONGEST_PAUSE), " ".join(given.reason.split())
    if not reason:
        raise Refused("--reason: say why, for those who find it paused")
    orders = state.read_orders(config.app.paths.state)
    paused: state.Pause = {"until": now["wall"] + seconds, "reason": reason, "since": now}
    state.write_orders(config.app.paths.state, {"paused": paused, "resumed": orders["resumed"]})
    print(f"{config.app.name}: paused until {iso(paused['until'])} ({given.duration}): {reason}")
    return GOOD


def _resume(given: argparse.Namespace, root: str) -> int:
    config = config_of(given, root)
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
    from ..backup import sets as backup_sets
    from ..backup import verify as backup_verify

    config, clock = backup_config.load(name_of(given, root), root), Clock()
    try:
        if given.what == "verify":
            backup_verify.verify(config, _say, clock)
        elif given.what == "list":
            done = state.read_backup(config.paths.backup)["last_verified"]
            for line in backup_sets.listed(backup_create.list_sets(config), done["set"] if done else ""):
                print(line)
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

    config = backup_config.load(name_of(given, root), root)
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

    name, clock = name_of(given, root), Clock()
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
    print("\n".join(status.certificate_text(record, clock.now())) or "no certificate was asked for so far")
    return GOOD if record and record["names"] and not record["problem"] else SICK


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
    return watch.main(given.app or name_of(given, root), root)
