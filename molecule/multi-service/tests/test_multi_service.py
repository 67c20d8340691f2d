# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app with official images, a job, a worker and files of its own. The inventory describes only a check.

prepare.yml has deployed its first release. Each kind of bad release is rolled back completely, and no letter is lost.
The tests build on each other, in order.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from shared.acting import incidents, slow, until

REPOSITORY = Path(__file__).resolve().parents[3]
PROJECT = REPOSITORY / ".lab/multi-service"
APP = "letters"
DIRECTORY = f"/opt/{APP}"
SERVICES = {"db", "cache", "migrate", "app", "worker", "web"}
FILES = (
    *("compose.yaml", "worker.yaml", "compose.hardened.yaml", "Dockerfile", "nginx.conf"),
    *("app.env", "db_password.txt", ".env"),
)
SETTINGS = {"compose_app_gate_timeout": 20}

Play = Callable[..., Any]


def ask(address: str, method: str = "GET", path: str = "/health", body: str = "") -> tuple[int, dict[str, Any], str]:
    """One request, by a connection of its own: (status, answer, the release that nginx says it is)."""
    connection = http.client.HTTPConnection(address, 8000, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers.get("X-Release", "")
    finally:
        connection.close()


class Letters:
    """The letters that the app has acknowledged."""

    def __init__(self, address: str) -> None:
        self.address, self.sent = address, ask(address)[1]["rows"]

    def send(self, number: int) -> None:
        for _unused in range(number):
            self.sent += 1
            status, _answer, _release = ask(self.address, "POST", "/letters", f"letter {self.sent}")
            assert status == 201

    def check(self) -> None:
        """Assert that each letter is in the database and in the folder."""
        status, found, _unused = ask(self.address)
        assert (status, found["rows"], found["lines"]) == (200, self.sent, self.sent), found


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    return str(host.backend.host.name)


@pytest.fixture(scope="module")
def letters(address: str) -> Letters:
    return Letters(address)


def containers(host: Any) -> dict[str, dict[str, Any]]:
    """The app's containers, by service."""
    ids = host.check_output(f"docker ps -aq --filter label=com.docker.compose.project={APP}").split()
    documents = json.loads(host.check_output(f"docker inspect {' '.join(ids)}"))
    return {document["Config"]["Labels"]["com.docker.compose.service"]: document for document in documents}


def files(host: Any) -> str:
    """The files of a release, with owners, modes and sums. Build contexts do not count: the image does."""
    listed = host.check_output(f"cd {DIRECTORY} && stat -c '%n %a %u:%g' {' '.join(FILES)}")
    return str(listed + "\n" + host.check_output(f"cd {DIRECTORY} && sha256sum {' '.join(FILES)}"))


def state(host: Any) -> dict[str, Any]:
    """The state that a rolled back release must keep."""
    found = containers(host)
    return {
        "files": files(host).splitlines(),
        "images": {name: document["Image"] for name, document in found.items()},
        "running": {name: document["State"]["Running"] for name, document in found.items()},
        "environment": {name: sorted(document["Config"]["Env"]) for name, document in found.items()},
        "data": host.check_output(f"stat -c '%a %u:%g' {DIRECTORY}/data"),
        "release": host.check_output(f"readlink {DIRECTORY}/releases/last-good"),
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project for a test to change."""
    return Path(shutil.copytree(PROJECT, tmp_path / "project"))


def said(ended: Any) -> str:
    return " ".join(ended.stdout.split())


def test_the_first_release_is_healthy_and_hardened(host: Any, letters: Letters) -> None:
    found = containers(host)
    assert set(found) == SERVICES
    for name, document in found.items():
        limits = document["HostConfig"]
        assert limits["CapDrop"] == ["ALL"], name
        assert limits["ReadonlyRootfs"] is True, name
        assert limits["SecurityOpt"] == ["no-new-privileges:true"], name
        assert limits["Memory"] > 0, name
        assert (limits["RestartPolicy"]["Name"] in ("", "no")) is (name == "migrate"), name
    assert found["migrate"]["State"]["Status"] == "exited"
    assert found["db"]["State"]["Health"]["Status"] == "healthy"
    assert host.file(f"{DIRECTORY}/db_password.txt").mode == 0o600
    letters.send(5)
    letters.check()


def test_a_second_run_changes_nothing(host: Any, play: Play, letters: Letters) -> None:
    before, started = state(host), {name: document["State"] for name, document in containers(host).items()}
    ended = play("site.yml")
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "changed=0" in ended.stdout, ended.stdout[-4000:]
    assert state(host) == before
    now = {name: document["State"]["StartedAt"] for name, document in containers(host).items()}
    assert now == {name: document["StartedAt"] for name, document in started.items()}
    letters.check()


def test_a_change_of_a_mounted_file_is_a_release(address: str, project: Path, play: Play, letters: Letters) -> None:
    path = project / "nginx.conf"
    path.write_text(path.read_text().replace("listen 80;", "listen 80;\n    add_header X-Release 2 always;"))
    ended = play("deploy.yml", extra={"compose_app_source": str(project)})
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "nginx.conf" in said(ended)
    assert ask(address)[2] == "2"
    letters.check()
    # The later tests start from here.
    shutil.copy(path, PROJECT / "nginx.conf")


class Bad(NamedTuple):
    """A release that fails: `new` replaces `old` in `path` (without `old`, a new file); words of the run's message."""

    path: str
    old: str
    new: str
    words: tuple[str, ...]


BAD = {
    "image": Bad("app.py", "self.answer(200,", "self.answer(500,", ("health", "500")),
    "mounted file": Bad("nginx.conf", "location / {", "location / {\n        return 503;", ("nginx.conf", "503")),
    "env_file": Bad("app.env", "GREETING=Dear Father Christmas", "GREETING=Hello", ("app.env", "greeting")),
    # No check asks the worker.
    "included file": Bad(
        "worker.yaml",
        "[python3, worker.py]",
        '[sh, -c, "touch /app/seen && exec python3 worker.py"]',
        ("worker", "read-only"),
    ),
    "migration": Bad(
        "migrations/002.sql",
        "",
        "ALTER TABLE letters ADD COLUMN sender text; SELECT 1 FROM presents;\n",
        ("migrate", 'relation "presents" does not exist'),
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_release_is_rolled_back_whole(
    bad: Bad, host: Any, address: str, project: Path, play: Play, letters: Letters
) -> None:
    letters.send(5)
    before = state(host)
    path = project / bad.path
    text = path.read_text(encoding="utf-8") if bad.old else ""
    assert bad.old in text
    path.write_text(text.replace(bad.old, bad.new) if bad.old else bad.new, encoding="utf-8")
    ended = play("deploy.yml", "--diff", extra={**SETTINGS, "compose_app_source": str(project)})
    assert ended.returncode != 0, ended.stdout[-4000:]
    assert [word for word in bad.words if word not in said(ended)] == [], ended.stdout[-4000:]
    assert state(host) == before
    letters.check()
    letters.send(1)
    assert ask(address)[2] == "2"
    # The watcher may have opened an incident for the bad release, and end it now.
    until(lambda: host.run("selfheal status").rc == 0, why=lambda: host.run("selfheal status").stdout)


def test_the_next_good_release_has_nothing_of_a_bad_one(host: Any, project: Path, play: Play, letters: Letters) -> None:
    ended = play("deploy.yml", extra={"compose_app_source": str(project)})
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert not host.file(f"{DIRECTORY}/migrations/002.sql").exists
    letters.check()


def test_data_on_the_controller_is_refused_before_anything_changes(
    host: Any, project: Path, play: Play, letters: Letters
) -> None:
    before = state(host)
    (project / "data").mkdir()
    (project / "data/letters.txt").write_text("somebody else's\n", encoding="utf-8")
    ended = play("deploy.yml", extra={"compose_app_source": str(project)})
    assert ended.returncode != 0, ended.stdout[-4000:]
    assert "compose_app_exclude" in said(ended)
    assert "data" in said(ended)
    assert "changed=0" in ended.stdout
    assert state(host) == before
    letters.check()


# --- each service is watched, with or without a check -----------------------------------------------------------------

STOP_ALL = "docker top {name} -eo pid | tail -n +2 | xargs kill -STOP"


class Fault(NamedTuple):
    """A fault of a service, and the cause in the incident. `{name}` is the container's name."""

    service: str
    command: str
    cause: str


FAULTS = {
    "the app hangs behind its proxy": Fault("app", STOP_ALL, "hung"),
    "the proxy is killed": Fault("web", "docker kill {name}", "crashed"),
    "the database is stopped": Fault("db", "docker stop {name}", "crashed"),
    "the database is removed": Fault("db", "docker rm -f {name}", "container_missing"),
    "the database hangs": Fault("db", STOP_ALL, "hung"),
    "the cache hangs": Fault("cache", STOP_ALL, "hung"),
    "the worker is stopped": Fault("worker", "docker stop -t 1 {name}", "crashed"),
    "the worker is removed": Fault("worker", "docker rm -f {name}", "container_missing"),
    "the worker is paused": Fault("worker", "docker pause {name}", "crashed"),
    "the worker hangs": Fault("worker", STOP_ALL, "hung"),
}


def is_well(host: Any) -> bool:
    found = containers(host)
    running = {name for name, one in found.items() if one["State"]["Running"] and not one["State"]["Paused"]}
    return running == {"web", "app", "worker", "db", "cache"}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_faulty_service_is_named_and_recovered(fault: Fault, host: Any, letters: Letters) -> None:
    # The attempts of earlier faults do not count.
    host.check_output("selfheal resume")
    letters.send(3)
    known = {one["id"] for one in incidents(host)}
    migrated = containers(host)["migrate"]["State"]["FinishedAt"]
    host.check_output(fault.command.format(name=f"{APP}-{fault.service}-1"))

    def ended() -> list[dict[str, Any]]:
        return [one for one in incidents(host) if one["id"] not in known and one["healthy"]]

    until(ended, why=lambda: host.run("selfheal status").stdout)
    until(lambda: is_well(host), why=lambda: host.run("docker ps -a").stdout)
    [found] = ended()
    assert (found["cause"], found["services"]) == (fault.cause, [fault.service])
    assert containers(host)["migrate"]["State"]["FinishedAt"] == migrated
    letters.check()
    until(lambda: host.run("selfheal status").rc == 0, why=lambda: host.run("selfheal status").stdout)


def test_a_refused_login_restarts_nothing_and_ends_with_the_right_password(host: Any, letters: Letters) -> None:
    """The app logs nothing of it: the log of its database says so."""
    host.check_output("selfheal resume")
    letters.send(1)
    known = {one["id"] for one in incidents(host)}
    before = {name: document["State"]["StartedAt"] for name, document in containers(host).items()}

    def change(password: str) -> None:
        statement = f"ALTER ROLE letters PASSWORD '{password}'"
        host.check_output(f'docker exec {APP}-db-1 psql -U letters -d letters -c "{statement}"')

    def next_step() -> str:
        status = json.loads(host.run("selfheal status --json").stdout)
        return str((status["incident"] or {}).get("next_step", ""))

    change("not the one of the app")
    until(lambda: "letters@db (PostgreSQL)" in next_step(), why=lambda: host.run("selfheal status").stdout)
    change((PROJECT / "db_password.txt").read_text(encoding="utf-8").strip())
    until(lambda: host.run("selfheal status").rc == 0, why=lambda: host.run("selfheal status").stdout)
    [found] = [one for one in incidents(host) if one["id"] not in known]
    assert (found["cause"], found["services"], found["remedies"]) == ("credentials_refused", ["app"], [])
    assert {name: document["State"]["StartedAt"] for name, document in containers(host).items()} == before
    letters.check()


@slow
def test_every_service_is_drilled(play: Play, drilled: Callable[[], Any], letters: Letters) -> None:
    """Every fault, also of services that no check asks, such as the worker."""
    ended = play("drill.yml", extra={"drill_faults": "services"})
    report, wrong = drilled()
    assert wrong == {}, said(ended)
    assert len(report["runs"]) == 25
    assert report["troubles"] == []
    assert re.search("No check would have noticed, and the watcher did: [a-z., ]*worker[.]stopped", said(ended))
    letters.check()
