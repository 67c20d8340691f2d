# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module and its library: it writes both files after Compose has read them together, or neither."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.christmas.selfheal.plugins.module_utils.core import locks
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppPaths, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import compose_files as deploy_compose_files
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import volumes as docker_volumes
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store
from ansible_collections.christmas.selfheal.plugins.modules import compose_files
from ansible_collections.christmas.selfheal.plugins.plugin_utils import project_owners, project_source

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
        self.started_from = ""
        self.asked: list[list[str]] = []
        self.containers: list[dict[str, Any]] = []
        self.volumes: list[dict[str, str]] = []

    def run(self, argv: Sequence[str], _timeout: float, stdin: str | None = None, cwd: str | None = None) -> Result:
        assert stdin is None
        self.asked.append(list(argv))
        if argv[:2] == ["docker", "info"]:
            return Result(self.info_code, json.dumps(self.info), "")
        if argv[:2] == ["docker", "ps"]:
            return Result(0, self.started_from, "")
        assert argv[:2] == ["docker", "compose"]
        assert "config" in argv and argv[-2:] == ["--format", "json"]
        names = [argv[at + 1] for at, word in enumerate(argv) if word == "--file"]
        assert cwd is not None and names[0].startswith(cwd)
        if self.refuse and (len(names) == 2 or "one" in self.refuse):
            return Result(15, "", f"{names[-1]}: {self.refuse}\n")
        services: dict[str, Any] = {}
        volumes: dict[str, Any] = {}
        for name in names:
            found = yaml.safe_load(Path(name).read_text())
            volumes.update(found.get("volumes") or {})
            for service, spec in (found.get("services") or {}).items():
                services.setdefault(service, {}).update(spec)
        return Result(0, json.dumps({"services": services, "volumes": volumes}), self.warn)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr(commands, "run", made.run)
    monkeypatch.setattr(docker_containers, "inspected", lambda _: made.containers)
    monkeypatch.setattr(docker_project.Project, "documents", lambda _: [])
    monkeypatch.setattr(docker_volumes, "compose_volumes", lambda: made.volumes)
    return made


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module on an app in `tmp_path`/app; its result, as Ansible would get it."""

    def rooted(name: str, directory: str) -> AppPaths:
        return app_paths(name, directory, str(tmp_path / "root"))

    monkeypatch.setattr(compose_files, "app_paths", rooted)

    def with_arguments(compose: str | None = COMPOSE, **arguments: Any) -> dict[str, Any]:
        incoming = tmp_path / "root/var/lib/selfheal/shop/incoming/project"
        if compose is not None:
            incoming.mkdir(parents=True, exist_ok=True)
            (incoming / "compose.yaml").write_bytes(compose.encode())
        files = ["compose.yaml"] if compose is not None else []
        given = {"app": "shop", "directory": str(tmp_path / "app"), "files": files, **arguments}
        with patch_module_args(given), pytest.raises(SystemExit) as ended:
            compose_files.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert bool(ended.value.code) == bool(result.get("failed"))
        return result

    return with_arguments


def there(tmp_path: Path) -> dict[str, str]:
    """The content of the app's directory."""
    directory = tmp_path / "app"
    return {item.name: item.read_text() for item in directory.iterdir()} if directory.exists() else {}


CHECK = {"_ansible_check_mode": True, "_ansible_diff": True}


def with_env(tmp_path: Path, text: str = "A='1'\n") -> None:
    (tmp_path / "app").mkdir(exist_ok=True)
    (tmp_path / "app/.env").write_text(text)


def test_the_promoted_files_survive_a_killed_promotion(run: Run, fake: Engine, tmp_path: Path) -> None:
    with_env(tmp_path)
    refused = run(compose=None)
    assert "nothing was promoted to this host yet" in refused["msg"]
    good = tmp_path / "app/releases/last-good"
    good.mkdir(parents=True)
    (good / "compose.yaml").write_text(COMPOSE)
    (tmp_path / "app/compose.yaml").write_text(f"{COMPOSE}# killed\n")
    fake.asked.clear()
    assert run(compose=None)["changed"]
    assert (tmp_path / "app/compose.yaml").read_text() == COMPOSE


