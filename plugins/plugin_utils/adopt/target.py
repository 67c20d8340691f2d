# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which host and folder `-e adopt=` names. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, TypedDict

_FORM = re.compile(
    r"(?:(?P<user>[a-z_][a-z0-9_.-]*)@)?(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<folder>(?:/(?!/)|~/).*|~))?"
)


class Target(TypedDict, total=False):
    """The host as the inventory calls it, the folder ("" for what runs there), and the connection.

    `inventory_host` is what the new inventory has as its host: ADDRESS or USER@ADDRESS. `variables` are those of a host
    that is in no inventory yet. `problem` says why there is no such host, with the fix; "" when there is one.
    """

    problem: str
    name: str
    folder: str
    inventory_host: str
    variables: dict[str, object]


class _Parts(NamedTuple):
    user: str
    host: str
    folder: str


def adopt_target(adopt: str, hostvars: Mapping[str, Mapping[str, object]]) -> Target:
    """Read HOST, HOST:/FOLDER, with USER@ before it.

    :arg hostvars: the variables of the hosts of this run's inventory.
    """
    found = _FORM.fullmatch(str(adopt).strip())
    if found is None:
        return Target(problem=_problem(str(adopt).strip()))
    parts = _Parts(found["user"] or "", found["host"], (found["folder"] or "").rstrip("/"))
    known = hostvars[parts.host] if parts.host in hostvars else None  # noqa: SIM401 - HostVars.get never gives None
    if known is not None:
        address = str(known.get("ansible_host") or parts.host)
        user = parts.user or str(known.get("ansible_user") or "")
        variables: dict[str, object] = {}
    else:
        address, user = parts.host, parts.user
        variables = {"ansible_host": address.strip("[]"), **({"ansible_user": user} if user else {})}
        if user and user != "root":
            variables["ansible_become"] = True
    at = f"{user}@" if user and user != "root" else ""
    return Target(
        problem="",
        name=parts.host.strip("[]"),
        folder=parts.folder,
        inventory_host=f"{at}{address}",
        variables=variables,
    )


def _problem(adopt: str) -> str:
    given = f"{adopt!r} is not HOST:/FOLDER" if adopt else "it names no host"
    return (
        f"adopt: {given}. Nothing was changed. Fix: write -e adopt=HOST:/root/myapp, -e adopt=USER@HOST:/root/myapp"
        ", or -e adopt=HOST for the only app there"
    )
