# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ran before the first deploy comes back as it was: images, files with their modes, env, compose files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import App
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppPaths, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import before_first, last_good
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result

LABEL = "com.docker.compose.project"


class Project:
    """A project that runs; what is asked of it is written down."""

    asked: ClassVar[list[Any]] = []
    there: ClassVar[list[dict[str, Any]]] = []
    labels: ClassVar[dict[str, str]] = {}

    def __init__(self, *given: Any) -> None:
        self.given = given

    def documents(self) -> list[Any]:
        return [{"Config": {"Labels": Project.labels}}] * len(Project.there)

    def containers(self) -> list[dict[str, Any]]:
        return Project.there

    def keep_images(self, images: Any, tag: str) -> None:
        Project.asked.append(("tag", dict(images), tag))

    def put_back_images(self, images: Any) -> Result:
        Project.asked.append(("name", images["images"], images["names"]))
        return Result(0, "", "")

    def stop(self, names: list[str]) -> None:
        Project.asked.append(("stop", names))

    def up(self) -> Result:
        Project.asked.append(("up", *self.given))
        return Result(0, "", "")


def container(state: str = "running", exit_code: int = 0) -> dict[str, Any]:
    known = {"service": "web", "name": "shop-web-1", "digest": "sha256:old", "image": "mine:1", "job_done": False}
    return {**known, "state": state, "exit_code": exit_code, "restarts": 0}


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppPaths:
    made = app_paths("shop", root=str(tmp_path))
    directory = Path(made.directory)
    directory.mkdir(parents=True)
    (directory / "compose.yaml").write_text("old", encoding="utf-8")
    (directory / "run.sh").write_text("old", encoding="utf-8")
    (directory / "run.sh").chmod(0o750)
    Project.asked, Project.there = [], [container()]
    Project.labels = {f"{LABEL}.working_dir": made.directory, f"{LABEL}.config_files": f"{directory}/compose.yaml"}
    monkeypatch.setattr(before_first, "Project", Project)
    monkeypatch.setattr(docker_project, "Project", Project)
    return made


def overwrite(paths: AppPaths) -> None:
    before_first.keep(paths, ["compose.yaml", "run.sh", "compose.hardened.yaml"])
    for name in ("compose.yaml", "run.sh", "compose.hardened.yaml"):
        (Path(paths.directory) / name).unlink(missing_ok=True)
        (Path(paths.directory) / name).write_text("new", encoding="utf-8")


def test_files_images_and_the_way_it_was_started_come_back(paths: AppPaths) -> None:
    (Path(paths.directory) / ".env").write_text("A=mine\n", encoding="utf-8")
    env_history.write_env(paths.env, paths.history, {"A": "ours"}, now=0.0)
    overwrite(paths)
    note = before_first.read(paths)
    assert note is not None
    done = before_first.put_back(paths, note)
    directory = Path(paths.directory)
    assert done.failure == ""
    assert sorted(path.name for path in directory.iterdir() if path.is_file()) == [".env", "compose.yaml", "run.sh"]
    assert (directory / "compose.yaml").read_text(encoding="utf-8") == "old"
    assert (directory / "run.sh").stat().st_mode & 0o777 == 0o750
    assert (directory / ".env").read_text(encoding="utf-8") == "A=mine\n"
    files = [f"{paths.directory}/compose.yaml"]
    assert Project.asked == [
        ("tag", {"web": "sha256:old"}, "before-first"),
        ("name", {"web": "sha256:old"}, {"web": "mine:1"}),
        ("up", "shop", paths.directory, files, paths.directory, []),
    ]
    assert before_first.read(paths) is None


def test_the_env_files_that_it_was_started_with_are_named_again(paths: AppPaths) -> None:
    own = Path(paths.directory) / "prod.env"
    own.write_text("A=1\n", encoding="utf-8")
    Project.labels = {**Project.labels, f"{LABEL}.environment_file": str(own)}
    overwrite(paths)
    note = before_first.read(paths)
    assert note is not None
    assert before_first.put_back(paths, note).failure == ""
    assert Project.asked[-1] == (
        *("up", "shop", paths.directory, [f"{paths.directory}/compose.yaml"], paths.directory, [str(own)]),
    )
    own.unlink()
    assert "its env file" in before_first.put_back(paths, note).failure


def test_a_second_try_keeps_what_was_there_first(paths: AppPaths) -> None:
    overwrite(paths)
    before_first.keep(paths, ["compose.yaml"])
    note = before_first.read(paths)
    assert note is not None
    before_first.put_back(paths, note)
    assert (Path(paths.directory) / "compose.yaml").read_text(encoding="utf-8") == "old"


def test_what_restarts_again_and_again_is_stopped_before_its_files_go(paths: AppPaths) -> None:
    overwrite(paths)
    note = before_first.read(paths)
    assert note is not None
    Project.there = [{**container(), "restarts": 3}]
    before_first.put_back(paths, note)
    assert [one[0] for one in Project.asked] == ["tag", "stop", "name", "up"]
    assert Project.asked[1] == ("stop", ["shop-web-1"])


def test_without_containers_nothing_is_kept(paths: AppPaths) -> None:
    Project.there = []
    before_first.keep(paths, ["compose.yaml"])
    assert before_first.read(paths) is None


@pytest.mark.parametrize(
    ("ok", "before", "now", "said"),
    [
        pytest.param(True, container(), container(), "It serves: 3 of 3", id="serves"),
        pytest.param(
            False,
            container("exited", 1),
            container("exited", 1),
            "does not pass either: 3 of 3; web exited with 1, as before",
            id="it had ended before",
        ),
        pytest.param(
            False, container(), container("exited", 1), "web exited with 1, before: running", id="it ran before"
        ),
    ],
)
def test_what_is_said_of_it_is_true(
    ok: bool, before: dict[str, Any], now: dict[str, Any], said: str, paths: AppPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    Project.there = [before]
    overwrite(paths)
    Project.there = [now]
    monkeypatch.setattr(last_good, "wait_healthy", lambda *_: {"ok": ok, "summary": "3 of 3"})
    assert said in last_good._put_first_back(App(paths), 30.0, Clock())


def test_files_that_are_gone_are_named(paths: AppPaths) -> None:
    Project.labels = {**Project.labels, f"{LABEL}.config_files": "/srv/old/compose.yaml"}
    overwrite(paths)
    message = last_good._put_first_back(App(paths), 30.0, Clock())
    assert "could not be put back: its compose file /srv/old/compose.yaml is gone" in message
