# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The plan of a take-over, as people read it before it begins. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ansible_collections.christmas.selfheal.plugins.module_utils.compose.overlay import CPUS, MEMORY, PIDS
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import rolling
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption import Adoption
from ansible_collections.christmas.selfheal.plugins.module_utils.removal import belongings
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt import stops
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt.receive import Received

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_WIDTH = 10
_FEW = 6
_COLUMNS = 120
_OF_APP = ("compose_app", "app_env")


class Folders(NamedTuple):
    """The folders on the controller, as messages show them, and the host."""

    to: str
    inventory: str
    host: str


def render(
    found: Adoption, received: Received, folders: Folders, written: Sequence[str], queue: int | None = None
) -> str:
    """The plan.

    :arg written: what init says of the inventory.
    :arg queue: a load balancer is put in front first, and a request may wait there for these seconds; None without one.
    """
    services = _names(one["service"] for one in found["instances"])
    lines = [f"{found['app']} on {folders.host}, started by hand in {found['folder']}", "", "Stays as it is:"]
    for volume in found["volumes"]:
        shared = f", used by {', '.join(volume['shared_with'])}, too" if volume["shared_with"] else ""
        lines.append(_row("volume", f"{volume['name']} ({size(volume['size'])}{shared})"))
    for place in found["data"]:
        lines.append(_row("data", f"{place['path']} ({size(place['size'])}; {', '.join(place['services'])})"))
    lines += [_row("network", name) for name in found["networks"]]
    lines += [_row("port", port) for port in found["ports"]]
    lines.append(_row("folder", f"{found['folder']}, with a notice that the app does not run from there any more"))
    lines += ["", "Changes:"]
    recreated = f"{services} are recreated from {found['directory']}, hardened"
    lines.append(_row("containers", recreated if queue is not None else f"{recreated}, under the same names"))
    if queue is not None:
        lines.append(_row("name", _number(found)))
    limits = f"{MEMORY} of memory, {CPUS} processors, {PIDS} processes for a service that sets none itself"
    lines += [_row("limits", limits), _row("", f"(compose_app_services in {folders.inventory}/group_vars/all/app.yml)")]
    lines += [_row("note", note) for note in found["notes"]]
    gap = ["Without an answer:", *_downtime(found)] if queue is None else _in_front(found, queue)
    lines += ["", *gap]
    lines += ["", "Written on this machine:"]
    # The values of the `.env` go into the inventory.
    lines.append(_row("project", f"{folders.to}: {_list([name for name in received.new if name != received.env])}"))
    if received.kept:
        lines.append(
            _row("kept", f"{', '.join(received.kept)}: other than on the host; what is deployed is the file here")
        )
    lines += [_row("inventory" if line is written[0] else "", line) for line in written]
    lines += ["", f"Written on {folders.host}:"]
    lines += _on_host(found, queue is not None)
    lines += [
        "",
        f"If the release does not pass its checks within {rolling.Plan().gate:g} s (compose_app_gate_timeout), "
        f"the app is put back as it runs now, from {found['folder']}.",
    ]
    return "\n".join(lines)


def _row(kind: str, text: str) -> str:
    return f"  {kind:<{_WIDTH}} {text}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))


def _list(names: Sequence[str]) -> str:
    if not names:
        return "nothing is new"
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more files" if more > 0 else "")


def _downtime(found: Adoption) -> list[str]:
    lines = [
        "  from the stop of the old containers to the start of the new ones: some seconds, and the app's own start"
    ]
    slow = stops.said(found["instances"])
    if slow:
        lines.append(f"  and {stops.seconds(found['instances']):g} s more: {slow}")
    if not found["front"]["why_not"]:
        lines.append("  With -e adopt_load_balancer=true, HAProxy is put in front first, and requests wait instead")
    return lines


def _on_host(found: Adoption, is_balanced: bool) -> list[str]:
    """What site.yml writes there, by the table of what a removal takes away."""
    row = belongings.App(found["app"], found["directory"], "")
    own = [f"{found['directory']} (project, overlay, releases, .env)"]
    # The files of the app's directory are in that line.
    own += [name for name in row.written(_OF_APP) if not name.startswith(f"{found['directory']}/")]
    packages = ["rsync", "logrotate", *(["haproxy"] if is_balanced else [])]
    shared = {
        "app": own,
        "watcher": row.written(["watcher"]),
        "haproxy": row.written(["load_balancer"]) if is_balanced else [],
        "logs": [*row.written(["log_rotation"]), "and a restart of journald"],
        "docker": [*row.written(["docker_engine"]), "which gets the keys that it lacks, and a reload of the engine"],
        "packages": [f"{', '.join(packages)}, where they are missing"],
    }
    return [line for kind, names in shared.items() if names for line in _rows(kind, names)]


def _rows(kind: str, names: Sequence[str]) -> list[str]:
    lines = textwrap.wrap(", ".join(names), _COLUMNS, break_long_words=False, break_on_hyphens=False)
    return [_row("" if at else kind, line) for at, line in enumerate(lines)]


def _number(found: Adoption) -> str:
    service = found["front"]["service"]
    use = f"docker compose -p {found['app']} exec {service}"
    return f"of {service}'s container: each deploy starts a new one next to the old, with the next number. Use `{use}`"


def _in_front(found: Adoption, queue: int) -> list[str]:
    front = found["front"]
    at = "" if front["address"] == "*" else f" at {front['address']}"
    return [
        "Put in front first:",
        f"  HAProxy, which has port {front['port']}{at} from then on, and forwards to {front['service']}:"
        f"{front['container_port']}",
        f"  {front['service']} sees HAProxy's address; the client's is in X-Forwarded-For",
        f"  for some seconds, the new {front['service']} runs next to the old one, with the same data",
        "",
        "Without an answer:",
        f"  no request: while the containers are recreated, requests wait, at most {queue} s "
        "(load_balancer_queue_seconds)",
        *_waits(found, queue),
        "  an open connection of a client is closed once, when the old container is replaced",
    ]


def _waits(found: Adoption, queue: int) -> list[str]:
    """How long requests wait for services that do not handle SIGTERM, and which of them fail."""
    held = stops.while_held(found)
    slow = stops.said(held)
    if not slow:
        return []
    takes = stops.seconds(held)
    too_long = "a client that does not wait that long gets no answer"
    if takes + stops.QUEUE_SECONDS > queue:
        too_long = (
            f"requests that wait longer than {queue} s fail (503). Let the services handle SIGTERM, or set init: true"
        )
    return [f"  they wait {takes:g} s and the app's own start: {slow}", f"  {too_long}"]


def size(count: int | None) -> str:
    """Bytes for people."""
    if count is None:
        return "size not counted"
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
