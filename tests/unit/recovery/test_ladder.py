# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is done next: the mildest remedy that was not tried, a wait, a hold, or a person; never more than the policy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.health import diagnosis
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import ladder
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.ladder import (
    FILES,
    FREE_SPACE,
    HOLD,
    LADDERS,
    LAST_GOOD_ENV,
    LAST_GOOD_RELEASE,
    PROVED_ENV,
    RECREATE,
    RESTART,
    START_ENGINE,
    TOUCHING,
    UP,
    Attempt,
    Policy,
    PolicyError,
    Situation,
    check_policy,
    decide,
)

ALL = {PROVED_ENV, LAST_GOOD_ENV, UP, RECREATE}
EVERY = FILES | TOUCHING
POLICY = Policy()

ASKED = [
    ("the vault's env comes first", "env_invalid", [], ALL, PROVED_ENV),
    ("without the vault, the last good env", "env_invalid", [], ALL - {PROVED_ENV}, LAST_GOOD_ENV),
    ("no env to put in place: a person is told", "env_invalid", [], {UP, RECREATE}, ""),
    ("with the env in place, the containers are made anew", "crash_loop", [PROVED_ENV], ALL, RECREATE),
    ("what was tried is not tried again", "crash_loop", [RECREATE], ALL, LAST_GOOD_ENV),
    ("but for a new env, in force only in new containers", "crash_loop", [RECREATE, PROVED_ENV], ALL, RECREATE),
    ("once", "crash_loop", [RECREATE, PROVED_ENV, RECREATE], ALL, LAST_GOOD_ENV),
    ("the ladder ends", "crash_loop", [RECREATE, LAST_GOOD_ENV, RECREATE], ALL, ""),
    ("with the last good release, too", "crash_loop", [RECREATE, LAST_GOOD_RELEASE], EVERY, RECREATE),
    ("a container that is down is only started", "crashed", [], ALL, UP),
    ("what ended for want of room is started", "crash_loop", [FREE_SPACE], ALL, UP),
    ("what needs little room is started all the same", "disk_full", [FREE_SPACE], EVERY, UP),
    ("also where nothing may be deleted", "disk_full", [], EVERY - {FREE_SPACE}, UP),
    ("who hangs is not", "hung", [FREE_SPACE], EVERY, RESTART),
    ("one that hangs is killed and started", "hung", [], EVERY, RESTART),
    ("an engine that is down is started", "engine_down", [], EVERY, START_ENGINE),
    ("files that were put back do not start an engine", "engine_down", [LAST_GOOD_ENV], EVERY, START_ENGINE),
    ("an upstream is nobody's to restart", "upstream_down", [], EVERY, ""),
    ("nor is a foreign process", "port_taken", [], EVERY, ""),
]


@pytest.mark.parametrize(("cause", "tried", "available", "expected"), [c[1:] for c in ASKED], ids=[c[0] for c in ASKED])
def test_when_a_person_asked(cause: str, tried: list[str], available: set[str], expected: str) -> None:
    decision = decide(cause, Situation("i", tried, []), available, None)
    assert (decision.kind, decision.remedy) == (("act", expected) if expected else ("escalate", ""))


def past(*ages: float, incident: str = "i") -> list[Attempt]:
    return [Attempt(RESTART, age, incident) for age in ages]


FIVE = past(1700, 900, 300, 200, 100, incident="earlier")
WATCHED: list[tuple[str, str, dict[str, Any], str, float | None]] = [
    ("the first remedy comes at once", "hung", {}, "act", None),
    ("the next rung does, too", "hung", {"tried": [RESTART], "attempts": past(1)}, "act", None),
    ("a pause holds it", "hung", {"paused": "a new disk"}, "hold", None),
    ("a deploy holds it", "hung", {"busy": "deploy"}, "hold", None),
    ("an upstream that is down holds it", "upstream_down", {}, "hold", None),
    ("so does an overload", "overloaded", {}, "hold", None),
    ("a foreign process is a person's", "port_taken", {}, "escalate", None),
    ("once", "port_taken", {"escalated": True}, "hold", None),
    ("a container that was just started gets its time", "not_listening", {"starting": 7.0}, "wait", 2.0),
    ("but not one that loops", "crash_loop", {"starting": 7.0}, "act", None),
    ("the second incident in a row waits", "hung", {"attempts": past(4, incident="earlier")}, "wait", 6.0),
    (
        "the third waits twice as long",
        "hung",
        {"attempts": [*past(60, incident="a"), *past(5, incident="b")]},
        "wait",
        15.0,
    ),
    (
        "room that was made a moment ago is no reason to wait",
        "container_missing",
        {"attempts": [Attempt(FREE_SPACE, 1.0, "earlier")]},
        "act",
        None,
    ),
    ("a while later nothing is waited for", "hung", {"attempts": past(11, incident="earlier")}, "act", None),
    ("five attempts open the breaker", "hung", {"attempts": FIVE}, "escalate", None),
    ("of which one alert is enough", "hung", {"attempts": FIVE, "escalated": True}, "hold", 100.0),
    ("what is older than the window does not count", "hung", {"attempts": past(1900, incident="a")}, "act", None),
]  # fmt: skip


@pytest.mark.parametrize(("cause", "more", "kind", "seconds"), [c[1:] for c in WATCHED], ids=[c[0] for c in WATCHED])
def test_when_nobody_asked(cause: str, more: dict[str, Any], kind: str, seconds: float | None) -> None:
    decision = decide(cause, Situation(**{"incident": "i", "tried": [], "attempts": [], **more}), EVERY, POLICY)
    assert decision.kind == kind, decision
    assert bool(decision.remedy) == (kind == "act")
    assert bool(decision.why) == (kind != "act")
    if seconds is not None:
        assert decision.seconds == pytest.approx(seconds)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(sorted(LADDERS) + sorted(HOLD) + ["port_taken", "balancer_disagrees"]),
        st.booleans(),  # whether what was done helped
        st.sampled_from([0.0, 1.0, 30.0, 700.0]),  # seconds until the next look, besides what was asked for
    ),
    min_size=1,
    max_size=120,
)


