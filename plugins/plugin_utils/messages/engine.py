# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why the engine cannot be used, and what to do. Pure."""

from __future__ import annotations

# The value of docker_engine_packages with which the role installs nothing.
EXISTING = "existing"


def engine_start_failure(reason: str, packages: str, host: str) -> str:
    """Return why the engine does not start.

    :arg packages: docker_engine_packages.
    """
    if packages == EXISTING:
        advice = (
            'docker_engine_packages is "existing", so nothing was installed: install Docker, or set it to debian or '
            "docker."
        )
    else:
        advice = "See `journalctl -u docker -n 50` there."
    return f"The engine on {host} does not start: {reason}. {advice}"


def engine_too_old(what: str, found: str, needed: str, packages: str, host: str) -> str:
    """Return that the engine, or its Compose plugin, is too old or missing.

    :arg packages: docker_engine_packages.
    """
    upgrade = "set docker_engine_packages to docker and give docker_engine_repository"
    advice = "upgrade it there" if packages == EXISTING else upgrade
    return f"{what} on {host}: found {found or 'none'}, needed {needed} or newer. Fix: {advice}."
