# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The benchmark of recoveries measures each fault as often as configured, can resume, and reports every result."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.bench.recovery import results
from ansible_collections.christmas.selfheal.bench.recovery.results import OURS, Slice
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.fault import Fault

RECOVERED = Fault("hang", {"en": "It hangs"}, "why", [["true"]], "recovered", ["hung"], {"median": 5, "p95": 8})
HELD = Fault("upstream", {"en": "Upstream"}, "why", [["true"]], "held", ["upstream_down"])


def run(system: str, fault: str, seconds: float | None, *problems: str) -> dict[str, Any]:
    return {"system": system, "fault": fault, "seconds": seconds, "problems": list(problems)}


def test_two_instances_get_the_faults_that_hit_one_of_them() -> None:
    alone = dataclasses.replace(RECOVERED, instance=True)
    deploy = dataclasses.replace(HELD, needs=["instances"])
    faults = {"hang": alone, "upstream": HELD, "bad_release": deploy}
    assert results.put_to(OURS, faults) == ["hang", "upstream"]
    assert results.put_to(results.TWO, faults) == ["hang", "bad_release"]
    row = results.table(faults, [OURS, results.TWO], [run(results.TWO, "hang", 0.1, "not all serve")])[0]
    assert row["missed"] == ["with two instances: not all serve (1 of 1)"]


@pytest.mark.parametrize(
    ("rounds", "done", "expected"),
    [
        (2, [], [Slice("a", 2), Slice("b", 2)]),
        (7, [], [Slice("a", 3), Slice("b", 3), Slice("a", 3), Slice("b", 3), Slice("a", 1), Slice("b", 1)]),
        (3, [run(OURS, "a", 1.0)] * 2, [Slice("a", 1), Slice("b", 3)]),
        (3, [run("monit", "a", 1.0)] * 3, [Slice("a", 3), Slice("b", 3)]),
        (3, [run(OURS, "a", 1.0)] * 4 + [run(OURS, "b", None)] * 3, []),
    ],
    ids=["new", "in slices, every fault early", "resumed", "other systems do not count", "more than enough"],
)
def test_slices(rounds: int, done: list[Any], expected: list[Slice]) -> None:
    assert results.slices(["a", "b"], rounds, done, 3) == expected


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ([], ("a", 1)),
        ([run("m", "a", 1.0)], ("b", 1)),
        ([run("m", "a", None)] * 3 + [run("m", "b", 1.0)], ("b", 2)),
        ([run("m", "a", None)] * 2 + [run("m", "a", 1.0)] + [run("m", "b", 1.0)] * 5, ("a", 4)),
        ([run("m", "a", None)] * 3 + [run("m", "b", 1.0)] * 5, None),
        ([run("other", "a", None)] * 9, ("a", 1)),
    ],
    ids=[
        "new",
        "in turns",
        "not tried again after three failures",
        "tried again once recovered",
        "done",
        "another system",
    ],
)
def test_next_round(done: list[Any], expected: Any) -> None:
    assert results.next_round("m", ["a", "b"], 5, done) == expected


def test_faults_are_spread_over_the_cycle() -> None:
    moments = [results.phase("monit", "hang", number, 20, 120.0) for number in range(1, 21)]
    # One moment in each twentieth of the cycle, not in the order of the rounds, and the same after an interruption.
    assert sorted(int(moment / 6) for moment in moments) == list(range(20))
    assert moments != sorted(moments)
    assert moments[7] == results.phase("monit", "hang", 8, 20, 120.0)


@pytest.mark.parametrize(
    ("looked", "expected"),
    [(112.0, 12 * 10 + 3.0), (None, 15.0), (116.0, 15.0), (99.0, 15.0)],
    ids=["its wait is longer", "something else recovered it", "it looked too late", "the fault came during the look"],
)
def test_scaled(looked: float | None, expected: float) -> None:
    assert results.scaled(100.0, looked, 115.0, 10.0) == expected


def test_which_look_found_the_fault() -> None:
    journal = ["10.0 h s[1]: look", "10.1 h s[1]: bad", "70.5 h s[1]: look", "100.5 h s[1]: look", "230.0 h s[1]: bad"]
    found = [results.found_by(journal, since, "look", "bad") for since in (5.0, 90.0, 110.0, 231.0)]
    assert found == [10.0, 100.5, 100.5, None]


