# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a new release differs from the last good one, and from what runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..core.app import Balancer
from ..docker import images as docker_images
from ..docker.containers import Container
from ..docker.model import Model, Services
from ..releases import store as release_store
from ..releases.store import Identity, Release


def describe(
    wanted: Identity,
    good: Release | None,
    instances: Sequence[Container],
    balanced: Balancer | None,
    expected: Collection[str],
) -> list[str]:
    """Say how the wanted release differs from the last good one and from what runs; [] when it does not."""
    if good is None:
        return ["nothing was deployed here yet"]
    found = [
        f"{name} differs from release {good['id']}" for name in release_store.differing(wanted["files"], good["files"])
    ]
    found += ["the env differs from release " + good["id"]] if wanted["env"] != good["env"] else []
    found += ["the build context differs from release " + good["id"]] if wanted["source"] != good["source"] else []
    found += (
        ["the merged configuration differs from release " + good["id"]]
        if wanted["services"] != good["services"]
        else []
    )
    for service in sorted(wanted["services"]):
        mine = [item for item in instances if item["service"] == service]
        if not mine and service in expected:
            found.append(f"service {service} has no container")
        elif balanced and service == balanced.service and len(mine) != balanced.instances:
            found.append(f"service {service} has {len(mine)} of {balanced.instances} instances")
        for item in mine:
            if item["job_done"]:
                continue
            if item["state"] != "running":
                found.append(f"{item['name']} is {item['state']}")
            elif item["config_hash"] != good.get("labels", {}).get(service, item["config_hash"]):
                found.append(f"{item['name']} was made with another configuration")
            elif item["digest"] != good.get("images", {}).get(service, item["digest"]):
                found.append(f"{item['name']} runs another image")
    return found


def is_same(compared: Identity, good: Release | None) -> bool:
    """Whether the last good release is deployed again, apart from its images."""
    return good is not None and all(compared[key] == good[key] for key in ("files", "env", "source", "services"))


def pulled_images(model: Model, build: bool) -> dict[str, str]:
    """{service: image} of a merged model's services whose image no service builds here."""
    services: Services = model.get("services") or {}
    built = {spec.get("image") for spec in services.values() if build and "build" in spec}
    return {
        name: str(spec["image"]) for name, spec in services.items() if spec.get("image") and spec["image"] not in built
    }


def moved_images(model: Model, good: Release | None, build: bool) -> list[str]:
    """Say which images that are not built here have moved since the last good release, under the same names."""
    found = []
    for service, name in sorted(pulled_images(model, build).items()):
        if good is None or good["names"].get(service) != name:
            continue
        there = docker_images.image_id(name)
        if there and there != good["images"][service]:
            found.append(f"service {service}: {name} is another image than that of release {good['id']}")
    return found


def other_images(images: Mapping[str, str], good: Release | None) -> list[str]:
    """Say which of these images, {service: image id}, are not those of the last good release."""
    if good is None:
        return []
    return [
        f"the image of service {service} differs from release {good['id']}"
        for service, image in sorted(images.items())
        if good["images"].get(service) != image
    ]
