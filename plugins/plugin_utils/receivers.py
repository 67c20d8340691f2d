# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kinds of receivers of alerts: the keys of an entry, and the secret among them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from ansible_collections.christmas.selfheal.plugins.plugin_utils.as_list import as_list
from ansible_collections.christmas.selfheal.plugins.plugin_utils.needed_packages import NeededPackage

Receiver = TypedDict(
    "Receiver",
    {
        "kind": str,
        "severities": list[str] | str,
        "chat_id": int,
        "message_thread_id": int | str,
        "token": str,
        "api_url": str,
        "to": list[str] | str,
        "from": str,
        "smarthost": str,
        "username": str,
        "password": str,
        "require_tls": bool,
        "url": str,
        "channel": str,
    },
    total=False,
)
"""An entry of `alerting_receivers`. Its kind says which keys it has; `from` is a keyword of Python."""


class Rule(TypedDict, total=False):
    """What a value must be, as in a table of variables."""

    kind: str
    pattern: str
    min_length: int


class SecretVariable(Rule):
    """A secret as an entry of the table that secrets_validate takes."""

    name: str
    secret: bool
    source: str


class Secret(NamedTuple):
    """The key that holds a secret, the rule that validates its value, and where a person gets a new one."""

    key: str
    rule: Rule
    source: str


class Kind(NamedTuple):
    """What an entry must have, what it may have, and the secret among it."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    secret: Secret


class SecretFile(TypedDict):
    """A file on the host that holds one secret."""

    path: str
    mode: str
    content: object


class Secrets(TypedDict):
    """The secrets of a table of receivers, to be validated, and the files that hold them."""

    variables: list[SecretVariable]
    values: dict[str, object]
    files: list[SecretFile]


class RouteReceiver(TypedDict):
    """A receiver of Alertmanager, and whether it is notified when an alert is over."""

    name: str
    resolved: bool


class Route(TypedDict):
    """Who is notified of what.

    `severity` is a pattern for Prometheus. `escalates`: an incident that escalates goes to a receiver of its own, and
    the first one reports its end. `reports`: the monthly report goes there too; it has no end.
    """

    name: str
    kind: str
    severity: str
    escalates: bool
    critical: bool
    reports: bool
    receivers: list[RouteReceiver]
    entry: Receiver


KINDS = {
    "telegram": Kind(
        ("chat_id", "token"),
        ("api_url", "message_thread_id"),
        Secret("token", {"kind": "pattern", "pattern": "[0-9]+:[A-Za-z0-9_-]{30,}"}, "BotFather, /token"),
    ),
    "email": Kind(
        ("to", "from", "smarthost"),
        ("username", "password", "require_tls"),
        Secret("password", {"kind": "text", "min_length": 6}, "the administrator of the mail server"),
    ),
    "slack": Kind(("url",), ("channel",), Secret("url", {"kind": "url"}, "Slack, Incoming Webhooks")),
    "slack_bot": Kind(
        ("token", "channel"),
        ("api_url",),
        Secret(
            "token",
            {"kind": "pattern", "pattern": "xox[abep]-[A-Za-z0-9.-]{20,}"},
            "Slack, OAuth & Permissions, Bot User OAuth Token",
        ),
    ),
}
SEVERITIES = ("warning", "critical")
COMMON_KEYS = ("kind", "severities")
DEADMAN = Secret("url", {"kind": "url"}, "the dead-man's switch, the address of the check")
DEADMAN_OPTION = "alerting_deadman_url"
_MODE = "0640"
# Alertmanager has auth_password_file since 0.25, bot_token_file and url_file since 0.26, message_thread_id since 0.28.
_OLDEST, _WITH_FILES, _WITH_TOPICS = "0.25", "0.26", "0.28"


def routes(receivers: Sequence[Receiver]) -> list[Route]:
    """Return the route of each entry of the table."""
    return [_route(f"{entry['kind']}-{number}", entry) for number, entry in enumerate(receivers, 1)]


def _route(name: str, entry: Receiver) -> Route:
    severities = [str(severity) for severity in as_list(entry.get("severities", SEVERITIES))]
    critical, reports = "critical" in severities, entry["kind"] == "email"
    escalates = critical and "warning" in severities
    targets = [RouteReceiver(name=name, resolved=True)]
    if escalates:
        targets.append(RouteReceiver(name=f"{name}-escalated", resolved=False))
    if reports:
        targets.append(RouteReceiver(name=f"{name}-report", resolved=False))
    return Route(
        name=name,
        kind=str(entry["kind"]),
        severity="|".join(severities),
        escalates=escalates,
        critical=critical,
        reports=reports,
        receivers=targets,
        entry=entry,
    )


def kind_of(receiver: Receiver) -> str:
    """Return the name of the kind, where Slack has two: it takes a webhook, or the token of a bot."""
    kind = str(receiver["kind"])
    return "slack_bot" if kind == "slack" and "token" in receiver else kind


def secrets(receivers: Sequence[Receiver], deadman_url: str, folder: str) -> Secrets:
    """Return the secrets in the table.

    A bot that writes to two chats has one token. It is validated once, since the same value twice is a finding.

    :arg deadman_url: address of the dead-man's switch, a secret as well; "" when there is none.
    :arg folder: where the files are on the host.
    """
    found = Secrets(variables=[], values={}, files=[])
    for number, receiver in enumerate(receivers, 1):
        secret = KINDS[kind_of(receiver)].secret
        if secret.key in receiver:
            name = f"alerting_receivers_{number}_{secret.key}"
            _add(found, name, secret, receiver.get(secret.key), f"{folder}/{receiver['kind']}-{number}")
    if deadman_url:
        _add(found, DEADMAN_OPTION, DEADMAN, deadman_url, f"{folder}/deadman")
    return found


def packages(receivers: Sequence[Receiver], deadman_url: str) -> list[NeededPackage]:
    """Return the Alertmanager that the configuration of these receivers needs: an entry for each reason.

    :arg deadman_url: address of the dead-man's switch; "" without one.
    """
    table = "alerting_receivers"
    needs = [_alertmanager(_OLDEST, table, f"leave {table} empty")]
    if any(receiver["kind"] == "telegram" for receiver in receivers):
        needs.append(_alertmanager(_WITH_FILES, f"{table}, kind telegram", "use the kinds email and slack only"))
    if any("message_thread_id" in receiver for receiver in receivers):
        needs.append(_alertmanager(_WITH_TOPICS, f"{table}, message_thread_id", "remove message_thread_id"))
    if deadman_url:
        needs.append(_alertmanager(_WITH_FILES, DEADMAN_OPTION, f"leave {DEADMAN_OPTION} empty"))
    return needs


def _alertmanager(minimum: str, option: str, otherwise: str) -> NeededPackage:
    return NeededPackage(name="prometheus-alertmanager", minimum=minimum, option=option, otherwise=otherwise)


def _add(found: Secrets, name: str, secret: Secret, value: object, path: str) -> None:
    if value not in found["values"].values():
        found["variables"].append({"name": name, "secret": True, "source": secret.source, **secret.rule})
        found["values"][name] = value
    found["files"].append(SecretFile(path=path, mode=_MODE, content=value))
