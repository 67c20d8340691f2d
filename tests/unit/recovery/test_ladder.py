# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The next decision: the mildest remedy that was not tried, a wait, a hold or an escalation, within the policy."""

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
    ("without a good env, a person is notified", "env_invalid", [], {UP, RECREATE}, ""),
    ("after the env was written, the containers are recreated", "crash_loop", [PROVED_ENV], ALL, RECREATE),
    ("no remedy is tried twice", "crash_loop", [RECREATE], ALL, LAST_GOOD_ENV),
    ("after a new env, containers are recreated once more", "crash_loop", [RECREATE, PROVED_ENV], ALL, RECREATE),
    ("containers are recreated once for each env", "crash_loop", [RECREATE, PROVED_ENV, RECREATE], ALL, LAST_GOOD_ENV),
    ("after the last remedy, a person is notified", "crash_loop", [RECREATE, LAST_GOOD_ENV, RECREATE], ALL, ""),
    ("the last good release gets new containers", "crash_loop", [RECREATE, LAST_GOOD_RELEASE], EVERY, RECREATE),
    ("a container that crashed is only started", "crashed", [], ALL, UP),
    ("after space was freed, the container is only started", "crash_loop", [FREE_SPACE], ALL, UP),
    ("on a full disk, the container is started after space was freed", "disk_full", [FREE_SPACE], EVERY, UP),
    ("on a full disk where nothing may be deleted, too", "disk_full", [], EVERY - {FREE_SPACE}, UP),
    ("after space was freed, a hung container is restarted", "hung", [FREE_SPACE], EVERY, RESTART),
    ("a hung container is restarted", "hung", [], EVERY, RESTART),
    ("an engine that is down is started", "engine_down", [], EVERY, START_ENGINE),
    ("after files were put back, the engine is still started", "engine_down", [LAST_GOOD_ENV], EVERY, START_ENGINE),
    ("an upstream is not restarted", "upstream_down", [], EVERY, ""),
    ("a process that has the port is not stopped", "port_taken", [], EVERY, ""),
    ("a refused login gets the last good env", "credentials_refused", [], ALL, LAST_GOOD_ENV),
    ("then the containers are recreated with it", "credentials_refused", [LAST_GOOD_ENV], ALL, RECREATE),
    ("a refused login alone is a person's", "credentials_refused", [], {RESTART, PROVED_ENV}, ""),
]


@pytest.mark.parametrize(("cause", "tried", "available", "expected"), [c[1:] for c in ASKED], ids=[c[0] for c in ASKED])
def test_the_decision_when_a_person_runs_the_recovery(
    cause: str, tried: list[str], available: set[str], expected: str
) -> None:
    decision = decide(cause, Situation("i", tried, []), available, None)
    assert (decision.kind, decision.remedy) == (("act", expected) if expected else ("escalate", ""))


def past(*ages: float, incident: str = "i") -> list[Attempt]:
    return [Attempt(RESTART, age, incident) for age in ages]


FIVE = past(1700, 900, 300, 200, 100, incident="earlier")
WATCHED: list[tuple[str, str, dict[str, Any], str, float | None]] = [
    ("the first remedy is applied at once", "hung", {}, "act", None),
    ("the next remedy is applied at once, too", "hung", {"tried": [RESTART], "attempts": past(1)}, "act", None),
    ("a pause holds the recovery", "hung", {"paused": "a new disk"}, "hold", None),
    ("nothing can be written", "hung", {"busy": "nothing can be written"}, "hold", None),
    ("a person works on the app", "hung", {"by_hand": "`docker compose up` runs"}, "wait", None),
    ("an upstream that is down holds the recovery", "upstream_down", {}, "hold", None),
    ("an overload holds the recovery", "overloaded", {}, "hold", None),
    ("a process that has the port is escalated", "port_taken", {}, "escalate", None),
    ("a process that has the port is escalated only once", "port_taken", {"escalated": True}, "hold", None),
    ("a container that was just started is waited for", "not_listening", {"starting": 7.0}, "wait", 2.0),
    ("a crash loop is not waited for", "crash_loop", {"starting": 7.0}, "act", None),
    ("the second incident in a row waits", "hung", {"attempts": past(4, incident="earlier")}, "wait", 6.0),
    (
        "the third incident in a row waits twice as long",
        "hung",
        {"attempts": [*past(60, incident="a"), *past(5, incident="b")]},
        "wait",
        15.0,
    ),
    (
        "there is no wait after space was freed",
        "container_missing",
        {"attempts": [Attempt(FREE_SPACE, 1.0, "earlier")]},
        "act",
        None,
    ),
    ("there is no wait once the back-off is over", "hung", {"attempts": past(11, incident="earlier")}, "act", None),
    ("five attempts open the breaker", "hung", {"attempts": FIVE}, "escalate", None),
    ("an open breaker is escalated only once", "hung", {"attempts": FIVE, "escalated": True}, "hold", 100.0),
    ("attempts before the window do not count", "hung", {"attempts": past(1900, incident="a")}, "act", None),
]  # fmt: skip


@pytest.mark.parametrize(("cause", "more", "kind", "seconds"), [c[1:] for c in WATCHED], ids=[c[0] for c in WATCHED])
def test_the_decision_of_the_watcher(cause: str, more: dict[str, Any], kind: str, seconds: float | None) -> None:
    decision = decide(cause, Situation(**{"incident": "i", "tried": [], "attempts": [], **more}), EVERY, POLICY)
    assert decision.kind == kind, decision
    assert bool(decision.remedy) == (kind == "act")
    assert bool(decision.why) == (kind != "act")
    if seconds is not None:
        assert decision.seconds == pytest.approx(seconds)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(sorted(LADDERS) + sorted(HOLD) + ["port_taken", "balancer_disagrees"]),
        st.booleans(),  # whether the remedy helped
        st.sampled_from([0.0, 1.0, 30.0, 700.0]),  # seconds until the next decision, besides the wait
    ),
    min_size=1,
    max_size=120,
)


