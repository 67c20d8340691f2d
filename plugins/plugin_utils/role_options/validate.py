# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Validate the options of a role: each rule spans several variables, or says what a type alone cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options import (
    alerting,
    backup,
    compose_app,
    load_balancer,
    monitoring,
    slo,
    status_page,
)
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.variables import Variables

RULES: dict[str, Callable[[Variables], Iterator[str]]] = {
    "alerting": alerting.errors,
    "backup": backup.errors,
    "compose_app": compose_app.errors,
    "load_balancer": load_balancer.errors,
    "monitoring": monitoring.errors,
    "slo": slo.errors,
    "status_page": status_page.errors,
}


def validate(role: str, variables: Variables) -> list[str]:
    """Return the errors, a line each: option, what is wrong, fix."""
    return list(RULES[role](variables))
