# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The env on the host and its history: validate, back up, write atomically, restore.

The history is a directory (0700) with one file (0600) for each content that was in force, and ``index.json``, which
lists them as ``{"versions": [Version, …]}``.

The newest comes last. A content has one version, however often it comes back: then its ``time`` and ``why`` change and
it moves to the end, so that a value that flaps does not push the others out. An empty ``<id>.good`` next to a version
says what the index says with ``good``, so that a lost index costs no knowledge.

Every step leaves a state that the next run can go on from: the old content is in the history before the new one is in
force, and every file is replaced atomically. The caller holds the app's lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TypedDict

from ..core.files import NoFile, atomic_write, flagged, free_name, read_small, sweep_temporaries
from ..core.fingerprint import fingerprint
from . import dotenv
from .rules import Finding, describe

KEEP = 10
MODE = 0o600
EXAMPLE_MODE = 0o644

# Within this time after the env a play has also brought the agent's configuration.
FRESH_SECONDS = 600.0

_DIRECTORY_MODE = 0o700
_INDEX = "index.json"
_ID = re.compile(r"(\d{8}T\d{6}Z)-([0-9a-f]{12})")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_ID_TIME = "%Y%m%dT%H%M%SZ"
# Writing an env does not take that long; an older one was left by a run that was killed.
_ABANDONED_SECONDS = 600.0

Validator = Callable[[Mapping[str, str]], Sequence[Finding]]


class Version(TypedDict):
    """One content that was in force once: ``<id>.env`` in the history.

    ``time`` is ISO 8601 in UTC, ``variables`` are fingerprints by name, ``why`` is site, recover, restore or found.
    """

    id: str
    time: str
    file: str
    fingerprint: str
    variables: dict[str, str]
    good: bool
    why: str


class Change(TypedDict):
    """What a write did or, with ``dry_run``, would do. Names and fingerprints only.

    ``version``: id of the version now in force. ``backup``: id of the version that holds what was in force before
    (None: there was no file, or its content did not change). ``before`` is None without a file. ``why``: what
    differed: content, mode, owner, group.
    """

    changed: bool
    version: str
    backup: str | None
    fingerprint: str
    before: dict[str, str] | None
    after: dict[str, str]
    why: list[str]


class ExampleChange(TypedDict):
    """What writing the example did or would do; ``before`` is None when there was no file."""

    changed: bool
    before: str | None
    after: str
    why: list[str]


class EnvError(Exception):
    """The env was left as it was; the text says why and what to do."""


