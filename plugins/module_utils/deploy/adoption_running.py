# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app as it runs, next to what its files say: what only its start by hand knew is refused, the rest is noted. Pure.

Only containers that were started by hand count: those of a release have the inventory's values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..docker import containers as docker_containers
from ..docker.containers import Container, Document, label
from ..docker.model import Model, Spec
from ..env.placeholders import placeholder
from .adoption_choice import AdoptError, Found


def require_same_values(found: Found, model: Model) -> None:
    """Refuse when a service would start with another environment than it has. Raises AdoptError, with names only."""
    for document, spec in _by_hand(found, model):
        has = docker_containers.environment(document)
        given = spec.get("environment") or {}
        # Compose prints a dollar twice, so that its output can be read again. Without a value, the shell gives it.
        wanted = {key: None if value is None else str(value).replace("$$", "$") for key, value in given.items()}
        names = sorted(name for name, value in wanted.items() if has.get(name) != value)
        if names:
            folder, service = found.origin.folder, label(document, "service")
            unfit = [name for name in names if placeholder(has.get(name) or "")]
            kept = [name for name in names if name in has and name not in unfit]
            raise AdoptError(
                f"service {service}",
                f"it runs with other values than its files give: {', '.join(names)}. A shell gave them at its start, "
                f"or a file has changed since{_unfit(unfit)}",
                f"take the files' values: `docker compose up -d {service}` in {folder}{_kept(document, folder, kept)}",
            )


def _unfit(names: Sequence[str]) -> str:
    """Why a value that runs is not to be kept."""
    return f". It runs with a placeholder: {', '.join(names)}" if names else ""


def _kept(document: Document, folder: str, names: Sequence[str]) -> str:
    """How to keep what runs: a command that prints those values and no other secret of the container."""
    if not names:
        return ""
    env = "'{{range .Config.Env}}{{println .}}{{end}}'"
    shown = f"docker inspect --format {env} {_name(document)} | grep -E '^({'|'.join(names)})='"
    return f". Or keep those that run: write what `{shown}` prints where the files of {folder} set it, such as its .env"


def require_same_scale(found: Found, model: Model) -> None:
    """Refuse when a service has more containers than its files say. Raises AdoptError."""
    count: dict[str, int] = {}
    for document, spec in _by_hand(found, model):
        service = label(document, "service")
        count[service] = count.get(service, 0) + 1
        replicas = (spec.get("deploy") or {}).get("replicas")
        wanted = int(str(spec.get("scale") or replicas or 1))
        if count[service] > wanted:
            raise AdoptError(
                f"service {service}",
                f"it has more containers than its files say ({wanted}): `--scale` is in no file",
                f"write `scale: NUMBER` into {found.origin.files[0]}, or run `docker compose up -d` there first",
            )


def require_same_profiles(found: Found, model: Model, env: Mapping[str, str]) -> None:
    """Refuse when a service runs whose profile no file enables: a deploy leaves it out. Raises AdoptError."""
    enabled = {name.strip() for name in env.get("COMPOSE_PROFILES", "").split(",")}
    for document, spec in _by_hand(found, model):
        profiles = set(map(str, spec.get("profiles") or []))
        is_off = bool(profiles) and not profiles & enabled and "*" not in enabled
        if is_off and document["State"]["Status"] not in ("exited", "created", "dead"):
            names = ",".join(sorted(profiles))
            raise AdoptError(
                f"service {label(document, 'service')}",
                f"it runs, and is of the profile {names}: `--profile` is in no file",
                f"write COMPOSE_PROFILES={names} into {found.origin.folder}/.env, or stop it: "
                f"docker stop {_name(document)}",
            )


def notes(found: Found, model: Model) -> list[str]:
    """Say what will differ from what runs now."""
    services = model.get("services") or {}
    said = [
        f"{_name(one)} is removed: no compose file names its service {label(one, 'service')} any more"
        for one in found.documents
        if label(one, "service") not in services
    ]
    for document, spec in _by_hand(found, model):
        service = label(document, "service")
        image = str(spec.get("image") or "")
        if image and image != document["Config"].get("Image"):
            said.append(f"{service} gets the image {image}, and runs {document['Config'].get('Image')}")
        if label(document, "version").startswith("1.") and not spec.get("container_name"):
            said.append(f"{_name(document)} gets a name with hyphens: Compose v1 created it")
        state = _state(docker_containers.instance(document, 0.0))
        said += [f"{service} {state}"] if state else []
    return list(dict.fromkeys(said))


def _state(one: Container) -> str:
    """What is to know of a container's state; "" for one that runs well."""
    if one["state"] == "exited":
        ended = "has ended" if one["exit_code"] == 0 else "is stopped"
        return f"{ended} (exit code {one['exit_code']}), and is started again"
    if one["state"] == "restarting":
        return f"restarts again and again (exit code {one['exit_code']}): a release with it may not pass its checks"
    if one["state"] != "running":
        return f"is {one['state']} now, and is started"
    return "is unhealthy now: a release with it may not pass its checks" if one["health"] == "unhealthy" else ""


def _by_hand(found: Found, model: Model) -> Iterator[tuple[Document, Spec]]:
    services = model.get("services") or {}
    for document in found.documents:
        service = label(document, "service")
        if service in services and label(document, "project.working_dir") == found.origin.folder:
            yield document, services[service]


def _name(document: Document) -> str:
    return str(document["Name"]).lstrip("/")
