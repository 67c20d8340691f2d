# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What site.yml, deploy.yml, promote.yml and rollback.yml say of a deployment. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

# The message ends with the verdict; more lines than this would push it off the screen.
SHOWN_DIFFERENCES = 30


class Checks(TypedDict):
    """The result of the checks, of which a message needs the summary."""

    summary: str


class Deployment(TypedDict, total=False):
    """The result of the module app_deploy. One that failed has `msg` and no `healthy`."""

    changed: bool
    healthy: bool
    release: str
    differences: Sequence[str]
    checks: Checks
    seconds: float
    msg: str


class Failed(TypedDict, total=False):
    """The result of the module app_deploy when it failed: why, the lines for the inventory, the log's last lines.

    `variables`: names in the env whose values differ from those of the last good release. `refused`: the kind of server
    that refused a login, "" for none.
    """

    msg: str
    hints: Sequence[str]
    log: str
    variables: Sequence[str]
    refused: str


class Failure(NamedTuple):
    """What is shown once, before Ansible shows `msg`: the last lines of the log. `msg` ends with the next step."""

    log: str
    msg: str


def failure(failed: Failed) -> Failure:
    """Return what to show of a deploy that failed."""
    log = failed.get("log", "")
    steps = list(failed.get("hints", [])) or [f"Next: {_next_step(failed)}"]
    return Failure(log, "\n".join([failed["msg"], *steps]))


def _next_step(failed: Failed) -> str:
    # Redis takes its password at each start; the others keep theirs with the data.
    if failed.get("refused") == "Redis":
        return "Redis refused the password: let it and the app use the same variable of .env; then deploy again"
    if failed.get("refused"):
        variables = failed.get("variables", [])
        changed = f". Changed since the last good release: {', '.join(variables)}" if variables else ""
        return (
            f"{failed['refused']} refused the login. Its volume keeps the password of its first start: another value "
            f"in the vault does not change it there{changed}. Write the old value into the vault again, or change "
            "the password in the database first; then deploy again"
        )
    if failed.get("log"):
        return "correct what the log above says, and deploy again"
    return "correct it, and deploy again"


def deploy_message(deployment: Deployment, app: str, host: str, check_mode: bool, rolled_back: bool = False) -> str:
    """Return what differed, a line each, and what serves now; in check mode, what would change.

    :arg rolled_back: whether that was an earlier release.
    """
    changed = deployment["changed"]
    lines = _difference_lines(deployment.get("differences", []), check_mode) if changed else []
    if check_mode:
        verdict = "would be deployed" if changed else "nothing differs"
        return "\n".join([*lines, f"{app} on {host}: {verdict}"])
    summary = deployment["checks"]["summary"]
    outcome = f"deployed in {deployment['seconds']:.1f} s" if changed else "nothing differed"
    lines.append(f"{app} on {host}: release {deployment['release']} serves, {summary}, {outcome}")
    if rolled_back and changed:
        lines.append("The project and the inventory are as they were: correct them, or site.yml deploys them again")
    return "\n".join(lines)


def _difference_lines(differences: Sequence[str], check_mode: bool) -> list[str]:
    label = "would change" if check_mode else "changed"
    lines = [f"{label}: {difference}" for difference in differences[:SHOWN_DIFFERENCES]]
    hidden = len(differences) - SHOWN_DIFFERENCES
    return [*lines, f"and {hidden} more"] if hidden > 0 else lines


def site_message(deployment: Deployment, app: str, host: str) -> str:
    """Return how the app is at the end of site.yml."""
    name = f"{app} on {host}"
    if "healthy" not in deployment:
        return f"{name} is not deployed yet; the restore deploys it: {deployment['msg']}"
    if not deployment["healthy"]:
        return (
            f"{name}: check mode, nothing was changed. A run would deploy it: {'; '.join(deployment['differences'])}."
        )
    outcome = "deployed now" if deployment["changed"] else "nothing to change"
    return f"{name} is healthy: {deployment['checks']['summary']}; release {deployment['release']}, {outcome}."
