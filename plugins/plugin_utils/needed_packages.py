# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A package that a role needs, as the module package_check takes it. Pure."""

from __future__ import annotations

from typing import TypedDict


class NeededPackage(TypedDict):
    """A package, its oldest version that suffices ("" for any), what asks for it, and how to do without it."""

    name: str
    minimum: str
    option: str
    otherwise: str