class InvalidValues(EnvError):
    """The values did not pass; ``findings`` says what is wrong."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(describe(findings))
        self.findings = list(findings)


def write_env(
    path: str,
    history: str,
    values: Mapping[str, str],
    *,
    now: float,
    why: str = "site",
    validate: Validator | None = None,
    uid: int = -1,
    gid: int = -1,
    keep: int = KEEP,
    dry_run: bool = False,
) -> Change:
    """Validate ``values``, keep what is in force, write ``path`` atomically (0600); byte-identical: nothing is written.

    ``now``: epoch seconds. ``uid``/``gid`` of -1 keep the owner. ``keep``: how many versions stay, apart from the
    newest good ones. With ``dry_run`` nothing is touched. Raises InvalidValues, EnvError, OSError (its ``filename``
    says where); then the file in force is as it was.
    """
    findings = validate(values) if validate else []
    if findings:
        raise InvalidValues(findings)
    try:
        content = dotenv.encode(values).encode("utf-8")
    except dotenv.DotenvError as error:
        raise EnvError(f"the env cannot be written: {error}") from error
    return _put(path, history, content, now=now, why=why, uid=uid, gid=gid, keep=keep, dry_run=dry_run)


def restore_env(
    path: str,
    history: str,
    *,
    now: float,
    validate: Validator | None = None,
    uid: int = -1,
    gid: int = -1,
    keep: int = KEEP,
    dry_run: bool = False,
    wanted: str = "",
) -> Change:
    """Put the newest good version back that differs from the file in force, byte for byte.

    :arg wanted: the fingerprint of the only version that will do; "" for any.

    A good version that ``validate`` refuses today (a key has expired since) is passed over. Raises EnvError when none
    is left, OSError as ``write_env``.
    """
    in_force = _read(path)
    mark = None if in_force is None else fingerprint(in_force)
    passed_over = []
    for version in reversed(versions(history)):
        if not version["good"] or version["fingerprint"] == mark or wanted not in ("", version["fingerprint"]):
            continue
        content = _read(os.path.join(history, version["file"]))
        reason = _unusable(version, content, validate)
        if reason or content is None:
            passed_over.append(f"{version['id']} ({reason})")
            continue
        return _put(path, history, content, now=now, why="restore", uid=uid, gid=gid, keep=keep, dry_run=dry_run)
    raise EnvError(_nothing_to_restore(path, history, mark, passed_over))


def values_of(path: str, history: str, mark: str) -> dict[str, str]:
    """The values of the good version with this fingerprint. It need not be kept when it is the file in force, `path`.

    Raises EnvError when it is not there or damaged, OSError.
    """
    version = _find(versions(history), mark)
    kept = [os.path.join(history, version["file"])] if version and version["good"] else []
    for name in (*kept, path):
        content = _read(name)
        if content is not None and fingerprint(content) == mark:
            with contextlib.suppress(dotenv.DotenvError, UnicodeDecodeError):
                return dotenv.parse(content.decode("utf-8"))
    raise EnvError(f"{history} does not hold the env {mark} any more")


def write_example(path: str, text: str, *, uid: int = -1, gid: int = -1, dry_run: bool = False) -> ExampleChange:
    """Write ``.env.example`` (0644, no history: it holds no value), if it differs. Raises as ``write_env``."""
    content = text.encode("utf-8")
    old = _read(path)
    differs = _differences(path, old, content, uid, gid, EXAMPLE_MODE)
    if not dry_run:
        _bring(path, content, differs, uid, gid, EXAMPLE_MODE)
    before = None if old is None else old.decode("utf-8", "replace")
    return ExampleChange(changed=bool(differs), before=before, after=text, why=differs)


def bring_directory(
    path: str, mode: int, *, uid: int = -1, gid: int = -1, dry_run: bool = False
) -> dict[str, tuple[str, str]]:
    """Create the directory that ``path`` is in, or correct it.

    Return what it was and what it is now, by what differed: state, mode, owner, group.
    Raises EnvError when something else is in its place, OSError.
    """
    directory = os.path.dirname(os.path.abspath(path))
    if os.path.lexists(directory) and not os.path.isdir(directory):
        raise EnvError(f"{directory} is not a directory, nor a link to one: move it away, or put the app elsewhere")
    if os.path.isdir(directory):
        now = os.stat(directory)
        sides = {
            "mode": (f"{stat.S_IMODE(now.st_mode):04o}", f"{mode:04o}"),
            "owner": (str(now.st_uid), str(now.st_uid if uid == -1 else uid)),
            "group": (str(now.st_gid), str(now.st_gid if gid == -1 else gid)),
        }
        differs = {name: sides[name] for name in sides if sides[name][0] != sides[name][1]}
    else:
        differs = {"state": ("absent", "directory")}
    if differs and not dry_run:
        os.makedirs(directory, exist_ok=True)
        os.chown(directory, uid, gid)
        os.chmod(directory, mode)
    return differs


def move_aside(path: str) -> str:
    """Rename what is not a file of an env's size, such as a directory; its new path, "" when nothing has to be moved.

    Raises EnvError for what cannot be moved, OSError.
    """
    try:
        read_small(path)
        return ""
    except NoFile:
        if not os.path.lexists(path):
            return ""
    _check_flags(path)
    aside = free_name(path, "replaced")
    os.rename(path, aside)
    return aside


def remember(path: str, history: str, *, now: float, keep: int = KEEP) -> bool:
    """Keep the file in force in the history; whether it was not there yet. Raises EnvError, OSError."""
    content = _read(path)
    if content is None:
        return False
    known = versions(history)
    if _find(known, fingerprint(content)) is not None:
        return False
    _make_directory(history)
    _record(history, known, content, now=now, why="found")
    _prune(history, known, keep, fingerprint(content), now)
    return True


def mark_good(history: str, fingerprint: str) -> bool:
    """Mark the version with this fingerprint good; False when the history has none. Raises OSError."""
    known = versions(history)
    version = _find(known, fingerprint)
    if version is None:
        return False
    if not version["good"]:
        version["good"] = True
        atomic_write(os.path.join(history, f"{version['id']}.good"), b"", MODE)
        _write_index(history, known)
    return True


def last_good(history: str) -> Version | None:
    """The newest version that is marked good."""
    return next((version for version in reversed(versions(history)) if version["good"]), None)


def just_written(history: str, mark: str, now: float) -> bool:
    """Whether the content with this fingerprint was validated by a controller, and written here, a moment ago."""
    version = _find(versions(history), mark)
    if version is None or version["why"] not in ("site", "recover"):
        return False
    written = datetime.strptime(version["time"], _TIME).replace(tzinfo=timezone.utc).timestamp()
    return 0.0 <= now - written <= FRESH_SECONDS


def versions(history: str) -> list[Version]:
    """All versions, newest last. An index that is damaged or lost is rebuilt from the version files."""
    try:
        with open(os.path.join(history, _INDEX), encoding="utf-8") as stream:
            found = json.load(stream)["versions"]
        known = [_checked(entry) for entry in found]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _rebuilt(history)
    return [version for version in known if os.path.isfile(os.path.join(history, version["file"]))]


def _put(
    path: str, history: str, content: bytes, *, now: float, why: str, uid: int, gid: int, keep: int, dry_run: bool
) -> Change:
    """Make ``content`` the file in force."""
    old = _read(path)
    mark = fingerprint(content)
    differs = _differences(path, old, content, uid, gid, MODE)
    known = versions(history)
    version = _find(known, mark)
    replaced = old is not None and old != content
    change = Change(
        changed=bool(differs),
        version=version["id"] if version else _id(mark, now),
        backup=_backup_id(known, old, now) if replaced else None,
        fingerprint=mark,
        before=None if old is None else _marks(old),
        after=_marks(content),
        why=differs,
    )
    if dry_run or (not differs and _is_newest(known, mark)):
        return change
    _check_directory(path)
    if differs:
        _check_flags(path)
    _make_directory(history)
    if old is not None and replaced and _find(known, fingerprint(old)) is None:
        _record(history, known, old, now=now, why="found")
    if not _is_newest(known, mark):
        _record(history, known, content, now=now, why=why)
    _bring(path, content, differs, uid, gid, MODE)
    _prune(history, known, keep, mark, now)
    with contextlib.suppress(OSError):
        sweep_temporaries(os.path.dirname(os.path.abspath(path)), _ABANDONED_SECONDS, now)
    return change


def _read(path: str) -> bytes | None:
    """The bytes of a file, None when it is not there. Raises EnvError for what is not a file of an env's size."""
    try:
        return read_small(path)
    except NoFile as problem:
        raise EnvError(str(problem)) from None


