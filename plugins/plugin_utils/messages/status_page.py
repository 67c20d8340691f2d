# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the status page is. Pure."""

from __future__ import annotations

from typing import TypedDict


class PageAddress(TypedDict):
    """How the page is reached: its URL and user where it is public, or a tunnel to its port on the host."""

    public: bool
    url: str
    user: str
    tunnel: str
    port: int


def page_message(address: PageAddress, host: str) -> str:
    """Return how a person opens the page."""
    if address["public"]:
        return f"The status page is at {address['url']}, user {address['user']}."
    return f"The status page is on {host} alone. Run `{address['tunnel']}` and open http://localhost:{address['port']}/"
