# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules `secrets_validate` and `env_file` do, from their arguments to their result.

Imports nothing of Ansible.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypedDict

from ..core.app_paths import AppError, app_paths
from ..core.fingerprint import fingerprint
from ..core.locks import LockHeld, hold_lock
from ..env import dotenv, supabase_online
from ..env import history as env_history
from ..env import rules as secret_rules
from ..env.rules import Finding, Variable
from ..env.variables import TABLE
from .ansible_no_log import Params

# Longer than a recovery that restarts a slow app; a run that waits says what for.
LOCK_SECONDS = 60.0

_NO_VALUES = (
    "No value is given at all: app_env_values is empty. Name the values in the inventory's group_vars/all, and put the "
    "secrets among them into vault.yml there, encrypted: ansible-vault encrypt <that file>"
)

EXPECTED = (AppError, LockHeld, dotenv.DotenvError, env_history.EnvError, secret_rules.TableError, OSError)
"""Errors whose text is for the user; anything else is a defect and keeps its traceback."""


class Validated(TypedDict):
    """What `secrets_validate` returns: findings, the names of the values without one, and fingerprints by name."""

    findings: list[Finding]
    proved: list[str]
    fingerprints: dict[str, str]


class Validation(NamedTuple):
    """The result, and the names of the values that the table does not list."""

    result: Validated
    unlisted: list[str]


Diff = dict[str, str]
"""A diff as Ansible shows it: {before, after, before_header, after_header}."""


class Written(TypedDict):
    """What `env_file` returns.

    `version` is what was kept of the new env, `backup` of the old one. `why` says what differed. `diff` holds names and
    fingerprints, no value.
    """

    changed: bool
    version: str
    backup: str | None
    fingerprint: str
    fingerprints: dict[str, str]
    why: list[str]
    diff: Diff | list[Diff]


def validate(params: Params, now: float) -> Validation:
    """Validate ``values``, or the file at ``path``. Raises EXPECTED."""
    variables = secret_rules.parse_table(params["variables"])
    values, findings = (params["values"], []) if params["values"] is not None else _read(params["path"])
    findings = [*findings, *validate_values(variables, values, now, params["online"], params["timeout"])]
    wrong = {finding["variable"] for finding in findings}
    texts = secret_rules.texts(variables, values)
    result: Validated = {
        "findings": findings,
        "proved": [name for name in texts if name not in wrong],
        "fingerprints": {name: fingerprint(text) for name, text in texts.items()},
    }
    # A broken line of a file can look like a name, and be a piece of a secret.
    unlisted = secret_rules.unlisted(variables, values) if params["values"] is not None else []
    return Validation(result, unlisted)


def message(values: Mapping[str, object] | None, findings: Sequence[Finding]) -> str:
    """What a run that fails says: a line for each finding and, when no value was given at all, where values belong."""
    lines = secret_rules.describe(findings)
    return lines if values or values is None else f"{lines}\n{_NO_VALUES}"


def validate_values(
    variables: Sequence[Variable], values: Mapping[str, object], now: float, online: bool, timeout: float
) -> list[Finding]:
    """The offline rules and, when they find nothing and ``online`` says so, the project itself."""
    findings = secret_rules.validate(variables, values, now)
    if online and not findings:
        findings = supabase_online.validate_online(variables, values, timeout)
    return findings


def put(params: Params, check: bool, clock: Callable[[], float], root: str = "/") -> Written:
    """Write the env and an example, or restore it, as ``state`` says. Raises EXPECTED."""
    variables = secret_rules.parse_table(params["variables"])
    if not variables and params["state"] != "restored":
        raise secret_rules.TableError(TABLE, "it is empty", "list the variables that the app needs, with their kinds")
    uid, gid = _id(params, "owner", check), _id(params, "group", check)
    owner = {"uid": uid, "gid": gid}
    paths = app_paths(params["app"], root=root)
    directory: dict[str, tuple[str, str]] = {}
    if params["keep"] < 1:
        raise env_history.EnvError(f"keep: {params['keep']} would keep no version to go back to; use 1 or more")

    def prover(values: Mapping[str, str]) -> list[Finding]:
        return validate_values(variables, values, clock(), params["online"], params["timeout"])

    keep, now = int(params["keep"]), clock()
    what = f"write the env of {paths.name}"
    waiting = contextlib.nullcontext() if check else hold_lock(paths.lock, LOCK_SECONDS, what, paths.restoring)
    if params["state"] == "restored":
        with waiting:
            prover_or_none = prover if variables else None
            change = env_history.restore_env(
                params["path"],
                paths.history,
                now=now,
                keep=keep,
                uid=uid,
                gid=gid,
                validate=prover_or_none,
                dry_run=check,
            )
    else:
        values = params["values"]
        findings = prover(values)  # what is not text is a finding, too, and would be lost in what is written
        if findings:
            raise env_history.InvalidValues(findings)
        with waiting:
            directory = _directory(params, owner, check)
            texts = secret_rules.texts(variables, values)
            change = env_history.write_env(
                params["path"], paths.history, texts, now=now, keep=keep, uid=uid, gid=gid, dry_run=check
            )
    why = [*directory, *change["why"]]
    diffs = [_diff(params["path"], change["before"], change["after"], why, directory)]
    example = None
    if params["example"] and params["state"] == "present":
        text = secret_rules.example(variables)
        example = env_history.write_example(params["example"], text, dry_run=check, **owner)
        diffs += [_example(params["example"], example)] if example["changed"] else []
    return {
        "changed": bool(why) or (example is not None and example["changed"]),
        "version": change["version"],
        "backup": change["backup"],
        "fingerprint": change["fingerprint"],
        "fingerprints": change["after"],
        "why": why,
        "diff": diffs[0] if len(diffs) == 1 else diffs,
    }


