# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A whole drift check on the controller, for the action `drift` and for the timer.

The roles run in a process of their own, through ansible-runner, always with --check: a playbook cannot put itself into
check mode, and roles ask `ansible_check_mode`, which only the command line sets. Results come as ansible-runner's
events; printed text is only read for the reason of a run that broke off.
"""

from __future__ import annotations

import contextlib
import datetime
import glob
import importlib.util
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict

from ansible_collections.christmas.selfheal.plugins.module_utils.core import files, locks
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import iso, stamp
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import audit_log
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import decisions as drift_decisions
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import findings as drift_findings
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import policy as drift_policy
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import report as drift_report
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import store as drift_store
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.findings import (
    Event,
    Finding,
    Seen,
    Trouble,
)
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.host_facts import HostFacts
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.report import Correction, Report
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.store import State
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import metrics

ARTIFACTS = 10
"""How many runs are kept, with their events."""
LOG, PAGE = "events.jsonl", "drift.html"
ROUNDS = 3
"""How often the roles run again without those that failed: a role that fails ends its host's run."""


class DriftError(Exception):
    """A check cannot begin; the message says why and what to do."""


class How(NamedTuple):
    """How to check.

    `options`: those of ansible-playbook, `-i` and the like; `folder`: where state, log and artifacts are kept;
    `reports`: where reports are written; `playbooks`: the collection's; `metrics`: a folder or "".

    `tell`: whether the metrics are copied to the hosts, because no Prometheus reads them here; `correct`: whether drift
    is corrected by the policy; `accept`: whether all hosts get a new baseline; `whole`: whether the roles compare every
    host, also one that has not changed; `by`: who asked; `say` shows a step to a person; `seconds` is the timeout of
    one run. `facts` are events of a play that has read the facts of the hosts already, at `begun` (epoch s); without
    them, a run reads them.
    """

    options: Sequence[str]
    hosts: Sequence[str]
    folder: str
    reports: str
    playbooks: str
    metrics: str = ""
    tell: bool = False
    correct: bool = False
    accept: bool = False
    whole: bool = False
    by: str = ""
    seconds: int = 1800
    environment: Mapping[str, str] = MappingProxyType({})
    facts: Sequence[Event] = ()
    begun: float = 0.0
    say: Callable[[str], None] = lambda _text: None


class Ran(NamedTuple):
    """A run of a playbook: its events, ansible-runner's status, and the printed lines that belong to no task."""

    events: list[Event]
    status: str
    printed: list[str]


class Compared(NamedTuple):
    """What runs show, the hosts that should have been compared, and those that were compared by their facts alone."""

    seen: Seen
    hosts: list[str]
    unchanged: list[str]


class Ending(TypedDict, total=False):
    """How the task of a check ends: drift is a failure; what could not be compared is an unreachable host."""

    path: str
    msg: str
    changed: bool
    failed: bool
    unreachable: bool


def ending(report: Report) -> Ending:
    """Return the end of the task that made this report."""
    ended: Ending = {"path": report["path"], "msg": drift_report.headline(report)}
    ended["changed"] = any(one["decision"] == "corrected" for one in report["findings"])
    if report["exit"] == drift_report.UNKNOWN:
        ended["unreachable"] = True
    else:
        ended["failed"] = report["exit"] == drift_report.DRIFT
    return ended


def check(how: How) -> Report:
    """Compare, decide, correct when asked to, remember and report.

    Raises DriftError. Other failures are in the report, and never "no drift".
    """
    # It takes a tenth of a second to import, and a check without a run does not need it.
    if importlib.util.find_spec("ansible_runner") is None:
        raise DriftError(
            "ansible-runner is missing on this machine: install it with pip into the environment that holds Ansible"
        )
    try:
        os.makedirs(how.folder, mode=0o700, exist_ok=True)
        with locks.hold_lock(os.path.join(how.folder, "lock"), 0.0, "drift check"):
            return _check(how)
    except locks.LockHeld as error:
        raise DriftError(f"another drift check is running: {error}") from None
    except drift_store.StateError as error:
        raise DriftError(str(error)) from None
    except OSError as error:
        raise DriftError(f"the drift check failed: {files.explain(error)}") from None


