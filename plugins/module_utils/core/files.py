# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files that survive being killed: atomic replacement, one lock per app, short fingerprints."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import secrets
import stat
import struct

_TEMP_MARK = ".selfheal-"
# The question for the flags of a file, _IOR('f', 1, long), and those that stop root, too, with the option of chattr(1)
# for each. Source: FS_IOC_GETFLAGS, FS_IMMUTABLE_FL and FS_APPEND_FL of linux/fs.h.
_GET_FLAGS = 0x80006601 | struct.calcsize("l") << 16
_FLAGS = ((0x10, "immutable", "i"), (0x20, "append-only", "a"))
# An env or a compose file is some kilobytes; a larger file is something else, and is not read into memory.
LARGEST_BYTES = 4 << 20


class NoFile(Exception):
    """A path does not lead to a file of a sensible size. The message names it, and what to do."""


def read_small(path: str) -> bytes | None:
    """The bytes of a file of at most LARGEST_BYTES; None when it is not there.

    Never waits: there may be a pipe in the place of an env. Raises NoFile, OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise NoFile(f"{path}: a directory of this path is a file; move it away") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NoFile(f"{path} is not a file: move it away, a file belongs there")
        if status.st_size > LARGEST_BYTES:
            raise NoFile(
                f"{path} has {status.st_size >> 20} MiB, far too much for such a file, so it is not read: move it away"
            )
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def readable(path: str) -> bytes | None:
    """Return what a small file holds; None for one that is not there, or cannot be read."""
    try:
        return read_small(path)
    except (NoFile, OSError):
        return None


def free_name(path: str, word: str) -> str:
    """Return a name next to a path that is free: the first of PATH.WORD, PATH.2.WORD and so on."""
    names = (f"{path}.{number}.{word}" if number > 1 else f"{path}.{word}" for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def flagged(path: str) -> str:
    """Say which flags keep a path from being replaced, its own and its folder's, each with its command; "" for none."""
    found = []
    for place in (path, os.path.dirname(os.path.abspath(path))):
        flags = _flags(place)
        found += [f"{place} is {name}: chattr -{option} {place}" for bit, name, option in _FLAGS if flags & bit]
    return "; ".join(found)


def _flags(path: str) -> int:
    """The flags of a file or folder, 0 where there are none, or nothing that could have one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        # The kernel fills in an int.
        return int(struct.unpack_from("i", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8)))[0])
    except OSError:
        return 0
    finally:
        os.close(descriptor)


def explain(error: OSError) -> str:
    """What an error of the file system means to a person at two in the morning, and what to do."""
    where = str(error.filename) if error.filename else "a file"
    flags = flagged(where) if error.errno == errno.EPERM and error.filename else ""
    if flags:
        return flags if flags.startswith(f"{where} ") else f"{where}: {flags}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{where}: the disk is full; nothing was replaced. Free some space (docker system df, "
            "journalctl --vacuum-size=100M), then run this again"
        )
    if error.errno == errno.EROFS:
        return f"{where}: the file system is mounted read-only; look for disk errors with dmesg"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where}: permission denied; run this as root (become: true)"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{where}: the directory is missing; create it first"
    return f"{where}: {error.strerror or error}"


def atomic_write(path: str, data: bytes, mode: int = 0o600, uid: int = -1, gid: int = -1) -> None:
    """Replace the file at ``path`` by ``data``: readers see the old content or the new, never a part.

    The temporary file is in the same directory and has its mode and owner before the first byte goes in.
    ``uid``/``gid`` of -1 keep the owner of the file that is replaced (as far as we may), or are the process's own.
    A symbolic link at ``path`` is replaced, not followed: the directory may belong to another user than root.

    Raises OSError (ENOSPC, EACCES, …) naming ``path``; then the temporary file is gone and the old file untouched.
    """
    directory = os.path.dirname(os.path.abspath(path))
    temporary = os.path.join(directory, f".{os.path.basename(path)}{_TEMP_MARK}{secrets.token_hex(6)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                own(stream.fileno(), path, uid, gid)
                os.fchmod(stream.fileno(), mode)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error
    sync_directory(directory)


def sync_directory(directory: str) -> None:
    """Make a rename in ``directory`` survive a power cut. File systems that cannot sync a directory are left alone."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_temporaries(directory: str, older_than: float, now: float) -> list[str]:
    """Delete what an ``atomic_write`` that was killed left in ``directory``; return the names.

    Only files older than ``older_than`` seconds at ``now`` (epoch seconds): a younger one may be in use.
    """
    gone = []
    for entry in os.scandir(directory):
        if not (entry.name.startswith(".") and _TEMP_MARK in entry.name):
            continue
        with contextlib.suppress(OSError):
            if now - entry.stat(follow_symlinks=False).st_mtime > older_than:
                os.unlink(entry.path)
                gone.append(entry.name)
    return sorted(gone)


def own(descriptor: int, path: str, uid: int = -1, gid: int = -1) -> None:
    """Give the new file its owner: the one asked for, else the one of the file that it replaces."""
    wanted_uid, wanted_gid = uid, gid
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        old = os.stat(path, follow_symlinks=False)
        wanted_uid = old.st_uid if uid == -1 else uid
        wanted_gid = old.st_gid if gid == -1 else gid
    new = os.fstat(descriptor)
    if wanted_uid in (-1, new.st_uid) and wanted_gid in (-1, new.st_gid):
        return
    try:
        os.fchown(descriptor, wanted_uid, wanted_gid)
    except PermissionError:
        # Not root: an owner that was asked for is a promise, one that was only there is not.
        if (uid, gid) != (-1, -1):
            raise
