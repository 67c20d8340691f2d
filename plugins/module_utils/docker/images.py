# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images: which are here, their ids, and saving and loading them."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from ..host import command as commands
from ..host.command import Result
from . import engine, image_names
from .engine import EngineError


def has_image(image: str, timeout: float = 5.0) -> bool:
    """Whether an image, by id or name, is on this host."""
    return bool(image_id(image, timeout))


def images_gone(images: Mapping[str, str], timeout: float = 5.0) -> list[str]:
    """Return those of {service: image id} whose image is not on this host; none that the engine says nothing of."""
    return [service for service, image in images.items() if _id(image, timeout) == ""]


def is_gone(asked: Result) -> bool:
    """Whether it is for want of an image that a command failed."""
    return asked.code != 0 and "no such image" in asked.err.lower()


def image_id(image: str, timeout: float = 5.0) -> str:
    """Return the id of an image, by id or name; "" when it is not on this host, or the engine does not answer."""
    return _id(image, timeout) or ""


def _id(image: str, timeout: float) -> str | None:
    """The id of an image, "" when it is not on this host, None when the engine says nothing of it."""
    try:
        found = engine.ask(f"/images/{urllib.parse.quote(image)}/json", timeout, engine.address())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return str(found["Id"]) if found else ""


def tag(image: str, name: str, timeout: float = 10.0) -> Result:
    """Give an image, by id or name, a name of its own, as `docker tag` does."""
    repository, colon, word = name.rpartition(":")
    if not colon or "/" in word:
        repository, word = name, "latest"
    words = urllib.parse.urlencode({"repo": repository, "tag": word})
    return engine.act(f"/images/{urllib.parse.quote(image)}/tag?{words}", timeout)


def pin(name: str, timeout: float = 5.0) -> str:
    """Return what an image that was pulled as `name` is for good in its registry, `repository@sha256:...`, else ""."""
    asked = commands.run(["docker", "image", "inspect", "--format", '{{join .RepoDigests " "}}', name], timeout)
    found = [one for one in asked.out.split() if image_names.repository(one) == image_names.repository(name)]
    return found[0] if asked.code == 0 and found else ""


class ReleaseImages(TypedDict, total=False):
    """The images of a release: `images` are ids and `names` their names, by service; `pins` are digests by name."""

    images: dict[str, str]
    names: dict[str, str]
    pins: dict[str, str]


class MissingImage(TypedDict):
    """A service, and the image of it that is not on this host."""

    service: str
    image: str


class ImageFacts(TypedDict):
    """What an image is for (os/architecture), and how large it is."""

    bytes: int
    platform: str


def image_facts(images: Iterable[str], timeout: float = 10.0) -> dict[str, ImageFacts]:
    """Return, by image, the facts of those of the named images that are on this host."""
    wanted = sorted(set(images))
    if not wanted:
        return {}
    asked = commands.run(["docker", "image", "inspect", *wanted], timeout)
    # For one that is not there inspect exits 1, yet it prints the others.
    try:
        documents = json.loads(asked.out)
    except ValueError:
        raise EngineError(f"docker image inspect failed: {asked.reason}") from None
    return {
        str(one["Id"]): {"bytes": int(one.get("Size") or 0), "platform": f"{one.get('Os')}/{one.get('Architecture')}"}
        for one in documents
    }


def save_images(images: Sequence[str], path: str, timeout: float = 3600.0) -> None:
    """Write images, by id, into one archive."""
    saved = commands.run(["docker", "save", "--output", path, *images], timeout)
    if saved.code:
        raise EngineError(f"docker save failed: {saved.reason}")


def load_images(path: str, timeout: float = 3600.0) -> None:
    """Read the images of an archive. They have no name afterwards."""
    loaded = commands.run(["docker", "load", "--quiet", "--input", path], timeout)
    if loaded.code:
        raise EngineError(f"docker load failed: {loaded.reason}")
