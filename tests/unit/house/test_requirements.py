# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Python's packages: requirements/*.in pin versions, and `make requirements` wrote *.txt from them, with hashes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "requirements"
SOURCES = sorted(path.stem for path in FOLDER.glob("*.in"))
# tools/compose unpacks this archive; it is never installed, so nothing is resolved for it.
BY_HAND = ["compose"]

PIN = re.compile(r"([\w.-]+)==([\w.]+)(?: ; (.+))?")
LOCKED = re.compile(r"^(\w.*?) \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)((?: +#.*\n)*)", re.MULTILINE)


class Pin(NamedTuple):
    """A package of a certain version; `condition` is where it holds, "" for everywhere."""

    name: str
    version: str
    condition: str


def pin(text: str) -> Pin:
    found = PIN.fullmatch(text)
    assert found, f"{text}: expected NAME==VERSION, or NAME==VERSION ; CONDITION"
    condition = (found[3] or "").replace('"', "'").replace("python_version", "python_full_version")
    return Pin(re.sub(r"[-_.]+", "-", found[1]).lower(), found[2], condition)


def wanted(purpose: str) -> set[Pin]:
    """The pins of NAME.in, and of the files that it includes."""
    found = set()
    for line in (FOLDER / f"{purpose}.in").read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= wanted(line.removeprefix("-r ").removesuffix(".in"))
        elif line and not line.startswith("#"):
            found.add(pin(line))
    return found


def locked(purpose: str) -> dict[Pin, bool]:
    """The packages of NAME.txt, and whether one is there because a *.in names it."""
    text = (FOLDER / f"{purpose}.txt").read_text(encoding="utf-8")
    found = {pin(line): ".in" in why for line, _unused, why in LOCKED.findall(text)}
    rest = [line for line in LOCKED.sub("", text).splitlines() if line and not line.startswith("#")]
    assert rest == [], f"{purpose}.txt: a package without hashes, or an option. Run: make requirements"
    return found


def test_each_file_has_its_source() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == sorted([*SOURCES, *BY_HAND])


@pytest.mark.parametrize("purpose", SOURCES)
def test_what_is_locked_is_what_is_wanted(purpose: str) -> None:
    direct = {package for package, is_direct in locked(purpose).items() if is_direct}
    assert direct == wanted(purpose), "Run: make requirements"


def test_all_files_agree_on_versions() -> None:
    """They are installed into the same environment, one after the other."""
    versions: dict[tuple[str, str], set[str]] = {}
    for purpose in SOURCES:
        for package in locked(purpose):
            versions.setdefault((package.name, package.condition if "python" in package.condition else ""), set()).add(
                package.version
            )
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("purpose", BY_HAND)
def test_what_is_pinned_by_hand_has_a_hash(purpose: str) -> None:
    assert len(locked(purpose)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "uv>=1 \\\n    --hash=sha256:" + "0" * 64 + "\n",
        "uv==1\n",
        "--index-url https://packages.example\n",
        "uv==1 \\\n    --hash=md5:0\n",
    ],
)
def test_what_a_locked_file_may_not_have(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "FOLDER", tmp_path)
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError):
        locked("x")
