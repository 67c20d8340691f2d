# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take secrets out of a text that comes in parts, as a log does: a value may begin in one part and end in another."""

from __future__ import annotations

import re
from collections.abc import Mapping

from . import redact

# What is cut off at the beginning or the end of the whole text counts as a value's when it is this long.
_CUT_OFF = 8


class Forms:
    """What is to be hidden: {form of a value: what is shown instead}. Streams share it."""

    def __init__(self, secrets: Mapping[str, str], before: Forms | None = None) -> None:
        """Hide these values, and what was hidden before."""
        self.labels: dict[str, str] = {**(before.labels if before else {}), **redact.labels(secrets)}
        self._several_lines = [form for form in self.labels if "\n" in form]
        self._patterns: dict[frozenset[str], re.Pattern[str] | None] = {}

    def matches(self, text: str) -> list[tuple[int, int, str]]:
        """Return (begin, end, what is shown instead) of each value in a text.

        Looking for one form after the other is a hundred times faster than a pattern of all of them.
        """
        there = frozenset(form for form in self.labels if form in text)
        if not there:
            return []
        if there not in self._patterns:
            self._patterns[there] = redact.compiled(there)
        pattern = self._patterns[there]
        return [(*found.span(), self.labels[found.group()]) for found in pattern.finditer(text)] if pattern else []

    def begun(self, text: str) -> int:
        """Return where the first value begins that may go on after the end of a text; its length for none."""
        # Of the others, none goes on after the end of a line.
        forms = self._several_lines if text.endswith("\n") else self.labels
        return min((_begun(form, text) for form in forms), default=len(text))

    def rest(self, text: str) -> tuple[int, str]:
        """Return how many characters at the beginning of a text are the end of a value, and what is shown instead."""
        found = [(_rest(form, text), label) for form, label in self.labels.items()]
        length, label = max(found, default=(0, ""))
        return (length, label) if length >= _CUT_OFF else (0, "")

    def start(self, text: str) -> str:
        """Return what is shown instead of a text that is the beginning of a value, "" when it is not."""
        if len(text) < _CUT_OFF:
            return ""
        return next((label for form, label in self.labels.items() if form.startswith(text)), "")


def _begun(form: str, text: str) -> int:
    """Where the text's end begins to be the beginning of a form."""
    at = text.find(form[0], max(0, len(text) - len(form) + 1))
    while at >= 0 and not form.startswith(text[at:]):
        at = text.find(form[0], at + 1)
    return at if at >= 0 else len(text)


def _rest(form: str, text: str) -> int:
    """How many characters at the text's beginning are the end of a form."""
    longest = min(len(form) - 1, len(text))
    return next((length for length in range(longest, _CUT_OFF - 1, -1) if text.startswith(form[-length:])), 0)


class Stream:
    """One text in parts. What `feed` returns holds no value, nor the beginning of one that goes on in the next part."""

    def __init__(self, forms: Forms) -> None:
        self.forms = forms
        self._held = ""
        self._is_new = True

    def feed(self, text: str) -> str:
        """Take the next part; return what can be shown by now."""
        self._held += text
        if self._is_new and self._held:
            self._drop_rest()
        begun = self.forms.begun(self._held)
        shown, at = [], 0
        for begin, end, label in self.forms.matches(self._held):
            if begin >= begun:
                break
            shown += [self._held[at:begin], label]
            at = end
        end = max(at, begun)
        shown.append(self._held[at:end])
        self._held = self._held[end:]
        return "".join(shown)

    def passes(self, text: str) -> bool:
        """Whether the next part can be shown as it is; then it need not be fed."""
        is_plain = not self._is_new and not self._held and not self.forms.matches(text)
        return is_plain and self.forms.begun(text) == len(text)

    def _drop_rest(self) -> None:
        """Hide the end of a value whose beginning came before the text did."""
        self._is_new = False
        length, label = self.forms.rest(self._held)
        self._held = label + self._held[length:]

    def end(self) -> str:
        """Return what is left at the text's end. The beginning of a value is hidden, too."""
        held, self._held = self._held, ""
        label = self.forms.start(held)
        if label:
            return label
        shown, at = [], 0
        for begin, end, label in self.forms.matches(held):
            shown += [held[at:begin], label]
            at = end
        rest = held[at:]
        begun = self.forms.begun(rest)
        return "".join([*shown, rest[:begun], self.forms.start(rest[begun:]) or rest[begun:]])
