# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A repository of backups, through the restic command and its JSON. Everything that leaves the host is encrypted here.

Passwords are in files and in the environment, never in an argument.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypedDict

from ..core.files import NoFile, read_small
from ..core.present import present
from ..core.versions import version_tuple
from ..host.command import Result, run
from .sets import Snapshot

# 0.17 is the first with --stdin-from-command: a dump that fails must not become a backup.
MINIMUM = (0, 17)
NOT_THERE, LOCKED, WRONG_PASSWORD, INCOMPLETE = 10, 11, 12, 3
# Not restic's own.
UNREACHED, REFUSED, FULL = 124, 125, 126
CONNECT_SECONDS, LONGEST_SECONDS = 120.0, 6 * 3600.0
LOOK_SECONDS = 2.0
# Another host's backup or prune may keep a shared repository for so long.
LOCKED_SECONDS = 1800.0
# How ssh and HTTP clients say that a host does not answer.
_UNREACHED = (
    *("no route to host", "connection refused", "timed out", "connection reset", "no such host", "unreachable"),
    "unable to start the sftp session",
)
_FULL = "no space left"
# S3's words, https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; other servers repeat them.
_NO_BUCKET = "bucket does not exist"
_SIGNED_WRONG = (
    *("access key id you provided does not exist", "signature we calculated does not match"),
    "difference between the request time",
)
_REFUSED = (*_SIGNED_WRONG, "access denied", "response (401)", "response (403)")
# Errors that restic retries for a quarter of an hour in vain, and how it says that it does.
_IN_VAIN = (_NO_BUCKET, *_SIGNED_WRONG)
_TRIES_AGAIN = "returned error, retrying after"

Command = Sequence[str]


class RepositoryError(Exception):
    """An operation on the repository failed. The message says what failed and what to try."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Repository(NamedTuple):
    """Where it is, and the files that hold its password and what else has to be known to reach it."""

    url: str
    password_file: str
    secrets_file: str = ""
    ssh_command: str = ""
    upload_kib: int = 0
    download_kib: int = 0
    cache: str = "/var/cache/selfheal/restic"


class Kept(TypedDict):
    """What was kept: the id of its snapshot, its size, and how much of that was new in the repository (bytes)."""

    snapshot: str
    bytes: int
    added: int


def environment(repository: Repository, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a restic command. Raises RepositoryError when a file of secrets cannot be read."""
    found = {
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOME": os.environ.get("HOME", "/root"),
        "LC_ALL": "C.UTF-8",
        "RESTIC_REPOSITORY": repository.url,
        "RESTIC_PASSWORD_FILE": repository.password_file,
        "RESTIC_CACHE_DIR": repository.cache,
        # The processors are for the app.
        "GOMAXPROCS": "1",
        # Its progress messages are kept in memory until it ends, which may take hours: not 60 a second.
        "RESTIC_PROGRESS_FPS": "1",
        **(extra or {}),
    }
    if repository.secrets_file:
        try:
            text = (read_small(repository.secrets_file) or b"").decode("utf-8")
        except (NoFile, OSError, UnicodeDecodeError) as error:
            raise RepositoryError(f"{repository.secrets_file} cannot be read: {error}") from None
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
        found.update({name: value for name, _unused, value in pairs})
    return found


def words(repository: Repository, *given: str) -> list[str]:
    """The command, with the options of every call. It runs with low priority for processor and disk."""
    found = ["nice", "-n", "10", "ionice", "-c", "2", "-n", "7", "restic", "--retry-lock", "2m"]
    found += ["--limit-upload", str(repository.upload_kib)] if repository.upload_kib else []
    found += ["--limit-download", str(repository.download_kib)] if repository.download_kib else []
    found += ["-o", f"sftp.command={repository.ssh_command}"] if repository.ssh_command else []
    return [*found, *given]


def require() -> None:
    """Raise RepositoryError unless restic is installed and new enough."""
    asked = run(["restic", "version"], 10.0)
    found = asked.out.split()[1:2] if asked.code == 0 else []
    needed = f"{'.'.join(map(str, MINIMUM))} or newer is needed"
    if not found:
        raise RepositoryError(f"restic is not installed, {needed}: run christmas.selfheal.site --tags backup")
    if version_tuple(found[0]) < MINIMUM:
        raise RepositoryError(
            f"restic is {found[0]}, {needed}: upgrade the host to Debian 13, or put a newer restic into /usr/local/bin"
        )


