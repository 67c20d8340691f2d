# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of the lookup that asks a vault. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def vault_options(given: Mapping[str, object]) -> dict[str, object]:
    """Return the options without the empty ones, in whose place the lookup reads VAULT_ADDR, VAULT_TOKEN and so on."""
    return {name: value for name, value in given.items() if value != ""}
