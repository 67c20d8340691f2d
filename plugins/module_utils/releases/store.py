# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases: what was deployed, which of them passed its gate last, and putting that one back.

`<directory>/releases/<id>/` holds `release.json` and, below `files/`, every file of one release; the symbolic link
`releases/last-good` names the newest that passed its gate. A file that did not change is a second name of the copy in
the release before. The env itself is not copied there: its versions live in the env's own history, found by
fingerprint.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import TypedDict

from ..compose import project_files
from ..core.files import NoFile, atomic_write, read_small
from ..core.fingerprint import fingerprint
from ..docker import project_layout
from ..docker.images import ReleaseImages
from ..docker.model import Model
from ..docker.project_layout import HARDENED_FILE

LAST_GOOD = project_layout.LAST_GOOD
# What was there before the first release. It is not a release, as it has not passed a gate.
BEFORE = "before"
KEPT = 10
# More files than this are written to the disk at once.
_SYNC_ONE_BY_ONE = 20


def folder(directory: str) -> str:
    """Return where the releases of the app in `directory` are."""
    return os.path.join(directory, project_layout.RELEASES)


def files_of(directory: str, release_id: str) -> str:
    """Return the folder that holds the files of a release."""
    kept = project_layout.release_files(directory, release_id)
    # Recorded before a release held more than its two compose files.
    return kept if os.path.isdir(kept) else os.path.dirname(kept)


def _file_fingerprint(path: str) -> str:
    """The fingerprint of a file's content: "" for no file; what cannot be read differs from every file that can."""
    try:
        content = read_small(path)
    except (NoFile, OSError):
        return "unreadable"
    return "" if content is None else fingerprint(content)


def contexts(model: Model) -> dict[str, str]:
    """Return {service: folder that its image is built from} of a merged model."""
    built = {name: (spec.get("build") or {}).get("context", "") for name, spec in (model.get("services") or {}).items()}
    return {name: folder for name, folder in sorted(built.items()) if os.path.isdir(folder)}


def source_fingerprint(contexts: Mapping[str, str], directory: str) -> str:
    """Return a fingerprint of build contexts {service: folder}: paths, sizes, modification times.

    Contents are not read: a context of a gigabyte costs a directory walk. What is the app's own is left out: generated
    files, and what its services write.

    :arg directory: the app's directory.
    """
    own = _not_source(directory)
    seen: list[str] = []
    for service, context in sorted(contexts.items()):
        for root, folders, names in os.walk(context):
            folders[:] = [name for name in sorted(folders) if name != ".git" and _is_source(root, name, own)]
            for name in sorted(names):
                path = os.path.join(root, name)
                if not _is_source(root, name, own):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    found = os.lstat(path)
                    relative = os.path.relpath(path, context)
                    seen.append(f"{service} {relative} {found.st_size} {found.st_mtime_ns}")
    return fingerprint("\n".join(seen))


def _is_source(parent: str, name: str, own: set[str]) -> bool:
    """Whether an entry of a folder is of a build context: what a recovery has moved aside is not."""
    return os.path.join(parent, name) not in own and not name.endswith(".replaced")


def _not_source(directory: str) -> set[str]:
    layout = project_layout.read(directory)
    names = [project_layout.RELEASES, HARDENED_FILE, ".env", ".env.example", os.path.join(layout.folder, ".env")]
    return {os.path.normpath(os.path.join(directory, name)) for name in [*names, *layout.files, *layout.data]}


def files(directory: str) -> dict[str, str]:
    """Return {name: mark} of the files in `directory` that make a release; "" for one that does not exist.

    A single file that a service writes to counts as it was copied: what became of it is data.
    """
    layout = project_layout.read(directory)
    marks = {name: project_files.mark(os.path.join(directory, name)) for name in [*layout.files, *layout.named]}
    marks.update({name: layout.named[name] for name in layout.data if name in layout.named})
    return {**marks, HARDENED_FILE: project_files.mark(os.path.join(directory, HARDENED_FILE))}