def _check(how: How) -> Report:
    now = time.time()
    begun = how.begun or now
    clock = time.monotonic() - max(0.0, now - begun)
    state = drift_store.load(how.folder)
    broken = state["running"]
    state["running"] = {"begun": begun, "pid": os.getpid()}
    # A run that was killed at its start has left this.
    for artifacts in glob.glob(os.path.join(how.folder, "artifacts", "*")):
        _forget_environment(artifacts)
    drift_store.save(how.folder, state)

    seen, hosts, unchanged = _compare_changed(how, state, begun)
    findings = _findings(seen, state)
    # The module drift_facts has validated the policies on the hosts.
    policies = {host: drift_policy.read_policy(facts["policy"]) for host, facts in seen.facts.items()}
    compared = [host for host in hosts if _is_whole(seen, host)]
    drift_store.set_pending(state, findings)
    drift_decisions.decide(
        findings,
        policies,
        {host: _held(seen, host) for host in seen.facts},
        drift_store.corrected(state, begun),
        datetime.date.fromtimestamp(begun),
        drift_store.released_elsewhere(state, seen.facts),
    )
    facts = {host: seen.facts[host] for host in compared if host in seen.facts}
    differing = {one["host"] for one in findings if one["decision"] != "ignored" and drift_decisions.of_the_app(one)}
    all_ = bool(hosts) and seen.ended and not how.hosts
    drift_store.note_compared(state, hosts, facts, begun, all_, differing)
    _note_whole(state, seen, hosts, compared, unchanged, begun)
    gone = drift_store.remember(state, findings, compared, begun)
    entries = {host: its["marks"] for host, its in seen.facts.items() if not its["problems"]}
    accepted = drift_store.accept(state, entries, how.accept)
    why = "as drift_accept asked" if how.accept else "since there was none"
    notes = [f"{host}: recorded as it is now as the baseline of the next check, {why}" for host in accepted]
    notes += [said] if (said := drift_report.extent(len(hosts), len(unchanged))) else []
    if broken:
        notes.append(f"the check that began {iso(broken['begun'])} was killed before it could tell anything")
    _log(how, state, _found(findings, gone, accepted, state, how))
    notes += drift_decisions.without_policy(findings, policies) if how.correct else []
    corrections = _correct(how, findings, state) if how.correct else []
    report: Report = {
        "id": f"{stamp(begun)}-drift",
        "time": begun,
        "seconds": round(time.monotonic() - clock, 1),
        "hosts": hosts,
        "compared": compared,
        "unchanged": unchanged,
        "checked": state["checked"],
        "findings": findings,
        "troubles": seen.troubles,
        "gone": gone,
        "corrections": corrections,
        "accepted": accepted,
        "notes": notes,
        "head": "",
        "exit": drift_report.exit_code(findings, seen.troubles),
    }
    state["running"] = {}
    state["history"] = [*state["history"], drift_report.entry(report)][-drift_store.HISTORY :]
    _log(how, state, [_entry(how, begun, "checked", "", drift_report.headline(report))])
    report["head"] = state["head"]
    if how.tell and compared:
        report["notes"] += _tell(how, report)
    _write(how, report, state)
    return report


def _note_whole(
    state: State, seen: Seen, hosts: Sequence[str], compared: Sequence[str], unchanged: Sequence[str], begun: float
) -> None:
    """Note on which hosts the roles have found nothing. A host with troubles or findings of the roles is forgotten."""
    differing = {one["host"] for one in seen.findings}
    found_nothing = {host for host in compared if host not in differing}
    left_the_inventory = set(state["whole"]) - set(state["checked"])
    drift_store.forget_whole(state, left_the_inventory | (set(hosts) - found_nothing))
    drift_store.note_whole(state, found_nothing - set(unchanged), seen.facts, begun)


