# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Swap staged files and folders with those in place, and back. Each step is one rename, and can be detected later."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Sequence
from typing import TypedDict

from ..core.files import sync_directory

_AT_FDCWD, _EXCHANGE = -100, 2


class Move(TypedDict):
    """Two paths that are swapped, and their inodes before that (0: no file): they show later whether it was done.

    `here` is the one in place, `beside` the staged one.
    """

    here: str
    beside: str
    here_is: int
    beside_is: int


def exchange(one: str, other: str) -> None:
    """Swap two paths of a file system in one step (renameat2(2)). Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), one)


def require(folder: str) -> None:
    """Raise OSError when the file system of a folder cannot do it."""
    paths = [os.path.join(folder, f".selfheal-exchange-{number}") for number in (1, 2)]
    try:
        for path in paths:
            os.makedirs(path, exist_ok=True)
        exchange(*paths)
    finally:
        for path in paths:
            with contextlib.suppress(OSError):
                os.rmdir(path)


def plan(here: str, staged: str) -> Move:
    """One move."""
    return {"here": here, "beside": staged, "here_is": _inode(here), "beside_is": _inode(staged)}


def plan_entries(here: str, staged: str) -> list[Move]:
    """The moves that give the folder `here` the content of `staged`, and nothing else; the folder itself stays."""
    folders = [folder for folder in (here, staged) if os.path.isdir(folder)]
    names = sorted({name for folder in folders for name in os.listdir(folder)})
    return [plan(os.path.join(here, name), os.path.join(staged, name)) for name in names]


def _inode(path: str) -> int:
    try:
        return os.lstat(path).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return 0


def is_done(move: Move) -> bool:
    """Whether a move was done: what was `here` is at the other path. It may have been replaced here since."""
    return bool(_inode(move["beside"]) == move["here_is"] and _inode(move["here"]) != move["here_is"])


def do(moves: Sequence[Move]) -> None:
    """Do what was not done yet. Raises OSError."""
    for move in moves:
        if not is_done(move):
            _swap(move)


def undo(moves: Sequence[Move]) -> None:
    """Undo what was done. Raises OSError."""
    for move in reversed(moves):
        if is_done(move):
            _swap(move)


def _swap(move: Move) -> None:
    here, staged = str(move["here"]), str(move["beside"])
    there = [bool(_inode(path)) for path in (here, staged)]
    if all(there):
        exchange(here, staged)
    elif there[0]:
        os.rename(here, staged)
    elif there[1]:
        os.rename(staged, here)
    for path in (here, staged):
        with contextlib.suppress(OSError):
            sync_directory(os.path.dirname(path))
