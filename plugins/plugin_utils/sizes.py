# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sizes as HAProxy writes them: bytes, or a number with k or m. Pure."""

from __future__ import annotations

UNITS = {"k": 1024, "m": 1024**2}


def size_in_bytes(size: object) -> int:
    """Return the bytes of a size such as 512k; the role's options are validated before, so it has this form."""
    text = str(size).strip().lower()
    unit = UNITS.get(text[-1:])
    return int(text) if unit is None else int(text[:-1]) * unit
