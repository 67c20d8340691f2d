# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values that the type allows to be None, and the caller knows are there."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


def present(value: Value | None) -> Value:
    """The value. Raises AssertionError for None, which is an error of this program; `python -O` keeps this one."""
    if value is None:
        raise AssertionError("the program relies on a value that is missing here")
    return value
