# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Samples of a prober, one for each letter of a text."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.module_utils.probe.continuous import Sample


def answers(text: str, start: float = 100.0, step: float = 0.1) -> list[Sample]:
    """A sample a letter: "." is a good answer, "x" is a failed one."""
    return [
        Sample(start + step * number, start + step * number + 0.01, letter == ".", "" if letter == "." else "refused")
        for number, letter in enumerate(text)
    ]
