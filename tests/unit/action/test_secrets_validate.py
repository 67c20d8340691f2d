# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module: arguments in, one result without any secret out. The rules are in test_secret_rules.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import PASS_VARS
from ansible.module_utils.testing import patch_module_args

from ansible_collections.christmas.selfheal.plugins.module_utils.core.fingerprint import fingerprint
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv, supabase_online
from ansible_collections.christmas.selfheal.plugins.modules import secrets_validate
from ansible_collections.christmas.selfheal.tests.unit.corpus.synthetic import GOOD, TABLE, legacy, noise

Run = Callable[..., dict[str, Any]]

# As with -vvv. Newer versions of ansible-core return the arguments only on request; older ones have no such option.
VERBOSE = {"_ansible_inject_invocation": True} if "inject_invocation" in PASS_VARS else {}

VALUES = {**GOOD, "PORT": 8000, "APP_TITLE": "Shop of the season"}
SECRETS = ("SUPABASE_ANON_KEY", "SUPABASE_SERVICE_KEY", "JWT_SECRET")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module with arguments; its result, as Ansible would get it."""

    def with_arguments(**arguments: Any) -> dict[str, Any]:
        defaults = {"variables": TABLE, **VERBOSE}
        with patch_module_args({**defaults, **arguments}), pytest.raises(SystemExit) as ended:
            secrets_validate.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert bool(ended.value.code) == bool(result.get("failed"))
        return result

    return with_arguments


@pytest.mark.parametrize("check_mode", [False, True])
def test_good_values(run: Run, check_mode: bool) -> None:
    result = run(values=VALUES, _ansible_check_mode=check_mode)
    assert (result["changed"], result["findings"]) == (False, [])
    assert result["proved"] == [*GOOD, "APP_TITLE"]
    assert result["fingerprints"]["PORT"] == fingerprint("8000")
    assert set(result) == {"changed", "findings", "proved", "fingerprints", "invocation"}


def test_bad_values_fail_with_one_line_each(run: Run) -> None:
    result = run(values={**VALUES, "SUPABASE_SERVICE_KEY": "your_supabase_service_key_here", "PORT": "80000"})
    assert result["failed"]
    lines = result["msg"].splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["SUPABASE_SERVICE_KEY", "placeholder"],
        ["PORT", "out_of_range"],
    ]
    assert all(" Fix: " in line for line in lines)
    assert [finding["variable"] for finding in result["findings"]] == ["SUPABASE_SERVICE_KEY", "PORT"]
    assert result["proved"] == ["SUPABASE_URL", "SUPABASE_ANON_KEY", "JWT_SECRET", "APP_TITLE"]


def test_the_error_for_no_values_names_where_they_belong(run: Run) -> None:
    result = run(values={})
    fix = "Put one into the inventory: `default:` of its row, or app_env_plain."
    assert f"SUPABASE_URL: missing: it has no value. Fix: {fix}" in result["msg"]
    assert "app_env_values is empty" in result["msg"].splitlines()[-1]
    assert run(variables=[], values={})["proved"] == []


def test_report_only_does_not_fail(run: Run) -> None:
    result = run(values={**VALUES, "PORT": "80000"}, report_only=True)
    assert "failed" not in result
    assert [finding["rule"] for finding in result["findings"]] == ["out_of_range"]


@pytest.mark.parametrize("bad", [{}, {"SUPABASE_SERVICE_KEY": noise("revoked", 43)}, {"JWT_SECRET": "k3J9x"}])
def test_no_secret_is_returned_and_nothing_else_is_masked(run: Run, bad: dict[str, str]) -> None:
    values = {**VALUES, **bad}
    result = run(values=values, report_only=True)
    shown = json.dumps(result)
    assert not any(str(values[name]) in shown for name in SECRETS)
    given = result["invocation"]["module_args"]["values"]
    assert {given[name] for name in SECRETS} == {"VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}
    assert (given["PORT"], given["APP_TITLE"]) == (8000, "Shop of the season")
    assert "********" not in shown


def test_a_value_equal_to_its_variables_name_does_not_mask_the_message(run: Run) -> None:
    result = run(values={**VALUES, "JWT_SECRET": "JWT_SECRET"})
    assert result["msg"].startswith("JWT_SECRET: placeholder: it is the variable's own name")


@pytest.mark.parametrize("value", [True, None, 0.5, 12345678901234567890, ["a"], {"a": "b"}, ""])
def test_values_that_are_not_text(run: Run, value: Any) -> None:
    result = run(values={**VALUES, "JWT_SECRET": value})
    (finding,) = result["findings"]
    assert finding["rule"] == {"None": "missing", "": "empty"}.get(str(value), "not_text")


def test_names_without_an_entry_give_a_warning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    result = run(values={**VALUES, "SUPABASE_SERVCE_KEY": "hush-hush-hush"})
    assert warnings == [
        "SUPABASE_SERVCE_KEY has a value, but no entry in the table: nothing validates it, and it is not written."
    ]
    assert "hush" not in json.dumps(result)


# --- a file on the host ---------------------------------------------------------------------------------------------


def test_a_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(dotenv.encode({name: str(value) for name, value in VALUES.items()}))
    assert run(path=str(path))["findings"] == []
    path.write_text(path.read_text() + "JWT_SECRET=your-jwt-secret\nMIIEvQIBADANBg==\n")
    result = run(path=str(path))
    assert [(found["variable"], found["rule"]) for found in result["findings"]] == [
        (".env", "repeated"),
        ("JWT_SECRET", "placeholder"),
    ]
    assert "lines 5, 8 set the same variable" in result["msg"]
    shown = json.dumps(result)
    assert not any(str(VALUES[name]) in shown for name in SECRETS)
    assert "MIIEvQ" not in shown


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "does not exist: write it first"),
        (b"A='hush\n", "line 1: a quote is opened here and never closed. Correct the line"),
        (b"A=hush\xff", "is not UTF-8 text (byte 6)"),
    ],
)
@pytest.mark.parametrize("report_only", [False, True])
def test_a_file_that_cannot_be_read(
    run: Run, tmp_path: Path, content: bytes | None, part: str, report_only: bool
) -> None:
    path = tmp_path / ".env"
    if content is not None:
        path.write_bytes(content)
    result = run(path=str(path), report_only=report_only)
    assert result["failed"]
    assert result["msg"].startswith(str(path))
    assert part in result["msg"]
    assert "hush" not in json.dumps(result)


def test_a_directory_is_not_a_file(run: Run, tmp_path: Path) -> None:
    assert run(path=str(tmp_path))["msg"] == f"{tmp_path}: Is a directory"


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({}, "one of the following is required: values, path"),
        ({"values": {}, "path": "/x"}, "mutually exclusive: values|path"),
        ({"values": {}, "variables": [{"name": "A", "kind": "prot"}]}, "app_env_variables[0] (A): kind: no such kind"),
        ({"values": {}, "variables": [{"name": ["A"], "kind": {}}]}, "app_env_variables[0]: name"),
    ],
)
def test_bad_arguments(run: Run, arguments: dict[str, Any], part: str) -> None:
    result = run(**arguments)
    assert result["failed"]
    assert part in result["msg"]


# --- online ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "online", "asked", "rules"),
    [
        (VALUES, False, 0, []),
        (VALUES, True, 1, ["rejected"]),
        ({**VALUES, "SUPABASE_SERVICE_KEY": legacy(exp=1)}, True, 0, ["expired"]),
    ],
)
def test_the_project_is_asked_only_on_request_and_when_the_rules_find_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], online: bool, asked: int, rules: list[str]
) -> None:
    questions = []

    def validate_online(variables: Any, values: Any, timeout: float) -> list[dict[str, str]]:
        questions.append(timeout)
        return [{"variable": "SUPABASE_SERVICE_KEY", "rule": "rejected", "reason": "it was revoked", "fix": "Copy."}]

    monkeypatch.setattr(supabase_online, "validate_online", validate_online)
    # Expiry is compared with today's date, so the valid keys expire years later.
    result = run(values=values, online=online, timeout=1.5, report_only=True)
    assert questions == [1.5] * asked
    assert [finding["rule"] for finding in result["findings"]] == rules