def test_the_owners_that_the_controller_reads_arrive_once(run: Run, fake: Engine, tmp_path: Path) -> None:
    with_env(tmp_path)
    source = tmp_path / "source"
    (source / "combs").mkdir(parents=True)
    (source / "combs").chmod(0o750)
    (source / "compose.yaml").write_text("services: {web: {image: x, volumes: ['./combs:/c']}}\n")
    # Of another user than the one who deploys, so it stays.
    read = project_owners.read(str(source), project_source.read(str(source)).documents, [], os.geteuid() + 1)
    incoming = tmp_path / "root/var/lib/selfheal/shop/incoming/project"
    (incoming / "combs").mkdir(parents=True, mode=0o700)
    bind = {"type": "bind", "source": str(incoming / "combs"), "target": "/c"}
    compose = json.dumps({"services": {"web": {"image": "x", "volumes": [bind], "user": "4711"}}})
    given = {"compose": compose, "owners": json.loads(json.dumps(read))}
    assert "combs" in run(**given, **CHECK)["files"]
    assert not (tmp_path / "app/combs").exists()
    done = run(**given)
    assert (tmp_path / "app/combs").stat().st_mode & 0o777 == 0o750
    assert any("combs is data, and empty" in note and "chown -R 4711 " in note for note in done["notes"])
    assert run(**given)["changed"] is False
    assert "leave it out" in run(**{**given, "owners": {"paths": 1}})["msg"]


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


def test_the_users_file_is_copied_byte_for_byte(run: Run, fake: Engine, tmp_path: Path) -> None:
    text = "services:\r\n  backend: {image: 'x:1'}   # 선물 \r\n\r\n\t\n".replace("\t", "")
    run(compose=text)
    assert (tmp_path / "app/compose.yaml").read_bytes() == text.encode()


def test_what_was_written_is_noted_for_the_watcher(run: Run, fake: Engine, tmp_path: Path) -> None:
    """It is of no release until a deploy has put it in force, and no person wrote it."""
    run(_ansible_check_mode=True)
    note = tmp_path / "root/var/lib/selfheal/shop/written.json"
    assert not note.exists()
    run()
    marks = json.loads(note.read_text(encoding="utf-8"))
    assert marks == release_store.files(str(tmp_path / "app"))
    assert sorted(marks) == ["compose.hardened.yaml", "compose.yaml"]
    before = note.stat()
    run()
    assert note.stat() == before, "nothing has changed"
    note.unlink()
    run()
    assert json.loads(note.read_text(encoding="utf-8")) == marks, "the run before was killed"


def test_how_compose_is_asked(run: Run, fake: Engine, tmp_path: Path) -> None:
    run()
    written, one, both, started = fake.asked[1:]
    assert "--no-interpolate" in written
    incoming = str(tmp_path / "root/var/lib/selfheal/shop/incoming/project")
    start = ["docker", "compose", "--project-name", "shop", "--project-directory", incoming, "--profile", "*"]
    assert one[:8] == both[:8] == start
    assert one[8:] == ["--file", f"{incoming}/compose.yaml", "config", "--format", "json"]
    assert both[10:11] == ["--file"]
    assert os.path.basename(both[11]) == "compose.hardened.yaml"
    assert started[:2] == ["docker", "ps"]


MOUNTED = """\
services:
  web:
    image: web:1
    volumes: [{{type: bind, source: {incoming}/nginx.conf, target: /x, read_only: true}}]
  other: {{image: other:1}}
"""


def staged(tmp_path: Path, name: str, text: str) -> str:
    """Put a file of the project on the host, as rsync does. Return its folder."""
    incoming = tmp_path / "root/var/lib/selfheal/shop/incoming/project"
    incoming.mkdir(parents=True, exist_ok=True)
    (incoming / name).write_text(text)
    return str(incoming)


