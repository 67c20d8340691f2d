# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask a person for what init guesses or misses: the host, missing values, checks. Enter takes the default each time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import guess, kinds
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import (
    Entry,
    Flaw,
    Guessed,
    Place,
    Project,
    Setting,
)

Ask = Callable[[str, bool], str]
"""Show a question and return the answer in one line; with True, what is typed is not shown.

:raises NoTerminal: this run has no terminal to ask on.
"""
_ATTEMPTS = 3


class NoTerminal(Exception):
    """The defaults are taken."""


def host(ask: Ask, problem: Callable[[str], str]) -> str:
    """The server's address, "" for the example.

    :arg problem: why a text is not an address, "" when it is one.
    """
    question = "The server, as ADDRESS or USER@ADDRESS (Enter: later)"
    return _answer(ask, question, False, problem)


def values(project: Project, known: Sequence[str], now: float, ask: Ask) -> Project:
    """The project with the values that the person gives in place of placeholders and missing ones.

    :arg known: variables that the inventory has: their values are not changed by this run.
    """
    entries = {one.name: one for one in guess.guess(project, now).variables}
    for flaw in _unfilled(project, now):
        if flaw.name in known or flaw.name not in entries:
            continue
        entry = entries[flaw.name]
        hidden = "Its value, not shown" if entry.in_vault else "Its value"
        question = f"{flaw.name} ({flaw.place}): {flaw.reason}. {hidden} (Enter: later)"
        given = _answer(ask, question, entry.in_vault, functools.partial(_problem, project, entry, now))
        if given:
            project = _with(project, flaw.name, given)
    return project


def checks(guessed: Guessed, known: Sequence[str], ask: Ask) -> Guessed:
    """The guesses with the checks that the person wants.

    :arg known: checks and services that this run does not add to.
    """
    kept = {}
    for service, check in guessed.checks.items():
        kept[service] = check
        if service in known:
            continue
        question = (
            f"Check of {service}: {check.row['url']}. A path that a healthy app answers with 200, such as /health "
            "(Enter: this one; - for no check)"
        )
        answer = _answer(ask, question, False, _problem_of_path)
        if answer == "-":
            del kept[service]
        elif answer:
            kept[service] = _asks(check, answer)
    return guessed._replace(checks=kept)


def _problem_of_path(text: str) -> str:
    return "" if text == "-" or text.startswith("/") else "a path begins with /"


def _asks(check: Entry, path: str) -> Entry:
    """The check with another path, which has to be answered with 200."""
    scheme, _unused, rest = str(check.row["url"]).partition("://")
    row = {key: value for key, value in check.row.items() if key != "status"}
    return check._replace(row={**row, "url": f"{scheme}://{rest.partition('/')[0]}{path}"}, comment="as you answered")


def _unfilled(project: Project, now: float) -> list[Flaw]:
    return list({one.name: one for one in guess.guess(project, now).flaws if one.is_unfilled}.values())


def _with(project: Project, name: str, value: str) -> Project:
    there = project.env.get(name)
    place = there.place if there else next((one.place for one in project.uses if one.name == name), Place("", 0))
    env: Mapping[str, Setting] = {**project.env, name: Setting(name, value, place)}
    return project._replace(env=env)


def _problem(project: Project, entry: Entry, now: float, value: str) -> str:
    """Why a value cannot be that of a variable, "" when it can."""
    after = guess.guess(_with(project, entry.name, value), now)
    flaws = [one for one in after.flaws if one.name == entry.name]
    if flaws:
        return flaws[0].reason
    row = next(one.row for one in after.variables if one.name == entry.name)
    # The name says what it is, and the value is of no kind that has rules.
    is_other = row["kind"] in ("token", "text", "pattern") and row["kind"] != entry.row["kind"]
    wanted = {key: given for key, given in entry.row.items() if key not in ("default", "same_as")}
    findings = kinds.findings(wanted, value, now) if is_other else []
    return findings[0]["reason"] if findings else ""


def _answer(ask: Ask, question: str, hidden: bool, problem: Callable[[str], str]) -> str:
    """A valid answer, "" for the default. After some that are not, the default is taken."""
    said = ""
    for _unused in range(_ATTEMPTS):
        given = ask(f"{said}{question}: ", hidden).strip()
        reason = problem(given) if given else ""
        if not reason:
            return given
        said = f"Not taken: {reason}.\n"
    return ""
