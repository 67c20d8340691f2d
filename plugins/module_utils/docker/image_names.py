# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The names of images. Pure."""

from __future__ import annotations


def repository(name: str) -> str:
    """Return an image's name without tag and digest, and without what the engine leaves out for its own registry."""
    bare = name.split("@")[0]
    head, slash, last = bare.rpartition("/")
    bare = f"{head}{slash}{last.split(':')[0]}"
    for own in ("docker.io/library/", "docker.io/"):
        if bare.startswith(own):
            return bare[len(own) :]
    return bare
