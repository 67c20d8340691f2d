# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The model of a scratch project: a backup's databases, next to the app and isolated from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..docker.model import Model, Spec

# What ties a service to the app, to the network, or to a number of instances.
_NOT_SCRATCH = (
    *("ports", "expose", "networks", "network_mode", "links", "external_links", "mac_address"),
    *("depends_on", "container_name", "build", "profiles", "scale", "pid", "ipc", "volumes_from"),
)
# `up --wait` of Compose 2.26 fails for a container whose health check is disabled.
_NO_CHECK = {"test": ["CMD", "true"], "interval": "1s"}


def scratch_model(
    model: Model,
    services: Iterable[str],
    images: Mapping[str, str],
    names: Mapping[str, str],
    waited: Iterable[str] = (),
) -> Model:
    """The services that run databases, alone: without ports, without a way out of their network, with own volumes.

    Each may use twice its memory: a Redis loads its dump from a second one in the same container.

    :arg waited: the services whose server the caller waits for: a health check would connect to what is replaced.
    :arg images: {service: image id}. :arg names: {volume's key: name of the volume that takes its place}.
    """
    made: dict[str, Spec] = {}
    for name in sorted(set(services)):
        spec = dict(model["services"][name])
        for key in _NOT_SCRATCH:
            spec.pop(key, None)
        spec.update(restart="no", image=images.get(name) or spec.get("image"))
        spec.update({key: _twice(spec[key]) for key in ("mem_limit", "memswap_limit") if key in spec})
        if name in waited or (spec.get("healthcheck") or {}).get("disable"):
            spec["healthcheck"] = dict(_NO_CHECK)
        # The number of instances, which may be 0, and placements are dropped.
        resources = (spec.pop("deploy", None) or {}).get("resources") or {}
        if "memory" in (resources.get("limits") or {}):
            resources = {
                **resources,
                "limits": {**resources["limits"], "memory": _twice(resources["limits"]["memory"])},
            }
        if resources:
            spec["deploy"] = {"resources": resources}
        spec["volumes"] = [
            mount
            for mount in spec.get("volumes") or []
            if mount.get("type") != "volume" or mount.get("source") in (None, "", *names)
        ]
        made[name] = spec
    return {
        "services": made,
        "networks": {"default": {"internal": True}},
        "volumes": {key: {"name": name, "external": True} for key, name in names.items()},
        **{key: model[key] for key in ("configs", "secrets") if model.get(key)},
    }


def _twice(size: object) -> object:
    """Twice a size as `docker compose config` writes it, in bytes; another text, or unlimited, stays."""
    return str(2 * int(str(size))) if str(size).isdigit() else size