@given(STEPS, st.sets(st.sampled_from(sorted(EVERY))), st.booleans())
def test_there_are_never_more_attempts_than_the_policy_allows(steps: Any, available: set[str], paused: bool) -> None:
    """For hours, causes change at random, and remedies help or not."""
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
    touched = [at for at, remedy, _unused in done if remedy in TOUCHING]
    for at in touched:
        assert len([other for other in touched if at <= other < at + POLICY.window]) <= POLICY.attempts


@given(st.sampled_from(sorted(LADDERS)), st.sets(st.sampled_from(sorted(EVERY))))
def test_remedies_that_never_help_end_in_an_escalation(cause: str, available: set[str]) -> None:
    """The escalation comes after a limited number of remedies. No remedy follows it at once."""
    tried: list[str] = []
    attempts: list[Attempt] = []
    for _unused in range(2 * len(EVERY)):
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
def test_an_invalid_policy_is_refused(policy: Any, key: str) -> None:
    with pytest.raises(PolicyError, match=f"{key}.*Fix: "):
        check_policy(policy)


def test_every_cause_is_handled() -> None:
    assert set(LADDERS) | set(HOLD) | {"port_taken", "balancer_disagrees", "engine_incomplete"} == set(
        diagnosis.MEANING
    )
    assert set(ladder.NEXT_STEP) <= set(diagnosis.MEANING)
    assert {remedy for rungs in LADDERS.values() for remedy in rungs} == EVERY


NEXT: list[tuple[str, str, ladder.Decision, str]] = [
    ("a pause between two attempts", "hung", ladder.Decision("wait", seconds=40.0, why="too fresh"), "at 15:07:20 UTC"),
    ("a container that starts", "hung", ladder.Decision("wait", seconds=0.3, why="just started"), "within 10 s"),
    ("another run has the lock", "hung", ladder.Decision("hold", why="a deploy holds it"), "within 10 s"),
    (
        "an upstream that is down",
        "upstream_down",
        ladder.Decision("hold", why=HOLD["upstream_down"]),
        "Look at the service that is named. The watcher notices by itself",
    ),
    ("a pause, of the same", "upstream_down", ladder.Decision("hold", why="paused: a new disk"), "within 10 s"),
]


@pytest.mark.parametrize(("cause", "decision", "says"), [c[1:] for c in NEXT], ids=[c[0] for c in NEXT])
def test_while_the_watcher_works_on_it_it_says_what_it_does_next(
    cause: str, decision: ladder.Decision, says: str
) -> None:
    found = ladder.next_of_watcher(cause, decision, "", "/incidents/1", 1_750_000_000.0)
    assert says in found
    assert ("nothing to do for you" in found) is (decision.why != HOLD.get(cause))
    assert "correct the app" not in found


def test_the_next_step_names_what_the_diagnosis_knows() -> None:
    def step(cause: str, about: str = "", by_person: bool = True) -> str:
        return ladder.next_step(cause, about, "", "/incidents/1", by_person)

    assert step("env_invalid", "DB_PASSWORD, KEY").startswith("Correct DB_PASSWORD, KEY in the vault")
    assert step("env_invalid").startswith("Correct what the evidence names in the vault")
    assert "letters@db (PostgreSQL)" in step("credentials_refused", "letters@db (PostgreSQL)")
    assert "Read the evidence in /incidents/1," in step("hung")
    assert step("hung").endswith("Then run christmas.selfheal.recover again.")
    assert step("hung", by_person=False).endswith("The incident ends by itself once the checks pass.")


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
def test_a_remedy_counts_as_tried_when_it_touched_all_services_at_fault(
    done: list[tuple[str, list[str]]], services: list[str], names: list[str]
) -> None:
    assert ladder.tried([{"name": name, "services": touched} for name, touched in done], services) == names


def test_remedies_that_failed_at_once_do_not_open_the_breaker() -> None:
    policy = ladder.Policy()
    refused = [Attempt(RESTART, 30.0, "i", refused=True)] * policy.attempts
    situation = ladder.Situation("i", [RESTART], refused)
    assert ladder.decide("network_broken", situation, [ladder.REBUILD_NETWORK], policy).remedy == ladder.REBUILD_NETWORK
    counted = situation._replace(attempts=[one._replace(refused=False) for one in refused])
    assert ladder.decide("network_broken", counted, [ladder.REBUILD_NETWORK], policy).kind == "escalate"


def test_attempts_while_users_were_served_do_not_count_in_an_outage() -> None:
    policy = ladder.Policy()
    attempts = [Attempt(RESTART, 30.0, "i", unasked=True)] * policy.attempts
    situation = ladder.Situation("i", [], attempts)
    assert ladder.decide("hung", situation, [RESTART], policy).kind == "act"
    assert ladder.decide("hung", situation._replace(unasked=True), [RESTART], policy).kind == "escalate"


def test_while_users_are_served_no_remedy_is_repeated_after_an_escalation() -> None:
    situation = ladder.Situation("i", [RESTART, RECREATE], [], escalated=True, unasked=True)
    assert ladder.decide("unhealthy", situation, [RESTART, RECREATE], ladder.Policy()).kind == "hold"