def call(
    repository: Repository,
    *given: str,
    timeout: float = LONGEST_SECONDS,
    extra: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Result:
    """Run restic, and end it with all that it has started when it takes too long. Raises RepositoryError."""
    result = _unlocked(repository, given, timeout, extra, stdin)
    if result.code:
        raise _error(repository, given[0], result)
    return result


def _unlocked(
    repository: Repository,
    given: Command,
    timeout: float = LONGEST_SECONDS,
    extra: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Result:
    """Run restic once the repository is not locked any more; wait for that up to LOCKED_SECONDS."""
    until = time.monotonic() + LOCKED_SECONDS
    while True:
        result = _run(words(repository, *given), environment(repository, extra), timeout, stdin)
        if result.code != LOCKED or time.monotonic() >= until:
            return result
        # The holder of the lock may have been killed: restic itself would go on waiting.
        _run(words(repository, "unlock"), environment(repository), CONNECT_SECONDS, None)


def _run(argv: Command, environment_: Mapping[str, str], timeout: float, stdin: str | None) -> Result:
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment_),
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Result(127, "", f"{argv[0]} cannot be run: {error.strerror}")
    until = time.monotonic() + timeout
    while True:
        try:
            out, err = process.communicate(stdin, timeout=LOOK_SECONDS)
            return Result(process.returncode, out, err)
        except subprocess.TimeoutExpired as late:
            stdin = None
            final = _final((late.stderr or b"").decode("utf-8", "replace"))
            if final:
                _end(process)
                return Result(1, "", final)
            if time.monotonic() >= until:
                _end(process)
                return Result(UNREACHED, "", f"no end within {timeout:.0f} s")


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=5.0)


def _final(said: str) -> str:
    """The line of restic's that says why another try would not help, "" without one."""
    for line in said.splitlines():
        known = line.lower()
        if _FULL in known or (_TRIES_AGAIN in known and any(words in known for words in _IN_VAIN)):
            return line
    return ""


def _error(repository: Repository, what: str, result: Result) -> RepositoryError:
    """What went wrong, and what to do."""
    said = " ".join(_said(result).split())[-400:]
    where = repository.url
    # What the command of a dump says is not about the repository.
    own = "\n".join(line for line in _said(result).lower().splitlines() if not line.startswith("subprocess "))
    if result.code == WRONG_PASSWORD or "wrong password" in said:
        return RepositoryError(
            f"the password does not open the repository {where}. Fix: backup_password in the vault has to be the one "
            "that the repository was made with",
            WRONG_PASSWORD,
        )
    if result.code == NOT_THERE or _NO_BUCKET in own:
        return RepositoryError(f"there is no repository at {where}", NOT_THERE)
    if any(words in own for words in _REFUSED):
        return RepositoryError(
            f"the repository {where} refuses access: restic {what} says: {said}. Fix: the keys in backup_secrets have "
            "to be those of its server, and to allow this; its clock and this host's have to agree",
            REFUSED,
        )
    if result.code == LOCKED or "already locked" in said:
        return RepositoryError(f"another backup holds the repository {where}: {said}. Try again later", LOCKED)
    if _FULL in said.lower():
        return RepositoryError(f"the disk is full: restic {what} says: {said}. Make room, then run it again", FULL)
    if result.code == UNREACHED or any(words in said.lower() for words in _UNREACHED):
        return RepositoryError(
            f"the repository {where} does not answer: restic {what}: {said}. Is its host up?", UNREACHED
        )
    return RepositoryError(f"restic {what} failed at {where}: {said or f'exit code {result.code}'}", result.code)


def _said(result: Result) -> str:
    """The messages of restic's lines, which are JSON or text."""
    found = []
    for line in (result.err or result.out).splitlines():
        try:
            entry = json.loads(line)
            error = entry.get("error") or {}
            reason = error.get("message") if isinstance(error, dict) else error
            found.append(str(entry.get("message") or reason or ""))
        except (ValueError, AttributeError):
            found.append(line)
    return "\n".join(line for line in found if line)


def run_with(command: Command, extra: Mapping[str, str], timeout: float) -> Result:
    """Run a command with secrets in its environment."""
    return _run(command, {**os.environ, "LC_ALL": "C.UTF-8", **extra}, timeout, None)


