# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Generated apps of 2 to 12 services with one or two faults: who is named, what is touched, and how it ends."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils import diagnosis, ladder

from .test_diagnosis import container, facts, result

PORT = 80
# What a fault looks like in the facts; `deadlock` looks like nothing but a late answer.
FAULTS: dict[str, dict[str, Any]] = {
    "killed": {"state": "exited", "exit_code": 137},
    "removed": {"state": "gone"},
    "paused": {"state": "paused"},
    "stopped": {"stopped": True},
    "unhealthy": {"health": "unhealthy"},
    "looping": {
        **{"state": "restarting", "restarts": 6, "exit_code": 1},
        **{"started_seconds": 1.0, "finished_seconds": 0.5},
    },
    "deadlock": {},
}
DOWN = ("killed", "removed", "looping")


class AnApp(NamedTuple):
    """`front` holds the port that the check asks."""

    needs: dict[str, list[str]]
    stateful: list[str]
    proxies: list[str]
    front: str

    def reach(self, service: str) -> set[str]:
        return {service}.union(*(self.reach(one) for one in self.needs[service]))


def an_app(chance: random.Random) -> AnApp:
    """A proxy or not, apps, workers, and what holds their data; each needs only later ones."""
    names = [f"s{number}" for number in range(chance.randint(2, 12))]
    stateful = names[-chance.randint(1, max(1, len(names) // 3)) :]
    needs: dict[str, list[str]] = {}
    for at, name in enumerate(names):
        later = names[at + 1 :]
        needs[name] = [] if name in stateful else chance.sample(later, chance.randint(1, min(3, len(later))))
    proxies = [names[0]] if len(names) > 2 and names[1] not in stateful and chance.random() < 0.5 else []
    if proxies:
        needs[names[0]] = [names[1]]
    return AnApp(needs, stateful, proxies, names[0])


def seen(app: AnApp, faults: dict[str, str], chance: random.Random) -> dict[str, Any]:
    """The facts of an app with faults. What needs something that is down may crash, too, or be unhealthy."""
    instances = []
    for name in app.needs:
        changes = dict(FAULTS.get(faults.get(name, ""), {}))
        suffers = set(faults) & (app.reach(name) - {name})
        if name not in faults and suffers and chance.random() < 0.3:
            changes = dict(FAULTS[chance.choice(["looping", "unhealthy"])])
        if changes.get("state") != "gone":
            ports = [PORT] if name == app.front else []
            instances.append(container(name=f"shop-{name}-1", service=name, ports=ports, **changes))
    return facts(
        answer(app, faults),
        instances=instances,
        services=sorted(app.needs),
        needs=app.needs,
        stateful=app.stateful,
        proxies=app.proxies,
    )


def answer(app: AnApp, faults: dict[str, str]) -> dict[str, Any]:
    """What the check gets: a fault of the front itself, or of what it needs, is seen; another is not."""
    fault = faults.get(app.front)
    if fault in (*DOWN, "paused"):
        kind, status = ("refused" if fault in DOWN else "timeout"), None
    elif fault in ("stopped", "deadlock"):
        kind, status = "timeout", None
    elif set(faults) & app.reach(app.front):
        behind = [faults[name] for name in sorted(set(faults) & app.reach(app.front))]
        is_late = behind[0] in ("stopped", "paused", "deadlock")
        kind, status = ("timeout", None) if is_late else ("status", 502 if app.proxies else 500)
    else:
        return {**result("health", "", "health", ok=True), "port": PORT}
    return {**result("health", kind, "health"), "port": PORT, "status": status}


def roots(app: AnApp, faults: dict[str, str]) -> set[str]:
    return {name for name in faults if not (app.reach(name) - {name}) & set(faults)}


def some(chance: random.Random, kinds: list[str]) -> tuple[AnApp, dict[str, str]]:
    app = an_app(chance)
    faulty = chance.sample(sorted(app.needs), chance.choice([1, 1, 2]))
    return app, {name: chance.choice(kinds) for name in faulty}


def test_the_root_is_named_in_99_of_100() -> None:
    chance = random.Random(18)
    kinds = [kind for kind in FAULTS if kind != "deadlock"]
    missed = []
    for _ in range(3000):
        app, faults = some(chance, kinds)
        found = diagnosis.diagnose(seen(app, faults, chance))
        if not found.services or not set(found.services) <= roots(app, faults):
            missed.append((app, faults, found))
    assert len(missed) <= 30, missed[:3]


class Ended(NamedTuple):
    """How a recovery ended: the last decision, the faults that are left, and what was touched in turn."""

    kind: str
    left: dict[str, str]
    touched: list[tuple[str, tuple[str, ...], dict[str, Any]]]


CURES = {ladder.RESTART: ("paused", "stopped", "unhealthy", "deadlock"), ladder.UP: ("killed", "removed", "paused")}


def recover(app: AnApp, faults: dict[str, str], chance: random.Random, policy: ladder.Policy) -> Ended:
    """Climb as the watcher does. A restart cures what hangs, `up` what is gone, and a new container nearly all."""
    left, done, touched, age = dict(faults), [], [], 0.0
    attempts: list[ladder.Attempt] = []
    escalated = False
    for _ in range(60):
        facts_now = seen(app, left, chance)
        tried = {name for one in done if one["name"] == ladder.RESTART for name in one["services"]}
        found = diagnosis.diagnose(facts_now, tried)
        if found.healthy:
            return Ended("healthy", left, touched)
        names = ladder.tried(done, found.services)
        now = [one._replace(age=age - one.age) for one in attempts]
        situation = ladder.Situation("i1", names, now, escalated=escalated)
        decision = ladder.decide(found.cause, situation, [ladder.RESTART, ladder.UP, ladder.RECREATE], policy)
        if decision.kind in ("escalate", "hold"):
            return Ended(decision.kind, left, touched)
        if decision.kind == "wait":
            age += max(1.0, decision.seconds)
            continue
        age += 1.0
        attempts.append(ladder.Attempt(decision.remedy, age, "i1"))
        services = list(found.services) if decision.remedy in ladder.OF_SERVICES else []
        done.append({"name": decision.remedy, "services": services})
        touched.append((decision.remedy, found.services, facts_now))
        for name in services or list(left):
            cured = CURES.get(decision.remedy, ("killed", "removed", "paused", "stopped", "unhealthy", "deadlock"))
            if left.get(name) in cured:
                del left[name]
    return Ended("endless", left, touched)


@pytest.mark.parametrize("seed", range(5))
def test_every_recovery_ends_and_touches_only_who_is_suspect(seed: int) -> None:
    chance, policy = random.Random(seed), ladder.Policy()
    healed = 0
    for _ in range(300):
        app, faults = some(chance, list(FAULTS))
        ended = recover(app, faults, chance, policy)
        assert ended.kind in ("healthy", "hold", "escalate"), (app, faults)
        assert len(ended.touched) <= policy.attempts
        for remedy, services, facts_then in ended.touched:
            if remedy in ladder.OF_SERVICES:
                ill = set(diagnosis.sick(facts_then))
                # That the front is unhealthy says no more than the check, which fails.
                assert set(services) <= ill or not ill - {app.front}, (app, faults, remedy, services)
        healed += ended.kind == "healthy"
    assert healed >= 200


def test_what_holds_data_is_suspected_last() -> None:
    chance = random.Random(7)
    for _ in range(500):
        app = an_app(chance)
        found = diagnosis.diagnose(seen(app, {app.front: "deadlock"}, chance))
        if app.front not in app.stateful:
            assert not set(found.services) & set(app.stateful), app
