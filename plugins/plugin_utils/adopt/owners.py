# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The row of a service that works as root on files of other users, and what is said of it. Pure."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption_owners import Foreign
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import Entry
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.render import flow

CAPABILITY = "DAC_OVERRIDE"


def row(one: Foreign) -> Entry:
    """The row that leaves it what it has."""
    because = f"works as root on files of user {one['uid']}"
    loosened = {"cap_add": {"to": [CAPABILITY], "because": because}}
    return Entry({"loosen": loosened}, f"{one['target']} belongs to user {one['uid']}, and root writes there")


def kept(one: Foreign) -> str:
    """What the plan says where the row is written."""
    return f"{_why(one)}. It keeps {CAPABILITY}, which other services lose"


def lost(one: Foreign) -> str:
    """What the plan says where an inventory is there already."""
    text = flow({one["service"]: row(one).row})[1:-1]
    return f"{_why(one)}. Without {CAPABILITY} it cannot write there. Add to compose_app_services: {text}"


def _why(one: Foreign) -> str:
    return f"{one['service']} runs as root, and files in {one['target']} belong to user {one['uid']}"