def _differences(path: str, old: bytes | None, content: bytes, uid: int, gid: int, mode: int) -> list[str]:
    """Which of content, mode, owner and group differ. A symbolic link is replaced by a file."""
    if old is None:
        return ["content"]
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return ["content"]
    checks = {
        "content": old == content,
        "mode": stat.S_IMODE(status.st_mode) == mode,
        "owner": uid in (-1, status.st_uid),
        "group": gid in (-1, status.st_gid),
    }
    return [name for name, right in checks.items() if not right]


def _check_directory(path: str) -> None:
    directory = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(directory):
        raise EnvError(f"{directory} is not a directory: create it before the env is written")


def _check_flags(path: str) -> None:
    flags = flagged(path)
    if flags:
        raise EnvError(f"{flags}. The env was left as it is")


def _bring(path: str, content: bytes, differs: Sequence[str], uid: int, gid: int, mode: int) -> None:
    """Make the file what it should be, as ``_differences`` says."""
    if "content" in differs:
        _check_directory(path)
        atomic_write(path, content, mode, uid, gid)
    elif differs:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)


def _marks(content: bytes) -> dict[str, str]:
    """Name → fingerprint of the value. Of a file that does not parse: nothing.

    A line of a broken secret can look like a name, so an unusual name is replaced by its fingerprint, too.
    """
    try:
        values = dotenv.parse(content.decode("utf-8"))
    except (dotenv.DotenvError, UnicodeDecodeError):
        return {}
    customary = re.compile(r"[A-Z_][A-Z0-9_]*|[a-z_][a-z0-9_]{0,31}")
    return {
        name if customary.fullmatch(name) else f"<{fingerprint(name)}>": fingerprint(value)
        for name, value in values.items()
    }


