# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules that several roles share, and the form of an error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

PORTS = range(1, 65536)
_ADDRESS = r"([0-9]{1,3}([.][0-9]{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:]*)"

Ranges = Mapping[str, tuple[float, float]]


def error(option: str, problem: str, fix: str) -> str:
    """Compose the line for one error."""
    return f"{option}: {problem}. {fix}."


def not_a_port(option: str, port: int) -> Iterator[str]:
    """Report a number that is not a port."""
    if port not in PORTS:
        yield error(option, f"{port} is not a port", "Choose one between 1 and 65535")


def same_port(option: str, other: str, port: int) -> str:
    """Compose the error for a port that two options name."""
    return error(option, f"{port} is also the port of {other}", "Choose another one for one of them")


def out_of_range(option: str, given: Mapping[str, object], ranges: Ranges) -> Iterator[str]:
    """Report each number outside of its range, both ends included."""
    for key, value in given.items():
        low, high = ranges[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            shown = json.dumps(value, default=str)
            yield error(option, f"{key} is {shown}, which is not a number", f"Write one from {low} to {high}")
        elif not low <= value <= high:
            yield error(option, f"{key} is {value}, out of range", f"Write a number from {low} to {high}")


def is_address(text: str, *, network: bool = False) -> bool:
    """Say whether it has the form of an IP address, or of a network where that may be one."""
    return bool(re.match(f"^{_ADDRESS}{'(/[0-9]{1,3})?' if network else ''}$", text))
