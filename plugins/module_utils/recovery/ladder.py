# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cause + this incident's history + policy → the next remedy, a wait, a hold, or a person. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.clock import iso
from ..records.incidents import RemedyRecord

RESTART = "restart"
UP = "up"
RECREATE = "recreate"
PROVED_ENV = "proved_env"
LAST_GOOD_ENV = "last_good_env"
LAST_GOOD_COMPOSE = "last_good_compose"
LAST_GOOD_RELEASE = "last_good_release"
FREE_SPACE = "free_space"
START_ENGINE = "start_engine"
RESTART_ENGINE = "restart_engine"
REBUILD_NETWORK = "rebuild_network"
RESTART_BALANCER = "restart_balancer"

# They only put files back, which are in force once the containers are recreated with them.
FILES = frozenset({PROVED_ENV, LAST_GOOD_ENV, LAST_GOOD_COMPOSE, LAST_GOOD_RELEASE})
TOUCHING = frozenset(
    {RESTART, UP, RECREATE, FREE_SPACE, START_ENGINE, RESTART_ENGINE, REBUILD_NETWORK, RESTART_BALANCER}
)
"""Remedies that touch containers, the engine or the disk: the breaker counts them."""

OF_SERVICES = frozenset({RESTART, RECREATE})
"""Remedies that touch the services at fault alone."""

_BACK = (LAST_GOOD_ENV, RECREATE, LAST_GOOD_COMPOSE, LAST_GOOD_RELEASE)

LADDERS: dict[str, tuple[str, ...]] = {
    "engine_down": (START_ENGINE, RESTART_ENGINE),
    "engine_hung": (RESTART_ENGINE,),
    "disk_full": (FREE_SPACE, UP),
    # What is down may have its data on another disk.
    "disk_read_only": (UP,),
    "env_invalid": (PROVED_ENV, LAST_GOOD_ENV),
    "config_damaged": (LAST_GOOD_COMPOSE, LAST_GOOD_RELEASE),
    "balancer_down": (RESTART_BALANCER,),
    "replaced_by_hand": (UP, RECREATE),
    "image_missing": (UP, LAST_GOOD_RELEASE, RECREATE),
    "container_missing": (UP, RECREATE, LAST_GOOD_COMPOSE, LAST_GOOD_RELEASE),
    "out_of_memory": (UP, RESTART, RECREATE),
    # Each of these is available only where it may change what the app logs in with, or where it does not run at all.
    "credentials_refused": (LAST_GOOD_ENV, UP, RECREATE),
    "crash_loop": (RECREATE, *_BACK),
    "crashed": (UP, RECREATE, *_BACK),
    "network_broken": (RECREATE, REBUILD_NETWORK, RESTART_ENGINE),
    "not_listening": (RESTART, RECREATE, *_BACK),
    "hung": (RESTART, RECREATE, LAST_GOOD_RELEASE),
    "unhealthy": (RESTART, RECREATE),
    "erroring": (RESTART, RECREATE, *_BACK),
    "unknown": (RESTART, RECREATE),
}
"""Remedies by cause, mildest first. A cause without a ladder is one that no remedy here can cure."""

# A restart cannot help, and would take away what still works.
HOLD = {
    "upstream_down": "the app is not at fault; it is still checked, and a restart would not help",
    "rate_limited": "the app is not at fault; it is checked less often for a while",
    "maintenance": "the app says that it will be back; it is still checked",
    "database_recovering": "a restart would have the database start over; it is still checked",
    "overloaded": "the app answers, slowly; a restart would throw away the work that it is doing",
}
# While a container starts, it is looked at this often: what seemed to start may turn out to crash again and again.
LOOK_SECONDS = 2.0
# While a person works on the app: mostly, that is over in seconds.
BY_HAND_SECONDS = 0.5
# While nothing can be done, the cause is asked for again: another one may have come.
HOLD_SECONDS = 10.0
# Containers that were just started may look like this for a while.
STARTING = frozenset({"not_listening", "hung", "erroring", "unknown", "crashed", "unhealthy", "replaced_by_hand"})

