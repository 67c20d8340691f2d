# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module: state x existing file x check mode. test_env_store.py tests how files are written."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.parameters import PASS_VARS
from ansible.module_utils.testing import patch_module_args

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import env_module
from ansible_collections.christmas.selfheal.plugins.module_utils.core.fingerprint import fingerprint
from ansible_collections.christmas.selfheal.plugins.module_utils.core.locks import hold_lock
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv, supabase_online
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history
from ansible_collections.christmas.selfheal.plugins.modules import env_file
from ansible_collections.christmas.selfheal.tests.unit.corpus.synthetic import GOOD, TABLE, noise

Run = Callable[..., dict[str, Any]]

# As with -vvv. Newer versions of ansible-core return the arguments only on request; older ones have no such option.
VERBOSE = {"_ansible_inject_invocation": True} if "inject_invocation" in PASS_VARS else {}

ODD = "Wq7 #k'd\"!\n$fPz\\2"
VALUES = {**GOOD, "PORT": 8000, "SMTP_PASSWORD": ODD}
TEXTS = {**GOOD, "SMTP_PASSWORD": ODD}
VARIABLES = [dict(entry) for entry in TABLE if entry["name"] in VALUES]
SECRETS = ("SUPABASE_ANON_KEY", "SUPABASE_SERVICE_KEY", "JWT_SECRET")


class Host:
    """The paths on a host that is a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = root / "opt/shop/.env"
        self.history = root / "var/lib/selfheal/shop/env"
        self.lock = root / "run/selfheal/shop.lock"
        self.env.parent.mkdir(parents=True)

    def state(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def run(host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module on the host; its result, as Ansible would get it."""
    put = env_module.put
    monkeypatch.setattr(env_module, "put", lambda params, check, clock: put(params, check, clock, str(host.root)))

    def with_arguments(**arguments: Any) -> dict[str, Any]:
        given = {"path": str(host.env), "app": "shop", "variables": VARIABLES, "values": VALUES, **arguments}
        incoming = {key: value for key, value in given.items() if value is not None} | VERBOSE
        with patch_module_args(incoming), pytest.raises(SystemExit) as ended:
            env_file.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert bool(ended.value.code) == bool(result.get("failed"))
        shown = json.dumps(result)
        assert not any(GOOD[name] in shown for name in SECRETS)
        assert "Wq7" not in shown
        return result

    return with_arguments


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("there", ["nothing", "another", "the same", "the same, readable by all"])
def test_present(run: Run, host: Host, there: str, check_mode: bool) -> None:
    if there == "another":
        host.env.write_text("KEY=theirs\n")
        host.env.chmod(0o600)
    elif there.startswith("the same"):
        run()
        host.env.chmod(0o644 if "readable" in there else 0o600)
    before, mode = host.state(), stat.S_IMODE(host.env.stat().st_mode) if there != "nothing" else None
    result = run(_ansible_check_mode=check_mode)
    changes = {"nothing": ["content"], "another": ["content"], "the same": [], "the same, readable by all": ["mode"]}
    assert (result["changed"], result["why"]) == (bool(changes[there]), changes[there])
    assert result["fingerprints"] == {name: fingerprint(text) for name, text in TEXTS.items()}
    assert (result["backup"] is not None) == (there == "another")
    if check_mode:
        assert host.state() == before
        assert mode is None or stat.S_IMODE(host.env.stat().st_mode) == mode
        assert not host.lock.exists() or there.startswith("the same")
    else:
        assert dotenv.parse(host.env.read_text()) == TEXTS
        assert stat.S_IMODE(host.env.stat().st_mode) == 0o600
        assert not run()["changed"], "a second run changes nothing"


