# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was removed, and what remains, for a person. Pure."""

from __future__ import annotations

from typing import NamedTuple, TypedDict


class Remains(TypedDict):
    """Something that stays on the host, and what is to be said of it."""

    what: str
    detail: str


class Removed(TypedDict):
    """What was removed or, in check mode, would be.

    `replaced`: whether containers were replaced (or stopped); `gap`: for how many seconds a check was not answered
    meanwhile, None where none was asked. `runs_from`: the command that the app is run with from now on, "" when it is
    stopped. `files` are paths, `units` names.
    """

    changed: bool
    replaced: bool
    gap: float | None
    runs_from: str
    notes: list[str]
    units: list[str]
    files: list[str]
    images: list[str]
    remains: list[Remains]


class _Words(NamedTuple):
    """How it is reported."""

    removed: str
    stopped: str
    switched: str
    gap: str


_DONE = _Words("Removed:", "It was stopped; its volumes are kept.", "It runs from its own files now:", "")
_PLANNED = _Words(
    "Would be removed:",
    "It would be stopped; its volumes would be kept.",
    "It would run from its own files:",
    "Each container would be replaced, one service after the other: requests that need it fail until it has started.",
)


def present(done: Removed) -> str:
    """What is there before, a line each: for a diff."""
    return "".join(f"{name}\n" for name in _names(done))


def _names(done: Removed) -> list[str]:
    """Units, files, and the images in one line."""
    repositories = sorted({name.rpartition(":")[0] for name in done["images"]})
    count = len(done["images"])
    images = f"{count} image name{'s' if count > 1 else ''} of releases: {', '.join(repositories)}"
    return [*done["units"], *done["files"], *([images] if count else [])]


def text(app: str, done: Removed, check: bool, is_shown: bool = False) -> str:
    """All of it, in lines.

    :arg is_shown: a diff shows what is removed.
    """
    words = _PLANNED if check else _DONE
    if not done["changed"]:
        head = [f"{app}: nothing of ours is on this host."]
    elif not done["runs_from"]:
        head = [f"{app}: {words.stopped}"]
    else:
        head = [f"{app}: {words.switched}", f"  {done['runs_from']}", *_gap(done, words, check)]
    lines = [*head, *done["notes"]]
    if done["changed"] and is_shown:
        lines.append(f"{words.removed} the {len(_names(done))} lines of the diff above")
    elif done["changed"]:
        lines += [words.removed, *(f"  {name}" for name in _names(done))]
    lines += ["What remains:", *(f"  {one['what']}: {one['detail']}" for one in done["remains"])]
    return "\n".join(lines)


def _gap(done: Removed, words: _Words, check: bool) -> list[str]:
    if not done["replaced"]:
        return []
    if check:
        return [words.gap]
    if done["gap"] is None:
        return ["No check could be asked meanwhile, so it is not known for how long it did not answer."]
    return [f"Meanwhile the check was not answered for {done['gap']:g} s."]
