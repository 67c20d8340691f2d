# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Shorten two texts so that a person sees where they differ. Pure."""

from __future__ import annotations

_BEFORE = 12
"""Signs that are shown before the first difference."""


def cut(text: str, width: int, start: int = 0) -> str:
    """At most so many signs of a text, from `start` on; `…` replaces what is left out."""
    if start:
        text = f"…{text[start:]}"
    return text if len(text) <= width else f"{text[: width - 1]}…"


def pair(one: str, other: str, width: int) -> tuple[str, str]:
    """Both texts, cut to a width: from their beginnings, or where those are alike, around the first difference."""
    shown = cut(one, width), cut(other, width)
    if one == other or shown[0] != shown[1]:
        return shown
    shorter = min(len(one), len(other))
    # Of a text that is the other's beginning, the end is shown.
    first = next((number for number in range(shorter) if one[number] != other[number]), shorter)
    start = max(0, first - _BEFORE)
    return cut(one, width, start), cut(other, width, start)
