# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Versions of programs and of Debian's packages, and their order. Pure."""

from __future__ import annotations

import re

_PART = re.compile(r"([^0-9]*)([0-9]*)")


def is_older(one: str, other: str) -> bool:
    """Whether a Debian version is older than another, as deb-version(7) has it.

    The order is by epoch, upstream version and revision. The last two are compared in turns of non-digits and digits,
    where ~ sorts before all, and letters before other signs.
    """

    def order(text: str) -> list[int]:
        return [*(-1 if sign == "~" else ord(sign) if sign.isalpha() else ord(sign) + 256 for sign in text), 0]

    def parts(text: str) -> list[tuple[list[int], int]]:
        return [(order(words), int(number or 0)) for words, number in _PART.findall(text)]

    def key(version: str) -> tuple[int, list[tuple[list[int], int]], list[tuple[list[int], int]]]:
        epoch, colon, rest = version.partition(":")
        upstream, dash, revision = (rest if colon else version).rpartition("-")
        return int(epoch) if colon else 0, parts(upstream if dash else revision), parts(revision if dash else "0")

    return key(one) < key(other)


def upstream_version(version: str) -> str:
    """Return a Debian version without epoch, revision and what Debian adds: "1:2.24.6+ds1-0ubuntu1" → "2.24.6"."""
    return version.rpartition(":")[2].partition("+")[0].partition("-")[0]


def version_tuple(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: "2.26.1-4" → (2, 26, 1); "" → ()."""
    numbers = []
    for part in text.split("-")[0].split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
