# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of a recovery: completed steps, the failed step, and the next step for the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.env.rules import Finding
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import recovery_report

ABOUT: recovery_report.About = {
    "id": "20250527T020000Z-lab1",
    "app": "shop",
    "host": "lab1",
    "address": "172.30.57.11",
    "check_mode": False,
    "language": "en",
}
REACHED: recovery_report.Ssh = {"problem": "", "detail": "Python 3.13.5", "next_step": ""}
AWAY: recovery_report.Ssh = {"problem": "no route to host", "detail": "", "next_step": "Look at the console."}
CLOCK: recovery_report.Times = {"started": 100.0, "reached": 100.2, "ended": 105.0}
VALID: recovery_report.Times = {**CLOCK, "proved": 100.5}
FINDING: Finding = {
    "variable": "SUPABASE_SERVICE_KEY",
    "rule": "placeholder",
    "reason": "it is a placeholder",
    "fix": "put the real one into the vault.",
}


def outcome(*undone: str, names: Sequence[str] = (), **more: Any) -> recovery_report.Outcome:
    steps = recovery_report.STEPS[1:]
    lines = [
        recovery_report.StepOutcome(step=name, done=name not in undone, seconds=0.5, detail=f"{name} done")
        for name in steps
    ]
    lines[1]["names"] = names
    found = {"healthy": not undone, "changed": True, "cause": "env_invalid", "checklist": lines, **more}
    return cast(recovery_report.Outcome, found)


# id, clock, ssh, findings, recovery, problem → ticked lines, beginning of the failed step, part of the next step
CASES: list[
    tuple[
        str,
        recovery_report.Times,
        recovery_report.Ssh,
        list[Finding],
        recovery_report.Outcome,
        str,
        str,
        str,
        str,
    ]
] = [
    ("healthy", VALID, REACHED, [], outcome(), "", "xxxxxxx", "", ""),
    ("unreachable", CLOCK, AWAY, [], {}, "", "       ", "1 of 7", "Look at the console."),
    ("placeholder in the vault", VALID, REACHED, [FINDING], {}, "", "x      ", "3 of 7", "recover_use_last_good=true"),
    ("vault unreachable", CLOCK, REACHED, [], {}, "no answer", "x      ", "3 of 7", "recover_use_last_good=true"),
    ("lock held", VALID, REACHED, [], {}, "held by pid 12", "x      ", "2 of 7", "Correct that, then run"),
    (
        "still sick",
        VALID,
        REACHED,
        [],
        outcome("health", "api", next_step="Read the evidence."),
        "",
        "xxxx  x",
        "5 of 7, Health check: health done",
        "Read the evidence.",
    ),
]


