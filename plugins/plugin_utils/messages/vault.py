# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a vault gave no values, and what to do. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple, TypedDict

SHOWN_REASON = 400
_LOOKUP = re.compile(r"^.*The lookup plugin \S+ failed: ")


class VaultSettings(TypedDict):
    """The settings of app_env that say which vault is asked for what; the ones that are not set are empty."""

    address: str
    path: str
    mount: str
    auth: str


class _Advice(NamedTuple):
    """What a reason contains, in any case, and what to do then."""

    pattern: str
    text: str


# In this order: the first that matches is given.
_ADVICE = (
    _Advice("hvac", "The Python package hvac is missing on this machine: install it next to Ansible."),
    _Advice("sealed|503", "It is sealed: unseal it, then run this again."),
    _Advice(
        "Connection|refused|timed out|Max retries|resolve|unreachable|certificate|SSL",
        "It does not answer. Is it up, is app_env_vault_url right, and can this machine reach it?",
    ),
    _Advice(
        "Invalid or missing path", "It has nothing at that path: check app_env_vault_path and app_env_vault_mount."
    ),
    _Advice(
        "Forbidden|denied|invalid|40[03]",
        "It refuses. Is the {credential} still valid, and may it read {mount}/data/{path}?",
    ),
)
_NO_ADVICE = (
    "Check the variables app_env_vault_*. For the empty ones, VAULT_ADDR, VAULT_TOKEN and the file that `vault login` "
    "writes are used."
)


def vault_failure(reason: str, settings: VaultSettings, host: str) -> str:
    """Return which vault gave no values, the most likely cause, and what it said."""
    said = _LOOKUP.sub("", " ".join(reason.split()))
    path, mount, auth = settings["path"], settings["mount"], settings["auth"]
    return "\n".join(
        [
            f"The vault at {settings['address'] or 'no address'} gave no values for {host} "
            f"(path {path or 'not given'}, mount {mount}, login by {auth}).",
            _advice(said).format(credential="token" if auth == "token" else "login", mount=mount, path=path),
            f"It said: {_shortened(said)}",
            "Nothing was changed on the host.",
        ]
    )


def _advice(said: str) -> str:
    for advice in _ADVICE:
        if re.search(advice.pattern, said, re.IGNORECASE):
            return advice.text
    return _NO_ADVICE


def _shortened(text: str) -> str:
    if len(text) <= SHOWN_REASON:
        return text
    return f"{text[:SHOWN_REASON].rsplit(' ', 1)[0]}..."