@given(STEPS, st.sets(st.sampled_from(sorted(EVERY))), st.booleans())
def test_no_history_has_more_attempts_than_the_policy(steps: Any, available: set[str], paused: bool) -> None:
    """A world in which causes change and remedies help or do not, at random, for hours."""
    now, number, begun = 0.0, 0, False
    tried: list[str] = []
    done: list[tuple[float, str, str]] = []
    escalated = 0
    for cause, helped, pause in steps:
        if not begun:
            number, begun, tried, escalated = number + 1, True, [], 0
        attempts = [Attempt(remedy, now - at, incident) for at, remedy, incident in done]
        situation = Situation(str(number), tried, attempts, "work" if paused else "", escalated=bool(escalated))
        decision = decide(cause, situation, available, POLICY)
        if decision.kind == "act":
            assert not paused
            assert cause in LADDERS
            assert decision.remedy in available
            tried.append(decision.remedy)
            done.append((now, decision.remedy, str(number)))
            begun = not helped
        escalated += decision.kind == "escalate"
        assert escalated <= 1
        now += pause + (decision.seconds if decision.kind == "wait" else 0.0)
        if decision.kind == "wait":
            assert decision.seconds > 0
    touched = [at for at, remedy, _ in done if remedy in TOUCHING]
    for at in touched:
        assert len([other for other in touched if at <= other < at + POLICY.window]) <= POLICY.attempts


@given(st.sampled_from(sorted(LADDERS)), st.sets(st.sampled_from(sorted(EVERY))))
def test_every_incident_comes_to_an_end(cause: str, available: set[str]) -> None:
    """Remedies that never help lead to a person, within as many steps as there are remedies; none follows at once."""
    tried: list[str] = []
    attempts: list[Attempt] = []
    for _ in range(2 * len(EVERY)):
        decision = decide(cause, Situation("i", tried, attempts), available, POLICY)
        if decision.kind == "escalate":
            after = decide(cause, Situation("i", tried, attempts, escalated=True), available, POLICY)
            assert after.kind in ("wait", "hold"), after
            return
        assert decision.kind == "act"
        tried.append(decision.remedy)
        attempts.append(Attempt(decision.remedy, 0.0, "i"))
    pytest.fail(f"no end: {tried}")


@pytest.mark.parametrize(
    ("policy", "key"),
    [
        ({"attempts": 0}, "attempts"),
        ({"attempts": 2.5}, "attempts"),
        ({"attempts": True}, "attempts"),
        ({"window": "1800"}, "window"),
        ({"window": -1}, "window"),
        ({"backoff_first": 60, "backoff_longest": 30}, "backoff_longest"),
        ({"clean": float("inf")}, "clean"),
        ({"tries": 3}, "tries"),
        ([], "policy"),
    ],
)
def test_a_policy_of_nonsense_is_refused(policy: Any, key: str) -> None:
    with pytest.raises(PolicyError, match=f"{key}.*Fix: "):
        check_policy(policy)


def test_every_cause_has_its_way() -> None:
    assert set(LADDERS) | set(HOLD) | {"port_taken", "balancer_disagrees", "engine_incomplete"} == set(
        diagnosis.MEANING
    )
    assert set(ladder.NEXT_STEP) <= set(diagnosis.MEANING)
    assert {remedy for rungs in LADDERS.values() for remedy in rungs} == EVERY


@pytest.mark.parametrize(
    ("done", "services", "names"),
    [
        ([("restart", ["web"])], ["app"], []),
        ([("restart", ["web"])], ["web"], ["restart"]),
        ([("restart", ["web"]), ("restart", ["app"])], ["app", "web"], ["restart", "restart"]),
        ([("restart", ["web"])], [], []),
        ([("up", []), ("restart", ["web"])], ["app"], ["up"]),
    ],
)
def test_a_remedy_was_tried_when_it_touched_all_who_are_at_fault(
    done: list[tuple[str, list[str]]], services: list[str], names: list[str]
) -> None:
    assert ladder.tried([{"name": name, "services": touched} for name, touched in done], services) == names


def test_what_was_refused_at_once_does_not_open_the_breaker() -> None:
    policy = ladder.Policy()
    refused = [Attempt(RESTART, 30.0, "i", refused=True)] * policy.attempts
    situation = ladder.Situation("i", [RESTART], refused)
    assert ladder.decide("network_broken", situation, [ladder.REBUILD_NETWORK], policy).remedy == ladder.REBUILD_NETWORK
    counted = situation._replace(attempts=[one._replace(refused=False) for one in refused])
    assert ladder.decide("network_broken", counted, [ladder.REBUILD_NETWORK], policy).kind == "escalate"


def test_a_service_that_no_check_asks_takes_no_attempt_from_one_that_users_need() -> None:
    policy = ladder.Policy()
    attempts = [Attempt(RESTART, 30.0, "i", unasked=True)] * policy.attempts
    situation = ladder.Situation("i", [], attempts)
    assert ladder.decide("hung", situation, [RESTART], policy).kind == "act"
    assert ladder.decide("hung", situation._replace(unasked=True), [RESTART], policy).kind == "escalate"


def test_while_users_are_served_nothing_is_tried_once_more() -> None:
    situation = ladder.Situation("i", [RESTART, RECREATE], [], escalated=True, unasked=True)
    assert ladder.decide("unhealthy", situation, [RESTART, RECREATE], ladder.Policy()).kind == "hold"
