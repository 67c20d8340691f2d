# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The glossary: one term for one thing. Each retired word is listed with the term to use in its place."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]

# Files and folders whose text keeps to the glossary. Add a folder when its text does.
AREAS = (
    *(
        "README.md",
        "CONTRIBUTING.md",
        "RELEASING.md",
        "SECURITY.md",
        "CODE_OF_CONDUCT.md",
        "Makefile",
        "pyproject.toml",
    ),
    *(
        ".config",
        ".github",
        "bench",
        "ci",
        "changelogs/fragments",
        "docs",
        "inventory",
        "lab",
        "molecule",
        "playbooks",
        "plugins",
        "roles",
        "tests",
        "tools",
    ),
)
# Generated from roles and plugins, recorded data, and this glossary.
EXCLUDED = ("docs/reference", "bench/results", "tests/unit/drift/drift_events", "tests/unit/house/test_language.py")


class Retired(NamedTuple):
    """A retired word: a regular expression in lower case, and the term to use in its place."""

    pattern: str
    term: str


GLOSSARY = (
    # `proves` is a key of a check. Names with an underscore, such as app_env_proof, are public variables.
    Retired(
        r"(?<!_)prov(?:e|ed|en|ing)|(?<!\.)proves(?![\"':]| =|\])", "validate (values), verify (backups), show, check"
    ),
    Retired(r"(?<!_)proofs?", "validation, verification, evidence"),
    Retired(r"(?:un)?told", "notified, reported, configured"),
    Retired(r"(?:takes?|taken|taking|took)(?: \w+){0,2} back", "roll back, rolled back"),
    Retired(r"anew", "again, recreated"),
    Retired(r"meant", "desired, intended"),
    Retired(r"(?:(?:the|its|their|of|with|comment) |\.)marks", "baseline"),
    Retired(r"strangers?", "unmanaged"),
    Retired(r"lacking", "missing"),
    Retired(r"left[ -]?overs?", "stale, remaining"),
    # Names with an underscore are public variables and metrics.
    Retired(r"(?<!_)journeys?(?!_)", "checks"),
    Retired(r"(?<!there )(?:is|are) (?-i:none)", "invalid X, is not an X"),
    Retired(r"(?<!there )is no(?= (?!longer|more))", "invalid X, is not an X"),
    Retired(r"who(?:m)?ever", "anyone who, the user who"),
    Retired(r"nobody", "no one, no user; say who does what"),
    Retired(r"beside", "next to, with, besides"),
    Retired(r"stands", "is, is in, replaces"),
    Retired(r"lies|lying", "is, is in"),
)
WORDS = [re.compile(rf"(?<![a-z])(?:{word.pattern})(?![a-z])", re.IGNORECASE) for word in GLOSSARY]

# Output of roles and plugins that files of an area quote, by file. Remove a quote when its source changes.
QUOTED: dict[str, tuple[str, ...]] = {
    "changelogs/fragments/19-missing.yml": ("``lacking``",),
    "changelogs/fragments/19-role-phases.yml": ("``lacking``", "``prove``"),
    "molecule/incident/tests/test_recover.py": ("proved_env",),
    # A key of the parameter `clock` of recovery_report.
    "playbooks/recover.yml": ("'proved'",),
}


# Names in code that people or files on hosts know: options, results, keys on disk. They change with a major release.
KEYS = re.compile(
    r"proves|PROVES|proved_env|PROVED_ENV|told_at|as_meant_at|beside_is|rollouts taken back"
    r"|[\"'`(](?:proved|told|beside)[\"'`)]|(?:^| +)(?:proved|told|beside):|V\(proved\) the secrets"
)


def text_lines(areas: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    """Every line of the areas' text files that are, or could be, committed: (file, number, line)."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *areas]
    listed = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        path = REPOSITORY / name
        if f"{name}/".startswith(tuple(f"{excluded}/" for excluded in EXCLUDED)) or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
                yield name, number, line


def retired_words(line: str) -> list[tuple[str, str]]:
    """The retired words of a line, each with the term to use."""
    return [(found[0], word.term) for pattern, word in zip(WORDS, GLOSSARY) for found in pattern.finditer(line)]


def without_quotes(name: str, line: str) -> str:
    """The line without the output that its file may quote, and without the names in code that stay."""
    line = KEYS.sub("", line) if name.startswith(("plugins/", "tests/")) else line
    for quote in QUOTED.get(name, ()):
        line = line.replace(quote, "")
    return line


@pytest.mark.parametrize("area", AREAS)
def test_no_retired_word(area: str) -> None:
    found = [
        f"{name}:{number}: {word!r}: use {term}"
        for name, number, line in text_lines([area])
        for word, term in retired_words(without_quotes(name, line))
    ]
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize("name", sorted(QUOTED))
def test_every_quote_is_needed(name: str) -> None:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert [quote for quote in QUOTED[name] if quote not in text or not retired_words(quote)] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("The backup was proved.", ["proved"]),
        ("a proof of the backup", ["proof"]),
        ("app_env_proof", []),
        ("an improved, approved provider of waterproof coats", []),
        ('check.get("proves") == item.proves or {"proves": "health"}', []),
        ("proves: health", []),
        ("a check that proves it", ["proves"]),
        ("Nobody is told", ["told", "Nobody"]),
        ("told_twice = 1", ["told"]),
        ("took the release back", ["took the release back"]),
        ("take the backup of the database", []),
        ("if found is None:", []),
        ("'x' is none", ["is none"]),
        ("if there is none, there is no table any more", []),
        ("policy: is no table", ["is no"]),
        ("it is no longer there", []),
        ("watcher_journey_seconds", []),
        ("the journey of a user", ["journey"]),
        ("besides, he understands the applies", []),
        ("the file lies beside it and stands there", ["beside", "stands", "lies"]),
        ("its marks differ", ["its marks"]),
        ("pytest.param(1, marks=slow) marks a slow test", []),
    ],
)
def test_what_the_glossary_finds(line: str, words: list[str]) -> None:
    assert [word for word, _unused in retired_words(line)] == words