def differing(before: bytes | None, after: bytes | None) -> list[str]:
    """The names whose values differ between two contents of an env, sorted; None for no file."""
    return _differing(_marks(before or b""), _marks(after or b""))


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def changed_since(path: str, history: str, good: str) -> list[str]:
    """The names whose values differ between the env in force and the version with this fingerprint.

    Nothing when either is not known.
    """
    known = versions(history)
    before, content = _find(known, good), _read(path)
    if before is None or content is None:
        return []
    return _differing(before["variables"], _marks(content))


def _find(known: Sequence[Version], mark: str) -> Version | None:
    return next((version for version in known if version["fingerprint"] == mark), None)


def _is_newest(known: Sequence[Version], mark: str) -> bool:
    """Whether this is the newest version. One that was found was a person's, until a run writes the same."""
    return bool(known) and known[-1]["fingerprint"] == mark and known[-1]["why"] != "found"


def _id(mark: str, now: float) -> str:
    return f"{_when(now).strftime(_ID_TIME)}-{mark.partition(':')[2]}"


def _when(now: float) -> datetime:
    return datetime.fromtimestamp(now, timezone.utc)


def _backup_id(known: Sequence[Version], old: bytes | None, now: float) -> str | None:
    if old is None:
        return None
    version = _find(known, fingerprint(old))
    return version["id"] if version else _id(fingerprint(old), now)


def _make_directory(history: str) -> None:
    """Make the history's directory, and those above it, for root's eyes only; correct a mode that is too wide."""
    try:
        above = os.path.dirname(os.path.abspath(history))
        for directory in (os.path.dirname(above), above, history):
            if not os.path.isdir(directory):
                # makedirs takes the mode for the last directory only.
                os.makedirs(directory, mode=_DIRECTORY_MODE, exist_ok=True)
        if stat.S_IMODE(os.stat(history).st_mode) != _DIRECTORY_MODE:
            os.chmod(history, _DIRECTORY_MODE)
    except (FileExistsError, NotADirectoryError):
        raise EnvError(
            f"{history} cannot be created: there is a file in the place of the directory; move it away"
        ) from None


def _record(history: str, known: list[Version], content: bytes, *, now: float, why: str) -> None:
    """Keep ``content``: its file first, then the index. ``known`` is changed in place."""
    mark = fingerprint(content)
    version = _find(known, mark)
    if version is None:
        identity = _id(mark, now)
        version = Version(
            id=identity,
            time="",
            file=f"{identity}.env",
            fingerprint=mark,
            variables=_marks(content),
            good=False,
            why="",
        )
        atomic_write(os.path.join(history, version["file"]), content, MODE)
    else:
        known.remove(version)
    version["time"], version["why"] = _when(now).strftime(_TIME), why
    known.append(version)
    _write_index(history, known)


