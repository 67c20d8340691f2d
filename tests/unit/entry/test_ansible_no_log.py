# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module run ends with its result, with an error for the user, or with the traceback of a defect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log


class Ended(Exception):
    """The end of a run: how it ended, and its result."""


class Module:
    """Replaces AnsibleModule."""

    def __init__(self, argument_spec: Mapping[str, Any], supports_check_mode: bool, **rules: Any) -> None:
        self.params = {name: option.get("default") for name, option in argument_spec.items()}
        self.rules = rules
        assert supports_check_mode

    def exit_json(self, **result: Any) -> NoReturn:
        raise Ended("well", result)

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        raise Ended("failed", {"msg": msg, **result})


class Wrong(Exception):
    """An error whose text is for the user."""


@pytest.mark.parametrize(
    ("work", "ended"),
    [
        pytest.param(lambda module: {"changed": False, **module.params}, ("well", {"changed": False, "app": "shop"})),
        pytest.param(lambda module: module.rules, ("well", {"required_if": []})),
        pytest.param(Wrong("write a name"), ("failed", {"msg": "write a name"})),
        pytest.param(Wrong(), ("failed", {"msg": "Wrong"})),
        pytest.param(OSError(5, "I/O error", "/x"), ("failed", {"msg": "/x: I/O error"})),
        pytest.param(ansible_no_log.Failed("bad", reason="key"), ("failed", {"msg": "bad", "reason": "key"})),
        pytest.param(ansible_no_log.Failed(Wrong("late"), steps=[1]), ("failed", {"msg": "late", "steps": [1]})),
    ],
)
def test_how_a_run_ends(work: Any, ended: tuple[str, dict[str, Any]]) -> None:
    def fail(_module: Module) -> NoReturn:
        raise work

    call = fail if isinstance(work, Exception) else work
    with pytest.raises(Ended) as found:
        ansible_no_log.run(Module, {"app": {"default": "shop"}}, call, (Wrong, OSError), required_if=[])
    assert found.value.args == ended


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        ansible_no_log.run(Module, {}, lambda _module: {"share": 1 / 0}, (Wrong,))
