# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Several small configuration files in one go: what differs, whether their own tools take them, and writing them."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypedDict

from ..core.files import atomic_write
from . import desired_files

Run = Callable[[Sequence[str]], "tuple[int, str]"]
"""Runs a command: (exit code, what it said); raises FileNotFoundError when it is not installed."""


class WantedFile(TypedDict):
    """A file as the host is to have it; `mode` is octal text, `state` is present or absent."""

    path: str
    content: str | None
    mode: str
    state: str


class Diff(TypedDict):
    """A change as Ansible shows it."""

    before_header: str
    after_header: str
    before: str
    after: str


class HostFilesError(Exception):
    """A file cannot be written as wanted; the message names it. `missing` is a command that is not installed."""

    def __init__(self, message: str, missing: str = "") -> None:
        super().__init__(message)
        self.missing = missing


class Change(NamedTuple):
    """One file that differs. None is a file that does not exist."""

    path: str
    before: str | None
    after: str | None
    mode: int

    def diff(self) -> Diff:
        """Return the change as Ansible shows it."""
        return {
            "before_header": self.path,
            "after_header": self.path,
            "before": self.before or "",
            "after": self.after or "",
        }


def plan(wanted: Sequence[WantedFile]) -> list[Change]:
    """Return what differs from `wanted`, in its order.

    :raises HostFilesError: a path is not absolute, a mode is not an octal number, or a directory is in the way.
    """
    changes = []
    for item in wanted:
        path = str(item["path"])
        if not os.path.isabs(path):
            raise HostFilesError(f"{path}: must be an absolute path")
        try:
            mode = int(str(item["mode"]), 8)
        except ValueError:
            raise HostFilesError(f"{path}: mode {item['mode']!r} is not an octal number, such as 0644") from None
        after = None if item["state"] == "absent" else str(item["content"] or "")
        before, found = _read(path)
        if before != after or (after is not None and found != mode):
            changes.append(Change(path, before, after, mode))
    return changes


def _read(path: str) -> tuple[str | None, int]:
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as stream:
            return stream.read(), stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None, 0
    except IsADirectoryError:
        raise HostFilesError(f"{path}: is a directory") from None


def validate(changes: Sequence[Change], validators: Mapping[str, Sequence[str]], run: Run) -> None:
    """Have each changed file validated by its own tool, as a copy in a folder of its own.

    :arg validators: path → command, in which `%s` is the file.
    :raises HostFilesError: a tool does not take its file, or is not installed.
    """
    for change in changes:
        command = validators.get(change.path)
        if not command or change.after is None:
            continue
        with tempfile.TemporaryDirectory(prefix="selfheal-") as folder:
            copy = os.path.join(folder, os.path.basename(change.path))
            atomic_write(copy, change.after.encode(), mode=change.mode)
            try:
                code, said = run([copy if word == "%s" else word for word in command])
            except FileNotFoundError:
                raise HostFilesError(
                    f"{command[0]}, which validates {change.path}, is not installed", command[0]
                ) from None
        if code:
            reason = " ".join(said.replace(copy, change.path).split())[-400:]
            raise HostFilesError(f"{change.path}: {command[0]} rejects it: {reason or f'exit code {code}'}")


def apply(changes: Sequence[Change], wanted: Sequence[WantedFile] = (), root: str = "/") -> None:
    """Write or delete the files; missing directories are made with mode 0755.

    :arg wanted: what is recorded as desired before, also what does not change.
    :raises OSError: naming the file; those before it are written.
    :raises LockHeld: another run writes configuration files; nothing was written.
    """
    with desired_files.writing([_recorded(item) for item in wanted], root):
        for change in changes:
            if change.after is None:
                os.unlink(change.path)
            else:
                os.makedirs(os.path.dirname(change.path), mode=0o755, exist_ok=True)
                atomic_write(change.path, change.after.encode(), mode=change.mode)


def _recorded(item: WantedFile) -> desired_files.Wanted:
    content = None if item["state"] == "absent" else str(item["content"] or "").encode()
    return desired_files.Wanted(str(item["path"]), content, int(str(item["mode"]), 8))