def _read(path: str) -> tuple[dict[str, str], list[Finding]]:
    """The values in an env file, and what is wrong with the file itself. Raises EnvError when it cannot be read."""
    try:
        with open(path, "rb") as stream:
            text = stream.read().decode("utf-8")
        values, repeated = dotenv.parse(text), dotenv.duplicates(text)
    except FileNotFoundError:
        raise env_history.EnvError(f"{path} does not exist: write it first, with christmas.selfheal.env_file") from None
    except UnicodeDecodeError as error:
        raise env_history.EnvError(f"{path} is not UTF-8 text (byte {error.start}): write it again") from None
    except dotenv.DotenvError as error:
        raise env_history.EnvError(
            f"{path}: {error}. Correct the line, or write the file again from the vault"
        ) from None
    findings = []
    for lines in repeated.values():
        where = ", ".join(map(str, lines))
        fix = "Remove the others: which one an app takes depends on who reads the file."
        reason = f"lines {where} set the same variable; Compose takes the last one"
        findings.append(Finding(variable=os.path.basename(path), rule="repeated", reason=reason, fix=fix))
    return values, findings


def _id(params: Params, key: str, check: bool) -> int:
    """The number of a user or group that is given by name or number; -1: not given."""
    wanted = params[key]
    if wanted is None:
        return -1
    if wanted.isdigit():
        return int(wanted)
    try:
        return pwd.getpwnam(wanted).pw_uid if key == "owner" else grp.getgrnam(wanted).gr_gid
    except KeyError:
        if check:
            return -1  # a task above this one may be about to make it
        what = "user" if key == "owner" else "group"
        raise env_history.EnvError(
            f"{key}: this host has no {what} {wanted}; make it first (ansible.builtin.{what})"
        ) from None


def _directory(params: Params, owner: Mapping[str, int], check: bool) -> dict[str, tuple[str, str]]:
    """Bring the directory of the file: {what of it differed: (what it was, as configured)}."""
    if params["directory_mode"] is None:
        return {}
    try:
        mode = int(params["directory_mode"], 8)
    except ValueError:
        raise env_history.EnvError(
            f"directory_mode: {params['directory_mode']!r} is not an octal number, such as '0755'"
        ) from None
    differs = env_history.bring_directory(params["path"], mode, dry_run=check, **owner)
    return {f"directory {name}": sides for name, sides in differs.items()}


def _example(path: str, change: env_history.ExampleChange) -> Diff:
    """The text, which holds no value; of mode and owner, that they differ."""
    if "content" not in change["why"]:
        return _diff(path, {}, {}, change["why"])
    return {"before": change["before"] or "", "after": change["after"], **_headers(path)}


def _diff(
    path: str,
    before: Mapping[str, str] | None,
    after: Mapping[str, str],
    why: Sequence[str],
    directory: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> Diff:
    """Names and fingerprints; of mode and owner, that they differ, and of the directory how."""
    drift = {name: directory.get(name, ("differs", "as configured")) for name in why if name != "content"}
    old = [f"{name}={digest}" for name, digest in (before or {}).items()]
    old += [f"# {name}: {was}" for name, (was, _unused) in drift.items() if before is not None or name in directory]
    new = [f"{name}={digest}" for name, digest in after.items()] + [
        f"# {name}: {wanted}" for name, (_unused, wanted) in drift.items()
    ]
    return {**_headers(path), "before": _lines(old), "after": _lines(new)}


def _headers(path: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path}


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
