# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Findings of drift, from a run in check mode and from the facts of the hosts. Pure.

The desired state is what `site.yml --check` would apply: the events of ansible-runner show it. Containers are compared
with their release. What no role manages is compared with the host's baseline: what it had when it was accepted.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, TypedDict

from ..compose import project_parts
from ..core.fingerprint import fingerprint
from ..core.redact import hide_passwords
from ..core.versions import is_older
from ..docker.project_layout import is_left_out
from ..host.logins import logged_in
from . import shortened
from .host_facts import ContainerFacts, DesiredService, HostFacts, ReportedFacts

Event = Mapping[str, Any]
"""An event of a run, in ansible-runner's own format: its documentation, "Runner Artifact Job Events"."""
Result = Mapping[str, Any]
"""What a module returned, `res` of such an event: each module has its own keys."""

FACTS = "drift_facts"
"""The module that returns the facts of a host."""
END = "Compared to the end"
"""The last task of `drift_check.yml`."""
GONE, THERE = "not there", "there"
SHOWN, WIDTH = 4, 160
"""How many lines of a text that differs are shown, and how many characters of each."""


Difference = TypedDict("Difference", {"object": str, "what": str, "is": str, "should": str})
"""What differs of which object: what it is, and what it should be. `is` is a keyword of Python."""


class Located(Difference):
    """A difference, its host, and the role that would correct it."""

    host: str
    role: str


class Finding(Located):
    """One drift.

    Times are epoch s, 0 for unknown. `changed_by` is who was logged in when its file was changed. `untouched_since` and
    `as_meant_at` are by the host's clock. `returns` is how often a correction was tried.

    `store.set_pending` sets `as_meant_at` and `pending`, `store.remember` sets `first_seen` and `returns`, and
    `decisions.decide` sets `decision` and `because`.
    """

    id: str
    app: str
    severity: str
    changed_at: float
    changed_by: list[str]
    untouched_since: float
    as_meant_at: float
    pending: bool
    first_seen: float
    returns: int
    decision: str
    because: str


class Trouble(TypedDict):
    """What could not be compared, and why; `host` and `role` may be ""."""

    host: str
    role: str
    what: str


class Seen(NamedTuple):
    """What the events of a run show; `facts` by host. `ended`: the run reached its end; `through`: hosts that did."""

    findings: list[Located]
    facts: dict[str, ReportedFacts]
    troubles: list[Trouble]
    ended: bool
    through: set[str]


# --- from events to findings ---


def gather(events: Iterable[Event]) -> Seen:
    """Read the events of ansible-runner, as its `event_handler` gets them."""
    findings: list[Located] = []
    facts: dict[str, ReportedFacts] = {}
    troubles: dict[tuple[str, str], str] = {}
    ended, through = False, set()
    for event in events:
        kind, data = str(event.get("event", "")), event.get("event_data") or {}
        host, role = str(data.get("host", "")), str(data.get("role") or "")
        result = data.get("res") or {}
        if kind == "playbook_on_stats":
            ended = True
        elif kind == "runner_on_unreachable":
            troubles[host, ""] = f"cannot be reached: {_line(result.get('msg') or 'no reason given')}"
        elif kind == "runner_on_failed" and not data.get("ignore_errors"):
            # When a block fails and its rescue says why, the later message counts.
            troubles[host, role] = f"{data.get('task', 'a task')}: {_line(result.get('msg') or 'no reason given')}"
        elif kind in ("runner_on_ok", "runner_item_on_ok") and isinstance(result, Mapping):
            if _action(data) == FACTS:
                facts[host] = result["drift"]
            elif data.get("task") == END:
                through.add(host)
            # The event of a whole loop repeats the events of its items.
            elif result.get("changed") and "results" not in result and not _is_handler(data):
                findings += [_located(host, role, one) for one in _differences(data, result)]
    failed = [Trouble(host=host, role=role, what=what) for (host, role), what in troubles.items()]
    return Seen(findings, facts, failed, ended, through)


def is_significant(event: Event) -> bool:
    """Whether an event is worth keeping: something differs or has failed, or the run has ended."""
    result = (event.get("event_data") or {}).get("res")
    changed = isinstance(result, Mapping) and bool(result.get("changed"))
    return changed or event.get("event") in ("runner_on_failed", "runner_on_unreachable", "playbook_on_stats", "error")


def _is_handler(data: Mapping[str, Any]) -> bool:
    """Whether this is a handler's task: it follows from a drift, and does not count itself."""
    return "/handlers/" in str(data.get("task_path"))


