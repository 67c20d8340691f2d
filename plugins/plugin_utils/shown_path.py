# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How messages call a path of the controller. Pure."""

from __future__ import annotations

import os


def shown_path(path: str, here: str) -> str:
    """Return a path as commands of the folder `here` take it: relative, unless it is further away than the next folder.

    :arg path: absolute, or relative to `here`.
    """
    relative = os.path.relpath(os.path.join(here, path), here)
    return os.path.normpath(os.path.join(here, path)) if relative.startswith("../..") else relative
