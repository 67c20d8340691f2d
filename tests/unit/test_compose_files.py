# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module and its library: both files are written, proved together, or neither."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.christmas.selfheal.plugins.module_utils import commands, compose_project, files
from ansible_collections.christmas.selfheal.plugins.module_utils.commands import Result
from ansible_collections.christmas.selfheal.plugins.module_utils.compose_project import replace_all
from ansible_collections.christmas.selfheal.plugins.modules import compose_files

COMPOSE = "# mine\nservices:\n  backend:\n    image: shop:1  \n"
INFO = {
    "ServerVersion": "26.1.5",
    "NCPU": 2,
    "MemTotal": 2 << 30,
    "MemoryLimit": True,
    "ClientInfo": {"Plugins": [{"Name": "compose", "Version": "2.26.1-4"}]},
}


class Engine:
    """Answers as the docker CLI does: `docker info`, and `docker compose config` of YAML files."""

    def __init__(self) -> None:
        self.info: dict[str, Any] = INFO
        self.info_code = 0
        self.refuse = ""
        self.warn = ""
        self.asked: list[list[str]] = []

    def run(self, argv: Sequence[str], _timeout: float, stdin: str | None = None, cwd: str | None = None) -> Result:
        assert stdin is None
        self.asked.append(list(argv))
        if argv[:2] == ["docker", "info"]:
            return Result(self.info_code, json.dumps(self.info), "")
        assert argv[:2] == ["docker", "compose"]
        assert argv[-3:] == ["config", "--format", "json"]
        names = [argv[at + 1] for at, word in enumerate(argv) if word == "--file"]
        assert cwd is not None and all(name.startswith(cwd) for name in names)
        if self.refuse and (len(names) == 2 or "one" in self.refuse):
            return Result(15, "", f"{names[-1]}: {self.refuse}\n")
        services: dict[str, Any] = {}
        for name in names:
            for service, spec in (yaml.safe_load(Path(name).read_text()).get("services") or {}).items():
                services.setdefault(service, {}).update(spec)
        return Result(0, json.dumps({"services": services}), self.warn)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr(commands, "run", made.run)
    return made


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module on an app in `tmp_path`/app; its result, as Ansible would get it."""
    real = compose_project.App

    def rooted(name: str, directory: str, **more: Any) -> Any:
        return real(name, directory, root=str(tmp_path / "root"), **more)

    monkeypatch.setattr(compose_files, "App", rooted)

    def with_arguments(**arguments: Any) -> dict[str, Any]:
        given = {"app": "shop", "directory": str(tmp_path / "app"), "compose": COMPOSE, **arguments}
        with patch_module_args(given), pytest.raises(SystemExit) as ended:
            compose_files.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert bool(ended.value.code) == bool(result.get("failed"))
        return result

    return with_arguments


def there(tmp_path: Path) -> dict[str, str]:
    """What lies in the app's directory."""
    directory = tmp_path / "app"
    return {item.name: item.read_text() for item in directory.iterdir()} if directory.exists() else {}


CHECK = {"_ansible_check_mode": True, "_ansible_diff": True}


def with_env(tmp_path: Path, text: str = "A='1'\n") -> None:
    (tmp_path / "app").mkdir(exist_ok=True)
    (tmp_path / "app/.env").write_text(text)


def test_what_was_promoted_stays_whatever_a_promotion_that_was_killed_has_left(
    run: Run, fake: Engine, tmp_path: Path
) -> None:
    with_env(tmp_path)
    refused = run(compose=None)
    assert "nothing was promoted to this host yet" in refused["msg"]
    good = tmp_path / "app/releases/last-good"
    good.mkdir(parents=True)
    (good / "compose.yaml").write_text(COMPOSE)
    (tmp_path / "app/compose.yaml").write_text(f"{COMPOSE}# killed\n")
    assert run(compose=None)["changed"]
    assert (tmp_path / "app/compose.yaml").read_text() == COMPOSE


def test_both_are_written_once(run: Run, fake: Engine, tmp_path: Path) -> None:
    with_env(tmp_path)
    foreseen = run(**CHECK)
    assert foreseen["changed"]
    assert set(there(tmp_path)) == {".env"}
    first = run(_ansible_diff=True)
    assert (first["changed"], first["files"], first["proved"]) == (
        True,
        ["compose.yaml", "compose.hardened.yaml"],
        True,
    )
    assert first["diff"] == foreseen["diff"]
    assert first["services"] == {"backend": []}
    assert first["engine"] == {"version": "26.1.5", "compose": "2.26.1-4"}
    found = there(tmp_path)
    assert found["compose.yaml"] == COMPOSE
    assert yaml.safe_load(found["compose.hardened.yaml"])["services"]["backend"]["read_only"] is True
    assert set(found) == {".env", "compose.yaml", "compose.hardened.yaml"}
    assert oct((tmp_path / "app/compose.yaml").stat().st_mode & 0o777) == "0o644"
    for arguments in ({}, CHECK):
        again = run(**arguments)
        assert (again["changed"], again["files"], again["diff"]) == (False, [], [])
    assert there(tmp_path) == found