def test_the_diff_holds_names_and_fingerprints(run: Run, host: Host) -> None:
    host.env.write_text("PORT=9000\n")
    host.env.chmod(0o600)
    diff = run(_ansible_diff=True)["diff"]
    assert diff["before"] == f"PORT={fingerprint('9000')}\n"
    assert diff["after"].splitlines() == [f"{name}={fingerprint(text)}" for name, text in TEXTS.items()]
    assert diff["before_header"] == diff["after_header"] == str(host.env)
    host.env.chmod(0o640)
    diff = run(_ansible_diff=True)["diff"]
    assert "# mode: differs" in diff["before"]
    assert "# mode: as configured" in diff["after"]


def test_values_that_do_not_pass_change_nothing(run: Run, host: Host) -> None:
    host.env.write_text("KEY=theirs\n")
    before = host.state()
    result = run(values={**VALUES, "SUPABASE_SERVICE_KEY": "your_supabase_service_key_here", "JWT_SECRET": True})
    assert result["failed"]
    assert [finding["rule"] for finding in result["findings"]] == ["placeholder", "not_text"]
    assert result["msg"].splitlines()[0].startswith("SUPABASE_SERVICE_KEY: placeholder: ")
    assert host.state() == before


def test_defaults_are_written_and_what_the_table_does_not_list_is_not(run: Run, host: Host) -> None:
    variables = [*VARIABLES, {"name": "LOG_LEVEL", "kind": "enum", "choices": ["info"], "default": "info"}]
    run(variables=variables, values={**VALUES, "EXTRA": "hush-hush"})
    assert dotenv.parse(host.env.read_text()) == {**TEXTS, "LOG_LEVEL": "info"}


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("variables", [VARIABLES, None])
def test_restored(run: Run, host: Host, check_mode: bool, variables: Any) -> None:
    good = run()
    env_history.mark_good(str(host.history), good["fingerprint"])
    host.env.write_text("SUPABASE_SERVICE_KEY=your_supabase_service_key_here\n")
    before = host.state()
    result = run(state="restored", values=None, variables=variables, _ansible_check_mode=check_mode)
    assert (result["changed"], result["version"]) == (True, good["version"])
    if check_mode:
        assert host.state() == before
    else:
        assert dotenv.parse(host.env.read_text()) == TEXTS
        result = run(state="restored", values=None, variables=variables)
        assert "the only good version is the one in force" in result["msg"]


def test_restored_skips_versions_that_are_invalid_today(run: Run, host: Host) -> None:
    env_history.mark_good(str(host.history), run()["fingerprint"])
    host.env.unlink()
    stricter = [{**entry, **({"min_length": 99} if entry["name"] == "JWT_SECRET" else {})} for entry in VARIABLES]
    result = run(state="restored", values=None, variables=stricter)
    assert "JWT_SECRET: too_short" in result["msg"]
    assert not host.env.exists()