def test_a_changed_mounted_file_changes_its_services_configuration(run: Run, fake: Engine, tmp_path: Path) -> None:
    """A container keeps the file it was started with. `up` recreates it only for another configuration."""

    def labels() -> list[Any]:
        overlay = yaml.safe_load((tmp_path / "app/compose.hardened.yaml").read_text())
        return [overlay["services"][name].get("labels") for name in ("web", "other")]

    compose = MOUNTED.format(incoming=staged(tmp_path, "nginx.conf", "good"))
    run(compose=compose)
    good = labels()
    assert good[0]["christmas.selfheal.files"].startswith("sha256:")
    assert good[1] is None
    assert run(compose=compose)["changed"] is False
    staged(tmp_path, "nginx.conf", "bad")
    assert run(compose=compose)["files"] == ["nginx.conf", "compose.hardened.yaml"]
    assert labels() != good
    staged(tmp_path, "nginx.conf", "good")
    run(compose=compose)
    assert labels() == good


@pytest.mark.parametrize("check", [False, True])
def test_a_missing_env_file_is_named_with_its_service(run: Run, fake: Engine, tmp_path: Path, check: bool) -> None:
    with_env(tmp_path)
    incoming = staged(tmp_path, "x", "")
    compose = f"services:\n  web: {{image: w, env_file: [{{path: {incoming}/side.env, required: true}}]}}\n"
    said = run(compose=compose, **(CHECK if check else {}))["msg"]
    assert said.startswith(
        f"compose.yaml: services.web.env_file: names side.env, which is neither in the project on the controller nor "
        f"in {tmp_path}/app. Fix: "
    )
    # An env file that only the host has, from a template, is used.
    (tmp_path / "app/side.env").write_text("A=1\n")
    assert run(compose=compose, **(CHECK if check else {}))["proved"]


def test_check_mode_runs_the_same_commands(run: Run, fake: Engine, tmp_path: Path) -> None:
    """So a new included file has the same result in both modes."""
    with_env(tmp_path)
    run(**CHECK)
    asked = [[word for word in argv if "selfheal-" not in word] for argv in fake.asked]
    fake.asked.clear()
    run()
    assert [[word for word in argv if "selfheal-" not in word] for argv in fake.asked] == asked


def test_no_value_of_a_file_is_in_the_diff(run: Run, fake: Engine, tmp_path: Path) -> None:
    compose = MOUNTED.format(incoming=staged(tmp_path, "nginx.conf", "password hush-hush-hush"))
    assert "hush" not in json.dumps(run(compose=compose, _ansible_diff=True))


def test_compose_file_in_the_env_is_named(run: Run, fake: Engine, tmp_path: Path) -> None:
    """The module names the files itself, so Compose would silently ignore it."""
    with_env(tmp_path, "COMPOSE_FILE='a.yaml:b.yaml'\n")
    assert any("COMPOSE_FILE, which is not used" in note for note in run()["notes"])


def test_the_folder_that_the_app_was_started_from_is_named(run: Run, fake: Engine, tmp_path: Path) -> None:
    """`docker compose up` in that folder would replace the hardened containers."""
    fake.started_from = f"/srv/shop\n\n/srv/shop\n{tmp_path}/app/docker\n"
    notes = [note for note in run()["notes"] if "were started from" in note]
    assert len(notes) == 1
    assert "containers of shop were started from /srv/shop: do not run `docker compose up` there any more" in notes[0]


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


PUBLISHED = "services: {backend: {image: x, ports: [{host_ip: 127.0.0.1, target: 8000, published: '8000'}]}}\n"
ASKED = {"name": "health", "url": "http://127.0.0.1:8000/health", "proves": "health"}
SERVED: dict[str, Any] = {"compose": PUBLISHED, "services": {"backend": {"port": 8000, "health_path": "/health"}}}


def healthcheck(tmp_path: Path) -> str:
    """The container's health check in the overlay."""
    overlay = yaml.safe_load((tmp_path / "app/compose.hardened.yaml").read_text())
    return str(overlay["services"]["backend"]["healthcheck"]["test"][1])