def test_only_what_changed_is_written(run: Run, fake: Engine, tmp_path: Path) -> None:
    run()
    os.chmod(tmp_path / "app/compose.hardened.yaml", 0o600)
    before = (tmp_path / "app/compose.yaml").stat()
    result = run(services={"backend": {"memory": "1G"}}, _ansible_diff=True)
    assert result["files"] == ["compose.hardened.yaml"]
    assert [entry["before_header"] for entry in result["diff"]] == ["compose.hardened.yaml"]
    assert "memory: 512M" in result["diff"][0]["before"]
    assert "memory: 1G" in result["diff"][0]["after"]
    assert (tmp_path / "app/compose.yaml").stat().st_ino == before.st_ino
    assert (tmp_path / "app/compose.hardened.yaml").stat().st_mode & 0o777 == 0o600


def test_the_users_file_goes_through_byte_for_byte(run: Run, fake: Engine, tmp_path: Path) -> None:
    text = "services:\r\n  backend: {image: 'x:1'}   # 선물 \r\n\r\n\t\n".replace("\t", "")
    run(compose=text)
    assert (tmp_path / "app/compose.yaml").read_bytes() == text.encode()


def test_how_compose_is_asked(run: Run, fake: Engine, tmp_path: Path) -> None:
    run()
    one, both = fake.asked[1:]
    start = [
        "docker",
        "compose",
        "--project-name",
        "shop",
        "--project-directory",
        str(tmp_path / "app"),
        "--profile",
        "*",
    ]
    assert one[:8] == both[:8] == start
    assert [os.path.basename(word) for word in one[8:]] == ["--file", "compose.yaml", "config", "--format", "json"]
    assert both[10:11] == ["--file"]
    assert os.path.basename(both[11]) == "compose.hardened.yaml"


def test_notes(run: Run, fake: Engine, tmp_path: Path) -> None:
    fake.info = {**INFO, "MemoryLimit": False}
    fake.warn = 'time="x" level=warning msg="The \\"TOKEN\\" variable is not set. Defaulting to a blank string."\n' * 2
    result = run(compose="services: {backend: {image: x, privileged: true}}\n")
    assert result["notes"] == [
        f"compose.yaml uses ${{TOKEN}}, which {tmp_path}/app/.env does not set: it becomes blank",
        "backend is privileged, which gives back every capability and the host's devices",
        "the kernel of this host does not enforce memory limits (MemoryLimit in docker info)",
    ]
    assert all(note in json.dumps(result["warnings"]).replace("\\\\", "\\") for note in result["notes"])


@pytest.mark.parametrize(
    ("info", "code", "note"),
    [
        ({}, 127, "docker is not installed on this host"),
        (
            {"ServerErrors": ["Cannot connect to the Docker daemon"]},
            1,
            "the Docker engine does not answer: Cannot connect",
        ),
        (
            {**INFO, "ClientInfo": {"Plugins": []}},
            0,
            "the Docker Compose plugin is not installed, 2.24 or newer is needed",
        ),
    ],
)
def test_a_host_without_an_engine(run: Run, fake: Engine, tmp_path: Path, info: Any, code: int, note: str) -> None:
    fake.info, fake.info_code = info, code
    with_env(tmp_path)
    foreseen = run(**CHECK)
    assert (foreseen["changed"], foreseen["proved"], foreseen["files"]) == (True, False, ["compose.yaml"])
    assert foreseen["notes"][0].startswith(f"compose.hardened.yaml is not known yet: {note}")
    assert run()["msg"].startswith(note)
    assert set(there(tmp_path)) == {".env"}


def test_an_old_compose_is_named(run: Run, fake: Engine) -> None:
    fake.info = {**INFO, "ClientInfo": {"Plugins": [{"Name": "compose", "Version": "v2.23.0"}]}}
    assert "plugin is 2.23.0, 2.24 or newer is needed" in run()["msg"]


def test_check_mode_before_the_env_is_there(run: Run, fake: Engine, tmp_path: Path) -> None:
    foreseen = run(**CHECK)
    assert (foreseen["changed"], foreseen["proved"]) == (True, False)
    assert f"{tmp_path}/app/.env does not exist" in foreseen["notes"][0]
    assert there(tmp_path) == {}


