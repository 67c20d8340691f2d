# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find values that Ansible would read as a template although they are not: a secret that happens to hold ``{{``.

Ansible templates each string of the inventory and of the vault. ``Gr{{4}}YJ`` becomes ``Gr4YJ``, ``a{#b`` is a syntax
error whose message shows a part of it. So the raw values are read before anything is templated. Pure: what is raw, and
whether a string is trusted as a template, comes from the caller.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

_OPENINGS = re.compile(r"\{\{|\{%|\{#")
_EXPRESSION = re.compile(r"\{\{(.*?)\}\}", re.S)
_STATEMENT = re.compile(
    r"\{%[-+]?\s*(?:if|elif|else|endif|for|endfor|set|endset|raw|endraw|filter|endfilter)\b.*?%\}", re.S
)
_TEXTS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.S)
_FILTERED_TEXT = re.compile(r"\s*(?:'[^']*'|\"[^\"]*\")\s*\|\s*[a-z_][\w.]*\s*(?:\(|\||$)")
_WORD = re.compile(r"(?<![.\w])[A-Za-z_]\w*")
_FUNCTIONS = frozenset({"lookup", "query", "q", "now", "hostvars", "groups", "vars"})
_FILTER = re.compile(r"\|\s*[a-z_][a-z0-9_.]*")
_DEEPEST = 10


class Unsafe(NamedTuple):
    """A variable of the inventory that Ansible reads as a template, and the variable of the env that it is for."""

    variable: str
    name: str


def find(names: Iterable[str], variables: Mapping[str, object], is_template: Callable[[str], bool]) -> list[Unsafe]:
    """Look at the values under each mapping of ``names``, and at the variables that their templates name.

    :arg variables: all variables of a host, raw.
    :arg is_template: whether Ansible would template this very string; not one with ``!unsafe``.
    """
    found: dict[str, Unsafe] = {}
    for mapping in names:
        values = variables.get(mapping)
        if not isinstance(values, Mapping):
            continue  # the whole is a template, or of another type, which the argument spec refuses
        for name, value in values.items():
            for variable in _follow(f"{mapping}.{name}", value, variables, is_template, 0):
                found.setdefault(variable, Unsafe(variable, str(name)))
    return list(found.values())


def describe(found: Iterable[Unsafe]) -> str:
    """One line for each, without anything of the value."""
    return "\n".join(
        f"{one.variable}{'' if one.variable.endswith('.' + one.name) else f' (for {one.name})'}: its value holds "
        "{{, {% or {#, which Ansible reads as a template. Fix: if it is a part of the value, write "
        f"`{one.variable.rpartition('.')[2]}: !unsafe '…'`; if it is a template, correct the name in it"
        for one in found
    )


def _follow(
    where: str, value: object, variables: Mapping[str, object], is_template: Callable[[str], bool], depth: int
) -> Iterator[str]:
    if not isinstance(value, str) or depth > _DEEPEST or not is_template(value):
        return
    text = str(value)
    if not _OPENINGS.search(text):
        return
    if not _is_on_purpose(text, variables):
        yield where
        return
    for word in _words(text):
        if word in variables:
            yield from _follow(word, variables[word], variables, is_template, depth + 1)


def _is_on_purpose(text: str, variables: Mapping[str, object]) -> bool:
    """Whether all of its templates look as if they were written on purpose."""
    if _OPENINGS.search(_STATEMENT.sub("", _EXPRESSION.sub("", text))):
        return False  # one that does not end, or a comment
    alone = _EXPRESSION.fullmatch(text.strip())
    if alone and _WORD.match(alone.group(1).strip()):
        return True  # nothing but a name: when it is a wrong one, Ansible says so
    for expression in _EXPRESSION.findall(text):
        if _FILTERED_TEXT.match(expression):
            continue
        words = set(_WORD.findall(_TEXTS.sub("", expression)))
        if not words & (_FUNCTIONS | variables.keys()) and not _FILTER.search(expression):
            return False
    return True


def _words(text: str) -> list[str]:
    inside = " ".join(_EXPRESSION.findall(text))
    return list(dict.fromkeys(_WORD.findall(_TEXTS.sub("", inside))))
