# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cause + what was tried → the next remedy. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

PROVED_ENV = "proved_env"
LAST_GOOD_ENV = "last_good_env"
UP = "up"
RECREATE = "recreate"

LADDERS: dict[str, tuple[str, ...]] = {
    "env_invalid": (PROVED_ENV, LAST_GOOD_ENV),
    "container_missing": (UP, RECREATE),
    "out_of_memory": (UP, RECREATE),
    "crash_loop": (RECREATE, LAST_GOOD_ENV),
    "stopped": (UP, RECREATE),
    "not_listening": (RECREATE, LAST_GOOD_ENV),
    "hung": (RECREATE,),
    "erroring": (RECREATE, LAST_GOOD_ENV),
    "unknown": (RECREATE,),
}
"""Remedies by cause, mildest first. A cause without a ladder is one that no remedy here can cure: a person is told."""

# A new env is only in force once the containers are made anew with it, so every env written may be followed by these.
_REARMED_BY_ENV = frozenset({UP, RECREATE})

NEXT_STEP = {
    "engine_down": "Start the engine (systemctl start docker) and read its journal (journalctl -u docker -n 50).",
    "disk_full": "Free space (df -h; docker system df), without deleting volumes.",
    "env_invalid": "Correct the named variables in the vault, and prove them with playbooks/validate.yml.",
    "config_damaged": "Have playbooks/site.yml write the compose files anew: it validates them first.",
    "port_taken": "Stop the process that holds the port, or publish the app on another one.",
    "upstream_down": "Do not restart the app: it is not at fault. Look at the service that is named.",
    "out_of_memory": "Raise the service's memory in compose_app_services, or find the leak with the logs kept.",
}
"""What is left to a person, by cause; `next_step` has the words for the others."""


def next_remedy(cause: str, tried: Sequence[str], available: Collection[str]) -> str | None:
    """Return the mildest remedy for `cause` that is available and was not tried yet; None means: escalate.

    :arg tried: the remedies already applied in this incident, oldest first.
    """
    spent = set(tried)
    for index in range(len(tried) - 1, -1, -1):
        if tried[index] in (PROVED_ENV, LAST_GOOD_ENV):
            spent = set(tried) - (_REARMED_BY_ENV - set(tried[index + 1 :]))
            break
    for remedy in LADDERS.get(cause, ()):
        if remedy in available and remedy not in spent:
            return remedy
    return None


def next_step(cause: str) -> str:
    """Return what a person does next when the ladder for `cause` has come to its end."""
    other = "Read the evidence kept with the incident, the last log lines first; correct the app and deploy it."
    return f"{NEXT_STEP.get(cause, other)} Then run recover.yml again."