# id, arguments, how the engine differs, what the message says
BAD = [
    (
        "table",
        {"services": {"backend": {"mem": 1}}},
        {},
        "compose_app_services.backend.mem: is no key of a service. Fix: ",
    ),
    (
        "no such service",
        {"services": {"web": {}}},
        {},
        "compose_app_services.web: is no service of compose.yaml. Fix: use",
    ),
    ("empty file", {"compose": " \n"}, {}, "compose.yaml: is empty. Fix: give the text"),
    ("no services", {"compose": "services: {}\n"}, {}, "compose.yaml: has no services. Fix: "),
    (
        "too much",
        {"services": {"backend": {"cpus": 9}}},
        {},
        "9 is more than the 2 cores that this host has. Fix: write less",
    ),
    (
        "does not parse",
        {},
        {"refuse": "yaml: line 3: one value is not allowed"},
        "compose.yaml: Compose does not take it: compose.yaml: yaml: line 3: one value is not allowed. Fix: try",
    ),
    (
        "do not go together",
        {},
        {"refuse": "services.backend: invalid"},
        "compose_app_services: compose.yaml and compose.hardened.yaml do not go together: compose.hardened.yaml: ser",
    ),
    (
        "a value is missing",
        {},
        {"refuse": "one: required variable X is missing a value: "},
        "compose.yaml: needs a value that {dir}/app/.env does not give: ",
    ),
    ("no env", {}, {"refuse": "one: env file {dir}/app/.env not found"}, "Fix: write the env first"),
    ("app", {"app": "My Shop"}, {}, "selfheal_app: 'My Shop' cannot name a compose project"),
]


@pytest.mark.parametrize(("arguments", "differs", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
@pytest.mark.parametrize("check", [False, True])
def test_bad_input_writes_nothing(
    run: Run, fake: Engine, tmp_path: Path, arguments: Any, differs: dict[str, str], said: str, check: bool
) -> None:
    with_env(tmp_path)
    (tmp_path / "app/compose.yaml").write_text("old\n")
    for key, value in differs.items():
        setattr(fake, key, value)
    result = run(**arguments, **(CHECK if check else {}))
    assert result["failed"]
    assert said.replace("{dir}", str(tmp_path)) in result["msg"]
    assert set(there(tmp_path)) == {".env", "compose.yaml"}
    assert there(tmp_path)["compose.yaml"] == "old\n"


def test_no_value_of_the_env_is_quoted(run: Run, fake: Engine, tmp_path: Path) -> None:
    with_env(tmp_path, "PORT='hush-hush-hush'\n")
    fake.refuse = "one: Invalid hostPort: hush-hush-hush"
    message = run()["msg"]
    assert "hush" not in message
    assert "Invalid hostPort: <PORT sha256:" in message


@pytest.mark.parametrize("content", [b"A='hush-hush\n", b'A="hush-hush\n', b"A=\xffhush-hush\n"])
def test_a_damaged_env_is_named_and_not_quoted(run: Run, fake: Engine, tmp_path: Path, content: bytes) -> None:
    """Compose would quote the line that it cannot read."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/.env").write_bytes(content)
    message = run()["msg"]
    assert message.startswith(f"{tmp_path}/app/.env: ")
    assert message.endswith("Fix: write it anew from the vault")
    assert "hush" not in message
    assert len(fake.asked) == 1


def test_nothing_is_left_in_the_temporary_directory(
    run: Run, fake: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(compose_project.tempfile, "tempdir", str(scratch))
    run()
    fake.refuse = "one: no"
    run()
    assert list(scratch.iterdir()) == []


def test_a_lock_that_is_held(run: Run, fake: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose_project, "LOCK_SECONDS", 0.1)
    path = str(tmp_path / "root/run/selfheal/shop.lock")
    with files.hold_lock(path, 0, "recover shop"):
        assert "recover shop" in run()["msg"]
        assert there(tmp_path) == {}
        with_env(tmp_path)
        assert run(**CHECK)["changed"]


# --- both or neither --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("existing", [{}, {"a": "old a", "b": "old b"}, {"a": "old a"}, {"b": "old b"}])
@pytest.mark.parametrize("failing", ["a", "b"])
def test_both_or_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: dict[str, str], failing: str
) -> None:
    for name, text in existing.items():
        (tmp_path / name).write_text(text)

    def full(path: str, data: bytes, **keys: Any) -> None:
        if path.endswith(failing):
            raise OSError(28, "No space left on device", path)
        files.atomic_write(path, data, **keys)

    monkeypatch.setattr(compose_project, "atomic_write", full)
    with pytest.raises(OSError, match="No space left"):
        replace_all({str(tmp_path / "a"): b"new a", str(tmp_path / "b"): b"new b"})
    assert {item.name: item.read_text() for item in tmp_path.iterdir()} == existing


def test_what_a_killed_run_left_does_not_disturb(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / ".a.selfheal-before").write_text("older")
    replace_all({str(tmp_path / "a"): b"new"})
    assert {item.name: item.read_text() for item in tmp_path.iterdir()} == {"a": "new"}
