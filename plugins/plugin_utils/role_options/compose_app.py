# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules for the options of the role compose_app: the variables that a cache and a pool need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.rules import error
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.variables import Variables

CACHE, POOL = "compose_app_cache_enabled", "compose_app_pool_enabled"

# The variables of the env that each switch needs, with the kind of their values.
NEEDED = {
    CACHE: {"REDIS_PASSWORD": "token"},
    POOL: {
        "DATABASE_HOST": "text",
        "DATABASE_PORT": "port",
        "DATABASE_NAME": "text",
        "DATABASE_USER": "text",
        "DATABASE_PASSWORD": "token",
    },
}


def errors(variables: Variables) -> Iterator[str]:
    """Report what the inventory does not have for the cache and the pool."""
    rows = {str(row["name"]): row for row in variables.rows("compose_app_variables")}
    for switch, needed in NEEDED.items():
        if variables.flag(switch):
            for name, kind in needed.items():
                yield from _variable(name, kind, switch, rows.get(name))
    if variables.flag(POOL) and not variables.text("compose_app_pool_image"):
        yield error(
            "compose_app_pool_image",
            "it is empty, and PgBouncer has no official image to use instead",
            "Name one with its version (1.21 or newer), for instance one that you build of your distribution's package",
        )


def _variable(name: str, kind: str, switch: str, row: Mapping[str, object] | None) -> Iterator[str]:
    if row is None:
        fix = f"Add {{name: {name}, kind: {kind}}}, and its value to the vault"
        yield error("app_env_variables", f"{name} is missing, and {switch} needs it", fix)
    elif not row.get("required", True):
        problem = f"{name} is optional, and {switch} needs it"
        yield error("app_env_variables", problem, "Remove its `required: false`")
