# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Parts of a URL in a unit of systemd. Pure."""

from __future__ import annotations

from urllib.parse import quote


def unit_url_part(text: object) -> str:
    """Return a user or a name as a part of a URL, in which systemd expands nothing: its % is written %%."""
    return quote(str(text), safe="").replace("%", "%%")
