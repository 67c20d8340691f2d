# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The words of the status page in both languages."""

from __future__ import annotations

import re
import string
from pathlib import Path

from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import words as page_words

ROOT = Path(__file__).resolve().parents[3]


def test_both_languages_say_the_same() -> None:
    english, korean = page_words.WORDS["en"], page_words.WORDS["ko"]
    assert list(english) == list(korean)

    def gaps(text: str) -> set[str]:
        return {name for _text, name, _format, _conversion in string.Formatter().parse(text) if name}

    assert [key for key in english if gaps(english[key]) != gaps(korean[key])] == []


def test_every_alert_has_a_korean_name() -> None:
    pages = set(re.findall(r"^## (\w+)$", (ROOT / "docs/alerts.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert pages - set(page_words.ALERTS["ko"]) == set()
