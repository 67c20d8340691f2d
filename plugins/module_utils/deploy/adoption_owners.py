# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The services that work as root on files of other users. Without the capability DAC_OVERRIDE they no longer could."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import TypedDict

from ..compose import known_images
from ..docker.containers import Document, label
from ..docker.model import Model

MOST, SECONDS = 2000, 2.0
"""So many files and folders of a mount are looked at, for so long."""
_NAMES = frozenset({"DAC_OVERRIDE", "CAP_DAC_OVERRIDE", "ALL"})


class Foreign(TypedDict):
    """Files of another user, by its number, in a writable mount of a service that runs as root."""

    service: str
    target: str
    uid: int


def find(documents: Sequence[Document], model: Model) -> list[Foreign]:
    """The first such mount of each service, but for known images and what the user's file adds or drops itself."""
    found: dict[str, Foreign] = {}
    for document in documents:
        service = label(document, "service")
        spec = (model.get("services") or {}).get(service) or {}
        is_known = not spec.get("build") and known_images.known(str(spec.get("image") or "")) is not None
        if service in found or is_known or not _overrides(document):
            continue
        for mount in document.get("Mounts") or []:
            uid = _other_owner(str(mount.get("Source") or "")) if mount.get("RW") else 0
            if uid:
                found[service] = Foreign(service=service, target=str(mount.get("Destination", "")), uid=uid)
                break
    return [found[name] for name in sorted(found)]


def _overrides(document: Document) -> bool:
    """Whether a container has the capability by Docker's defaults alone."""
    host = document.get("HostConfig") or {}
    user = str((document.get("Config") or {}).get("User") or "").partition(":")[0]
    said = {str(name).upper() for key in ("CapAdd", "CapDrop") for name in host.get(key) or []}
    return user in ("", "0", "root") and not host.get("Privileged") and not said & _NAMES


def _other_owner(top: str) -> int:
    """The first owner that is not root, of a folder or of what is in it; 0 for none, and for what cannot be read."""
    until = time.monotonic() + SECONDS
    for number, path in enumerate(_walk(top)):
        if number >= MOST or time.monotonic() > until:
            break
        try:
            uid = os.lstat(path).st_uid
        except OSError:
            continue
        if uid:
            return uid
    return 0


def _walk(top: str) -> Iterator[str]:
    if top:
        yield top
    for folder, folders, names in os.walk(top):
        yield from (os.path.join(folder, name) for name in (*folders, *names))
