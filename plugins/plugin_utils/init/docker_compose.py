# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask this machine's own Compose, where there is one, whether it accepts the files. It contacts no engine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

from ansible_collections.christmas.selfheal.plugins.module_utils.core.redact import redact
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError, Project

_SECONDS = 30
# What Docker says when there is no Compose, or one that is too old for these options.
_NOT_ASKED = ("is not a docker command", "unknown command", "unknown shorthand flag", "unknown flag")


def require_valid(project: Project) -> None:
    """Refuse what Compose refuses. Values are not put in, so a missing one does not matter.

    :raises InitError: with what Compose says, without values of env files.
    """
    docker = shutil.which("docker")
    if docker is None:
        return
    named = [word for file in project.files for word in ("--file", file)]
    argv = [docker, "compose", *named, "config", "--quiet", "--no-interpolate"]
    try:
        ended = subprocess.run(
            argv, cwd=project.folder, capture_output=True, text=True, timeout=_SECONDS, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    said = " ".join(ended.stderr.split())
    if ended.returncode == 0 or any(word in said for word in _NOT_ASKED):
        return
    raise InitError(
        ", ".join(project.files), f"docker compose refuses it: {redact(said, _values(project))}", "correct the file"
    )


def _values(project: Project) -> Mapping[str, str]:
    found = {name: one.value for name, one in project.env.items()}
    for settings in project.env_files.values():
        found.update({f"{one.place.file} {name}": one.value for name, one in settings.items()})
    return found