def changed(directory: str, good: Release) -> list[str]:
    """Return the names of the files in `directory` that are not those of a release."""
    return differing(files(directory), good["files"])


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the names that two {name: mark} do not agree on."""
    return [name for name in {**one, **other} if one.get(name, "") != other.get(name, "")]


class Identity(TypedDict):
    """What tells two releases apart: marks of files by name, hashes of services, the env and the build context."""

    files: dict[str, str]
    env: str
    services: dict[str, str]
    source: str
    fingerprint: str


class PromotedFrom(TypedDict):
    """The host and release of staging that a release was promoted from."""

    host: str
    release: str


class Release(ReleaseImages, total=False):
    """One deployed set, as `releases/<id>/release.json` keeps it.

    By service: `labels` are Compose's hashes of the containers, `starts` how long each took to start at most (s),
    `contexts` build contexts, `settings` what `docker update` changes. `left`: it was rolled back from; `by`: who
    deployed it.
    """

    id: str
    app: str
    time: str
    files: dict[str, str]
    env: str
    services: dict[str, str]
    source: str
    fingerprint: str
    labels: dict[str, str]
    starts: dict[str, float]
    settings: dict[str, dict[str, str]]
    contexts: dict[str, str]
    jobs: list[str]
    left: bool
    by: str
    promoted_from: PromotedFrom


def describe(directory: str, env_path: str, hashes: Mapping[str, str], source: str) -> Identity:
    """Return what identifies the release that the files in `directory` make, before it is deployed."""
    marks, env, services = files(directory), _file_fingerprint(env_path), dict(hashes)
    identity = json.dumps({"files": marks, "env": env, "services": services, "source": source}, sort_keys=True)
    return {"files": marks, "env": env, "services": services, "source": source, "fingerprint": fingerprint(identity)}


def record(directory: str, release: Release) -> str:
    """Keep the files in `directory` that `release` names, and itself, under `releases/<id>/`; return that folder."""
    target = os.path.join(folder(directory), str(release["id"]))
    os.makedirs(target, mode=0o750, exist_ok=True)
    kept = project_layout.release_files(directory, str(release["id"]))
    os.makedirs(kept, mode=0o750, exist_ok=True)
    before = last_good(directory)
    data = project_layout.read(directory).data
    marks, one_by_one = {}, len(release["files"]) <= _SYNC_ONE_BY_ONE
    for name, mark in release["files"].items():
        path, copy = os.path.join(directory, name), os.path.join(kept, name)
        if name in data and project_files.mark(path) != mark:
            # A service has written to it: it is not the release's any more.
            marks[name] = mark
            continue
        _keep(path, copy, _twin(directory, before, name, mark), one_by_one)
        # What is recorded is what was kept, whatever has been written meanwhile.
        marks[name] = project_files.mark(copy)
    if not one_by_one:
        os.sync()
    text = json.dumps({**release, "files": marks}, indent=2, sort_keys=True) + "\n"
    atomic_write(os.path.join(target, "release.json"), text.encode(), mode=0o640)
    return target


def _twin(directory: str, before: Release | None, name: str, mark: str) -> str:
    """The copy of the same file in the release before, "" without one."""
    if before is None or not mark or before["files"].get(name) != mark:
        return ""
    return os.path.join(files_of(directory, str(before["id"])), name)


def _keep(path: str, copy: str, twin: str, sync: bool) -> None:
    if os.path.lexists(copy):
        os.unlink(copy)
    os.makedirs(os.path.dirname(copy), mode=0o750, exist_ok=True)
    if twin:
        with contextlib.suppress(OSError):
            os.link(twin, copy, follow_symlinks=False)
            return
    if os.path.isfile(path) or os.path.islink(path):
        project_files.put(path, copy, sync)


def mark_last_good(directory: str, release_id: str) -> list[str]:
    """Point `last-good` at a release, atomically, and forget the oldest releases beyond the newest 10; their ids."""
    link = os.path.join(folder(directory), LAST_GOOD)
    temporary = f"{link}.new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(release_id, temporary)
    os.replace(temporary, link)
    import shutil  # not needed by a watcher, whose memory it would take

    shutil.rmtree(os.path.join(folder(directory), BEFORE), ignore_errors=True)
    names = _ids(directory)
    gone = [name for name in names[:-KEPT] if name != release_id]
    for name in gone:
        shutil.rmtree(os.path.join(folder(directory), name), ignore_errors=True)
    return gone


def leave(directory: str, release_: Release) -> None:
    """Note in a release's record that it was rolled back from: the next rollback does not go there."""
    _rewrite(directory, {**release_, "left": True})


def replace_env(directory: str, release_: Release, served: Release, labels: Mapping[str, str]) -> None:
    """Note in a release's record the env that it serves with now, and what follows from that.

    :arg labels: Compose's hashes of the containers, by service.
    """
    env, services, mark = served["env"], served["services"], served["fingerprint"]
    now: Release = {"env": env, "services": services, "fingerprint": mark, "labels": dict(labels)}
    _rewrite(directory, {**release_, **now})