def _log(how: How, state: State, entries: list[audit_log.Event]) -> None:
    """Write events and state to the disk at once: a kill must not lose them."""
    state["head"] = audit_log.append(os.path.join(how.folder, LOG), entries, state["head"])
    drift_store.save(how.folder, state)


def _write(how: How, report: Report, state: State) -> None:
    os.makedirs(how.reports, mode=0o750, exist_ok=True)
    path = os.path.join(how.reports, report["id"])
    for name, text in (
        (f"{path}.json", drift_report.as_json(report)),
        (f"{path}.md", drift_report.markdown(report)),
        (os.path.join(how.reports, PAGE), drift_report.page(report, state["history"])),
    ):
        files.atomic_write(name, text.encode(), mode=0o640)
    for old in sorted(glob.glob(os.path.join(how.reports, "*-drift.json")))[: -drift_store.HISTORY]:
        for name in (old, f"{old.removesuffix('.json')}.md"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    report["path"] = f"{path}.md"
    if how.metrics and os.path.isdir(how.metrics):
        text = metrics.render_drift(report["checked"], report["compared"], report["findings"])
        files.atomic_write(os.path.join(how.metrics, "selfheal-drift.prom"), text.encode(), mode=0o644)


def _tell(how: How, report: Report) -> list[str]:
    """Copy its part of the metrics to each host that was compared; in words, which hosts did not get it."""
    for host in report["compared"]:
        text = metrics.render_drift({host: report["checked"][host]}, [host], report["findings"])
        files.atomic_write(os.path.join(how.metrics, f"{host}.prom"), text.encode())
    words = ["--limit", ",".join(report["compared"]), "--extra-vars", json.dumps({"drift_metrics": how.metrics})]
    ran = _run(how, "drift_tell.yml", words)
    seen = drift_findings.gather(ran.events)
    failed = [f"{one['host']}: its metrics were not copied to it: {one['what']}" for one in seen.troubles]
    if seen.ended:
        return failed
    return [*failed, f"the metrics were not copied to the hosts: the run broke off ({ran.status})"]


# --- comparing ---


def _compare_changed(how: How, state: State, now: float) -> Compared:
    """Read the facts of all hosts, and let the roles compare those that may have changed since they last did."""
    whole = how.whole or how.accept
    known = set(state["whole"]) & set(how.hosts) if how.hosts else set(state["whole"])
    if not how.facts and (whole or not known):
        return _compare(how, how.hosts)
    ran = _read_facts(how)
    first = drift_findings.gather(ran.events)
    unchanged = [] if whole else drift_store.unchanged(state, first.facts, now)
    changed = [host for host in first.facts if host not in unchanged]
    if not first.ended or not changed:
        return _completed(ran, first._replace(through=set(unchanged)), how.hosts, unchanged)
    return _compare(how, changed, first, unchanged)


def _read_facts(how: How) -> Ran:
    if how.facts:
        return Ran([*how.facts, {"event": "playbook_on_stats"}], "successful", [])
    how.say("comparing: the facts of the hosts, which takes 1 s to 3 s for a host")
    return _run(how, "drift_facts.yml", [*_limit(how.hosts), "--check"])


_NOTHING = Seen([], {}, [], True, set())


def _compare(how: How, hosts: Sequence[str], first: Seen = _NOTHING, unchanged: Sequence[str] = ()) -> Compared:
    """Run the roles in check mode: what they and the facts show, and the hosts that should have been compared.

    :arg first: what the facts of all hosts of the check have shown already, of `hosts` and the `unchanged` ones.
    """
    # A check changes nothing, so there is no validation before all hosts: each role validates its own options.
    skipped = ["validate", *(["drift_facts"] if first.facts else [])]
    how.say("comparing: the roles run in check mode, which takes 10 s to a minute for a host")
    words = [*_limit(hosts), "--check", "--diff"]
    ran = _run(how, "drift_check.yml", [*words, "--skip-tags", ",".join(skipped)])
    seen = drift_findings.gather(ran.events)
    troubles = first.troubles + [one for one in seen.troubles if one not in first.troubles]
    facts = {**first.facts, **seen.facts}
    troubles += [
        Trouble(host=host, role="", what=drift_findings.plain(problem))
        for host, its in sorted(facts.items())
        for problem in its["problems"]
    ]
    findings = list(seen.findings)
    left_out: set[str] = set()
    for _unused in range(ROUNDS):
        failed = {one["role"] for one in troubles if one["role"] in drift_decisions.ROLES} - left_out
        if not failed:
            break
        left_out |= failed
        how.say(f"comparing again without {', '.join(sorted(left_out))}, which failed")
        again_skipped = ",".join(sorted({*left_out, "validate", "drift_facts"}))
        again = drift_findings.gather(_run(how, "drift_check.yml", [*words, "--skip-tags", again_skipped]).events)
        findings += again.findings
        troubles += [one for one in again.troubles if one not in troubles]
    all_ = seen._replace(findings=findings, facts=facts, troubles=troubles, through={*seen.through, *unchanged})
    wanted = how.hosts if first.facts else hosts
    return _completed(ran, all_, wanted, unchanged)


def _limit(hosts: Sequence[str]) -> list[str]:
    return ["--limit", ",".join(hosts)] if hosts else []


def _completed(ran: Ran, seen: Seen, wanted: Sequence[str], unchanged: Sequence[str]) -> Compared:
    """Add what no task has reported: a run that broke off, and hosts that it did not compare to the end."""
    troubles = list(seen.troubles)
    named = sorted({*wanted, *seen.facts, *(one["host"] for one in troubles if one["host"])})
    if not seen.ended:
        why = drift_findings.masked(drift_findings.plain(" ".join(ran.printed[-3:])))[:400] or "no message"
        troubles.append({"host": "", "role": "", "what": f"the run broke off ({ran.status}): {why}"})
    failed_hosts = {one["host"] for one in troubles}
    for host in named if seen.ended else ():
        if host not in failed_hosts and host not in seen.facts:
            troubles.append({"host": host, "role": "", "what": "was not compared: it has returned no facts"})
        elif host not in failed_hosts and host not in seen.through:
            what = "was compared in part only: its run ended when another host failed"
            troubles.append({"host": host, "role": "", "what": what})
    if not named and seen.ended:
        troubles.append({"host": "", "role": "", "what": "the run selects no host"})
    return Compared(seen._replace(troubles=troubles), named, list(unchanged))


def _findings(seen: Seen, state: State) -> list[Finding]:
    found = list(seen.findings)
    for host, facts in seen.facts.items():
        found += drift_findings.compare(host, facts, state["baseline"].get(host, {}), _project(facts))
    return drift_findings.complete(found, seen.facts)


def _project(facts: HostFacts) -> list[str] | None:
    """The files of the project on this machine; None when the host's files come from elsewhere."""
    source = facts["source"]
    if not source or not os.path.isdir(source):
        return None
    found = []
    for folder, _unused, names in os.walk(source):
        found += [os.path.relpath(os.path.join(folder, name), source) for name in names]
    return found


def _is_whole(seen: Seen, host: str) -> bool:
    """Whether all of a host was compared."""
    return not any(one["host"] in (host, "") for one in seen.troubles)


def _held(seen: Seen, host: str) -> str:
    """Why nothing may be corrected on a host just now; "" when it may."""
    facts, now = seen.facts[host], time.localtime()
    windows = drift_policy.read_windows(facts["windows"])
    is_open = drift_policy.is_open(windows, now.tm_wday, now.tm_hour * 60 + now.tm_min)
    return drift_decisions.held(facts, _is_whole(seen, host), is_open)


def _run(how: How, playbook: str, words: Sequence[str]) -> Ran:
    """Run one of the collection's playbooks."""
    import ansible_runner

    events: list[Event] = []
    printed: list[str] = []

    def take(event: Event) -> bool:
        if event.get("event") in ("verbose", "error", "warning", "deprecated"):
            printed.append(str(event.get("stdout", "")))
        else:
            events.append({"event": event["event"], "event_data": event.get("event_data") or {}})
        # Artifacts for hundreds of other events would take a second.
        return drift_findings.is_significant(event)

    def on_status(status: Mapping[str, str], runner_config: Any) -> None:
        # ansible-runner always writes the whole environment there, which may hold a token for a vault.
        if status["status"] != "starting":
            _forget_environment(runner_config.artifact_dir)

    folder = os.path.dirname(sys.executable)
    with _private_umask():
        ran = ansible_runner.run(
            private_data_dir=how.folder,
            project_dir=os.path.dirname(how.playbooks),
            playbook=os.path.join(how.playbooks, playbook),
            cmdline=shlex.join([*how.options, *words]),
            envvars={
                **how.environment,
                "ANSIBLE_NOCOLOR": "1",
                "PATH": f"{folder}:{os.environ.get('PATH', os.defpath)}",
            },
            settings={"job_timeout": how.seconds, "suppress_ansible_output": True},
            event_handler=take,
            status_handler=on_status,
            quiet=True,
            suppress_env_files=True,
            rotate_artifacts=ARTIFACTS,
        )
    return Ran(events, str(ran.status), [line.strip() for line in printed if line.strip()])


def _forget_environment(artifacts: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(artifacts, "command"))


@contextlib.contextmanager
def _private_umask() -> Iterator[None]:
    """Only the owner may read what ansible-runner writes: a play may show anything."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


# --- correcting ---


class RolesRan(NamedTuple):
    """The runs that correct a host: whether one was `begun`, why no further one was (`held`), what failed."""

    begun: bool
    held: str
    problem: str


def _correct(how: How, findings: list[Finding], state: State) -> list[Correction]:
    """Run the roles that drifted, one host at a time, and compare again; the first failure ends it."""
    done: list[Correction] = []
    stopped = ""
    for host, roles in drift_decisions.roles_by_host(findings).items():
        mine = [one for one in findings if one["host"] == host and one["decision"] == "correct"]
        if stopped:
            _postpone(mine, f"the correction of {stopped} failed")
            continue
        how.say(f"{host}: correcting {', '.join(roles)}")
        ran = _run_roles(how, host, roles, findings, state)
        if not ran.begun:
            _postpone(mine, ran.held)
            continue
        drift_store.forget_whole(state, [host])
        again = _compare(how, [host]).seen
        if not ran.problem:
            ran = ran._replace(problem=_incomplete(again, host))
        _judge(mine, ran, _findings(again, state), state)
        if {"app_env", "compose_app"} & {*roles} and _is_whole(again, host):
            # A correction of the app is a deploy, and not one from elsewhere.
            state["checked"][host]["release"] = again.facts[host]["release"].get("id", "")
        done.append(_outcome(host, roles, mine, ran))
        ok, what = done[-1]["ok"], done[-1]["what"]
        _log(how, state, [_entry(how, time.time(), "corrected" if ok else "not corrected", host, what)])
        stopped = "" if ok else host
    return done


def _postpone(findings: Sequence[Finding], why: str) -> None:
    for one in findings:
        one["decision"], one["because"] = "waits", why


def _run_roles(how: How, host: str, roles: Sequence[str], findings: Sequence[Finding], state: State) -> RolesRan:
    """Run roles on a host, until one fails or a correction is not allowed any more."""
    begun = False
    for tags in drift_decisions.split_runs(roles):
        held = _held_by_now(how, host)
        if held:
            return RolesRan(begun, held, "")
        if not begun:
            begun = True
            _count_attempt(how, host, findings, state)
        words = ["--limit", host, "--tags", ",".join(tags), "--diff"]
        words += [] if drift_decisions.may_build(findings, host) else ["-e", "compose_app_build=false"]
        ran = _run(how, "site.yml", words)
        seen = drift_findings.gather(ran.events)
        changed = [f"{one['role']}: {drift_findings.plain(one['object'])} ({one['what']})" for one in seen.findings]
        _log(how, state, [_entry(how, time.time(), "changed", host, what) for what in changed])
        if seen.troubles or not seen.ended:
            problem = "; ".join(one["what"] for one in seen.troubles) or f"the run broke off ({ran.status})"
            return RolesRan(begun, "", problem)
    return RolesRan(begun, "", "")


def _count_attempt(how: How, host: str, findings: Sequence[Finding], state: State) -> None:
    """Note that a correction is tried, before it begins: one that is killed counts, too."""
    for one in findings:
        if one["host"] == host and one["decision"] == "correct":
            state["findings"][one["id"]]["corrected"].append(time.time())
    drift_store.save(how.folder, state)


def _incomplete(seen: Seen, host: str) -> str:
    """Why the result of a correction is unknown; "" when all of the host was compared."""
    if _is_whole(seen, host):
        return ""
    return "; ".join(f"could not be compared afterwards: {one['what']}" for one in seen.troubles)


def _judge(
    findings: Sequence[Finding],
    ran: RolesRan,
    found: Sequence[Finding],
    state: State,
) -> None:
    """Decide for each finding whether it was corrected: it must not be among those `found` after the runs."""
    there = {one["id"] for one in found}
    for one in findings:
        if not ran.problem and one["id"] not in there:
            one["decision"] = "corrected"
            state["findings"][one["id"]]["there"] = False
        elif ran.held:
            one["decision"], one["because"] = "waits", ran.held
        else:
            one["decision"], one["because"] = "failed", ran.problem or "it is still there after its role has run"


def _outcome(host: str, roles: list[str], findings: Sequence[Finding], ran: RolesRan) -> Correction:
    """The correction of a host, for the report."""
    right = sum(one["decision"] == "corrected" for one in findings)
    failed = any(one["decision"] == "failed" for one in findings)
    why = f": {ran.problem or ran.held}" if ran.problem or ran.held else ""
    what = f"{right} of {len(findings)} corrected by {', '.join(roles)}{why}"
    return {"host": host, "roles": roles, "ok": not failed, "what": what}


def _held_by_now(how: How, host: str) -> str:
    """The same as `_held`, just before a run: since the check, an incident may have begun, or a window ended."""
    seen = drift_findings.gather(_run(how, "drift_facts.yml", ["--limit", host, "--check"]).events)
    asked = seen.facts.get(host)
    problems = [one["what"] for one in seen.troubles] + (list(asked["problems"]) if asked else [])
    if problems or not seen.ended or host not in seen.facts:
        why = f": {drift_findings.plain(problems[0])}" if problems else ""
        return f"it is unknown whether an incident is open{why}"
    return _held(seen, host)


def _entry(how: How, now: float, event: str, host: str, what: str) -> audit_log.Event:
    return {"time": iso(now), "by": how.by, "event": event, "host": host, "what": what}


def _found(
    findings: list[Finding], gone: list[str], accepted: list[str], state: State, how: How
) -> list[audit_log.Event]:
    """The entries of a check for the log: findings that are new, gone ones, and new baselines."""
    now = time.time()
    entries = []
    for one in findings:
        if state["findings"][one["id"]]["last_seen"] == one["first_seen"]:
            who = f", changed {iso(one['changed_at'])[:19]}" if one["changed_at"] else ""
            who += f" while {', '.join(one['changed_by'])} was logged in" if one["changed_by"] else ""
            what = f"{one['role']}: {one['object']} ({one['what']}): {one['is']} instead of {one['should']}{who}"
            entries.append(_entry(how, now, "pending" if one["pending"] else "found", one["host"], what))
    entries += [_entry(how, now, "went away", *one.split(": ", 1)) for one in gone]
    event = "accepted" if how.accept else "baseline"
    return entries + [_entry(how, now, event, host, "the host as it is") for host in accepted]
