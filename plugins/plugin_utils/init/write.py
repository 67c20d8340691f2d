# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the files of a plan: all of them are on the disk before the first one takes its place.

A new folder appears whole, by one rename. In one that is there, each file is replaced atomically, in the order of the
plan; an error puts back what was replaced, and a run that is killed is completed by the next one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Sequence

from ansible_collections.christmas.selfheal.plugins.module_utils.core.files import atomic_write, own, sync_directory
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import File, InitError

_ABANDONED_SECONDS = 600.0


def read(folder: str, paths: Sequence[str]) -> dict[str, str]:
    """The texts of the files that are there: these, and every YAML file of the group `all`.

    :raises InitError: a file cannot be read, or the path is not a folder.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise InitError(folder, "it is a file, and the inventory needs a folder", "name another one: -e to=DIR")
    found = {}
    for path in dict.fromkeys((*paths, *_of_all(folder))):
        place = os.path.join(folder, path)
        if not os.path.lexists(place):
            continue
        try:
            with open(place, encoding="utf-8", newline="") as stream:
                found[path] = stream.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InitError(place, f"it cannot be read: {reason}", "make it readable, or move it away") from None
    return found


def _of_all(folder: str) -> list[str]:
    names = [f"group_vars/all.{end}" for end in ("yml", "yaml")]
    with contextlib.suppress(OSError):
        names += [f"group_vars/all/{name}" for name in sorted(os.listdir(os.path.join(folder, "group_vars/all")))]
    return [name for name in names if name.endswith((".yml", ".yaml"))]


def write(folder: str, files: Sequence[File]) -> None:
    """Write the files into the folder.

    :raises InitError: it cannot be written; then everything is as it was.
    """
    is_new = not os.path.lexists(folder)
    above = os.path.dirname(folder) if is_new else folder
    prefix = f".{os.path.basename(folder)}.selfheal-"
    try:
        os.makedirs(above, exist_ok=True)
        _sweep(above, prefix)
        scratch = tempfile.mkdtemp(prefix=prefix, dir=above)
    except OSError as error:
        raise _failure(error, folder) from None
    try:
        for file in files:
            _stage(scratch, folder, file)
        if is_new:
            os.chmod(scratch, 0o755)
            os.rename(scratch, folder)
            sync_directory(above)
        else:
            _replace(scratch, folder, files)
    except OSError as error:
        raise _failure(error, folder) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _failure(error: OSError, folder: str) -> InitError:
    place = str(error.filename or folder)
    place = folder if ".selfheal-" in place else place
    return InitError(place, f"it cannot be written: {error.strerror or error}", "make room or access, and run it again")


def _stage(scratch: str, folder: str, file: File) -> None:
    """Write one file to where it can be moved from."""
    path, target = os.path.join(scratch, file.path), os.path.realpath(os.path.join(folder, file.path))
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    mode = stat.S_IMODE(os.stat(target).st_mode) if os.path.exists(target) else file.mode
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        own(descriptor, target)
        os.fchmod(descriptor, mode)
        stream.write(file.after.encode())
        stream.flush()
        os.fsync(descriptor)


def _replace(scratch: str, folder: str, files: Sequence[File]) -> None:
    done: list[File] = []
    try:
        for file in files:
            target = os.path.realpath(os.path.join(folder, file.path))
            os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
            os.replace(os.path.join(scratch, file.path), target)
            done.append(file)
            sync_directory(os.path.dirname(target))
    except OSError:
        for file in reversed(done):
            _undo(os.path.realpath(os.path.join(folder, file.path)), file)
        raise


def _undo(target: str, file: File) -> None:
    with contextlib.suppress(OSError):
        if file.before:
            atomic_write(target, file.before.encode(), stat.S_IMODE(os.stat(target).st_mode))
        else:
            os.unlink(target)


def _sweep(above: str, prefix: str) -> None:
    """Remove what a run that was killed left; a younger one may be in use."""
    for entry in os.scandir(above):
        is_old = (
            entry.name.startswith(prefix)
            and time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_SECONDS
        )
        if is_old and entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
