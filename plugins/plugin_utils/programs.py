# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Programs of the controller."""

from __future__ import annotations

import shutil


def program_path(name: str, search_path: str) -> str:
    """Return where a program is, "" when it is in no folder of the search path."""
    return shutil.which(name, path=search_path) or ""