@pytest.mark.parametrize("check_mode", [False, True])
def test_example(run: Run, host: Host, check_mode: bool) -> None:
    path = host.env.parent / ".env.example"
    result = run(example=str(path), _ansible_check_mode=check_mode, _ansible_diff=True)
    assert result["changed"]
    assert "JWT_SECRET=\n" in result["diff"][1]["after"]
    assert path.exists() != check_mode
    if not check_mode:
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert dotenv.parse(path.read_text()) == dict.fromkeys([entry["name"] for entry in VARIABLES], "")
        assert not run(example=str(path))["changed"]
        path.chmod(0o600)
        again = run(example=str(path), _ansible_diff=True)
        assert (again["changed"], again["why"], again["diff"][1]["before"]) == (True, [], "# mode: differs\n")
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("check_mode", [False, True])
def test_the_directory_comes_with_the_env(run: Run, host: Host, check_mode: bool) -> None:
    folder = host.env.parent
    folder.rmdir()
    first = run(directory_mode="0750", _ansible_check_mode=check_mode)
    assert (first["changed"], first["why"]) == (True, ["directory state", "content"])
    assert folder.exists() != check_mode
    if not check_mode:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o750
        assert not run(directory_mode="0750")["changed"]
        folder.chmod(0o777)
        again = run(directory_mode="0750", _ansible_diff=True)
        assert (again["changed"], again["why"]) == (True, ["directory mode"])
        assert "# directory mode: 0777" in again["diff"]["before"]
        assert "# directory mode: 0750" in again["diff"]["after"]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_a_file_in_place_of_the_directory_is_kept(run: Run, host: Host) -> None:
    host.env.parent.rmdir()
    host.env.parent.write_text("mine")
    assert "is not a directory, nor a link to one: move it away" in run(directory_mode="0755")["msg"]
    assert host.env.parent.read_text() == "mine"
    host.env.parent.unlink()
    host.env.parent.symlink_to("nowhere")
    for check_mode in (True, False):
        assert "nor a link to one" in run(directory_mode="0755", _ansible_check_mode=check_mode)["msg"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"directory_mode": "rwx"}, "directory_mode: 'rwx' is not an octal number, such as '0755'"),
        ({"values": None}, "state is present but all of the following are missing: values"),
        ({"app": None}, "missing required arguments: app"),
        ({"app": "My Shop"}, "cannot name a compose project"),
        ({"variables": []}, "app_env_variables: it is empty"),
        ({"variables": [{"name": "A", "kind": "prot"}]}, "app_env_variables[0] (A): kind: no such kind"),
        ({"owner": "unknown-user"}, "owner: this host has no user unknown-user; make it first"),
        ({"group": "unknown-group"}, "group: this host has no group unknown-group"),
        ({"keep": 0}, "keep: 0 would keep no version"),
        ({"path": "/nowhere/.env"}, "/nowhere is not a directory: create it before the env is written"),
        ({"state": "restored", "values": None}, "holds no version"),
    ],
)
def test_bad_arguments_change_nothing(run: Run, host: Host, arguments: dict[str, Any], part: str) -> None:
    result = run(**arguments)
    assert result["failed"]
    assert part in result["msg"]
    assert set(host.state()) <= {str(host.lock)}


def test_in_check_mode_an_owner_need_not_exist_yet(run: Run) -> None:
    assert run(owner="unknown-user", group="unknown-group", _ansible_check_mode=True)["changed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("owner", "group"), [("1234", "2345"), ("daemon", None)])
def test_owner_by_name_or_number(run: Run, host: Host, owner: str, group: str | None) -> None:
    run(owner=owner, group=group)
    assert host.env.stat().st_uid == (1234 if owner == "1234" else host.env.stat().st_uid) != 0
    assert not run(owner=owner, group=group)["changed"]


def test_while_a_recovery_holds_the_lock_nothing_is_written(
    run: Run, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env_module, "LOCK_SECONDS", 0.1)
    with hold_lock(str(host.lock), 0, "recover shop"):
        result = run()
        assert run(_ansible_check_mode=True)["changed"], "to look needs no lock"
    assert f"pid {os.getpid()} (recover shop)" in result["msg"]
    assert not host.env.exists()


def test_a_project_that_refuses_the_key_keeps_it_from_being_written(
    run: Run, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = {"variable": "SUPABASE_SERVICE_KEY", "rule": "rejected", "reason": "it was revoked", "fix": "Copy it."}
    monkeypatch.setattr(supabase_online, "validate_online", lambda *_arguments: [finding])
    assert run(online=True)["findings"] == [finding]
    assert not host.env.exists()
    assert run()["changed"]


def test_an_error_of_the_disk_is_explained(run: Run, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any, **_named: Any) -> None:
        raise OSError(28, "No space left on device", str(host.env))

    monkeypatch.setattr(env_history, "atomic_write", full)
    assert run()["msg"].startswith(f"{host.env}: the disk is full; nothing was replaced.")


def test_a_value_that_is_public_stays_readable(run: Run) -> None:
    result = run(values={**VALUES, "SUPABASE_SERVICE_KEY": noise("bad", 43)})
    assert "********" not in json.dumps(result)
    assert result["invocation"]["module_args"]["values"]["PORT"] == 8000
