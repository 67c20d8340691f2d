# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module of the same name, and shows each of its steps as it is done."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.action import app_deploy


class ActionModule(app_deploy.ActionModule):
    """`christmas.selfheal.app_remove`."""

    MODULE = "christmas.selfheal.app_remove"
