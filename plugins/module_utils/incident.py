# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Incidents: a timeline and evidence, kept as JSON and Markdown under the app's state directory."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .files import atomic_write


def stamp(now: float) -> str:
    """Epoch seconds as "20250527T020000Z", which sorts as text."""
    return datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def iso(now: float) -> str:
    """Epoch seconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def markdown(incident: Mapping[str, Any]) -> str:
    """Return an incident as a page that a person reads the morning after."""
    ended = f"{incident['seconds']:.1f} s after it was seen" if incident["healthy"] else "not yet"
    lines = [
        f"# {incident['app']}: {incident['cause']}",
        "",
        f"Seen {incident['seen']}, healthy again: {ended}.",
        "",
        "## What proves the cause",
        "",
        *[f"- {item}" for item in incident["evidence"]],
        "",
        "## Timeline",
        "",
        "| time | seconds | what |",
        "|---|---:|---|",
        *[f"| {item['time']} | {item['seconds']:.2f} | {_cell(item['what'])} |" for item in incident["timeline"]],
    ]
    if incident.get("next_step"):
        lines += ["", "## Next", "", incident["next_step"]]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def write(folder: str, incident: Mapping[str, Any], attachments: Mapping[str, str]) -> str:
    """Write `incident.json`, `incident.md` and the evidence files; return the incident's own folder.

    :arg attachments: file name → text, already redacted.
    """
    target = os.path.join(folder, str(incident["id"]))
    os.makedirs(target, mode=0o700, exist_ok=True)
    for name, text in attachments.items():
        atomic_write(os.path.join(target, name), text.encode("utf-8", "replace"))
    atomic_write(os.path.join(target, "incident.md"), markdown(incident).encode())
    atomic_write(os.path.join(target, "incident.json"), (json.dumps(incident, indent=2) + "\n").encode())
    return target


def latest(folder: str) -> dict[str, Any] | None:
    """Return the newest incident that can be read, or None."""
    names = sorted(os.listdir(folder), reverse=True) if os.path.isdir(folder) else []
    for name in names:
        try:
            with open(os.path.join(folder, name, "incident.json"), encoding="utf-8") as stream:
                found = json.load(stream)
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and {"id", "cause", "healthy", "seconds"} <= set(found):
            return found
    return None