@pytest.mark.parametrize(
    ("fault", "runs", "missed"),
    [
        (RECOVERED, [run(OURS, "hang", 4.0)] * 3, []),
        (RECOVERED, [run(OURS, "hang", 6.0)] * 3, ["median 6.0 s, goal 5 s"]),
        (RECOVERED, [run(OURS, "hang", 4.0)] * 3 + [run(OURS, "hang", 9.0)], ["p95 9.0 s, goal 8 s"]),
        (
            RECOVERED,
            [run(OURS, "hang", 4.0), run(OURS, "hang", 4.0), run(OURS, "hang", None, "not recovered")],
            ["not recovered (1 of 3)", "p95 never, goal 8 s"],
        ),
        (HELD, [run(OURS, "upstream", None)] * 2, []),
        (HELD, [run(OURS, "upstream", None, "touched"), run(OURS, "upstream", None)], ["touched (1 of 2)"]),
    ],
    ids=["met", "median", "p95", "a problem outweighs good times", "held", "not held"],
)
def test_judge(fault: Fault, runs: list[Any], missed: list[str]) -> None:
    assert results.judge(fault, runs) == missed
    [row] = results.table({fault.name: fault}, [OURS], runs)
    assert (row["met"], row["missed"]) == (not missed, missed)


def test_another_system_can_be_measured_alone() -> None:
    [row] = results.table({RECOVERED.name: RECOVERED}, [OURS, "docker"], [run("docker", "hang", 90.0)])
    assert (row["met"], row["missed"], list(row["systems"])) == (None, [], ["docker"])


def test_the_table_shows_who_never_recovers_and_what_was_missed() -> None:
    runs = [
        *[run(OURS, "hang", 6.0)] * 2,
        *[run("docker", "hang", None)] * 3,
        *[run("monit", "hang", 90.0)] * 2,
        run("monit", "hang", None),
        run(OURS, "upstream", None),
    ]
    faults = {fault.name: fault for fault in (RECOVERED, HELD)}
    rows = results.table(faults, [OURS, "docker", "monit", "swarm"], runs)
    assert results.shown(rows, {OURS: "we", "docker": "D", "monit": "M", "swarm": "S"}).splitlines() == [
        "| fault | goal | we | D | M | goal met |",
        "|---|---|---|---|---|---|",
        "| hang | ≤ 5 / 8 | 6.0 / 6.0 (2) | never (0 of 3) | 90.0 / never (2 of 3) | **no**: median 6.0 s, goal 5 s |",
        "| upstream | held | held (1) |  |  | yes |",
    ]
    assert results.verdict(rows, [], 4) == (
        "bench-recovery: 1 of 2 goals met; missed: hang; 4 rounds are not measured yet (ARGS=--resume)"
    )


def test_an_earlier_revision_is_compared_in_a_column_of_its_own() -> None:
    faults = {"hang": RECOVERED, "upstream": HELD}
    assert results.put_to(results.BEFORE, faults) == ["hang"]
    runs = [run(OURS, "hang", 1.5), run(results.BEFORE, "hang", 4.5), run(OURS, "upstream", None)]
    rows = results.table(faults, [OURS, results.BEFORE], runs)
    assert results.shown(rows, {OURS: "we", results.BEFORE: "before"}).splitlines() == [
        "| fault | goal | we | before | now ÷ before | goal met |",
        "|---|---|---|---|---|---|",
        "| hang | ≤ 5 / 8 | 1.5 / 1.5 (1) | 4.5 / 4.5 (1) | 0.33 | yes |",
        "| upstream | held | held (1) |  |  | yes |",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "0"], "--rounds: 0: 1 or more is needed"),
        (["--hosts", "9"], "--hosts: 9: there are addresses for 3"),
        (["--faults", "hang,nope"], "--faults: 'nope' is not known here; use hang"),
        (["--alternative-faults", "upstream"], "--alternative-faults: 'upstream' is not known here; use hang"),
        (
            ["--systems", "monit-2s"],
            "--systems: 'monit-2s' is not known here; use selfheal, selfheal-two, selfheal-before, docker",
        ),
    ],
)
def test_invalid_options_are_named(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    from ansible_collections.christmas.selfheal.bench.recovery import __main__ as program

    with pytest.raises(SystemExit) as ended:
        program.arguments(words, {"hang": RECOVERED, "upstream": HELD})
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_our_runs_are_saved_and_resumed(tmp_path: Any) -> None:
    from ansible_collections.christmas.selfheal.bench.recovery.__main__ import Book

    path = tmp_path / "results" / "recovery.json"
    first = Book(path, {"hang": RECOVERED}, {"begun": "then"}, resume=True)
    first.record([run(OURS, "hang", 4.0)] * 2)
    second = Book(path, {"hang": RECOVERED}, {"begun": "now"}, resume=True)
    second.record([run(OURS, "hang", 3.0)])
    assert second.about["begun"] == "then"
    assert [(one["round"], one["seconds"]) for one in second.runs] == [(1, 4.0), (2, 4.0), (3, 3.0)]
    assert Book(path, {"hang": RECOVERED}, {"begun": "now"}, resume=False).runs == []
    path.write_text("{", encoding="utf-8")
    with pytest.raises(SystemExit, match="cannot be gone on with"):
        Book(path, {"hang": RECOVERED}, {}, resume=True)