NEXT_STEP = {
    "engine_incomplete": "Install the package that is named (apt-get install), or run christmas.selfheal.site.",
    "engine_down": "Start the engine (systemctl start docker) and read its journal (journalctl -u docker -n 50).",
    "engine_hung": "Restart the engine (systemctl restart docker) and read its journal (journalctl -u docker -n 50).",
    "disk_full": "Free space (df -h; docker system df), without deleting volumes.",
    "disk_read_only": "Read what the kernel says of the disk (dmesg), save what the backups do not hold, and check the "
    "file system (fsck) before it is written to again.",
    "env_invalid": "Correct {about} in the vault, and validate the env with christmas.selfheal.validate.",
    "credentials_refused": "The login of {about} is refused, and no restart helps. Correct the variable in the vault "
    "and run christmas.selfheal.site, or give that user the vault's password on the server. Variables such as "
    "POSTGRES_PASSWORD count only while a volume is empty.",
    "config_damaged": "Have christmas.selfheal.site write the compose files again: it validates them first.",
    "balancer_down": "Read why HAProxy does not start (journalctl -u haproxy -n 20), and run christmas.selfheal.site.",
    "balancer_disagrees": "Run christmas.selfheal.site: it makes HAProxy ask what the health check of selfheal_checks "
    "asks. A slot in MAINT was taken out by hand: systemctl reload haproxy brings it back.",
    "port_taken": "Stop the process or container that holds the port, or publish the app on another one.",
    "replaced_by_hand": "Run christmas.selfheal.site, which starts the release, and do not run `docker compose` in "
    "{about}.",
    "image_missing": "Deploy again with christmas.selfheal.site, which builds or pulls the image, or with "
    "christmas.selfheal.promote, which brings it from staging.",
    "upstream_down": "Do not restart the app: it is not at fault. Look at the service that is named.",
    "maintenance": "Wait for the time that the app names. If it is not back by then, end its maintenance.",
    "database_recovering": "Do not restart the database: it would start over. Its log says how far it is.",
    "rate_limited": "Do not restart the app. Let it allow the checks, which come from this host, or ask less.",
    "overloaded": "Do not restart the app. Find what keeps the host busy (top), or give it more.",
    "out_of_memory": "Raise the service's memory in compose_app_services, or find the leak with the logs kept.",
    "network_broken": "Look at the firewall (iptables-save, nft list ruleset): remove the rule that is named, or find "
    "what flushed Docker's rules.",
}
"""What is left to a person, by cause; `next_step` has the words for the others."""


class PolicyError(ValueError):
    """The policy makes no sense; the message names the key and the fix."""


class Policy(NamedTuple):
    """The settings of the breaker.

    At most `attempts` in `window` seconds; waits of `backoff_first` doubling to `backoff_longest` seconds between
    climbs; after `clean` healthy seconds all is forgotten.
    """

    attempts: int = 5
    window: float = 1800.0
    backoff_first: float = 10.0
    backoff_longest: float = 300.0
    clean: float = 600.0


class Attempt(NamedTuple):
    """One remedy, begun `age` seconds ago. `refused`: it failed at once, so the breaker does not count it.

    `unasked`: users were served meanwhile; then it holds nothing back that they need.
    """

    remedy: str
    age: float
    incident: str
    refused: bool = False
    unasked: bool = False


class Situation(NamedTuple):
    """What happened so far. `tried`: remedies of this incident, `attempts`: of all, both oldest first.

    `paused`, `busy`: why nothing may be done now, or ""; `by_hand`: what a person does to the app just now, or "".
    `starting`: seconds that a container may still take to start.
    `unasked`: all checks pass, and a service is sick that none asks.
    """

    incident: str
    tried: Sequence[str]
    attempts: Sequence[Attempt]
    paused: str = ""
    busy: str = ""
    by_hand: str = ""
    escalated: bool = False
    starting: float = 0.0
    unasked: bool = False


class Decision(NamedTuple):
    """`kind` is act (then `remedy` says what), wait (for `seconds`), hold (look again) or escalate (tell a person)."""

    kind: str
    remedy: str = ""
    seconds: float = 0.0
    why: str = ""


_LIMITS = {
    "attempts": (1, 100),
    "window": (60, 86400),
    "backoff_first": (1, 3600),
    "backoff_longest": (1, 86400),
    "clean": (10, 86400),
}


