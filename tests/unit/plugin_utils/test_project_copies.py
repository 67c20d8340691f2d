# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The projects that a controller for drift checks gets copies of."""

from __future__ import annotations

import hashlib
from typing import Any

from ansible_collections.christmas.selfheal.plugins.plugin_utils.project_copies import project_copies

HOSTS: dict[str, dict[str, Any]] = {
    "web1": {"compose_app_source": "/home/me/shop"},
    "web2": {"compose_app_source": "/home/me/shop"},
    "web3": {"compose_app_source": "/home/me/shop", "compose_app_exclude": ".git,media"},
    "promoted": {"compose_app_source": "/home/me/shop", "compose_app_promoted": "true"},
    "without": {},
}


def folder(*exclude: str) -> str:
    text = "/home/me/shop" + " ".join(["/.env", "/.env.example", "/releases", *exclude])
    return f"/opt/drift/projects/{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def test_hosts_with_the_same_project_share_a_copy() -> None:
    found = project_copies(list(HOSTS), HOSTS, "/opt/drift", "drift")
    usual, other = folder(".git", "__pycache__", "node_modules"), folder(".git", "media")
    assert found["by_host"] == {"web1": usual, "web2": usual, "web3": other}
    assert [(one["source"], one["folder"]) for one in found["projects"]] == [
        ("/home/me/shop", usual),
        ("/home/me/shop", other),
    ]
    excluded = [f"--exclude={one}" for one in ("/.env", "/.env.example", "/releases", ".git", "media")]
    assert found["projects"][1]["options"][: len(excluded)] == excluded


def test_the_env_next_to_the_compose_file_is_not_copied() -> None:
    hosts = {"web1": {"compose_app_source": "/home/me/shop", "compose_app_files": ["docker/compose.yaml"]}}
    found = project_copies(["web1"], hosts, "/opt/drift", "drift")
    assert "--exclude=/docker/.env" in found["projects"][0]["options"]


def test_the_user_of_the_check_owns_the_copy() -> None:
    """So that it can read a file of mode 600."""
    found = project_copies(["web1"], HOSTS, "/opt/drift", "drift")
    assert found["projects"][0]["options"][-2:] == ["--owner", "--chown=drift"]


def test_without_a_project_there_is_no_copy() -> None:
    assert project_copies(["without", "promoted"], HOSTS, "/opt/drift", "drift") == {"projects": [], "by_host": {}}