def _action(data: Mapping[str, Any]) -> str:
    return str(data.get("resolved_action") or data.get("task_action") or "").rpartition(".")[2]


def _line(text: object) -> str:
    return masked(plain(str(text))[:400])


def plain(text: str) -> str:
    """A text of a host on one line, with control characters, and bytes that are not UTF-8, escaped."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in " ".join(text.split())
    )


def _one(object_: str, what: str, is_: object, should: object) -> Difference:
    return {"object": object_, "what": what, "is": str(is_), "should": str(should)}


def _located(host: str, role: str, one: Difference) -> Located:
    return {"host": host, "role": role, **one}


def _differences(data: Mapping[str, Any], result: Result) -> list[Difference]:
    """What one changed result says differs."""
    action = _action(data)
    if action == "app_deploy":
        return [_one("deployment", "deployment", line, "as released") for line in result.get("differences") or []]
    if action == "env_file":
        return list(_env(result))
    if action in ("systemd_service", "systemd", "service"):
        return list(_unit(result))
    if action == "rsync":
        return list(_copied(result))
    diffs = result.get("diff") or []
    found = [one for diff in (diffs if isinstance(diffs, list) else [diffs]) for one in _diff(diff, result)]
    if found:
        return found
    # Without a diff, `host_files` only names the files.
    listed = result.get("files")
    first = listed[0] if isinstance(listed, list) and listed else ""
    name = result.get("path") or result.get("dest") or result.get("name") or first or data.get("task")
    return [_one(str(name), "state", "differs", "as configured")]


def _diff(diff: Mapping[str, Any], result: Result) -> Iterator[Difference]:
    """Ansible shows a difference as two texts, or as two mappings of attributes."""
    before, after = diff.get("before"), diff.get("after")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        path = str(after.get("path") or before.get("path") or result.get("path") or "")
        for key in sorted(key for key in {*before, *after} - {"path"} if before.get(key) != after.get(key)):
            yield _one(path, key, before.get(key, GONE), after.get(key, GONE))
        return
    if before is None and after is None:
        return
    headers = [str(diff.get(key) or "") for key in ("before_header", "after_header")]
    named = [header for header in headers if header and "dynamically" not in header and "/.ansible" not in header]
    path = str(result.get("dest") or result.get("path") or (named or [""])[0])
    old, new = str(before or ""), str(after or "")
    if old == new:
        yield _one(path, "mode", diff.get("before_mode", "differs"), diff.get("after_mode", "as configured"))
    elif not old:
        yield _one(path, "content", GONE, fingerprint(new))
    elif not new:
        yield _one(path, "content", fingerprint(old), GONE)
    else:
        yield _one(path, "content", *_contents(old, new))


def _contents(old: str, new: str) -> tuple[str, str]:
    """The lines that only one of two texts has, side by side: each line is cut where the other's differs."""
    sides = _own_lines(old, new), _own_lines(new, old)
    pairs = [shortened.pair(one, other, WIDTH) for one, other in zip_longest(*sides, fillvalue="")][:SHOWN]
    before = [is_ for is_, _should in pairs[: len(sides[0])]]
    after = [should for _is, should in pairs[: len(sides[1])]]
    return _joined(before, len(sides[0]), old), _joined(after, len(sides[1]), new)


def _own_lines(text: str, other: str) -> list[str]:
    """The lines that the other text does not have, without secrets."""
    known = set(other.splitlines())
    own = [line.strip() for line in text.splitlines() if line not in known and line.strip()]
    return [masked(_WORDED.sub(_hide_second, line)) for line in own]


def _joined(shown: Sequence[str], count: int, text: str) -> str:
    """The lines on one; the fingerprint alone when only their order differs."""
    more = [f"and {count - SHOWN} more lines"] if count > SHOWN else []
    return " | ".join([*shown, *more]) if shown else f"{fingerprint(text)}, nothing added"


