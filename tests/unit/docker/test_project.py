# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands for the containers of a project, and how their answers are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine, proxies
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import images as docker_images
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import logs as docker_logs
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.images import ReleaseImages
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.tests.unit.docker.docker_cli import FAILED, SHOP, cli


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may run some."""
    monkeypatch.setattr(proxies, "masters", list)


def container(seconds: int | None) -> dict[str, Any]:
    return {"Id": str(seconds), "State": {"Status": "running"}, "Config": {"StopTimeout": seconds}}


def stops(ran: list[list[str]]) -> dict[str, list[str]]:
    """{seconds: the containers that were stopped with this timeout}."""
    return {argv[3]: argv[4:] for argv in ran if argv[:3] == ["docker", "stop", "-t"]}


@pytest.mark.parametrize(
    ("grace", "given"),
    [
        pytest.param(None, {"10": ["web"], "60": ["db"], "120": ["queue"]}, id="each its own, up to a maximum"),
        pytest.param(0.0, {"0": ["web", "db", "queue"]}, id="a hanging container is killed at once"),
    ],
)
def test_each_container_has_its_own_stop_timeout(
    grace: float | None, given: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(argv: list[str], *_unused: Any, **__: Any) -> commands.Result:
        ran.append(argv)
        return commands.Result(0, "", "")

    monkeypatch.setattr(commands, "run", run)
    known = {"web": None, "db": 60, "queue": 900}
    monkeypatch.setattr(engine, "ask", lambda question, *_: container(known[question.split("/")[2]]))
    docker_project.Project("shop", str(tmp_path)).remove(["web", "db", "queue"], grace)
    assert stops(ran) == given


@pytest.mark.parametrize(
    ("timeouts", "option", "seconds"),
    [([None, 60], [], 190.0), ([None, 900], ["--timeout", "120"], 250.0), ([], [], 120.0)],
    ids=["Compose uses its own", "one exceeds the maximum", "nothing runs"],
)
@pytest.mark.parametrize("act", ["up", "down"])
def test_compose_stops_each_container_with_its_own_timeout(
    act: str,
    timeouts: list[int | None],
    option: list[str],
    seconds: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[tuple[list[str], float]] = []

    def run(argv: list[str], timeout: float, **_unused: Any) -> commands.Result:
        ran.append((argv, timeout))
        return commands.Result(0, "", "")

    monkeypatch.setattr(commands, "run", run)
    monkeypatch.setattr(docker_project.Project, "documents", lambda _: [container(seconds) for seconds in timeouts])
    getattr(docker_project.Project("shop", str(tmp_path)), act)()
    argv, timeout = ran[-1]
    assert ("--timeout" in argv) is bool(option)
    assert argv[argv.index("--timeout") :][:2] == option if option else timeout == seconds
    assert timeout == seconds


def test_the_description_of_a_container_omits_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"Id": "1", "Config": {"Image": "shop", "Env": ["KEY=secret"]}}
    monkeypatch.setattr(engine, "ask", lambda *_: document)
    assert json.loads(SHOP.inspect("web")) == [{"Id": "1", "Config": {"Image": "shop"}}]


def test_processes_are_listed_with_their_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"Titles": ["PID", "STAT"], "Processes": [["7", "T"], ["8", "T"]]}
    monkeypatch.setattr(engine, "ask", lambda *_: listed)
    assert SHOP.top("web") == "PID STAT\n7 T\n8 T\n"


def test_a_container_that_has_just_ended_has_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ask", lambda *_: {"Titles": ["PID", "STAT"], "Processes": None})
    assert SHOP.top("web") == "PID STAT\n"


@pytest.mark.parametrize("read", [SHOP.top, SHOP.inspect])
def test_an_engine_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, read: Callable[[str], str]) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    with pytest.raises(engine.EngineError, match="the Docker engine does not say /containers/web/"):
        read("web")


def test_output_and_errors_of_a_log_are_sorted_and_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Log:
        ended = False

        def __init__(self, *_unused: Any, **__: Any) -> None:
            pass

        def read(self) -> list[docker_logs.Message]:
            self.ended = True
            return [
                docker_logs.Message("2026-01-01T00:00:02.0Z", docker_logs.OUTPUT, "two\n"),
                docker_logs.Message("2026-01-01T00:00:01.0Z", docker_logs.ERRORS, "\x1b[31mone\x1b[0m\n"),
                docker_logs.Message("2026-01-01T00:00:03.0Z", docker_logs.OUTPUT, "a long "),
                docker_logs.Message("2026-01-01T00:00:04.0Z", docker_logs.OUTPUT, "line\n"),
                docker_logs.Message("2026-01-01T00:00:05.0Z", docker_logs.ERRORS, "the end"),
            ]

        def close(self) -> None:
            pass

    monkeypatch.setattr(engine, "ask", lambda *_: {"Config": {"Tty": False}})
    monkeypatch.setattr(docker_logs, "ContainerLog", Log)
    assert SHOP.logs("web").splitlines() == [
        "2026-01-01T00:00:01.0Z one",
        "2026-01-01T00:00:02.0Z two",
        "2026-01-01T00:00:03.0Z a long line",
        "2026-01-01T00:00:05.0Z the end",
    ]


def test_a_log_that_cannot_be_read_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_unused: Any, **__: Any) -> None:
        raise engine.EngineError("the Docker engine does not hand out the log of web: driver none")

    monkeypatch.setattr(engine, "ask", lambda *_: {"Config": {"Tty": False}})
    monkeypatch.setattr(docker_logs, "ContainerLog", refuse)
    assert SHOP.logs("web") == "the Docker engine does not hand out the log of web: driver none"


def test_the_first_entrypoint_that_is_a_script_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    header = "x" * 512
    answers = [FAILED, commands.Result(0, header + "\x7fELF\0", ""), commands.Result(0, header + "#!/bin/sh\n\0\0", "")]
    cli(monkeypatch, *answers)
    assert SHOP.script("web", ["/gone", "/bin/app", "/entry.sh"]) == "#!/bin/sh\n"
    assert SHOP.script("web", []) == ""


def test_a_missing_image_of_a_release_is_pulled_and_the_others_are_tagged_in_any_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = commands.Result(1, "", "Error response from daemon: No such image: sha256:1")
    done = commands.Result(0, "", "")
    release: ReleaseImages = {
        "images": {"web": "sha256:1", "db": "sha256:2"},
        "names": {"web": "acme/web:1", "db": "postgres:17"},
        "pins": {"acme/web:1": "acme/web@sha256:9"},
    }
    tagged: list[tuple[str, str]] = []

    def tag(image: str, name: str) -> commands.Result:
        tagged.append((image, name))
        return gone if image == "sha256:1" else done

    monkeypatch.setattr(docker_images, "tag", tag)
    asked = cli(monkeypatch, done)
    assert SHOP.put_back_images(release).code == 0
    assert [words[1:] for words in asked] == [["pull", "--quiet", "acme/web@sha256:9"]]
    assert tagged == [("sha256:1", "acme/web:1"), ("acme/web@sha256:9", "acme/web:1"), ("sha256:2", "postgres:17")]
    cli(monkeypatch, FAILED)
    assert SHOP.put_back_images(release) == FAILED
    assert tagged[-1] == ("sha256:2", "postgres:17")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("postgres:17", "repo=postgres&tag=17"),
        ("postgres", "repo=postgres&tag=latest"),
        ("localhost:5000/shop", "repo=localhost%3A5000%2Fshop&tag=latest"),
        ("localhost:5000/shop:1", "repo=localhost%3A5000%2Fshop&tag=1"),
    ],
)
def test_an_image_gets_a_name(monkeypatch: pytest.MonkeyPatch, name: str, asked: str) -> None:
    acts: list[str] = []

    def act(request: str, _timeout: float) -> commands.Result:
        acts.append(request)
        return commands.Result(0, "", "")

    monkeypatch.setattr(engine, "act", act)
    assert docker_images.tag("sha256:1", name).code == 0
    assert acts == [f"/images/sha256%3A1/tag?{asked}"]


@pytest.mark.parametrize(
    ("said", "there", "gone"), [({"Id": "sha256:1"}, True, []), (None, False, ["web"]), (OSError(), False, [])]
)
def test_an_image_is_gone_only_when_the_engine_says_so(
    monkeypatch: pytest.MonkeyPatch, said: object, there: bool, gone: list[str]
) -> None:
    def ask(*_unused: Any) -> object:
        if isinstance(said, OSError):
            raise said
        return said

    monkeypatch.setattr(engine, "ask", ask)
    assert docker_images.has_image("postgres:17") is there
    assert docker_images.images_gone({"web": "sha256:1"}) == gone


def test_a_paused_container_is_unpaused_before_it_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    def instances(_self: docker_project.Project) -> list[dict[str, str]]:
        return [{"id": "w", "state": "paused"}, {"id": "d", "state": "running"}, {"id": "x", "state": "paused"}]

    acts: list[str] = []

    def act(request: str, _timeout: float) -> commands.Result:
        acts.append(request)
        return commands.Result(0, "", "")

    monkeypatch.setattr(docker_project.Project, "containers", instances)
    monkeypatch.setattr(engine, "act", act)
    asked = cli(monkeypatch, commands.Result(0, "", ""))
    assert SHOP.restart(["w", "d"]).code == 0
    assert [words[1:] for words in asked if words[1] == "unpause"] == [["unpause", "w"]]
    assert sorted(acts) == ["/containers/d/restart?t=0", "/containers/w/restart?t=0"]


def test_the_failure_of_one_restart_is_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_project.Project, "containers", lambda _: [])
    monkeypatch.setattr(engine, "act", lambda request, _: FAILED if "/d/" in request else commands.Result(0, "", ""))
    assert SHOP.restart(["w", "d"]) == FAILED
