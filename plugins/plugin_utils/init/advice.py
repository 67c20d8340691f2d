# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a person should know of a project before its first deploy: data without a named volume, public ports. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import known_images
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import services as compose
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import Published, Spec


def unnamed_data(services: Mapping[str, Spec], values: Mapping[str, str], file: str) -> list[str]:
    """The databases whose data is in no volume with a name, and in no folder of the host, a sentence each.

    :arg values: the values of `.env`, for paths that are variables.
    :arg file: the compose file, as messages call it.
    """
    return [
        f"{service} stores its data in {folder}, where no named volume is: it is lost when its container is removed. "
        f'Fix, in {file}: add `volumes: ["{service}-data:{folder}"]` to {service}, and `{service}-data:` to the '
        "`volumes:` of the whole file. A new volume is empty, so back up first what is there already"
        for service, spec in services.items()
        for folder in _unnamed(spec, values)
    ]


def _unnamed(spec: Spec, values: Mapping[str, str]) -> Iterator[str]:
    volume = "" if spec.get("build") else known_images.data_folder(dotenv.resolved(str(spec.get("image")), values))
    if not volume or _stores_nothing(spec):
        return
    folder = dotenv.resolved(compose.environment(spec).get("PGDATA") or volume, values).rstrip("/")
    places = [dotenv.resolved(place, values).rstrip("/") for place in _mounted(spec)]
    # The image's own volume is on top of a mount further up.
    held = [place for place in places if not volume.startswith(f"{place}/")] if _is_in(folder, volume) else places
    if not any(_is_in(place, folder) or _is_in(folder, place) for place in held):
        yield volume if _is_in(folder, volume) else folder


def _is_in(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def _mounted(spec: Spec) -> Iterator[str]:
    """Where a service has volumes with a name, folders of the host, or memory on purpose."""
    for item in spec.get("volumes") or []:
        if isinstance(item, Mapping):
            source, target = item.get("source") or item.get("type") == "tmpfs", str(item.get("target") or "")
        else:
            source, rest = compose.mount(str(item))
            target = rest.partition(":")[0]
        if source and target.startswith("/"):
            yield target
    given = spec.get("tmpfs") or []
    for item in [given] if isinstance(given, str) else given:
        yield str(item).partition(":")[0]


def _stores_nothing(spec: Spec) -> bool:
    """Whether it is a cache: `redis-server --save ""` writes no snapshot."""
    command = spec.get("command") or []
    words = command.split() if isinstance(command, str) else [str(word) for word in command]
    pairs = list(zip(words, words[1:]))
    is_log = ("--appendonly", "yes") in pairs
    return not is_log and any(first == "--save" and not second.strip("\"'") for first, second in pairs)


def public_ports(published: Sequence[Published], values: Mapping[str, str]) -> list[str]:
    """The ports that every machine can reach, in one sentence.

    :arg values: the values of `.env`, for ports that are variables.
    """
    found: dict[str, list[str]] = {}
    for one in published:
        port = dotenv.resolved(one.published, values)
        if port and dotenv.resolved(one.address, values) in compose.ANYWHERE:
            found.setdefault(one.service, []).append(port if one.protocol == "tcp" else f"{port}/{one.protocol}")
    shown = ", ".join(f"{', '.join(ports)} ({service})" for service, ports in found.items())
    fix = 'To close one, put an address in front of it in the compose file: "127.0.0.1:…"'
    return [f"Public, past the host's firewall: port {shown}. {fix}"] if found else []
