# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a promotion sends. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from ansible.module_utils.common.text.formatters import bytes_to_human


class Comparison(TypedDict):
    """The result of the module image_archive that compared the images: the missing ones, and their size."""

    missing: Sequence[Any]
    bytes: int


def images_message(compared: Comparison, offered: Sequence[Any], app: str, host: str, check_mode: bool) -> str:
    """Return how many of the offered images are missing on a host, and their size."""
    verb = "would have" if check_mode else "have"
    return (
        f"{app} on {host}: {len(compared['missing'])} of {len(offered)} images {verb} to be sent, "
        f"{bytes_to_human(compared['bytes'])}"
    )
