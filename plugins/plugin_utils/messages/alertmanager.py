# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why Alertmanager refuses its configuration. Pure."""

from __future__ import annotations

import re

# Since when Alertmanager knows a key of its configuration, where that is newer than a distribution that people have.
KNOWN_SINCE = {"bot_token_file": (0, 26), "url_file": (0, 26), "message_thread_id": (0, 28)}
OPTIONAL = ["message_thread_id"]
_UNKNOWN_KEY = re.compile(r"field (\w+) not found")
_VERSION = re.compile(r"[0-9]+[.][0-9]+[.][0-9]+")


def alertmanager_refusal(reason: str, version_output: str, host: str) -> str:
    """Return the reason; of an Alertmanager that is too old, the version found and the one needed.

    :arg reason: what the module host_files says.
    :arg version_output: of `amtool --version`, or "".
    """
    refused = set(_UNKNOWN_KEY.findall(reason))
    unknown = [key for key in KNOWN_SINCE if key in refused]
    if not unknown:
        return reason
    version = _VERSION.search(version_output)
    found = version.group() if version else "none"
    needed = ".".join(map(str, max(KNOWN_SINCE[key] for key in unknown)))
    way_out = "remove message_thread_id from alerting_receivers, or " if unknown == OPTIONAL else ""
    return (
        f"Alertmanager on {host} is too old for {' and '.join(unknown)}: found {found}, needed {needed} or newer. "
        f"Fix: {way_out}upgrade to Debian 13."
    )
