# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The containers of a host → which of its compose projects is to be taken over. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from ..docker.containers import Document, label
from .adoption_record import Origin, Record


class AdoptError(Exception):
    """The app cannot be taken over: where the problem is, why it is one, and what to do."""

    def __init__(self, where: str, reason: str, fix: str) -> None:
        super().__init__(f"{where}: {reason}. Nothing was changed. Fix: {fix}")


class NothingFits(AdoptError):
    """No project of the host is the one that is asked for."""


class Asked(NamedTuple):
    """What the user named: the folder (or a compose file) on the host, and the project; "" for what there is."""

    folder: str = ""
    app: str = ""


class Known(NamedTuple):
    """What the host has on record: take-overs by app, and the apps that have a release."""

    records: Mapping[str, Record]
    deployed: Collection[str]


class Found(NamedTuple):
    """A project: from where it was started by hand, and its containers. `is_deployed`: it has a release of ours.

    `is_by_hand`: containers of it were started outside the app's directory.
    """

    app: str
    origin: Origin
    documents: Sequence[Document]
    is_deployed: bool
    record: Record | None
    is_by_hand: bool = True


def choose(
    asked: Asked,
    documents: Sequence[Document],
    known: Known,
    directory_of: Mapping[str, str],
    real: Callable[[str], str] = str,
) -> Found:
    """Choose the project.

    :arg documents: `docker inspect` of every container of the host.
    :arg directory_of: the directory of each app, which containers of its releases are labelled with.
    :arg real: a path without links; the app may have been started through one.
    :raises AdoptError: there is none, there are several, or two have the same name.
    """
    found = [_found(app, mine, known, directory_of) for app, mine in sorted(_by_project(documents).items())]
    there = [one for one in found if not asked.app or one.app == asked.app]
    if asked.folder:
        there = [one for one in there if _is_from(one.origin, real(asked.folder), real)]
    elif not asked.app:
        there = [one for one in there if not one.is_deployed] or there
    if len(there) == 1:
        return there[0]
    if there:
        raise AdoptError("adopt", f"several projects fit: {_listed(there)}", _commands(there, bool(asked.folder)))
    fix = _commands(found, bool(asked.app)) if found else "start the app there: `docker compose up -d` in its folder"
    raise NothingFits("adopt", _nothing(asked, found, _unmanaged(documents)), fix)


def _by_project(documents: Sequence[Document]) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {}
    for document in documents:
        name = label(document, "project")
        # A container of `docker compose run` is not an instance.
        if name and label(document, "oneoff") in ("", "False"):
            found.setdefault(name, []).append(document)
    return found


def _found(app: str, documents: Sequence[Document], known: Known, directory_of: Mapping[str, str]) -> Found:
    record = known.records.get(app)
    directory = directory_of.get(app, "")
    by_hand: dict[str, Origin] = {}
    for document in documents:
        origin = _origin(document)
        if directory and _is_below(origin.folder, directory):
            continue
        by_hand.setdefault(origin.folder, origin)
    is_deployed = app in known.deployed
    if len(by_hand) > 1 and not is_deployed:
        folders = ", ".join(sorted(by_hand))
        raise AdoptError(
            f"compose project {app}",
            f"it was started from several folders: {folders}. Compose takes two projects of one name for one, and "
            "their containers replace each other",
            "give one of them another name (`docker compose -p NAME`), and remove its old containers",
        )
    origin = next(iter(by_hand.values()), record.origin if record else Origin(directory, [], []))
    return Found(app, origin, documents, is_deployed, record, bool(by_hand))


def _origin(document: Document) -> Origin:
    folder = label(document, "project.working_dir")
    files = _paths(label(document, "project.config_files"), folder)
    return Origin(folder, files, _paths(label(document, "project.environment_file"), folder))


def _paths(listed: str, folder: str) -> list[str]:
    # Old versions of Compose wrote relative paths.
    return [posixpath.normpath(posixpath.join(folder, name)) for name in listed.split(",") if name]


def _is_from(origin: Origin, named: str, real: Callable[[str], str]) -> bool:
    return named in {real(one) for one in (origin.folder, *origin.files, *map(posixpath.dirname, origin.files)) if one}


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


def _listed(found: Sequence[Found]) -> str:
    return ", ".join(f"{one.app} ({one.origin.folder or 'folder unknown'})" for one in found)


def _commands(found: Sequence[Found], by_name: bool) -> str:
    words = []
    for one in found:
        folder = f":{one.origin.folder}" if one.origin.folder else ""
        words.append(f"-e adopt=HOST{folder}{f' -e app={one.app}' if by_name or not folder else ''}")
    return f"name one of them: {', or '.join(words)}"


def _unmanaged(documents: Sequence[Document]) -> str:
    """Name the containers that no compose project has."""
    names = sorted(str(one["Name"]).lstrip("/") for one in documents if not label(one, "project"))
    if not names:
        return ""
    return f". Started by `docker run`, which no compose file describes: {', '.join(names)}"


def _nothing(asked: Asked, found: Sequence[Found], unmanaged: str) -> str:
    what = f"the project {asked.app}" if asked.app else "a compose project"
    where = f" that was started from {asked.folder}" if asked.folder else ""
    others = f". Projects there: {_listed(found)}" if found else ""
    return f"the host has no containers of {what}{where}{others}{unmanaged}"
