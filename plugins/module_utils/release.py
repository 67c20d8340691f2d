# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases: what was deployed, which of them passed its gate last, and putting that one back.

`<directory>/releases/<id>/` holds `release.json` and the compose files of one release; the symbolic link
`releases/last-good` names the newest that passed its gate. The env itself is not copied there: its versions live in
the env's own history, found by fingerprint.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from .engine import HARDENED_FILE, USER_FILE
from .files import NoFile, atomic_write, fingerprint, read_small

LAST_GOOD = "last-good"
KEPT = 10


def folder(directory: str) -> str:
    """Return where the releases of the app in `directory` are."""
    return os.path.join(directory, "releases")


def _file_fingerprint(path: str) -> str:
    """ "" for no file; what cannot be read differs from every file that can."""
    try:
        content = read_small(path)
    except (NoFile, OSError):
        return "unreadable"
    return "" if content is None else fingerprint(content)


def contexts(model: Mapping[str, Any]) -> dict[str, str]:
    """Return {service: folder that its image is built from} of a merged model."""
    built = {name: (spec.get("build") or {}).get("context", "") for name, spec in (model.get("services") or {}).items()}
    return {name: folder for name, folder in sorted(built.items()) if os.path.isdir(folder)}


def source_fingerprint(contexts: Mapping[str, str]) -> str:
    """Return a fingerprint of build contexts {service: folder}: paths, sizes, modification times.

    Contents are not read: a context of a gigabyte costs a directory walk. The app's own generated files are left out.
    """
    seen: list[str] = []
    for service, context in sorted(contexts.items()):
        for root, folders, names in os.walk(context):
            folders[:] = sorted(name for name in folders if name not in ("releases", ".git"))
            for name in sorted(names):
                if name.startswith(".env") or name.endswith(".replaced") or name in (HARDENED_FILE, USER_FILE):
                    continue
                try:
                    found = os.lstat(os.path.join(root, name))
                except FileNotFoundError:
                    continue
                relative = os.path.relpath(os.path.join(root, name), context)
                seen.append(f"{service} {relative} {found.st_size} {found.st_mtime_ns}")
    return fingerprint("\n".join(seen))


def files(directory: str) -> dict[str, str]:
    """Return {name: fingerprint} of the compose files in `directory`; "" for one that is not there."""
    return {name: _file_fingerprint(os.path.join(directory, name)) for name in (USER_FILE, HARDENED_FILE)}


def describe(directory: str, env_path: str, hashes: Mapping[str, str], source: str) -> dict[str, Any]:
    """Return what identifies the release that the files in `directory` make, before it is deployed."""
    known = {"files": files(directory), "env": _file_fingerprint(env_path)}
    identity = {**known, "services": dict(hashes), "source": source}
    return {**identity, "fingerprint": fingerprint(json.dumps(identity, sort_keys=True))}


def record(directory: str, release: Mapping[str, Any]) -> str:
    """Keep the compose files and `release` (it has an `id`) under `releases/<id>/`; return that folder."""
    target = os.path.join(folder(directory), str(release["id"]))
    os.makedirs(target, mode=0o750, exist_ok=True)
    for name in (USER_FILE, HARDENED_FILE):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            with open(path, "rb") as stream:
                atomic_write(os.path.join(target, name), stream.read(), mode=0o640)
    text = json.dumps(release, indent=2, sort_keys=True) + "\n"
    atomic_write(os.path.join(target, "release.json"), text.encode(), mode=0o640)
    return target


def mark_last_good(directory: str, release_id: str) -> list[str]:
    """Point `last-good` at a release, atomically, and forget the oldest releases beyond the newest 10; their ids."""
    link = os.path.join(folder(directory), LAST_GOOD)
    beside = f"{link}.new"
    if os.path.lexists(beside):
        os.unlink(beside)
    os.symlink(release_id, beside)
    os.replace(beside, link)
    import shutil  # not needed by a watcher, whose memory it would take

    names = sorted(name for name in os.listdir(folder(directory)) if not name.startswith(LAST_GOOD))
    gone = [name for name in names[:-KEPT] if name != release_id]
    for name in gone:
        shutil.rmtree(os.path.join(folder(directory), name), ignore_errors=True)
    return gone


def leave(directory: str, release_: Mapping[str, Any]) -> None:
    """Note in a release's record that it was rolled back from: the next rollback does not go there."""
    text = json.dumps({**release_, "left": True}, indent=2, sort_keys=True) + "\n"
    atomic_write(os.path.join(folder(directory), str(release_["id"]), "release.json"), text.encode(), mode=0o640)


def last_good(directory: str) -> dict[str, Any] | None:
    """Return the release that `last-good` names, or None when there is none that can be read."""
    return _read(directory, LAST_GOOD)


def known(directory: str) -> list[dict[str, Any]]:
    """Return the releases that are recorded and can be read, oldest first. Each of them has passed its gate."""
    try:
        names = sorted(name for name in os.listdir(folder(directory)) if not name.startswith(LAST_GOOD))
    except OSError:
        return []
    return [found for found in (_read(directory, name) for name in names) if found is not None]


def _read(directory: str, name: str) -> dict[str, Any] | None:
    try:
        with open(os.path.join(folder(directory), name, "release.json"), encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return None
    wanted = {"id": str, "files": dict, "services": dict, "images": dict, "names": dict, "contexts": dict}
    wanted |= {"env": str, "source": str}
    sound = isinstance(found, dict) and all(isinstance(found.get(key), kind) for key, kind in wanted.items())
    return found if sound and set(found["images"]) <= set(found["names"]) else None


def set_aside_files(directory: str) -> list[str]:
    """Copy the compose files that are there to `<name>.replaced`; return the names of the copies."""
    kept = []
    for name in (USER_FILE, HARDENED_FILE):
        path = os.path.join(directory, name)
        if os.path.isfile(path):
            with open(path, "rb") as stream:
                atomic_write(f"{path}.replaced", stream.read(), mode=0o640)
            kept.append(f"{name}.replaced")
    return kept


def _free_name(path: str) -> str:
    number, name = 1, path
    while os.path.lexists(name):
        number += 1
        name = f"{path}-{number}"
    return name


def put_back_files(directory: str, release_id: str) -> None:
    """Put the compose files of a recorded release back in place."""
    source = os.path.join(folder(directory), release_id)
    for name in (USER_FILE, HARDENED_FILE):
        path = os.path.join(source, name)
        if os.path.exists(path):
            there = os.path.join(directory, name)
            # Docker makes a directory of a file that it should mount and does not find.
            if os.path.isdir(there) and not os.path.islink(there):
                os.rename(there, _free_name(f"{there}.replaced"))
            with open(path, "rb") as stream:
                content = stream.read()
            # What is there already needs no room on a disk that may be full.
            if _file_fingerprint(there) != fingerprint(content):
                atomic_write(there, content, mode=0o644)
