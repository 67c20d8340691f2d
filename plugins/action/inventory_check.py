# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Refuses a run with an unknown option, without a host, or with an example's address; it connects to no host itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from ansible.utils.vars import load_extra_vars

from ansible_collections.christmas.selfheal.plugins.plugin_utils import inventory, option_names, plain_vault

SPEC: dict[str, dict[str, Any]] = {
    "pattern": {"type": "str", "required": True},
    "variable": {"type": "str", "default": ""},
    "unreachable": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """`christmas.selfheal.inventory_check`."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Validate the hosts of this run that match the pattern."""
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False, "hosts": []}
        _unused, given = self.validate_argument_spec(argument_spec=SPEC)
        unknown = self._unknown()
        hosts, found = (
            ([], unknown) if unknown else self._validate(given["pattern"], given["variable"], task_vars or {})
        )
        if not found:
            sources = (str(one) for one in (task_vars or {}).get("ansible_inventory_sources") or ())
            folders = (one if os.path.isdir(one) else os.path.dirname(one) for one in sources if os.path.exists(one))
            plain = plain_vault.warnings(folders, os.getcwd())
            return {**result, "hosts": hosts, **({"warnings": plain} if plain else {})}
        return {**result, "unreachable" if given["unreachable"] else "failed": True, "msg": f"{'. '.join(found)}."}

    def _unknown(self) -> list[str]:
        """Options of the command line that nothing of this collection knows."""
        given = load_extra_vars(self._loader)
        if not given:
            return []
        running = option_names.playbooks(context.CLIARGS.get("args") or ())
        found = option_names.problems(given, running, option_names.read())
        fix = "Nothing was changed. Fix: correct the name; a variable of your own needs another beginning"
        return [*(one.rstrip(".") for one in found), fix] if found else []

    def _validate(self, pattern: str, variable: str, known: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """The hosts of this run, and the reasons to stop it."""
        running, variables = known["ansible_play_hosts_all"], known["hostvars"]
        setting = [name for name in running if variable and variable in variables[name]]
        if setting and variable not in load_extra_vars(self._loader):
            return [], [inventory.ignored_setting(setting)]
        matched = self._match(pattern, known)
        hosts = [name for name in matched if name in running]
        if not hosts:
            return [], [inventory.missing(pattern, variable, matched, known["groups"])]
        return hosts, inventory.problems([inventory.target(name, variables[name]) for name in hosts])

    def _match(self, pattern: str, known: Mapping[str, Any]) -> list[str]:
        """The hosts of the inventory that match the pattern, as the `hosts:` of a play does."""
        lookup = lookup_loader.get("ansible.builtin.inventory_hostnames", loader=self._loader, templar=self._templar)
        return list(lookup.run([pattern], variables=known))