def check_policy(given: Any) -> Policy:
    """Read a policy as people write it, defaults put in. Raises PolicyError."""
    if not isinstance(given, Mapping):
        raise PolicyError("policy: expected a mapping. Fix: write {attempts: 5, window: 1800, …}")
    for key, value in given.items():
        if key not in _LIMITS:
            raise PolicyError(f"policy: unknown key `{key}`. Fix: use one of {', '.join(_LIMITS)}")
        least, most = _LIMITS[key]
        whole = key != "attempts" or isinstance(value, int)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most or not whole:
            raise PolicyError(f"policy: `{key}` is {value!r}. Fix: write a number from {least} to {most}")
    policy = Policy(**given)
    if policy.backoff_longest < policy.backoff_first:
        raise PolicyError("policy: `backoff_longest` is less than `backoff_first`. Fix: make it as long or longer")
    return policy


def decide(cause: str, situation: Situation, available: Collection[str], policy: Policy | None) -> Decision:
    """Return what is to be done now.

    :arg available: the remedies that would do something here.
    :arg policy: None when a person asked: then neither a pause, nor a back-off, nor the breaker holds anything back.
    """
    if policy is None:
        remedy = _next(cause, situation.tried, available)
        return Decision("act", remedy) if remedy else _escalate(cause, situation)
    if situation.paused:
        return Decision("hold", why=f"paused: {situation.paused}")
    if situation.busy:
        return Decision("hold", why=situation.busy)
    if situation.by_hand:
        return Decision("wait", seconds=BY_HAND_SECONDS, why=situation.by_hand)
    if cause in HOLD:
        return Decision("hold", why=HOLD[cause])
    if cause not in LADDERS:
        return _escalate(cause, situation)
    if situation.starting > 0 and cause in STARTING:
        look = min(situation.starting, LOOK_SECONDS)
        return Decision("wait", seconds=look, why="a container was just started and may need a while")
    return _climb(cause, situation, available, policy)


def tried(remedies: Sequence[RemedyRecord], services: Collection[str]) -> list[str]:
    """The names of the remedies of an incident, oldest first, that count as tried where `services` are at fault."""
    touched: dict[str, set[str]] = {}
    for one in remedies:
        if one.get("services"):
            touched.setdefault(one["name"], set()).update(one["services"])
    return [
        one["name"]
        for one in remedies
        if not one.get("services") or (services and set(services) <= touched[one["name"]])
    ]


TOO_FRESH = "the last attempt is too fresh"
"""How the reason begins why the next attempt waits."""


def _climb(cause: str, situation: Situation, available: Collection[str], policy: Policy) -> Decision:
    fresh = [attempt for attempt in situation.attempts if attempt.age < policy.window]
    every = [attempt for attempt in fresh if situation.unasked or not attempt.unasked]
    recent = [attempt for attempt in every if attempt.remedy in TOUCHING]
    counted = [attempt for attempt in recent if not attempt.refused]
    remedy = _next(cause, situation.tried, available)
    paced = [attempt for attempt in recent if _alike(attempt.remedy, remedy)]
    rounds = len({attempt.incident for attempt in paced} - {situation.incident}) if not _own(situation, recent) else 0
    if remedy is None:
        if not situation.escalated:
            return _escalate(cause, situation)
        if situation.unasked:
            return Decision("hold", why="it needs a person, and users are served; it is still watched")
        # A person knows. Until then the whole ladder is climbed again now and then: what could not be may be by now.
        last = {name: at for at, name in enumerate(situation.tried)}
        # The one that was tried longest ago.
        remedy = min(
            (name for name in LADDERS[cause] if name in available), key=lambda n: last.get(n, -1), default=None
        )
        if remedy is None:
            return Decision("hold", why="no remedy here can help; it is still checked")
        # Files that were put back in vain count here, too: without a pause they would be put back for ever.
        paced, rounds = every, max(1, len(_own(situation, every)))
    if remedy in TOUCHING and len(counted) >= policy.attempts:
        if not situation.escalated:
            return _escalate(cause, situation, f"{len(counted)} attempts in {policy.window / 60:.0f} min did not last")
        left = policy.window - max(attempt.age for attempt in counted)
        return Decision(
            "hold", seconds=left, why=f"the breaker is open for another {left / 60:.0f} min; it is still checked"
        )
    left = _back_off(rounds, policy) - min((attempt.age for attempt in paced), default=float("inf"))
    if rounds and left > 0:
        return Decision("wait", seconds=left, why=f"{TOO_FRESH}: the next one in {left:.0f} s")
    return Decision("act", remedy)