def test_a_healthcheck_asks_with_the_host_that_the_health_check_has(run: Run, fake: Engine, tmp_path: Path) -> None:
    """Else an app that answers only to its own name would pass the gate and stay unhealthy."""
    result = run(**SERVED, checks=[{**ASKED, "headers": {"Host": "shop.example"}}])
    assert result["notes"] == []
    assert "-H 'Host: shop.example'" in healthcheck(tmp_path)


def test_a_secret_of_the_health_check_is_not_in_the_overlay(run: Run, fake: Engine, tmp_path: Path) -> None:
    with_env(tmp_path, "API_KEY='Vq3mZk8TtPw2Lr9xHs5B'\n")
    asked = {**ASKED, "headers": {"Host": "shop.example", "X-Key": "${API_KEY}"}}
    result = run(**SERVED, variables=[{"name": "API_KEY", "kind": "token"}], checks=[asked])
    [note] = result["notes"]
    assert note.startswith("the healthchecks ask for a path alone: ")
    assert "`health`" in note
    assert "${API_KEY}, which is not known here" in note
    assert "Vq3mZk8TtPw2Lr9xHs5B" not in json.dumps(result)
    assert "Vq3mZk8TtPw2Lr9xHs5B" not in (tmp_path / "app/compose.hardened.yaml").read_text()
    assert "http://127.0.0.1:8000/health" in healthcheck(tmp_path)
    assert "X-Key" not in healthcheck(tmp_path)


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
    assert (foreseen["changed"], foreseen["proved"], foreseen["files"]) == (True, False, [])
    assert foreseen["notes"][0].startswith(f"compose.hardened.yaml is not known yet: {note}")
    assert run()["msg"].startswith(note)
    assert set(there(tmp_path)) == {".env"}


@pytest.mark.parametrize(
    ("rsync", "note"), [("/usr/bin/rsync", "a run in check mode does not copy"), (None, "rsync is not on this host")]
)
def test_in_check_mode_a_project_that_was_not_copied_is_not_known(
    run: Run, fake: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rsync: str | None, note: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: rsync)
    said = run(compose=None, files=["compose.yaml"], **CHECK)["notes"][0]
    assert said.startswith(f"compose.hardened.yaml is not known yet: {note}")


def test_an_old_compose_is_named(run: Run, fake: Engine) -> None:
    fake.info = {**INFO, "ClientInfo": {"Plugins": [{"Name": "compose", "Version": "v2.23.0"}]}}
    assert "plugin is 2.23.0, 2.24 or newer is needed" in run()["msg"]


def test_check_mode_before_the_env_is_there(run: Run, fake: Engine, tmp_path: Path) -> None:
    foreseen = run(**CHECK, variables=[{"name": "API_KEY", "kind": "token"}])
    assert (foreseen["changed"], foreseen["proved"]) == (True, False)
    assert f"{tmp_path}/app/.env does not exist" in foreseen["notes"][0]
    assert there(tmp_path) == {}


def test_an_app_without_variables_needs_no_env(run: Run, fake: Engine, tmp_path: Path) -> None:
    foreseen = run(**CHECK)
    assert (foreseen["changed"], foreseen["proved"]) == (True, True)
    assert run()["proved"]
    assert not (tmp_path / "app/.env").exists()