@pytest.mark.parametrize(
    ("clock", "ssh", "findings", "recovery", "problem", "ticks", "failed", "following"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_build(
    clock: recovery_report.Times,
    ssh: recovery_report.Ssh,
    findings: list[Finding],
    recovery: recovery_report.Outcome,
    problem: str,
    ticks: str,
    failed: str,
    following: str,
) -> None:
    built = recovery_report.build(ABOUT, clock, ssh, findings, recovery, problem)
    assert "".join("x" if line["done"] else " " for line in built["checklist"]) == ticks
    assert built["failed_step"].startswith(failed)
    assert bool(built["failed_step"]) == bool(failed)
    assert following in built["next_step"]
    assert built["healthy"] == (not failed)


def test_the_checklist_is_that_of_the_incident_report() -> None:
    built = recovery_report.build(
        {**ABOUT, "language": "ko"}, VALID, REACHED, [], outcome(names=["SUPABASE_SERVICE_KEY"]), ""
    )
    assert [line["title"] for line in built["checklist"]] == [
        "SSH 접속 성공",
        "환경변수 파일 백업",
        "SUPABASE_SERVICE_KEY 업데이트",
        "Docker 컨테이너 재시작",
        "Health Check 통과",
        "API 엔드포인트 정상 응답",
        "프론트엔드 로그인 성공",
    ]
    assert all(set(titles) == set(recovery_report.STEPS) for titles in recovery_report.TITLES.values())


@pytest.mark.parametrize(("language", "name"), [("en", "Restart of the containers"), ("ko", "Docker 컨테이너 재시작")])
def test_a_step_that_failed_is_named_neutrally(language: str, name: str) -> None:
    about: Any = {**ABOUT, "language": language}
    built = recovery_report.build(about, VALID, REACHED, [], outcome("containers"), "")
    assert built["failed_step"].startswith(f"4 of 7, {name}: ")
    assert all(set(names) == set(recovery_report.STEPS) for names in recovery_report.NAMES.values())


@pytest.mark.parametrize(
    ("names", "title"),
    [
        ([], "Variables validated"),
        (["STRIPE_KEY"], "STRIPE_KEY updated"),
        (["A", "B", "A", "C"], "A, B, C updated"),
        (["A", "B", "C", "D", "E"], "A, B, C (+2) updated"),
    ],
)
def test_the_line_of_the_variables_names_the_apps_variables(names: list[str], title: str) -> None:
    built = recovery_report.build(ABOUT, VALID, REACHED, [], outcome(names=names), "")
    assert built["checklist"][2]["title"] == title


def test_a_value_that_is_wrong_in_the_vault_is_named_in_the_line() -> None:
    built = recovery_report.build(ABOUT, VALID, REACHED, [{**FINDING, "variable": "STRIPE_KEY"}], {}, "")
    assert built["checklist"][2]["title"] == "STRIPE_KEY updated"


def test_the_time_of_the_validation_counts_for_the_variables() -> None:
    built = recovery_report.build(ABOUT, VALID, REACHED, [], outcome(), "")
    seconds = {line["step"]: line["seconds"] for line in built["checklist"]}
    assert seconds == {**dict.fromkeys(recovery_report.STEPS, 0.5), "ssh": 0.2, "variables": 0.8}
    assert built["seconds"] == 5.0


REMEDY = {"name": "recreate", "done": True, "result": "recreated", "seconds": 2.0}
HEADLINES: list[tuple[str, bool, recovery_report.Outcome, str]] = [
    ("healthy", False, outcome(remedies=[]), "shop on lab1: healthy, nothing was restarted, 5.0 s"),
    ("recovered", False, outcome(remedies=[REMEDY]), "shop on lab1: recovered in 5.0 s (env_invalid)"),
    ("sick", False, outcome("health"), "shop on lab1: NOT recovered after 5.0 s (env_invalid)"),
    ("planned", True, outcome("health"), "shop on lab1: would be recovered (env_invalid)"),
]


@pytest.mark.parametrize(("check", "recovery", "expected"), [c[1:] for c in HEADLINES], ids=[c[0] for c in HEADLINES])
def test_headline(check: bool, recovery: recovery_report.Outcome, expected: str) -> None:
    built = recovery_report.build({**ABOUT, "check_mode": check}, VALID, REACHED, [], recovery, "")
    assert recovery_report.screen(built, "").splitlines()[0] == expected
    assert recovery_report.markdown(built).splitlines()[0] == f"# {expected}"


def test_screen_shows_seven_lines_and_where_the_report_is() -> None:
    built = recovery_report.build(ABOUT, VALID, REACHED, [], outcome("health", next_step="x"), "")
    lines = recovery_report.screen(built, "reports/r.md").splitlines()
    assert lines[1] == "[x]   0.20 s  1. SSH connection established (Python 3.13.5)"
    assert lines[5] == "[ ]   0.50 s  5. Health check passed (health done)"
    assert lines[8:] == ["Report: reports/r.md"]


def test_markdown_keeps_tables_and_lists_whole() -> None:
    timeline = [{"time": "2025-05-27T02:00:00.000Z", "seconds": 0.1, "what": "a | b\nc"}]
    recovery = outcome("health", timeline=timeline, remedies=[REMEDY], evidence=["line\nbreak"], next_step="Do it.")
    page = recovery_report.markdown(
        recovery_report.build(ABOUT, VALID, REACHED, [], {**recovery, "incident": {"path": "/x"}}, "")
    )
    assert "| 2025-05-27T02:00:00.000Z | 0.10 | a \\| b c |" in page
    assert "- line break" in page
    assert "1. recreate (2.00 s): recreated" in page
    assert "Failed at step 5 of 7, Health check: health done.\n\nDo it.\n" in page
    assert "`/x`" in page


def test_the_verdict_names_step_cause_and_what_to_do() -> None:
    evidence = ["port 8000 is held by nginx (pid 7)."]
    sick = recovery_report.build(
        ABOUT, VALID, REACHED, [], outcome("health", evidence=evidence, next_step="Stop it."), ""
    )
    assert sick["verdict"] == (
        "shop on lab1 is NOT recovered. Failed at step 5 of 7, Health check: health done. "
        "Cause: port 8000 is held by nginx (pid 7). Next: Stop it."
    )
    away = recovery_report.build(ABOUT, CLOCK, AWAY, [], {}, "")
    assert away["verdict"].count("no route to host") == 1
    assert recovery_report.build(ABOUT, VALID, REACHED, [], outcome(), "")["verdict"] == ""


def test_a_host_that_was_never_reached() -> None:
    about: recovery_report.About = {**ABOUT, "id": "1-h", "host": "h", "address": "a"}
    ssh: recovery_report.Ssh = {"problem": "no route", "detail": "", "next_step": "look at the console"}
    built = recovery_report.build(about, {"started": 100.0, "ended": 105.0}, ssh, [], {}, "")
    assert [line["done"] for line in built["checklist"]] == [False] * 7
    assert built["checklist"][0]["seconds"] == 5.0
    assert "look at the console" in built["verdict"]
