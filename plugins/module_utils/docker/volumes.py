# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Volumes: what the engine knows of them, making and removing them."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TypedDict

from ..host import command as commands
from . import engine
from .engine import EngineError


class VolumeFacts(TypedDict):
    """Where a volume is; `plain`: it is a folder of this host, and not a mount of something else."""

    path: str
    plain: bool


class ComposeVolume(TypedDict):
    """A volume that Compose has made; `key` is its name in the compose file."""

    name: str
    project: str
    key: str
    path: str


def volume_facts(names: Sequence[str], timeout: float = 10.0) -> dict[str, VolumeFacts]:
    """Return, by name, those of the named volumes that are on this host."""
    if not names:
        return {}
    asked = commands.run(["docker", "volume", "inspect", *names], timeout)
    # For one that is not there inspect exits 1, yet it prints the others.
    try:
        documents = json.loads(asked.out or "[]")
    except ValueError:
        documents = []
    if asked.code and not documents and "no such volume" not in asked.err.lower():
        raise EngineError(f"docker volume inspect failed: {asked.reason}")
    return {
        str(one["Name"]): {
            "path": str(one.get("Mountpoint", "")),
            "plain": one.get("Driver") == "local" and not one.get("Options"),
        }
        for one in documents
    }


def compose_volumes(timeout: float = 10.0) -> list[ComposeVolume]:
    """Return the volumes that Compose has made, of every project."""
    filters = urllib.parse.quote(json.dumps({"label": ["com.docker.compose.project"]}))
    path = engine.address()
    try:
        found = (engine.ask(f"/volumes?filters={filters}", timeout, path) or {}).get("Volumes") or []
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EngineError(f"the Docker engine does not answer at {path}: {error or type(error).__name__}") from None
    return [
        {
            "name": str(one["Name"]),
            "project": str(one["Labels"]["com.docker.compose.project"]),
            "key": str(one["Labels"].get("com.docker.compose.volume", "")),
            "path": str(one.get("Mountpoint", "")),
        }
        for one in found
    ]


def make_volume(name: str, labels: Mapping[str, str], timeout: float = 10.0) -> None:
    """Make a volume, unless it is there."""
    given = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    made = commands.run(["docker", "volume", "create", *given, name], timeout)
    if made.code:
        raise EngineError(f"docker volume create failed: {made.reason}")


def labelled_volumes(label: str, timeout: float = 10.0) -> list[str]:
    """Return the names of the volumes with a label."""
    listed = commands.run(["docker", "volume", "ls", "--quiet", "--filter", f"label={label}"], timeout)
    if listed.code:
        raise EngineError(f"docker volume ls failed: {listed.reason}", listed.code)
    return listed.out.split()


def remove_volumes(names: Sequence[str], timeout: float = 120.0) -> None:
    """Remove volumes, with what is in them. One that is not there is removed already."""
    if names:
        removed = commands.run(["docker", "volume", "rm", "--force", *names], timeout)
        if removed.code:
            raise EngineError(f"docker volume rm failed: {removed.reason}")
