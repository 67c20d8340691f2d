# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What cannot be taken over is refused on the host: where, why, and what to do. Nothing is changed there."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import adoption
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption_choice import AdoptError, Asked
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers, volumes
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result

LABEL = "com.docker.compose"
SECRET = "m4Zr7Qw9Lx2Vb8Nc5Kt1"


class Host:
    """A host in memory: its containers, what its docker says, and a folder on the disk for the app."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = {"answers": True, "kind": "", "reason": "", "version": "28"}
        self.options = "[]"
        self.model: dict[str, Any] = {"services": {"web": {"image": "nginx:1", "environment": {"TOKEN": SECRET}}}}
        self.refusal = ""
        self.volumes: list[dict[str, str]] = []
        self.containers = [self.container("web")]
        self.free, self.full = 1 << 40, ""
        (folder / "compose.yaml").write_text("services: {web: {image: 'nginx:1'}}\n", encoding="utf-8")
        (folder / ".env").write_text(f"TOKEN={SECRET}\n", encoding="utf-8")

    def container(self, service: str, app: str = "shop", **more: Any) -> dict[str, Any]:
        labels = {
            f"{LABEL}.project": app,
            f"{LABEL}.service": service,
            f"{LABEL}.project.working_dir": str(self.folder),
            f"{LABEL}.project.config_files": str(self.folder / "compose.yaml"),
        }
        return {
            "Id": f"{app}-{service}",
            "Name": f"/{app}-{service}-1",
            "Image": "sha256:1",
            "Config": {"Labels": labels, "Env": [f"TOKEN={SECRET}"], "Image": "nginx:1"},
            "State": {"Status": "running", "Pid": 0},
            "HostConfig": {},
            "Mounts": [],
            **more,
        }

    def run(self, argv: Sequence[str], *_unused: Any, **__: Any) -> Result:
        if "info" in argv:
            return Result(0, self.options, "")
        if self.refusal:
            return Result(15, "", self.refusal)
        return Result(0, json.dumps(self.model), "")

    def read(self, **asked: str) -> adoption.Adoption:
        return adoption.read(Asked(**{"folder": str(self.folder), **asked}), root=str(self.folder / "root"))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    (tmp_path / "root").mkdir()
    there = Host(tmp_path)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(adoption, "state", lambda: there.engine)
    monkeypatch.setattr(adoption, "read_host", lambda: None)
    monkeypatch.setattr(adoption, "holders", lambda _port: [{"name": "python3", "pid": 7}])
    monkeypatch.setattr(adoption, "held_by", lambda _holder: "python3 (pid 7)")
    monkeypatch.setattr(command, "run", there.run)
    monkeypatch.setattr(containers, "inspected", lambda *_: there.containers)
    monkeypatch.setattr(volumes, "compose_volumes", lambda: there.volumes)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0 if path == there.full else there.free))
    return there


def refused(host: Host, **asked: str) -> str:
    before = {path: path.read_bytes() for path in host.folder.rglob("*") if path.is_file()}
    with pytest.raises(AdoptError) as caught:
        host.read(**asked)
    assert {path: path.read_bytes() for path in host.folder.rglob("*") if path.is_file()} == before
    said = str(caught.value)
    assert SECRET not in said
    assert "Nothing was changed. Fix: " in said
    return said


def test_an_app_that_can_be_taken_over_is_read(host: Host) -> None:
    found = host.read()
    assert (found["app"], found["files"], found["notes"]) == ("shop", ["compose.yaml"], [])


def test_the_order_of_services_is_that_of_the_files(host: Host) -> None:
    host.model["services"]["web"]["depends_on"] = {"db": {"condition": "service_started"}}
    host.model["services"]["db"] = {"image": "nginx:1"}
    host.containers.append(host.container("db"))
    # A container that was created with --no-deps has this label, and it is empty.
    host.containers[0]["Config"]["Labels"][f"{LABEL}.depends_on"] = ""
    assert {one["service"]: one["depends_on"] for one in host.read()["instances"]} == {"db": [], "web": ["db"]}


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"kind": "missing", "reason": ""}, "docker: it is not installed on the host"),
        ({"kind": "down", "reason": "nothing listens"}, "does not answer: nothing listens"),
    ],
)
def test_an_engine_that_is_not_there(host: Host, engine: dict[str, str], said: str) -> None:
    host.engine.update(answers=False, **engine)
    assert said in refused(host)


def test_an_engine_that_is_rootless(host: Host) -> None:
    host.options = '["name=seccomp,profile=default","name=rootless"]'
    assert "the engine is rootless" in refused(host)
    socket = host.folder / "root/run/user/1000/docker.sock"
    socket.parent.mkdir(parents=True)
    socket.touch()
    host.engine.update(answers=False, kind="missing")
    assert f"the engine is rootless ({socket})" in refused(host)


def test_another_user_than_root(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert "reading the engine needs root" in refused(host)


def test_a_folder_that_no_app_runs_from(host: Host) -> None:
    host.containers = []
    assert "no container of its compose file is on the host" in refused(host)
    assert "there is no such folder" in refused(host, folder=str(host.folder / "nothing"))
    (host.folder / "notes.txt").touch()
    assert "this is a file, and no compose file" in refused(host, folder=str(host.folder / "notes.txt"))
    (host.folder / "empty").mkdir()
    assert "this folder holds no compose file" in refused(host, folder=str(host.folder / "empty"))


@pytest.mark.parametrize("known_by", ["notice", "name", "folder"])
@pytest.mark.parametrize("is_own", [True, False])
def test_a_folder_whose_app_runs_from_another_one(host: Host, known_by: str, is_own: bool) -> None:
    folder = host.folder / ("Shop" if known_by == "folder" else "old")
    folder.mkdir()
    begins = "name: shop\n" if known_by == "name" else ""
    (folder / "compose.yaml").write_text(f"{begins}services: {{}}\n", encoding="utf-8")
    if known_by == "notice":
        (folder / "ADOPTED-BY-SELFHEAL.md").write_text("# shop does not run from this folder\n", encoding="utf-8")
    runs_from = host.folder / "root/opt/shop/shop" if is_own else host.folder / "srv"
    host.containers[0]["Config"]["Labels"][f"{LABEL}.project.working_dir"] = str(runs_from)
    said = refused(host, folder=str(folder))
    assert f"{folder}: the containers of shop run from {runs_from}, and not from this folder" in said
    if is_own:
        assert "Fix: do not start it here; to have it in care again, run site.yml with its inventory" in said
    else:
        assert f"Fix: name that folder: -e adopt=HOST:{runs_from}" in said


def test_files_that_are_gone(host: Host) -> None:
    (host.folder / "compose.yaml").unlink()
    assert "was started with this compose file, and it is gone" in refused(host, app="shop")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (b"A=caf\xe9\n", ".env: it is not UTF-8 text"),
        (b"A='open\n", "line 1: a quote is opened here and never closed"),
        (b"A=1\nB=x-$NOWHERE\n", "line 2: it uses a variable that no line above sets"),
    ],
)
def test_an_env_that_is_read_differently(host: Host, env: bytes, said: str) -> None:
    (host.folder / ".env").write_bytes(env)
    assert said in refused(host)


def test_an_env_with_a_byte_order_mark_and_dos_lines(host: Host) -> None:
    (host.folder / ".env").write_bytes(f"\ufeffTOKEN='{SECRET}'\r\n".encode())
    assert host.read()["notes"] == []


@pytest.mark.parametrize(
    ("says", "said"),
    [
        (f"services.web: '{SECRET}' is not allowed", "Compose refuses it: error: services.web: '<TOKEN "),
        ("required variable KEY is missing a value: set it", "write it into {folder}/.env, with the value that runs"),
    ],
)
def test_a_compose_file_that_compose_refuses(host: Host, says: str, said: str) -> None:
    host.refusal = f"error: {says}"
    assert said.format(folder=host.folder) in refused(host)


@pytest.mark.parametrize("name", ["PWD", "HOME"])
def test_a_path_that_begins_where_the_caller_is(host: Host, name: str) -> None:
    (host.folder / "compose.yaml").write_text(f"services: {{web: {{volumes: ['${{{name}}}/x:/x']}}}}\n")
    assert f"it uses ${{{name}}}, which is another folder after the take-over" in refused(host)


def test_values_and_scale_that_only_the_start_knew(host: Host) -> None:
    host.containers[0]["Config"]["Env"] = ["TOKEN=another"]
    assert "other values than its files give: TOKEN" in refused(host)
    host.containers = [host.container("web"), host.container("web")]
    assert "`--scale` is in no file" in refused(host)


def test_data_that_the_compose_file_does_not_name(host: Host) -> None:
    host.containers[0]["Mounts"] = [{"Type": "volume", "Name": "db", "Destination": "/db", "RW": True}]
    assert "it would start without its data" in refused(host)


def test_a_volume_of_another_project(host: Host) -> None:
    host.containers[0]["Mounts"] = [{"Type": "volume", "Name": "blog_db", "Destination": "/db", "RW": True}]
    host.model["services"]["web"]["volumes"] = [{"type": "volume", "source": "db", "target": "/db"}]
    host.model["volumes"] = {"db": {"name": "blog_db"}}
    host.volumes = [{"name": "blog_db", "project": "blog"}]
    assert host.read()["volumes"][0]["name"] == "blog_db"
    host.containers.append(host.container("db", app="blog"))
    assert "volume blog_db: it belongs to the compose project blog" in refused(host, app="shop")


def test_a_port_that_another_process_holds(host: Host) -> None:
    host.model["services"]["web"]["ports"] = [{"published": "8080", "protocol": "tcp"}]
    assert "it publishes port 8080, which is held by python3 (pid 7)" in refused(host)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_a_secret_that_only_another_user_reads_stays(host: Host) -> None:
    path = host.folder / "token.txt"
    path.write_text(SECRET, encoding="utf-8")
    host.model["secrets"] = {"token": {"file": str(path)}}
    host.model["services"]["web"]["secrets"] = [{"source": "token", "target": "/run/secrets/token"}]
    found = host.read()
    assert found["data"] == []
    assert found["notes"] == ["token.txt is a secret, and is copied as it is: keep it out of repositories"]
    path.chmod(0o600)
    os.chown(path, 1000, 1000)
    found = host.read()
    assert [(one["path"], one["services"]) for one in found["data"]] == [(str(path), ["web"])]
    assert found["files"] == ["compose.yaml", "compose.adopted.yaml"]
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(found["archive"]))) as archive:
        assert "token.txt" not in archive.getnames()


def test_a_disk_that_is_too_small(host: Host) -> None:
    host.free = 100 << 20
    assert "disk: 100 MiB are free at " in refused(host)
    # The engine's data may be on another disk.
    (host.folder / "root/etc/docker").mkdir(parents=True)
    (host.folder / "root/etc/docker/daemon.json").write_text(f'{{"data-root": "{host.folder}"}}', encoding="utf-8")
    host.full, host.free = str(host.folder), 1 << 40
    assert f"MiB are free at {host.folder}" in refused(host)