def _write_index(history: str, known: Sequence[Version]) -> None:
    text = json.dumps({"versions": known}, indent=1, sort_keys=True) + "\n"
    atomic_write(os.path.join(history, _INDEX), text.encode(), MODE)


def _prune(history: str, known: list[Version], keep: int, in_force: str, now: float) -> None:
    """Keep the ``keep`` newest versions, the two newest good ones (one may be in force) and the one in force.

    The index goes first, then the files.
    """
    newest = known[max(len(known) - max(keep, 1), 0) :]
    good = [version for version in known if version["good"]][-2:]
    kept = [version for version in known if version in newest + good or version["fingerprint"] == in_force]
    if len(kept) < len(known):
        known[:] = kept
        _write_index(history, known)
    wanted = {version["id"] for version in known}
    for entry in os.listdir(history):
        identity, extension = os.path.splitext(entry)
        if extension in (".env", ".good") and _ID.fullmatch(identity) and identity not in wanted:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(history, entry))
    with contextlib.suppress(OSError):
        sweep_temporaries(history, _ABANDONED_SECONDS, now)


def _checked(entry: Mapping[str, object]) -> Version:
    """One entry of the index. Raises ValueError when it is damaged."""
    variables = entry["variables"]
    if not (isinstance(variables, dict) and _ID.fullmatch(str(entry["id"])) and isinstance(entry["good"], bool)):
        raise ValueError("damaged entry")
    return Version(
        id=str(entry["id"]),
        time=str(entry["time"]),
        file=f"{entry['id']}.env",
        fingerprint=str(entry["fingerprint"]),
        variables={str(name): str(mark) for name, mark in variables.items()},
        good=entry["good"],
        why=str(entry["why"]),
    )


def _rebuilt(history: str) -> list[Version]:
    """The versions by their files alone, in the order of their ids, which begin with the time."""
    try:
        names = sorted(os.listdir(history))
    except OSError:
        return []
    known = []
    for name in names:
        identity, extension = os.path.splitext(name)
        found = _ID.fullmatch(identity)
        content = None
        if found and extension == ".env":
            with contextlib.suppress(OSError, EnvError):
                content = _read(os.path.join(history, name))
        # A file whose content is not what its name says was damaged together with the index.
        if found is None or content is None or not fingerprint(content).endswith(found.group(2)):
            continue
        moment = datetime.strptime(found.group(1), _ID_TIME).replace(tzinfo=timezone.utc)
        known.append(
            Version(
                id=identity,
                time=moment.strftime(_TIME),
                file=name,
                fingerprint=fingerprint(content),
                variables=_marks(content),
                good=os.path.exists(os.path.join(history, f"{identity}.good")),
                why="found",
            )
        )
    return known


def _unusable(version: Version, content: bytes | None, validate: Validator | None) -> str | None:
    """Why a good version cannot be put back today."""
    if content is None or fingerprint(content) != version["fingerprint"]:
        return "its file is damaged or gone"
    if validate is None:
        return None
    try:
        findings = validate(dotenv.parse(content.decode("utf-8")))
    except (dotenv.DotenvError, UnicodeDecodeError):
        return "it does not parse"
    return "; ".join(f"{finding['variable']}: {finding['rule']}" for finding in findings) or None


def _nothing_to_restore(path: str, history: str, mark: str | None, passed_over: Sequence[str]) -> str:
    known = versions(history)
    if passed_over:
        why = f"every good version is unusable: {', '.join(passed_over)}"
    elif any(version["good"] for version in known):
        why = f"the only good version is the one in force ({mark})"
    elif known:
        why = f"none of the {len(known)} versions in {history} was ever good"
    else:
        why = f"{history} holds no version"
    return (
        f"{path} was left as it is, there is nothing to put back: {why}. Write the env from the vault (state: present)."
    )
