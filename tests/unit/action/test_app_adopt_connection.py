# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Adopt connects once before anything else, and says why a host cannot be used; later it hides what comes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.christmas.selfheal.plugins.action import app_adopt
from ansible_collections.christmas.selfheal.plugins.action.app_adopt import ActionModule
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError


class Adopt(ActionModule):
    """The action with a host in memory; `hidden` is whether the connection hid each module's output."""

    def __init__(self, answer: dict[str, Any] | AnsibleError, variables: dict[str, Any]) -> None:
        self._play_context = SimpleNamespace(become=True, no_log=False)
        self._connection = SimpleNamespace(_play_context=self._play_context)
        self._variables, self._asked = variables, {"folder": "", "app": ""}
        self.answer, self.hidden = answer, dict[str, bool]()

    def _execute_module(self, module_name: str = "", **_unused: Any) -> dict[str, Any]:
        self.hidden[module_name] = self._play_context.no_log
        if isinstance(self.answer, AnsibleError):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (AnsibleConnectionFailure("ssh: connect to host 10.0.0.5 port 22: No route to host"), "No route to host"),
        (AnsibleError("Missing sudo password"), "Missing sudo password"),
        ({"failed": True, "msg": "no Python"}, "no Python"),
    ],
)
def test_a_host_that_cannot_be_used_is_named_with_the_reason(answer: dict[str, Any] | AnsibleError, said: str) -> None:
    with pytest.raises(app_adopt._HostSaid) as caught:
        Adopt(answer, {})._require_connection("joe@10.0.0.5")
    text = str(caught.value)
    assert text.startswith("joe@10.0.0.5: ")
    assert said in text
    assert "Nothing was changed. Fix: " in text


@pytest.mark.parametrize("name", ["ansible_password", "ansible_become_password"])
def test_a_password_of_the_inventory_is_refused_as_the_new_one_does_not_get_it(name: str) -> None:
    with pytest.raises(InitError, match=f"{name} in this run's inventory") as caught:
        Adopt({}, {name: "kD8#vq2Z"})._require_connection("10.0.0.5")
    assert "kD8#vq2Z" not in str(caught.value)


def test_what_the_host_returns_is_hidden_and_what_the_connection_says_is_not() -> None:
    adopt = Adopt({}, {})
    adopt._require_connection("10.0.0.5")
    adopt._on_host("read")
    assert adopt.hidden == {"ansible.builtin.ping": False, app_adopt._MODULE: True}
    assert adopt._play_context.no_log is False


def test_the_new_inventory_connects_by_the_options_of_this_run() -> None:
    given = {"private_key_file": "/root/k", "ssh_common_args": "-J jump", "ssh_extra_args": "", "forks": 5}
    adopt = Adopt({}, {"ansible_port": "2222", "ansible_ssh_common_args": "-J other"})
    adopt._templar = SimpleNamespace(template=lambda value: value)
    assert adopt._connects_by(given) == [
        ("ansible_ssh_private_key_file", "/root/k"),
        ("ansible_ssh_common_args", "-J other"),
        ("ansible_port", 2222),
    ]
