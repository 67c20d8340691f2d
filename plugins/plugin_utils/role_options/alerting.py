# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules for the options of the role alerting."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import cast

from ansible_collections.christmas.selfheal.plugins.plugin_utils.as_list import as_list
from ansible_collections.christmas.selfheal.plugins.plugin_utils.receivers import COMMON_KEYS, KINDS, Receiver, kind_of
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.rules import error
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.variables import Variables, whole_number

OPTION = "alerting_receivers"


def errors(variables: Variables) -> Iterator[str]:
    """Report what is wrong with the table of receivers."""
    receivers = cast("Sequence[Receiver]", variables.rows(OPTION))
    if not receivers:
        yield error(
            OPTION,
            f"it is empty for {variables.host}, so no one would be notified",
            "Add an entry with kind telegram, email or slack to the inventory",
        )
    yield from table_errors(receivers)


def table_errors(receivers: Sequence[Receiver]) -> Iterator[str]:
    """Report what is wrong with each entry."""
    for number, receiver in enumerate(receivers, 1):
        where = f"{OPTION}, entry {number} ({receiver['kind']})"
        for rule in (_keys, _severities, _slack, _telegram, _email):
            for problem, fix in rule(receiver):
                yield error(where, problem, fix)


# What is wrong with an entry, and the fix.
Found = Iterator[tuple[str, str]]


def _keys(receiver: Receiver) -> Found:
    kind = KINDS[kind_of(receiver)]
    for key in kind.needed:
        if not receiver.get(key):
            yield f"{key} is missing", f"Add `{key}: …` to the entry"
    taken = kind.needed + kind.optional
    for key in receiver:
        if key not in COMMON_KEYS + taken:
            fix = f"Remove it; the entry takes {', '.join(taken)} and severities"
            yield f"{key} is not an option of kind {receiver['kind']}", fix


def _severities(receiver: Receiver) -> Found:
    if "severities" in receiver and not receiver["severities"]:
        problem = "severities is empty, so this receiver would get no alert"
        yield problem, "Remove it, or write [warning, critical]"


def _slack(receiver: Receiver) -> Found:
    if receiver["kind"] != "slack":
        return
    if re.search(r"/api/[a-z.]+[a-zA-Z]*$", str(receiver.get("url") or "")):
        problem = "url is a method of Slack's API, which takes a token, and not a webhook"
        yield problem, "Replace it with `token: …`, the bot's, and `channel: …`"


def _telegram(receiver: Receiver) -> Found:
    if "message_thread_id" in receiver and whole_number(receiver["message_thread_id"]) < 1:
        fix = "Write the number from the topic's link, https://t.me/c/CHAT/NUMBER"
        yield "message_thread_id is not the number of a topic", fix


def _email(receiver: Receiver) -> Found:
    smarthost = str(receiver.get("smarthost") or "")
    if smarthost and not re.search(":[0-9]+$", smarthost):
        yield "smarthost has no port", "Write host:port, for instance mail.example.org:587"
    if receiver["kind"] != "email":
        return
    if bool(receiver.get("username")) != ("password" in receiver):
        yield "username and password must be set together", "Add the missing one, or remove both"
    for address in [receiver.get("from") or "", *as_list(receiver.get("to") or [])]:
        yield from _address(str(address))


def _address(address: str) -> Found:
    if not address:
        return
    if not re.search("^[^@ ]+@[^@ ]+$", address):
        yield f"{address} is not an e-mail address", "Write name@host"
    elif re.search("@(example|your-?domain|domain)[.]", address):
        yield f"{address} is an example address", "Write the real one"
