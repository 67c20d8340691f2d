# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The message shows the last log lines of a failed container, and a file keeps the whole log: both without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker.containers import Container
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.run import CheckResult
from ansible_collections.christmas.selfheal.plugins.module_utils.records import failure_logs
from ansible_collections.christmas.selfheal.plugins.module_utils.records.failure_logs import Log

SECRET = "k7Qz-9fPw2Lm"


def item(name: str, **facts: Any) -> Container:
    known = {"state": "running", "job_done": False, "restarts": 0, "health": "none", "ports": []}
    return cast(Container, {"id": name, **known, **facts})


@pytest.mark.parametrize(
    ("instances", "chosen"),
    [
        pytest.param([item("web", ports=[80]), item("db", state="exited")], ["db"], id="one has ended"),
        pytest.param([item("web", restarts=2), item("db")], ["web"], id="one restarts"),
        pytest.param([item("web", health="unhealthy"), item("db")], ["web"], id="one is unhealthy"),
        pytest.param(
            [item("job", state="exited", job_done=True), item("web", ports=[80])], ["web"], id="the checked port"
        ),
        pytest.param([item("db")], [], id="none"),
    ],
)
def test_whose_log_is_shown(instances: list[Container], chosen: list[str]) -> None:
    results = cast(list[CheckResult], [{"ok": False, "port": 80}, {"ok": True, "port": 81}])
    assert failure_logs.failed(instances, results) == chosen


def test_the_last_lines_are_shown_and_the_whole_log_is_kept(tmp_path: Path) -> None:
    text = "\n".join([*(f"line {number}" for number in range(100)), f"password {SECRET} is wrong"])
    message = failure_logs.keep(str(tmp_path / "logs"), "20260101T000000Z", [Log("web-1", text)], {"PASSWORD": SECRET})
    path = tmp_path / "logs/20260101T000000Z-web-1.log"
    assert str(path) in message
    assert len(message.splitlines()) == 1 + failure_logs.SHOWN_LINES
    assert "is wrong" in message.splitlines()[-1]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 101
    assert SECRET not in message + path.read_text(encoding="utf-8")
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_log_repeats_at_its_end_is_shown_once(tmp_path: Path) -> None:
    block = ["Traceback (most recent call last):", '  File "/app.py", line 1', "KeyError: 'A'"]
    lines = [f"2026-01-01T00:00:{number:02}Z {line}" for number, line in enumerate(["begins", *block * 4])]
    shown = failure_logs.keep(str(tmp_path), "1", [Log("api-1", "\n".join(lines))], {}).splitlines()
    assert shown[0].endswith("1-api-1.log; the last 3 lines 4 times):")
    assert [line.partition("Z ")[2] for line in shown[1:]] == ["begins", *block]
    assert len((tmp_path / "1-api-1.log").read_text(encoding="utf-8").splitlines()) == 13


def test_the_log_of_one_that_depends_on_the_service_at_fault_is_only_named(tmp_path: Path) -> None:
    said = failure_logs.keep(str(tmp_path), "1", [Log("web-1", "host not found in upstream", "api")], {})
    assert said == f"web-1 depends on api (all of it: {tmp_path}/1-web-1.log)."
    assert (tmp_path / "1-web-1.log").exists()


def test_an_error_before_many_lines_of_details_is_shown(tmp_path: Path) -> None:
    details = [f"2026-01-01T00:00:02Z     detail{number}: undefined," for number in range(20)]
    stack = ["2026-01-01T00:00:01Z     at Parser.parseErrorMessage (parser.js:1)"]
    text = "\n".join(["2026-01-01T00:00:01Z error: password authentication failed for user app", *stack, *details])
    lines = failure_logs.keep(str(tmp_path), "1", [Log("web-1", text)], {}).splitlines()
    assert lines[1].endswith("error: password authentication failed for user app")
    assert lines[-1].endswith("detail19: undefined,")
    assert len(lines) == 1 + failure_logs.SHOWN_LINES


def test_the_oldest_logs_are_removed_and_an_empty_log_is_named(tmp_path: Path) -> None:
    for number in range(30):
        failure_logs.keep(str(tmp_path), f"{number:02}", [Log("web-1", "x")], {})
    assert sorted(path.name for path in tmp_path.iterdir())[0] == "20-web-1.log"
    assert failure_logs.keep(str(tmp_path), "31", [Log("web-1", "\n")], {}) == "web-1 has logged nothing."


def test_a_log_that_cannot_be_written_still_shows_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "    why\n" in failure_logs.keep(str(tmp_path / "file"), "1", [Log("web-1", "why")], {}) + "\n"