def _env(result: Result) -> Iterator[Difference]:
    """An env's diff holds names and fingerprints, and which of mode and owner differ; the example's diff comes next."""
    diffs = result.get("diff") or {}
    diff, *others = diffs if isinstance(diffs, list) else [diffs]
    path = str(diff.get("after_header") or ".env")
    for other in others:
        yield _one(str(other["after_header"]), "content", "differs", "as the table of variables says")
    sides = [
        dict(line.partition("=")[::2] for line in str(diff.get(side) or "").splitlines() if not line.startswith("#"))
        for side in ("before", "after")
    ]
    before, after = sides
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield _one(f"{path} {name}", "env", before.get(name, GONE), after.get(name, GONE))
    for name in result.get("why") or []:
        if name.startswith("directory "):
            was, wanted = (_attribute(diff.get(side), name) for side in ("before", "after"))
            yield _one(posixpath.dirname(path), name.partition(" ")[2], GONE if was == "absent" else was, wanted)
        elif name != "content":
            yield _one(path, str(name), "differs", "as configured")
        elif before == after:
            yield _one(path, "content", "the same values, written differently", "as written by the role")


def _attribute(text: object, name: str) -> str:
    """The mode, owner or group of something, from one side of an env's diff."""
    lines = [line.partition(": ") for line in str(text or "").splitlines()]
    return next((value for subject, _unused, value in lines if subject == f"# {name}"), "")


def _unit(result: Result) -> Iterator[Difference]:
    """A unit that does not run, or start at boot, as it should. One that only needs a reload has not drifted."""
    status = result.get("status") or {}
    now, then = str(status.get("ActiveState", "")), str(result.get("state") or "")
    at_boot = str(status.get("UnitFileState", ""))
    is_, should = [], []
    if then in ("started", "stopped") and (now == "active") != (then == "started"):
        is_, should = [now], [then]
    if "enabled" in result and (at_boot == "enabled") != bool(result["enabled"]):
        is_.append(at_boot or "unknown")
        should.append("enabled" if result["enabled"] else "disabled")
    if is_:
        yield _one(str(result.get("name", "")), "unit", ", ".join(is_), ", ".join(should))


_ITEM = re.compile(r"^(?P<what>[<>ch.*][fdLDS]\S{9}|\*deleting) +(?P<path>.+)$")


def _copied(result: Result) -> Iterator[Difference]:
    """The itemized list of rsync; see --itemize-changes in its man page."""
    target = str(result["path"])
    for line in result.get("stdout_lines") or []:
        found = _ITEM.match(str(line))
        if not found:
            continue
        change, path = found["what"], found["path"].partition(" -> ")[0]
        where = posixpath.normpath(posixpath.join(target, path))
        if change == "*deleting":
            yield _one(where, "added", THERE, GONE)
        elif "+++" in change:
            yield _one(where, "content", GONE, THERE)
        elif change[1] == "f" and (change[2] == "c" or change[3] == "s"):
            yield _one(where, "content", "differs", "as on the controller")
        elif change[5] == "p":
            yield _one(where, "mode", "differs", "as on the controller")


# --- from facts to findings ---


def compare(host: str, facts: HostFacts, baseline: Mapping[str, str], project: Sequence[str] | None) -> list[Located]:
    """Compare a host's facts with its release, the project's files and its baseline.

    :arg baseline: what the host had when it was accepted; {} when it was not yet.
    :arg project: the files of the project on the controller, relative; None when they are not known there.
    """
    found = [_located(host, "compose_app", one) for one in (*_containers(facts), *_images(facts))]
    found += [_located(host, "host", one) for one in _against_baseline(facts["marks"], baseline)]
    return found + [_located(host, "compose_app", one) for one in _added(facts, project)]


def _added(facts: HostFacts, project: Sequence[str] | None) -> Iterator[Difference]:
    """The files in the app's directory that the project on the controller does not have."""
    if project is None:
        return
    known = set(project)
    for name in facts["project"]:
        if name not in known and not is_left_out(name, facts["exclude"]):
            yield _one(posixpath.join(facts["directory"], name), "added", THERE, GONE)


def _containers(facts: HostFacts) -> Iterator[Difference]:
    """Compare the containers with the compose files and the last good release."""
    desired, release = facts["desired"], facts["release"]
    if not release:
        return
    ours = [one for one in facts["containers"] if one["ours"]]
    for one in ours:
        if one["folder"] and project_parts.relative(one["folder"], facts["directory"]) is None:
            yield _one(f"container {one['name']}", "folder", one["folder"], facts["directory"])
        if one["service"] in desired:
            yield from _container(one, desired[one["service"]], release["images"])
        else:
            yield _one(f"container {one['name']}", "container", f"runs {one['image']}", GONE)
    for service in sorted({*desired} - {one["service"] for one in ours}):
        if desired[service]["wanted"]:
            yield _one(f"service {service}", "state", "has no container", "has one")