# --- the repository --------------------------------------------------------------------------------------------------


def make_ready(repository: Repository, may_make: bool) -> bool:
    """Open the repository, or create it; whether it was created. Locks that a killed run has left are removed.

    :arg may_make: False when there was one before: an empty one in its place would hide that it is gone.
    """
    try:
        # Without a lock: a run that was killed while it pruned has left an exclusive lock, which is removed below.
        call(repository, "cat", "config", "--json", "--no-lock", timeout=CONNECT_SECONDS)
    except RepositoryError as error:
        if error.code != NOT_THERE:
            raise
        if not may_make:
            raise RepositoryError(
                f"the repository {repository.url} is not there any more, though a backup was made there. Is its disk "
                "mounted? If it is lost, set another backup_repository"
            ) from None
        call(repository, "init", "--json", timeout=CONNECT_SECONDS)
        return True
    call(repository, "unlock", timeout=CONNECT_SECONDS)
    return False


def await_turn(repository: Repository) -> None:
    """Wait until the repository has no exclusive lock, such as that of a run that prunes."""
    call(repository, "cat", "config", "--json", timeout=300.0)


def snapshots(repository: Repository, *tags: str) -> list[Snapshot]:
    """All snapshots that carry all these tags."""
    given = ["--tag", ",".join(tags)] if tags else []
    asked = call(repository, "snapshots", "--json", "--no-lock", *given, timeout=CONNECT_SECONDS)
    found: list[Snapshot] = json.loads(asked.out or "[]") or []
    return found


def keep_files(
    repository: Repository, paths: Sequence[str], tags: Sequence[str], host: str, leave_out: Sequence[str] = ()
) -> Kept:
    """Back up files and folders. Files that vanish meanwhile are not an error."""
    given = ["backup", "--json", "--host", host, "--group-by", "host,tags"]
    for path in leave_out:
        # Escaped: an exclude is a pattern.
        given += ["--exclude", re.sub(r"([*?\[\\])", r"\\\1", path)]
    given += _tagged(tags)
    result = _unlocked(repository, [*given, "--", *paths])
    if result.code not in (0, INCOMPLETE):
        raise _error(repository, "backup", result)
    if result.code == INCOMPLETE:
        errors = [line for line in _said(result).splitlines() if "no such file" not in line.lower()]
        errors = [line for line in errors if "at least one" not in line.lower()]
        if errors:
            raise RepositoryError(f"files cannot be read: {'; '.join(errors[:3])[-400:]}", INCOMPLETE)
    return _summary(result)


def keep_output(
    repository: Repository,
    command: Command,
    name: str,
    tags: Sequence[str],
    host: str,
    extra: Mapping[str, str] | None = None,
) -> Kept:
    """Back up the output of a command, as a stream. A command that fails makes no backup."""
    given = ["backup", "--json", "--host", host, *_tagged(tags), "--stdin-filename", name, "--stdin-from-command", "--"]
    result = _unlocked(repository, [*given, *command], extra=extra)
    said = _said(result)
    if result.code and "command failed" in said:
        # It is the command that failed, on its way to its server for example, and not restic.
        begins = f"subprocess {command[0]}: "
        errors = [line[len(begins) :] for line in said.splitlines() if line.startswith(begins) and line[len(begins) :]]
        raise RepositoryError(f"{name} cannot be made: {' / '.join(errors[-3:])[-400:] or 'its command failed'}")
    if result.code:
        raise _error(repository, "backup", result)
    return _summary(result)


def keep_text(repository: Repository, text: str, name: str, tags: Sequence[str], host: str) -> Kept:
    """Back up a text."""
    given = ["backup", "--json", "--host", host, *_tagged(tags), "--stdin", "--stdin-filename", name]
    return _summary(call(repository, *given, stdin=text))


def _tagged(tags: Sequence[str]) -> list[str]:
    return [word for tag in tags for word in ("--tag", tag)]


def _summary(result: Result) -> Kept:
    for line in reversed(result.out.splitlines()):
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if entry.get("message_type") == "summary":
                added = entry.get("data_added_packed", entry.get("data_added", 0))
                return {
                    "snapshot": entry["snapshot_id"],
                    "bytes": int(entry["total_bytes_processed"]),
                    "added": int(added),
                }
    raise RepositoryError(
        "restic printed no summary, so it is not known whether this backup was made; `selfheal backup list` shows the "
        "backups. Fix: install the restic of the distribution, another version may print something else"
    )