def test_a_value_that_overrides_the_validated_one_writes_nothing(run: Run, fake: Engine, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/.env").write_text("API_KEY=q8Zr2kVw7TnXp4Ls\n")
    compose = "services: {backend: {image: x, environment: {API_KEY: your-api-key-here, MAIL_KEY: changeme}}}"
    result = run(compose=compose, variables=[{"name": "API_KEY", "kind": "token"}])
    assert result["failed"]
    lines = result["msg"].splitlines()
    assert [line.split(": service ")[0] for line in lines] == [
        "`environment:` of service backend: API_KEY",
        "`environment:` of service backend: MAIL_KEY",
    ]
    assert set(there(tmp_path)) == {".env"}


# id, arguments, how the engine differs, what the message says
BAD = [
    (
        "table",
        {"services": {"backend": {"mem": 1}}},
        {},
        "compose_app_services.backend.mem: is not a key of a service. Fix: ",
    ),
    (
        "no such service",
        {"services": {"web": {}}},
        {},
        "compose_app_services.web: is not a service of compose.yaml. Fix: use",
    ),
    ("empty file", {"compose": " \n"}, {}, "compose.yaml: is empty. Fix: give the app's compose file"),
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
        "compose.yaml: Compose rejects it: compose.yaml: yaml: line 3: one value is not allowed. Fix: try",
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
    assert message.endswith("Fix: write it again from the vault")
    assert "hush" not in message
    assert len(fake.asked) == 1


def test_nothing_is_left_in_the_temporary_directory(
    run: Run, fake: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    run()
    fake.refuse = "one: no"
    run()
    assert list(scratch.iterdir()) == []


def test_a_lock_that_is_held(run: Run, fake: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy_compose_files, "LOCK_SECONDS", 0.1)
    path = str(tmp_path / "root/run/selfheal/shop.lock")
    with locks.hold_lock(path, 0, "recover shop"):
        assert "recover shop" in run()["msg"]
        assert there(tmp_path) == {}
        with_env(tmp_path)
        assert run(**CHECK)["changed"]


def container(project: str, folder: str, service: str = "backend") -> dict[str, Any]:
    label = "com.docker.compose"
    labels = {f"{label}.project": project, f"{label}.project.working_dir": folder, f"{label}.service": service}
    return {"Name": f"/{project}-{service}-1", "Config": {"Labels": labels}}


def volume(project: str, key: str = "data") -> dict[str, str]:
    return {"name": f"{project}_{key}", "project": project, "key": key, "path": ""}


WITH_VOLUME = f"{COMPOSE}volumes: {{data: {{}}}}\n"


@pytest.mark.parametrize(
    ("compose", "there", "volumes", "why"),
    [
        pytest.param(COMPOSE, [container("old", "APP")], [volume("old")], "same folder", id="the same folder"),
        pytest.param(f"name: old\n{COMPOSE}", [], [volume("old")], "`name: old`", id="the name in the file"),
        pytest.param(
            WITH_VOLUME, [container("old", "/srv/old")], [volume("old")], "same services and volumes", id="alike"
        ),
        pytest.param(WITH_VOLUME, [container("old", "/srv/old")], [], "", id="alike, without data"),
        pytest.param(
            WITH_VOLUME, [container("old", "/srv/old")], [volume("old"), volume("shop")], "", id="ours has its own"
        ),
        pytest.param(COMPOSE, [container("other", "/srv/other")], [volume("other")], "", id="another app"),
        pytest.param(WITH_VOLUME, [], [volume("old")], "same volumes", id="after docker compose down"),
        pytest.param(WITH_VOLUME, [], [volume("old"), volume("old", "more")], "", id="ended, with other volumes"),
        pytest.param(
            WITH_VOLUME,
            [container("old", "/srv/old"), container("old", "/srv/old", "web"), container("old", "/srv/old", "job")],
            [volume("old")],
            "",
            id="few services in common",
        ),
        pytest.param(f"name: shop\n{COMPOSE}", [container("shop", "APP")], [volume("shop")], "", id="its own name"),
    ],
)
def test_a_name_that_would_leave_data_behind_is_refused(
    compose: str, there: list[Any], volumes: list[Any], why: str, run: Run, fake: Engine, tmp_path: Path
) -> None:
    with_env(tmp_path)
    label = "com.docker.compose.project.working_dir"
    for one in there:
        labels = one["Config"]["Labels"]
        labels[label] = labels[label].replace("APP", str(tmp_path / "app"))
    fake.containers, fake.volumes = there, volumes
    result = run(compose, services={})
    if not why:
        assert not result.get("failed")
        return
    for text in (why, "old_data", "`selfheal_app: old`", "compose_app_separate_from: [old]", "Nothing was changed"):
        assert text in result["msg"]
    assert not (tmp_path / "app/compose.yaml").exists()
    assert not run(compose, services={}, separate_from=["old"]).get("failed")


@pytest.mark.parametrize(
    ("old", "new", "mounted", "refused"),
    [
        pytest.param({"up/user.txt": "precious"}, {}, "up", True, id="the new folder would be empty"),
        pytest.param({"up/user.txt": "precious"}, {"up/user.txt": "precious"}, "up", False, id="it was copied"),
        pytest.param({}, {}, "up", False, id="there is nothing in it"),
        pytest.param({"shop.db": "rows"}, {}, "shop.db", True, id="a file alone"),
        pytest.param({"up/user.txt": "precious"}, {}, "up:ro", False, id="the app does not write there"),
    ],
)
def test_data_in_the_folder_that_the_app_was_started_from_is_not_left(
    old: dict[str, str], new: dict[str, str], mounted: str, refused: bool, run: Run, fake: Engine, tmp_path: Path
) -> None:
    with_env(tmp_path)
    place, _unused, mode = mounted.partition(":")
    folder, app = tmp_path / "old", tmp_path / "app"
    for top, contents in ((folder, old), (app, new)):
        top.mkdir(exist_ok=True)
        for name, text in contents.items():
            (top / name).parent.mkdir(exist_ok=True)
            (top / name).write_text(text, encoding="utf-8")
    source = tmp_path / "root/var/lib/selfheal/shop/incoming/project" / place
    volume_ = {"type": "bind", "source": str(source), "target": "/data", "read_only": mode == "ro"}
    mount = {"Type": "bind", "RW": mode != "ro", "Source": str(folder / place), "Destination": "/data"}
    fake.containers = [{**container("shop", str(folder)), "Mounts": [mount]}]
    said = run(json.dumps({"services": {"backend": {"image": "x", "volumes": [volume_]}}}), services={})
    assert bool(said.get("failed")) == refused, said
    if refused:
        assert f"its data is in {folder / place}" in said["msg"]
        assert f"cp -a {folder / place} {app / place}" in said["msg"]
        assert not (app / "compose.yaml").exists()


def test_a_mounted_file_that_does_not_exist_is_refused(run: Run, fake: Engine, tmp_path: Path) -> None:
    with_env(tmp_path)
    source = str(tmp_path / "root/var/lib/selfheal/shop/incoming/project/flags.json")
    mount = {"type": "bind", "source": source, "target": "/srv/flags.json", "read_only": True}
    result = run(json.dumps({"services": {"backend": {"image": "x", "volumes": [mount]}}}), services={})
    assert result["failed"]
    assert "flags.json (backend)" in result["msg"]
    assert not (tmp_path / "app/compose.yaml").exists()


def test_two_apps_that_are_both_managed_may_be_alike(run: Run, fake: Engine, tmp_path: Path) -> None:
    with_env(tmp_path)
    (tmp_path / "root/var/lib/selfheal/old").mkdir(parents=True)
    fake.containers, fake.volumes = [container("old", "/srv/old")], [volume("old")]
    assert not run(WITH_VOLUME, services={}).get("failed")


@pytest.mark.parametrize(
    ("text", "values", "named"),
    [
        pytest.param("${A:?} ${B:?set it} ${C?} ${A:?again}", {}, ["A", "B (set it)", "C"], id="all at once"),
        pytest.param("${A:?} ${B?}", {"A": "", "B": ""}, ["A"], id="empty counts for one of them"),
        pytest.param("${A:?} ${B:-x} $${C:?} # ${D:-y}", {"A": "1"}, [], id="set, with a default, escaped"),
        pytest.param("# ${A:?}\nb: ${B:?}", {}, ["B"], id="a comment"),
    ],
)
def test_every_variable_that_is_required_and_unset_is_named(
    text: str, values: dict[str, str], named: list[str]
) -> None:
    assert deploy_compose_files.unset_required([text], values) == named


def test_they_are_named_in_one_run(run: Run, fake: Engine, tmp_path: Path) -> None:
    with_env(tmp_path)
    fake.refuse = "one: required variable FIRST is missing a value"
    text = "services: {backend: {image: 'x:${FIRST:?}', environment: {S: '${SECOND:?}', A: '${A:?}'}}}\n"
    assert "FIRST; SECOND. Fix" in run(text, services={})["msg"]
