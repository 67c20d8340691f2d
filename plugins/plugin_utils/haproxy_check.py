# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What HAProxy asks an instance: the same as the gate of a deploy, so that they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from ansible_collections.christmas.selfheal.plugins.module_utils.core.check import health_check
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import run as probe
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import CheckError, parse_checks
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import haproxy

# The check of an app without checks.
PLAIN_SEND, PLAIN_EXPECT, PLAIN_PATH = "meth GET uri {path} ver HTTP/1.1 hdr Host localhost", "200-299", "/health"


class Directives(TypedDict):
    """The words of `http-check send` and `http-check expect status`; `problem` is "" when there is none."""

    send: str
    expect: str
    problem: str


def haproxy_check(checks: Sequence[object], values: Mapping[str, object], path: str = "") -> Directives:
    """Make the directives from the checks as the inventory has them."""
    try:
        found = health_check(parse_checks(checks, may_be_empty=True))
    except CheckError as error:
        return {"send": "", "expect": "", "problem": str(error)}
    if not found:
        return {"send": PLAIN_SEND.format(path=path or PLAIN_PATH), "expect": PLAIN_EXPECT, "problem": ""}
    try:
        asked = probe.health_request(found[0], {name: str(value) for name, value in values.items()}, True)
    except CheckError as error:
        return {"send": "", "expect": "", "problem": str(error)}
    if asked is None:
        problem = (
            f"selfheal_checks: check `{found[0].name}` sends a body, and HAProxy's own check sends none. "
            "Fix: give `proves: health` to a GET"
        )
        return {"send": "", "expect": "", "problem": problem}
    send, expect = haproxy.check_directives(asked._replace(target=path or asked.target))
    return {"send": send, "expect": expect, "problem": ""}
