# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Generated apps of 2 to 12 services with one or two faults: which are named and touched, and how a recovery ends."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.health import diagnosis
from ansible_collections.christmas.selfheal.plugins.module_utils.health.fact_types import Facts
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.run import CheckResult
from ansible_collections.christmas.selfheal.plugins.module_utils.records.incidents import RemedyRecord
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import ladder

from .test_diagnosis import container, facts, result

PORT = 80
# Each fault as the facts show it; a deadlock shows only as a late answer.
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
        found = [service]
        for name in found:
            found += [needed for needed in self.needs[name] if needed not in found]
        return set(found)


def an_app(chance: random.Random, cycles: bool = False) -> AnApp:
    """Perhaps a proxy, then apps and workers, then services with data. Each needs only later ones, unless `cycles`."""
    names = [f"s{number}" for number in range(chance.randint(2, 12))]
    stateful = names[-chance.randint(1, max(1, len(names) // 3)) :]
    needs: dict[str, list[str]] = {}
    for at, name in enumerate(names):
        later = names[at + 1 :]
        needs[name] = [] if name in stateful else chance.sample(later, chance.randint(1, min(3, len(later))))
    proxies = [names[0]] if len(names) > 2 and names[1] not in stateful and chance.random() < 0.5 else []
    if proxies:
        needs[names[0]] = [names[1]]
    if cycles:
        # Services behind the front may need it, too; services with data need nothing.
        for name in names[1:]:
            if name not in stateful and chance.random() < 0.5:
                needs[name] = [*needs[name], names[0]]
    return AnApp(needs, stateful, proxies, names[0])


def seen(
    app: AnApp, faults: dict[str, str], chance: random.Random, liars: frozenset[str] = frozenset(), suffer: float = 0.3
) -> Facts:
    """The facts of an app with faults. A service that needs a faulty one may crash or be unhealthy, too.

    :arg liars: services whose health checks never pass.
    :arg suffer: the probability that it does.
    """
    instances = []
    for name in app.needs:
        changes = dict(FAULTS.get(faults.get(name, ""), {}))
        suffers = set(faults) & (app.reach(name) - {name})
        if name not in faults and suffers and chance.random() < suffer:
            changes = dict(FAULTS[chance.choice(["looping", "unhealthy"])])
        if name in liars:
            changes.setdefault("health", "unhealthy")
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


def answer(app: AnApp, faults: dict[str, str]) -> CheckResult:
    """The result of the check. It fails for a fault of the front or of a service that the front needs."""
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
    """The faulty services that need no other faulty one, and the services in a cycle with them."""
    needed = {name: app.reach(name) for name in app.needs}
    own = {name for name in faults if all(name in needed[other] for other in needed[name] & set(faults))}
    return own | {name for name in app.needs for root in own if root in needed[name] and name in needed[root]}


def ill(found: Facts) -> set[str]:
    """The services with a bad fact."""
    there = {item["service"] for item in found["instances"]}
    bad = {
        item["service"]
        for item in found["instances"]
        if item["state"] != "running" or item["stopped"] or item["health"] == "unhealthy"
    }
    return bad | (set(found["services"]) - there)


def some(chance: random.Random, kinds: list[str], cycles: bool = False) -> tuple[AnApp, dict[str, str]]:
    app = an_app(chance, cycles)
    faulty = chance.sample(sorted(app.needs), chance.choice([1, 1, 2]))
    return app, {name: chance.choice(kinds) for name in faulty}


@pytest.mark.parametrize("cycles", [False, True], ids=["no cycles", "cycles"])
def test_the_root_is_named_in_99_of_100(cycles: bool) -> None:
    chance = random.Random(18)
    kinds = [kind for kind in FAULTS if kind != "deadlock"]
    missed = []
    for _unused in range(3000):
        app, faults = some(chance, kinds, cycles)
        found = diagnosis.diagnose(seen(app, faults, chance))
        if not found.services or not set(found.services) <= roots(app, faults):
            missed.append((app, faults, found))
    assert len(missed) <= 30, missed[:3]


class Remedy(NamedTuple):
    """A remedy that was applied: its services, the facts at that time, and the services of earlier remedies."""

    name: str
    services: tuple[str, ...]
    facts: Facts
    before: frozenset[str]


class Ended(NamedTuple):
    """How a recovery ended: the last decision, the remaining faults, whether users are served, the remedies."""

    kind: str
    left: dict[str, str]
    serves: bool
    remedies: list[Remedy]


CURES = {ladder.RESTART: ("paused", "stopped", "unhealthy", "deadlock"), ladder.UP: ("killed", "removed", "paused")}
NEARLY_ALL = ("killed", "removed", "paused", "stopped", "unhealthy", "deadlock")


def recover(
    app: AnApp,
    faults: dict[str, str],
    chance: random.Random,
    policy: ladder.Policy,
    later: dict[str, str] | None = None,
    liars: frozenset[str] = frozenset(),
    suffer: float = 0.3,
) -> Ended:
    """Apply remedies as the watcher does. A restart cures hangs, `up` missing containers, a new container nearly all.

    :arg later: faults that appear during the first remedy.
    """
    left, age = dict(faults), 0.0
    done: list[RemedyRecord] = []
    remedies: list[Remedy] = []
    attempts: list[ladder.Attempt] = []
    for _unused in range(60):
        facts_now = seen(app, left, chance, liars, suffer)
        restarted = {name for one in done if one["name"] == ladder.RESTART for name in one["services"]}
        touched = frozenset(name for one in done for name in one["services"])
        spent = {name for name in touched if {ladder.RESTART, ladder.RECREATE} <= set(ladder.tried(done, [name]))}
        found = diagnosis.diagnose(facts_now, restarted, touched, spent)
        serves = bool(facts_now["probe"]["ok"])
        if found.healthy:
            return Ended("healthy", left, serves, remedies)
        now = [one._replace(age=age - one.age) for one in attempts]
        situation = ladder.Situation("i1", ladder.tried(done, found.services), now)
        decision = ladder.decide(found.cause, situation, [ladder.RESTART, ladder.UP, ladder.RECREATE], policy)
        if decision.kind in ("escalate", "hold"):
            return Ended(decision.kind, left, serves, remedies)
        if decision.kind == "wait":
            age += max(1.0, decision.seconds)
            continue
        age += 1.0
        attempts.append(ladder.Attempt(decision.remedy, age, "i1"))
        services = list(found.services) if decision.remedy in ladder.OF_SERVICES else []
        done.append({"name": decision.remedy, "services": services})
        remedies.append(Remedy(decision.remedy, found.services, facts_now, touched))
        for name in services or list(left):
            if left.get(name) in CURES.get(decision.remedy, NEARLY_ALL):
                del left[name]
        if len(done) == 1:
            left.update(later or {})
    return Ended("endless", left, False, remedies)


def touches_only_suspects(app: AnApp, ended: Ended) -> bool:
    """Whether no remedy touched a healthy service while a faulty one had not been tried yet."""
    for one in ended.remedies:
        bad = ill(one.facts)
        # What users see comes first. An unhealthy front says no more than the failing check.
        others = (bad & app.reach(app.front) or bad) - {app.front} - one.before
        if one.name in ladder.OF_SERVICES and not set(one.services) <= bad and others:
            return False
    return True


@pytest.mark.parametrize("cycles", [False, True], ids=["no cycles", "cycles"])
@pytest.mark.parametrize("comes_later", [False, True], ids=["at once", "one more during a remedy"])
@pytest.mark.parametrize("seed", range(3))
def test_every_recovery_ends_and_touches_only_suspects(seed: int, comes_later: bool, cycles: bool) -> None:
    chance, policy = random.Random(seed), ladder.Policy()
    healed = 0
    for _unused in range(300):
        app, faults = some(chance, list(FAULTS), cycles)
        later = {chance.choice(sorted(app.needs)): chance.choice(list(FAULTS))} if comes_later else {}
        ended = recover(app, faults, chance, policy, later)
        assert ended.kind in ("healthy", "hold", "escalate"), (app, faults, later)
        assert len(ended.remedies) <= policy.attempts
        assert touches_only_suspects(app, ended), (app, faults, later, ended.remedies)
        healed += ended.kind == "healthy"
    assert healed >= 180


def test_a_health_check_that_never_passes_does_not_hide_a_fault() -> None:
    """With enough attempts, users are served in the end."""
    chance, policy = random.Random(3), ladder.Policy(attempts=30)
    for _unused in range(300):
        app = an_app(chance)
        liar, faulty = (chance.choice(sorted(app.needs)) for _unused in range(2))
        kind = chance.choice([kind for kind in FAULTS if kind != "looping"])
        ended = recover(app, {faulty: kind}, chance, policy, liars=frozenset({liar}), suffer=0.0)
        assert ended.kind in ("healthy", "hold", "escalate")
        assert ended.serves, (app, liar, faulty, kind, ended)


def test_services_with_data_are_suspected_last() -> None:
    chance = random.Random(7)
    for _unused in range(500):
        app = an_app(chance)
        found = diagnosis.diagnose(seen(app, {app.front: "deadlock"}, chance))
        if app.front not in app.stateful:
            assert not set(found.services) & set(app.stateful), app
