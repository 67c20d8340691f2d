# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask a Supabase project whether it accepts the keys.

``GET {URL}/rest/v1/`` with the header ``apikey`` answers 200 to a service key, 401 to a bad one, 403 to the anon key.
``GET {URL}/auth/v1/settings`` answers 200 to either, else 401. New keys are never sent as Bearer: they are not tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..probe import web
from .rules import Finding, read_bare
from .variables import Values, Variable, source_hint

Fetch = Callable[[web.Request], web.Answer]

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404

# Both key formats; anything else is refused by the offline rules, and cannot be in a header.
_SENDABLE = re.compile(r"[A-Za-z0-9._-]{1,4096}")


class _Question(NamedTuple):
    variable: Variable
    path: str
    key: str


def validate_online(
    variables: Sequence[Variable], values: Values, timeout: float, fetch: Fetch = web.fetch
) -> list[Finding]:
    """What the project at the table's ``supabase_url`` says of its keys; ``timeout``: seconds for each question.

    Rules: ``rejected`` (it does not know the key), ``wrong_kind`` (it takes it for the anon key), ``unreachable`` (on
    the URL's variable: it did not answer, or not as Supabase does). Empty: accepted, or nothing to ask. Never raises.
    """
    url = project(variables, values)
    if url is None:
        return []
    findings = []
    for question in _questions(variables, values):
        finding = _ask(*url, question, timeout, fetch)
        if finding is not None:
            findings.append(finding)
            if finding["rule"] == "unreachable":
                break
    return findings


def asks(variables: Sequence[Variable], values: Values) -> bool:
    """Whether `validate_online` has anything to ask."""
    return project(variables, values) is not None and bool(_questions(variables, values))


def project(variables: Sequence[Variable], values: Values) -> tuple[str, str] | None:
    """(variable, base address) of the one project; with several it is not known which key belongs to which."""
    found = {}
    for variable in variables:
        text = read_bare(variable, values) if variable.kind == "supabase_url" else None
        if text is not None and web.address(text) is not None:
            found[text.rstrip("/")] = variable.name
    return next(((name, base) for base, name in found.items()), None) if len(found) == 1 else None


def _questions(variables: Sequence[Variable], values: Values) -> list[_Question]:
    paths = {"supabase_anon_key": "/auth/v1/settings", "supabase_service_key": "/rest/v1/"}
    questions = []
    for variable in variables:
        path = paths.get(variable.kind)
        text = read_bare(variable, values) if path else None
        if path and text and _SENDABLE.fullmatch(text):
            questions.append(_Question(variable, path, text))
    return questions


def _ask(url_name: str, base: str, question: _Question, timeout: float, fetch: Fetch) -> Finding | None:
    try:
        answer = fetch(web.Request(base + question.path, headers=(("apikey", question.key),), timeout=timeout))
    except (web.Fault, ValueError) as fault:
        # A ValueError may quote what it was given.
        reason = str(fault) if isinstance(fault, web.Fault) else "it cannot be asked"
        return _unreachable(url_name, reason, "Check the address, and status.supabase.com.")
    if answer.status == _OK:
        return None
    variable = question.variable
    again = f"Copy it again.{source_hint(variable)}"
    if answer.status == _FORBIDDEN and variable.kind == "supabase_service_key":
        return _finding(variable, "wrong_kind", "the project takes it for the public (anon) key", again)
    if answer.status in (_UNAUTHORIZED, _FORBIDDEN):
        reason = f"the project does not accept it (status {answer.status}): it was revoked, or belongs to another one"
        return _finding(variable, "rejected", reason, again)
    what = f"{question.path} answers {answer.status} where a Supabase project answers 200"
    fix = "Check the address." if answer.status == _NOT_FOUND else "Is the project paused or down? See its dashboard."
    return _unreachable(url_name, what, fix)


def _finding(variable: Variable, rule: str, reason: str, fix: str) -> Finding:
    return Finding(variable=variable.name, rule=rule, reason=reason, fix=fix)


def _unreachable(name: str, reason: str, fix: str) -> Finding:
    return Finding(variable=name, rule="unreachable", reason=reason, fix=fix)
