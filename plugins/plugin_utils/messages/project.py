# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is missing before an app can be deployed, and what to do. Pure."""

from __future__ import annotations

import os


def source_problem(source: str, app: str) -> str:
    """Return why compose_app_source is not usable."""
    if not source:
        return f"compose_app_source is empty: it names the folder on this machine that holds the compose file of {app}."
    return f"{os.path.realpath(source)} is not a folder on this machine: correct compose_app_source."


def checks_problem(defined: bool, app: str, host: str) -> str:
    """Return why an app without checks is refused.

    :arg defined: whether selfheal_checks is defined; then it is empty.
    """
    state = "empty" if defined else "missing"
    return (
        f"selfheal_checks is {state} for {host}, so nothing shows whether {app} works. Fix: add at least one check, "
        "such as the URL of the app's /health (christmas.selfheal.init writes one from a compose file). An app without "
        "HTTP, such as a bot, needs `selfheal_checks: []`; then only the state of its containers is checked."
    )
