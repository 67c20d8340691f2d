# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lists of options for a command. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from ansible_collections.christmas.selfheal.plugins.plugin_utils.as_list import as_list

# Not the user's project, but what this collection, or the env, puts into the app's directory.
OURS = ("/.env", "/.env.example", "/releases", "/compose.hardened.yaml")


def prefixed(entries: Iterable[object], prefix: str) -> list[str]:
    """Return the entries, each with the prefix."""
    return [f"{prefix}{entry}" for entry in entries]


def env_of(files: object) -> list[str]:
    """The pattern of the env next to the first of these compose files, where Compose looks for it."""
    names: Sequence[object] = as_list(files)
    folder = posixpath.dirname(str(names[0])) if names else ""
    return [f"/{folder}/.env"] if folder else []


def project_excludes(files: object, exclude: object) -> list[str]:
    """Return rsync's options for a project: ours, the env next to its first compose file, and what the user excludes.

    :arg files: compose files, relative to the project.
    """
    return prefixed([*OURS, *env_of(files), *as_list(exclude)], "--exclude=")
