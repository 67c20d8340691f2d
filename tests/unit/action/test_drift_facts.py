# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The stamp of the desired state, with Ansible's own inventory and variables: what changes it, and what does not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ansible_collections.christmas.selfheal.plugins.action.drift_facts import ActionModule
from ansible_collections.christmas.selfheal.plugins.plugin_utils import desired_stamp
from ansible_collections.christmas.selfheal.plugins.plugin_utils.desired_stamp import Project

SECRET = "kD8#vq2Z-not-shown"
PASSWORD = VaultSecret(b"of the test")


def vaulted(value: str) -> str:
    """A vaulted value as it is in a YAML file."""
    text = VaultLib([("test", PASSWORD)]).encrypt(value, PASSWORD).decode()
    return "!vault |\n" + "\n".join(f"    {line}" for line in text.splitlines())


class Controller:
    """An inventory of two hosts, a project, and a certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.extra = folder, dict[str, Any]()
        self.write("inventory/hosts.yml", "backends: {hosts: {web1: {ansible_host: 10.0.0.1}, web2: {}}}\n")
        # YAML of an older vault has another ciphertext each time.
        self.write("inventory/group_vars/all.yml", f"app: shop\ntext: '{{{{ app }}}} {{'\nkey: {vaulted(SECRET)}\n")
        self.write("inventory/host_vars/web1.yml", "monitoring_hub: '{{ \"web\" ~ 2 }}'\nlist: [1, {a: 2024-01-01}]\n")
        self.write("inventory/host_vars/web2.yml", "ansible_user: root\n")
        self.write("project/compose.yaml", "services: {}\n")
        self.write("project/.git/HEAD", "x")
        self.write("server.pem", "x")
        for part in desired_stamp.PARTS:
            self.write(f"collection/{part}/a.py", "x")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def append(self, name: str, text: str) -> None:
        self.write(name, (self.folder / name).read_text(encoding="utf-8") + text)

    def facts(self, host: str = "web1", cached: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the task returns for a host, whose module returns {"app": "shop"}."""
        loader = DataLoader()
        loader.set_vault_secrets([("test", PASSWORD)])
        loader.set_basedir(str(self.folder))
        inventory = InventoryManager(loader=loader, sources=[str(self.folder / "inventory")])
        manager = VariableManager(loader=loader, inventory=inventory)
        manager._extra_vars = dict(self.extra)
        if cached:
            manager.set_host_facts(host, cached)
        hostvars = HostVars(inventory=inventory, variable_manager=manager, loader=loader)
        known = {**manager.get_vars(host=inventory.get_host(host)), "hostvars": hostvars}
        action = object.__new__(ActionModule)
        action._loader, action._templar = loader, Templar(loader=loader, variables=known)
        action._task = SimpleNamespace(
            args={"source": str(self.folder / "project"), "exclude": [".git"]},
            get_search_path=lambda: [str(self.folder)],
        )
        ended: dict[str, Any] = action.run(task_vars=known)
        drift: dict[str, Any] = ended["drift"]
        return drift


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Controller:
    monkeypatch.setattr(ActionBase, "run", lambda *_unused: {})
    monkeypatch.setattr(ActionModule, "_execute_module", lambda *_unused, **_more: {"drift": {"app": "shop"}})
    monkeypatch.setattr(desired_stamp, "ROOT", str(tmp_path / "collection"))
    return Controller(tmp_path)