def _container(one: ContainerFacts, desired: DesiredService, images: Mapping[str, str]) -> Iterator[Difference]:
    """Compare one container with its service in the compose files and the image of the release."""
    name, image = f"container {one['name']}", images.get(one["service"], one["digest"])
    if one["state"] != "running" and not one["job_done"]:
        yield _one(name, "state", one["state"], "running")
    if one["digest"] != image:
        yield _one(name, "image", _short(one["digest"]), _short(image))
    for key, wanted in desired["settings"].items():
        if one["settings"].get(key) != wanted:
            yield _one(name, key, _shown(key, one["settings"].get(key)), _shown(key, wanted))
    # A variable that only the image sets is the image's.
    for key, should in sorted(desired["env"].items()):
        is_ = one["env"].get(key)
        if should is not None and is_ != should:
            yield _one(f"{name} {key}", "env", is_ or GONE, should)


def _short(digest: str) -> str:
    return digest[:19]


def _shown(key: str, value: object) -> str:
    if key.startswith("memory") and isinstance(value, int):
        return f"{value / 1048576:g} MiB" if value else "no limit"
    if key == "ports" and isinstance(value, list):
        return ", ".join(value) or "none"
    return "no limit" if value in (0, 0.0) and key != "read_only" else str(value)


def _images(facts: HostFacts) -> Iterator[Difference]:
    for service, one in sorted(facts["images"].items()):
        if one["id"] != one["wanted"]:
            yield _one(
                f"image {one['name']}", "tag", _short(one["id"]) or GONE, f"{_short(one['wanted'])} of {service}"
            )


# By the first word of an entry of the baseline: which difference counts. `both` is any, `new` what was not there,
# `lost` what is gone or different. A downgraded package has drifted, an upgraded one has not.
_WATCHED = {
    "package": "package",
    "group": "both",
    "cron": "both",
    "sysctl": "both",
    "sshd": "both",
    "container": "new",
    "unit": "lost",
    "timer": "lost",
    "listens": "new",
    "firewall": "lost",
    "file": "both",
}


def _against_baseline(entries: Mapping[str, str], baseline: Mapping[str, str]) -> Iterator[Difference]:
    keys = {*entries, *baseline} if baseline else set()
    unasked = {key.partition(" ")[2] for key in keys if key.startswith("unasked ")}
    for key in sorted(keys):
        is_, should = entries.get(key), baseline.get(key)
        kind, _unused, name = key.partition(" ")
        if kind not in unasked and is_ != should and _counts(kind, name, is_, should):
            what = {"file": "owner"}.get(kind, kind)
            shown = name if kind in ("file", "unit", "timer") else key
            yield _one(shown, what, is_ or GONE, should or GONE)


def _counts(kind: str, name: str, is_: str | None, should: str | None) -> bool:
    """Whether an entry that differs from the baseline is a drift."""
    how = _WATCHED.get(kind)
    if kind in ("unit", "timer") and _OF_THE_ROLES.match(name):
        return False
    if how == "package":
        return should is not None and (is_ is None or is_older(is_, should))
    if how == "new":
        return should is None
    if how == "lost":
        return should is not None
    # A new file where roles write is theirs: site.yml may have run since.
    if kind == "file" and (is_ is None or should is None):
        return is_ is not None and name.startswith(_WITHOUT_ROLE)
    return how == "both"


_WITHOUT_ROLE = ("/etc/ssh/", "/etc/sudoers.d/", "/etc/sysctl.d/")
"""The folders among `host_facts.FOLDERS` into which no role writes."""

_OF_THE_ROLES = re.compile(r"selfheal(?!-drift)")
"""Units that a role of site.yml starts or stops; no such role manages the controller's own."""


# --- severity, and who changed it ---

_VAGUE = "differs"


def complete(findings: Iterable[Located], facts: Mapping[str, HostFacts]) -> list[Finding]:
    """Return each drift once, with its id, severity and last change.

    What only follows from another finding is dropped. The first role that reports an object counts: findings of
    `gather` come before those of `compare`, so a role counts more than the baseline.
    """
    kept: dict[tuple[str, str], list[Located]] = {}
    for one in findings:
        same = kept.setdefault((one["host"], one["object"]), [])
        if any(other["role"] != one["role"] or other["what"] == one["what"] for other in same):
            continue
        same.append(one)
    distinct = [one for same in kept.values() for one in same]
    # A deploy would correct what has a finding of its own already.
    of_the_app = {
        one["host"] for one in distinct if one["role"] in ("app_env", "compose_app") and one["what"] != "deployment"
    }
    distinct = [one for one in distinct if one["what"] != "deployment" or one["host"] not in of_the_app]
    done = [_finding(one, facts.get(one["host"])) for one in distinct]
    return sorted(done, key=lambda one: (one["host"], SEVERITIES.index(one["severity"]), one["role"], one["object"]))


