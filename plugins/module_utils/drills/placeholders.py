# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The values of the placeholders of a fault on one host. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..docker.containers import Document
from ..docker.project_layout import HARDENED_FILE
from .fault import Values
from .options import Options

KEEP = "/run/selfheal-drill"


def keep(app: str) -> str:
    """The folder on the host with copies of the app's files while a fault lasts."""
    return f"{KEEP}/{app}"


def known(options: Options) -> Values:
    """The values for which no container has to be inspected."""
    return {
        "app": options.app,
        "host": options.host,
        "address": options.address,
        "directory": options.directory,
        "keep": keep(options.app),
        "compose": _compose(options, {}),
        "standin": options.standin,
        "fault_file": options.fault_file,
        "secret": options.secret,
    }


def of_containers(options: Options, containers: Sequence[Document], port: str) -> Values:
    """All values: those of a container are of the one that publishes the port that is asked, else of the first.

    :arg containers: one at least.
    """
    by_name = sorted(containers, key=lambda one: str(one["Name"]))
    publishing = [one for one in by_name if port in _published(one)]
    main = (publishing or by_name)[0]
    labels = main["Config"].get("Labels") or {}
    return {
        **known(options),
        "compose": _compose(options, labels),
        "container": main["Name"].lstrip("/"),
        "image": main["Config"]["Image"],
        "image_id": main["Image"],
        "service": labels.get("com.docker.compose.service", ""),
        "pid": main["State"]["Pid"],
        "port": port,
    }


def _compose(options: Options, labels: Mapping[str, str]) -> list[str]:
    """`docker compose` with the files and the project directory that a container was created from."""
    folder = options.directory
    made_from = labels.get("com.docker.compose.project.config_files", "").split(",")
    files = made_from if made_from != [""] else [f"{folder}/{name}" for name in ("compose.yaml", HARDENED_FILE)]
    top = labels.get("com.docker.compose.project.working_dir", folder)
    env = [f"--env-file={folder}/.env"] if top != folder else []
    words = [f"--project-name={options.app}", f"--project-directory={top}", *env]
    return ["docker", "compose", *words, *(f"--file={name}" for name in files)]


def _published(container: Document) -> set[str]:
    bound = (container["HostConfig"].get("PortBindings") or {}).values()
    return {str(one["HostPort"]) for binding in bound for one in binding or []}
