# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which services of a model are jobs, and what Compose copies into a container. Pure.

The watcher needs this of the overlay's knowledge, and its memory has no room for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..docker.model import Model, Services, Spec

# On the container of a job, so that all who look at it, not only at the model, know that it is one.
JOB_LABEL = "christmas.selfheal.job"
JOB_MODES = ("replicated-job", "global-job")
COMPLETED = "service_completed_successfully"


def jobs(model: Model) -> frozenset[str]:
    """The services of a model that run once and exit: awaited as such, of a job's mode, or marked by the overlay.

    :arg model: as `docker compose config` has it. Without the overlay, what only the table says is unknown.
    """
    services: Services = model.get("services") or {}
    found = {name for name, spec in services.items() if _is_job(spec)}
    for spec in services.values():
        found.update(_awaited(spec))
    return frozenset(found.intersection(services))


def _is_job(spec: Spec) -> bool:
    """Whether a service itself says that it is a job."""
    if (spec.get("deploy") or {}).get("mode") in JOB_MODES:
        return True
    return str((spec.get("labels") or {}).get(JOB_LABEL, "")).lower() == "true"


def _awaited(spec: Spec) -> set[str]:
    """The services whose end a service waits for."""
    needs = spec.get("depends_on") or {}
    return {name for name, how in needs.items() if how.get("condition") == COMPLETED}


def copied_files(spec: Spec, model: Model) -> list[str]:
    """The configs and secrets that Compose copies into the container once it is created, e.g. ["config app"].

    A read-only root refuses that ("container rootfs is marked read-only"), under a tmpfs, too. The next `up` would
    start the container without them.
    """
    found = []
    for kind in ("configs", "secrets"):
        defined = model.get(kind) or {}
        for used in spec.get(kind) or []:
            source = str(used.get("source", "")) if isinstance(used, Mapping) else str(used)
            if {"content", "environment"}.intersection(defined.get(source) or {}):
                found.append(f"{kind[:-1]} {source}")
    return list(dict.fromkeys(found))