def _finding(one: Located, facts: HostFacts | None) -> Finding:
    """A drift with what the facts of its host say about it; nothing is decided yet."""
    path = _path(one["object"], facts)
    file = facts["files"].get(path.partition(" ")[0]) if facts else None
    is_ = one["is"]
    if file and is_ == _VAGUE and one["what"] in ("mode", "owner"):
        is_ = file["mode"] if one["what"] == "mode" else file["owner"]
    changed_at = file["changed"] if file else 0.0
    return {
        "host": one["host"],
        "role": one["role"],
        "what": one["what"],
        "object": plain(one["object"]),
        "is": plain(is_),
        "should": plain(one["should"]),
        "id": fingerprint("\n".join((one["host"], one["role"], one["object"], one["what"])))[7:],
        "app": facts["app"] if facts else "",
        "severity": severity(one),
        "changed_at": changed_at,
        "changed_by": logged_in(facts["logins"] if facts else (), changed_at),
        "untouched_since": _untouched_since(one, is_, path, changed_at, facts),
        "as_meant_at": 0.0,
        "pending": False,
        "first_seen": 0.0,
        "returns": 0,
        "decision": "",
        "because": "",
    }


def _path(name: str, facts: HostFacts | None) -> str:
    return name if name.startswith("/") or not facts else posixpath.join(facts["directory"], name)


def _untouched_since(one: Located, is_: str, path: str, changed_at: float, facts: HostFacts | None) -> float:
    """When its file was changed last; 0 when that is not known."""
    if one["role"] == "host":
        return 0.0
    if changed_at or is_ != GONE or not facts:
        return changed_at
    # A file that is gone may have been removed when its folder changed last.
    return facts.get("folders", {}).get(posixpath.dirname(path), 0.0)


SEVERITIES = ("security", "availability", "cosmetic")
# The first row that matches counts: patterns of role, what and object.
_SEVERITY: tuple[tuple[str, str, str, str], ...] = (
    ("*", "*", "*.env.example", "cosmetic"),
    ("*", "env", "*", "security"),
    ("*", "mode", "*", "security"),
    ("*", "owner", "*", "security"),
    ("*", "group", "*", "security"),
    ("host", "unit", "*", "availability"),
    ("host", "timer", "*", "availability"),
    ("host", "package", "*", "availability"),
    ("host", "*", "*", "security"),
    ("*", "added", "*", "security"),
    ("*", "container", "container *", "security"),
    ("*", "ports", "*", "security"),
    ("*", "read_only", "*", "security"),
    ("*", "image", "*", "security"),
    ("*", "tag", "*", "security"),
    ("docker_engine", "content", "*", "security"),
    ("log_rotation", "content", "*", "cosmetic"),
)


def severity(one: Located) -> str:
    """How severe a finding is: security, availability or cosmetic."""
    for role, what, object_, severe in _SEVERITY:
        pairs = ((one["role"], role), (one["what"], what), (one["object"], object_))
        if all(fnmatch.fnmatchcase(value, pattern) for value, pattern in pairs):
            return severe
    return "availability"


_KEYED = re.compile(r"(?i)((?:password|passwd|secret|token|api_?key|private|credential)[\w-]*[\"']?\s*[:=]\s*)(\S.*)")
_LONG = re.compile(r"(?<![\w/.-])(?=[\w+=.-]*[0-9])(?=[\w+=.-]*[A-Za-z])[A-Za-z0-9+=_.-]{20,}(?![\w/])")
# Only in lines of a configuration: a message may say that a password is missing.
_WORDED = re.compile(r"(?i)(\b(?:password|passwd|secret|token|bearer|auth)\s+)(\S+)")


def masked(text: str) -> str:
    """Replace what may be a secret by its fingerprint.

    That is what is named like one, a URL's password, and long words of letters and digits.
    """
    text = hide_passwords(_KEYED.sub(_hide_second, text))
    return _LONG.sub(lambda found: found[0] if found[0].startswith("sha256") else _hidden(found[0]), text)


def _hidden(value: str) -> str:
    return f"<{fingerprint(value)}>"


def _hide_second(found: re.Match[str]) -> str:
    return found[1] + _hidden(found[2])
