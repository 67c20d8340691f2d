# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options that are empty. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def without_empty(values: Mapping[str, object]) -> dict[str, object]:
    """Return the options that hold something; no and 0 are something."""
    return {name: value for name, value in values.items() if value != ""}


def empty_names(values: Mapping[str, object]) -> list[str]:
    """Return the names of the options that hold nothing."""
    return [name for name, value in values.items() if value == ""]
