# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files of a project: what tells two versions apart, and replacing one by another, byte for byte, mode for mode."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator

from ..core.files import own, sync_directory
from ..core.fingerprint import FINGERPRINT_HEX, fingerprint

_CHUNK = 1 << 20


def mark(path: str) -> str:
    """Return what tells the versions of a file apart: its content and mode, or where a symbolic link leads.

    "" for no file. What cannot be read, or is not a file, differs from every file.
    """
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return f"link {fingerprint(os.readlink(path))}"
        if not stat.S_ISREG(found.st_mode):
            return "not a file"
        return f"{_digest(path)} {stat.S_IMODE(found.st_mode):04o}"
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError:
        return "unreadable"


def _digest(path: str) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
    return "sha256:" + found.hexdigest()[:FINGERPRINT_HEX]


def below(top: str, leave: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the files and symbolic links below a folder, as relative paths, sorted.

    :arg leave: relative paths that are left out, with all below them.
    """
    for folder, folders, names in os.walk(top):
        base = os.path.relpath(folder, top)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(
            name for name in folders if name not in links and os.path.normpath(os.path.join(base, name)) not in leave
        )
        for name in sorted([*names, *links]):
            relative = os.path.normpath(os.path.join(base, name))
            if relative not in leave:
                yield relative


def put(source: str, target: str, sync: bool = True) -> None:
    """Make ``target`` a copy of the file or symbolic link ``source``: readers see the old content or the new.

    What is a folder where a file belongs, or a file where a folder belongs, is kept under another name.

    :arg sync: wait until it is on the disk; a caller that puts many files in place waits once for all.

    :raises OSError: naming ``target``, which is as it was.
    """
    try:
        make_room(target)
        temporary = os.path.join(
            os.path.dirname(target), f".{os.path.basename(target)}.selfheal-{secrets.token_hex(6)}"
        )
        try:
            if os.path.islink(source):
                os.symlink(os.readlink(source), temporary)
            else:
                _copy(source, temporary, target, sync)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), target) from error
    if sync:
        sync_directory(os.path.dirname(target))


def _copy(source: str, temporary: str, target: str, sync: bool) -> None:
    with open(source, "rb") as given:
        mode = stat.S_IMODE(os.fstat(given.fileno()).st_mode)
        # It may hold a secret: narrow before the first byte.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            own(descriptor, target)
            os.fchmod(descriptor, mode)
            while chunk := given.read(_CHUNK):
                stream.write(chunk)
            stream.flush()
            if sync:
                os.fsync(descriptor)


def make_room(path: str) -> list[tuple[str, str]]:
    """Make the folders above a path, and keep what is there instead of a file or a folder: [(it, its new name)].

    Docker makes a folder of a file that it should mount and does not find.
    """
    moved = []
    above = os.path.dirname(path)
    blocking = above
    while blocking and not os.path.lexists(blocking):
        blocking = os.path.dirname(blocking)
    if not os.path.isdir(blocking):
        moved.append((blocking, free_name(f"{blocking}.replaced")))
        os.rename(*moved[-1])
    os.makedirs(above, mode=0o755, exist_ok=True)
    if os.path.isdir(path) and not os.path.islink(path):
        moved.append((path, free_name(f"{path}.replaced")))
        os.rename(*moved[-1])
    return moved


def free_name(path: str) -> str:
    """Return the first of path, path-2, path-3 … that is not taken."""
    number, name = 1, path
    while os.path.lexists(name):
        number += 1
        name = f"{path}-{number}"
    return name


def remove(top: str, name: str) -> None:
    """Remove a file below ``top``, and the folders that it leaves empty."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(top, name))
    folder = os.path.dirname(name)
    with contextlib.suppress(OSError):
        while folder:
            os.rmdir(os.path.join(top, folder))
            folder = os.path.dirname(folder)