def _own(situation: Situation, recent: Sequence[Attempt]) -> list[Attempt]:
    return [attempt for attempt in recent if attempt.incident == situation.incident]


def _alike(one: str, other: str | None) -> bool:
    """Whether a remedy waits for what another did lately: a container may be started as soon as there is room."""
    apart = (FREE_SPACE, START_ENGINE)
    return one == other if one in apart or other in apart else True


def _back_off(rounds: int, policy: Policy) -> float:
    """The pause before the climb that follows `rounds` others: 10 s, 20 s, … as in CrashLoopBackOff of Kubernetes."""
    return min(policy.backoff_first * 2.0 ** (rounds - 1), policy.backoff_longest) if rounds else 0.0


def _escalate(cause: str, situation: Situation, why: str = "") -> Decision:
    if situation.escalated:
        return Decision("hold", why="it needs a person; it is still checked")
    tried = set(situation.tried) & set(LADDERS.get(cause, ()))
    why = why or ("every remedy for this cause was tried" if tried else "no remedy here can cure this")
    return Decision("escalate", why=why)


def _next(cause: str, tried: Sequence[str], available: Collection[str]) -> str | None:
    """The mildest remedy for `cause` that is available and was not tried yet.

    Files that were put back are only in force once the containers are recreated with them: that is next, and all that
    makes containers counts as not tried yet. What ended again and again for want of room is started once there is some.
    """
    if cause == "crash_loop" and list(tried[-1:]) == [FREE_SPACE] and UP in available:
        return UP
    newest = next((index for index in range(len(tried) - 1, -1, -1) if tried[index] in FILES), None)
    spent = set(tried)
    if newest is not None:
        since = set(tried[newest + 1 :])
        spent -= {UP, RECREATE} - since
        if not since & {UP, RECREATE} and cause in LADDERS and RECREATE in available and cause not in _FILES_ALONE:
            return RECREATE
    return next((name for name in LADDERS.get(cause, ()) if name in available and name not in spent), None)


# Causes that another file may cure by itself, or that recreating containers does not touch.
_FILES_ALONE = frozenset(
    {"env_invalid", "config_damaged", "engine_down", "engine_hung", "engine_incomplete", "disk_full", "disk_read_only"}
)


def next_step(cause: str, about: str, flags: str, evidence: str, by_person: bool) -> str:
    """Return what a person does next when the ladder for `cause` has come to its end.

    :arg about: what the diagnosis has to say of it, such as the names of variables.
    :arg flags: those that keep a remedy from writing a file, with their commands.
    :arg evidence: the folder of the incident.
    :arg by_person: whether a person ran this recovery. The watcher goes on by itself.
    """
    if by_person:
        after = "Then run christmas.selfheal.recover again."
    else:
        after = "The watcher does the rest." if flags else "The incident ends by itself once the checks pass."
    return f"{flags}. {after}" if flags else f"{_advice(cause, about, evidence)} {after}"


def next_of_watcher(cause: str, decision: Decision, about: str, evidence: str, now: float) -> str:
    """Return what happens next while the watcher waits or holds, and has not left the incident to a person.

    :arg now: epoch seconds.
    """
    if decision.kind == "hold" and decision.why == HOLD.get(cause):
        return f"{_advice(cause, about, evidence)} The watcher notices by itself when it is over."
    if decision.kind == "wait" and decision.seconds > LOOK_SECONDS:
        return f"The watcher tries again at {iso(now + decision.seconds)[11:19]} UTC; {_NOTHING_YET}"
    return f"The watcher looks again within {HOLD_SECONDS:.0f} s; {_NOTHING_YET}"


_NOTHING_YET = "there is nothing to do for you yet."


def _advice(cause: str, about: str, evidence: str) -> str:
    other = f"Read the evidence in {evidence}, the last log lines first; correct the app and deploy it."
    return NEXT_STEP.get(cause, other).format(about=about or "what the evidence names")