def read_text(repository: Repository, snapshot: str, name: str) -> str:
    """The text of a file that was kept."""
    return call(repository, "dump", "--no-lock", snapshot, name, timeout=CONNECT_SECONDS).out


def dump_words(repository: Repository, snapshot: str, name: str) -> str:
    """The shell command that writes a file of a snapshot to the output, for a person."""
    given = ["--repo", repository.url, "--password-file", repository.password_file]
    given += ["-o", f"sftp.command={repository.ssh_command}"] if repository.ssh_command else []
    ahead = f"set -a; . {shlex.quote(repository.secrets_file)}; set +a; " if repository.secrets_file else ""
    return f"{ahead}{shlex.join(['restic', *given, 'dump', '--no-lock', snapshot, name])}"


def put_files(repository: Repository, snapshot: str, source: str, target: str) -> None:
    """Restore what the folder `source` of a snapshot held into the folder `target`."""
    try:
        call(repository, "restore", "--json", "--no-lock", f"{snapshot}:{source}", "--target", target, "--verify")
    except RepositoryError as error:
        if "not found" in str(error):
            raise RepositoryError(f"the backup is incomplete: it does not have {source}") from None
        raise


def pour(
    repository: Repository,
    snapshot: str,
    name: str,
    command: Command,
    extra: Mapping[str, str] | None = None,
    timeout: float = LONGEST_SECONDS,
) -> str:
    """Stream a file of a snapshot into a command; return its output. Raises RepositoryError."""
    # A file takes any amount of errors; a full pipe would stop restic in the middle of the dump.
    with tempfile.TemporaryFile() as errors:
        dump = subprocess.Popen(
            words(repository, "dump", "--no-lock", snapshot, name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(repository),
            start_new_session=True,
        )
        dumped = present(dump.stdout)
        taker = None
        try:
            taker = subprocess.Popen(
                list(command),
                stdin=dumped,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C.UTF-8", **(extra or {})},
                text=True,
                errors="replace",
                start_new_session=True,
            )
            dumped.close()
            out, _unused = taker.communicate(timeout=timeout)
            code = dump.wait(timeout=30.0)
        except (OSError, subprocess.TimeoutExpired) as error:
            for process in (dump, taker):
                if process is not None:
                    _end(process)
            raise RepositoryError(f"{name} could not be loaded: {error}") from None
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace")
    # A command that fails breaks the pipe: then its own error is the cause.
    if taker.returncode:
        raise RepositoryError(f"cannot load {name}: {first_error(out) or 'the dump is incomplete'}")
    if code:
        raise _error(repository, "dump", Result(code, "", said))
    return out


def first_error(text: str) -> str:
    """The first line of a command's output that reports an error, and the one after it; else the last three lines.

    What follows the first error mostly follows from it.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if re.search(r"\b(error|fatal|panic|failed|failure|denied)\b", line, re.IGNORECASE):
            return " / ".join(lines[number : number + 2])[:400]
    return " / ".join(lines[-3:])[-400:]


def forget(repository: Repository, doomed: Sequence[str]) -> None:
    """Forget snapshots. `prune` removes their data."""
    if doomed:
        call(repository, "forget", *doomed, timeout=3600.0)


def prune(repository: Repository) -> None:
    """Remove the data that no snapshot needs any more."""
    call(repository, "prune", "--max-unused", "10%")


def check(repository: Repository, percent: int) -> None:
    """Verify the repository's structure, and read so many percent of its data. Raises RepositoryError."""
    given = ["check", *([f"--read-data-subset={percent}%"] if percent else [])]
    try:
        call(repository, *given)
    except RepositoryError as error:
        if error.code in (WRONG_PASSWORD, LOCKED, NOT_THERE, UNREACHED, REFUSED, FULL):
            raise
        raise RepositoryError(
            f"the repository is damaged: {error}. Backups in it may be incomplete, and so may new ones that share "
            "their data. Fix: set another backup_repository and back up there; check the disk"
        ) from None


def wait_free(held: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is not held any more; whether that was in time."""
    until = time.monotonic() + seconds
    while held():
        if time.monotonic() >= until:
            return False
        time.sleep(0.5)
    return True
