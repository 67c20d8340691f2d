# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every filter of the collection: a table, since the code is in plugin_utils. NAME.yml documents the filter NAME.

Each worker process of Ansible loads the files of this folder, one after the other, until one has its task's filter.
One file for each filter cost 90 ms a task. So this is the only one, and a filter imports its function at its call.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

PLUGIN_UTILS = "ansible_collections.christmas.selfheal.plugins.plugin_utils"

# Module of plugin_utils → its filters: name in templates → name of the function.
FILTERS: dict[str, dict[str, str]] = {
    "adopt.target": {"adopt_target": "adopt_target"},
    "alert_texts": {"alert_annotations": "alert_annotations"},
    "as_list": {"as_list": "as_list"},
    "command_options": {"prefixed": "prefixed", "project_excludes": "project_excludes"},
    "docker_daemon": {"daemon_plan": "daemon_plan"},
    "empty_values": {"empty_names": "empty_names", "without_empty": "without_empty"},
    "haproxy_check": {"haproxy_check": "haproxy_check"},
    "image_transfer": {"images_to_send": "images_to_send"},
    "inventory_copies": {
        "inventory_copies": "inventory_copies",
        "uncopyable_inventories": "uncopyable_inventories",
    },
    "listening": {"port_holders": "port_holders"},
    "messages.backup": {
        "backup_message": "backup_message",
        "rebuild_message": "rebuild_message",
        "restore_message": "restore_message",
    },
    "messages.deployment": {"deploy_message": "deploy_message", "site_message": "site_message"},
    "messages.engine": {"engine_start_failure": "engine_start_failure", "engine_too_old": "engine_too_old"},
    "messages.ports": {"port_conflicts": "port_conflicts", "public_port_conflict": "public_port_conflict"},
    "messages.project": {"checks_problem": "checks_problem", "source_problem": "source_problem"},
    "messages.promotion": {"images_message": "images_message"},
    "messages.reach": {"reach_report": "reach_report"},
    "messages.status": {"status_message": "status_message"},
    "messages.status_page": {"page_message": "page_message"},
    "messages.validation": {"validation_report": "validation_report"},
    "messages.vault": {"vault_failure": "vault_failure"},
    "monitoring_hosts": {
        "file_stems": "file_stems",
        "loopback_address": "loopback_address",
        "running_units": "running_units",
        "units_to_restart": "units_to_restart",
        "units_to_stop": "units_to_stop",
        "watched_hosts": "watched_hosts",
    },
    "programs": {"program_path": "program_path"},
    "project_copies": {"check_options": "check_options", "project_copies": "project_copies"},
    "published_ports": {"published_ports": "published_ports"},
    "receivers": {
        "alertmanager_packages": "packages",
        "receiver_routes": "routes",
        "receiver_secrets": "secrets",
    },
    "report_files": {"reports_folder": "reports_folder"},
    "restic_files": {"environment_lines": "environment_lines", "sftp_command": "sftp_command"},
    "scraping": {
        "backing_exporters": "exporters",
        "exporter_secrets": "secret_files",
        "monitoring_packages": "needed_packages",
        "scrape_targets": "target_files",
        "server_names": "server_names",
        "unused_files": "unused_files",
        "watched_host_files": "watched_host_files",
    },
    "sha256_crypt": {"sha256_crypt": "sha256_crypt"},
    "sizes": {"size_in_bytes": "size_in_bytes"},
    "unit_text": {"unit_url_part": "unit_url_part"},
}


def imported_at_call(module: str, function: str) -> Callable[..., Any]:
    """Return a filter that imports its function when it is called."""

    def call(*given: Any, **named: Any) -> Any:
        return getattr(import_module(f"{PLUGIN_UTILS}.{module}"), function)(*given, **named)

    return call


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return {name in templates: filter}; the name carries the collection's in front."""
        return {
            name: imported_at_call(module, function)
            for module, functions in FILTERS.items()
            for name, function in functions.items()
        }