CHANGES: dict[str, Callable[[Controller], object]] = {
    "a variable": lambda it: it.append("inventory/group_vars/all.yml", "other: 1\n"),
    "a variable of another host": lambda it: it.append("inventory/host_vars/web2.yml", "other: 1\n"),
    "a vaulted value": lambda it: it.append("inventory/group_vars/all.yml", f"key: {vaulted('another')}\n"),
    "a new host": lambda it: it.write("inventory/more.yml", "backends: {hosts: {web3: {}}}\n"),
    "the address of a host": lambda it: it.append("inventory/host_vars/web2.yml", "ansible_host: 10.0.0.2\n"),
    "an option of the command line": lambda it: it.extra.update(app="blog"),
    "a role": lambda it: it.append("collection/roles/a.py", "x"),
    "a module": lambda it: it.write("collection/plugins/b.py", ""),
    "a file of the project": lambda it: it.append("project/compose.yaml", "x"),
    "its mode": lambda it: (it.folder / "project/compose.yaml").chmod(0o600),
    "its time": lambda it: os.utime(it.folder / "project/compose.yaml", (1, 1)),
    "a new file of the project": lambda it: it.write("project/src/app.py", ""),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_changes_the_stamp(controller: Controller, change: Callable[[Controller], object]) -> None:
    before = controller.facts()["desired_stamp"]
    assert len(before) == 64
    assert controller.facts()["desired_stamp"] == before
    change(controller)
    assert controller.facts()["desired_stamp"] not in (before, "")


OF_THE_RUN: dict[str, Callable[[Controller], object]] = {
    "options of a drift check": lambda it: it.extra.update(drift_whole=True, drift_correct=True, drift_policy=[]),
    "byte code": lambda it: it.write("collection/plugins/__pycache__/a.pyc", "x"),
    "what is not copied": lambda it: it.append("project/.git/HEAD", "x"),
}


@pytest.mark.parametrize("change", OF_THE_RUN.values(), ids=OF_THE_RUN)
def test_what_decides_nothing_does_not(controller: Controller, change: Callable[[Controller], object]) -> None:
    before = controller.facts()["desired_stamp"]
    change(controller)
    assert controller.facts()["desired_stamp"] == before != ""


def test_cached_facts_do_not_count(controller: Controller) -> None:
    stamps = {
        controller.facts(cached={"date_time": {"epoch": epoch}, "ansible_uptime_seconds": epoch})["desired_stamp"]
        for epoch in ("1", "2")
    }
    assert len(stamps) == 1
    assert "" not in stamps


def test_a_file_that_an_option_names_counts(controller: Controller) -> None:
    controller.append("inventory/group_vars/all.yml", "load_balancer_certificate: '{{ app }}.pem'\n")
    assert controller.facts()["desired_stamp"] == "", "there is no such file: the role reports it"
    controller.write("shop.pem", "x")
    before = controller.facts()["desired_stamp"]
    controller.write("shop.pem", "xy")
    assert controller.facts()["desired_stamp"] not in (before, "")


@pytest.mark.parametrize("text", ["{{ undefined }}", "{{ lookup('ansible.builtin.file', '/no/such/file') }}"])
def test_a_variable_that_cannot_be_templated_leaves_the_stamp_unknown(controller: Controller, text: str) -> None:
    controller.append("inventory/group_vars/all.yml", f'load_balancer_certificate: "{text}"\n')
    found = controller.facts()
    assert (found["app"], found["desired_stamp"], found["looks_at"]) == ("shop", "", [])


def test_a_folder_that_is_gone_leaves_the_stamp_unknown(controller: Controller) -> None:
    (controller.folder / "project/compose.yaml").unlink()
    (controller.folder / "project/.git/HEAD").unlink()
    (controller.folder / "project/.git").rmdir()
    (controller.folder / "project").rmdir()
    assert controller.facts()["desired_stamp"] == ""


def test_the_monitoring_host_of_a_host_is_named(controller: Controller) -> None:
    assert controller.facts("web1")["looks_at"] == ["web2"]
    assert controller.facts("web2")["looks_at"] == []


def test_only_a_digest_leaves_the_controller(controller: Controller) -> None:
    assert SECRET not in json.dumps(controller.facts())
    assert set(controller.facts()) == {"app", "desired_stamp", "looks_at"}


@pytest.mark.usefixtures("controller")
def test_what_json_does_not_know_counts_too() -> None:
    values: list[Any] = [{1, 2}, {1, 3}, (1,), b"x", {3: 1, "3": 2}, None]
    stamps = {desired_stamp.read({"web1": {"x": value}}, Project("", []), []) for value in values}
    assert len(stamps) == len(values)