def replace_images(directory: str, release_: Release, images: Mapping[str, str]) -> None:
    """Note in a release's record of which images its services are now, {service: image id}: those before are gone."""
    others = {release_["names"][service] for service in images}
    pins = {name: digest for name, digest in (release_.get("pins") or {}).items() if name not in others}
    _rewrite(directory, {**release_, "images": {**release_["images"], **images}, "pins": pins})


def _rewrite(directory: str, release_: Release) -> None:
    text = json.dumps(release_, indent=2, sort_keys=True) + "\n"
    atomic_write(os.path.join(folder(directory), str(release_["id"]), "release.json"), text.encode(), mode=0o640)


def last_good(directory: str) -> Release | None:
    """Return the release that `last-good` names, or None when none can be read."""
    return _read(directory, LAST_GOOD)


def known(directory: str) -> list[Release]:
    """Return the releases that are recorded and can be read, oldest first. Each of them has passed its gate."""
    try:
        names = _ids(directory)
    except OSError:
        return []
    return [found for found in (_read(directory, name) for name in names) if found is not None]


def _ids(directory: str) -> list[str]:
    names = os.listdir(folder(directory))
    return sorted(name for name in names if not name.startswith(LAST_GOOD) and name not in ("replaced", BEFORE))


def _read(directory: str, name: str) -> Release | None:
    try:
        with open(os.path.join(folder(directory), name, "release.json"), encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return None
    wanted = {"id": str, "files": dict, "services": dict, "images": dict, "names": dict, "contexts": dict}
    wanted |= {"env": str, "source": str}
    sound = isinstance(found, dict) and all(isinstance(found.get(key), kind) for key, kind in wanted.items())
    if not sound or not set(found["images"]) <= set(found["names"]):
        return None
    release: Release = found
    return release


def remember_before(directory: str, names: Iterable[str]) -> None:
    """Keep the files that the first release is about to replace; `put_back_files` with BEFORE brings them back."""
    is_ours = last_good(directory) is not None or project_layout.recorded(directory) is not None
    if is_ours or os.path.isdir(os.path.join(folder(directory), BEFORE)):
        return
    marks = {name: project_files.mark(os.path.join(directory, name)) for name in (*names, HARDENED_FILE)}
    if not any(marks.values()):
        return
    before: Release = {
        "id": BEFORE,
        "files": marks,
        "services": {},
        "images": {},
        "names": {},
        "contexts": {},
        "env": "",
        "source": "",
    }
    record(directory, before)


def set_aside_files(directory: str, good: Release) -> list[str]:
    """Copy the files that are not those of a release; return the copies' names.

    A compose file's is `<name>.replaced`. Those of other files are below `releases/replaced`, as a service may use
    every file in a folder of its configuration.
    """
    kept = []
    compose = {*project_layout.read(directory).files, HARDENED_FILE}
    for name in changed(directory, good):
        if not os.path.isfile(os.path.join(directory, name)):
            continue
        copy = f"{name}.replaced" if name in compose else os.path.join(project_layout.RELEASES, "replaced", name)
        project_files.put(os.path.join(directory, name), os.path.join(directory, copy))
        kept.append(copy)
    return kept


def put_back_files(directory: str, release_id: str) -> list[str]:
    """Put the files of a recorded release back in place; return the names of those that were others.

    Files of another release that are not in this one are removed, unless they were changed since: then they may be the
    user's.
    """
    good = _read(directory, release_id)
    if good is None:
        raise FileNotFoundError(
            2, "no record of this release is on the host", os.path.join(folder(directory), release_id)
        )
    kept, now = files_of(directory, release_id), project_layout.read(directory)
    names = [*now.files, *now.named, HARDENED_FILE, *good["files"]]
    there = {name: project_files.mark(os.path.join(directory, name)) for name in dict.fromkeys(names)}
    put = [name for name in differing(there, good["files"]) if _may_replace(name, there[name], now)]
    for name in put:
        is_ours = name == HARDENED_FILE or (there[name] == now.named.get(name) and name not in now.local)
        if not good["files"].get(name) and there[name] and is_ours:
            project_files.remove(directory, name)
    # The overlay comes last: until then it names what there is to remove.
    one_by_one = len(put) <= _SYNC_ONE_BY_ONE
    for name in sorted(put, key=lambda name: name == HARDENED_FILE):
        if good["files"].get(name) and os.path.lexists(os.path.join(kept, name)):
            project_files.put(os.path.join(kept, name), os.path.join(directory, name), one_by_one)
    if not one_by_one:
        os.sync()
    return put


def _may_replace(name: str, mark: str, now: project_layout.Layout) -> bool:
    """Whether a file is a release's to replace: one that a service has written to is the service's."""
    return name not in now.data or not mark or mark == now.named.get(name)
