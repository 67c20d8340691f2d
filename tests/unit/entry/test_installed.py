# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module of Ansible takes the library from the host where it is the same, and from its archive where it is not."""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import installed

LIBRARY = {
    "__init__.py": "",
    "entry/__init__.py": "",
    "entry/run.py": "",
    "core/__init__.py": "",
    "core/same.py": "from . import other\nfrom ..deep import thing\n",
    "core/other.py": "VALUE = 'new'\n",
    "deep/__init__.py": "VALUE = 1\n",
    "deep/thing.py": "VALUE = 2\n",
}


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Send the library, to a host that has these files of it; the folder there."""
    archive, here = tmp_path / "payload.zip", tmp_path / "selfheal"
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(archive)

    def send(host: dict[str, str]) -> Path:
        with zipfile.ZipFile(archive, "w") as file:
            for name, text in LIBRARY.items():
                file.writestr(f"sent_library/{name}", text)
        here.mkdir()
        for name, text in host.items():
            path = here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        installed.use("sent_library.entry.run", str(here))
        return here

    yield send
    for name in [name for name in sys.modules if name.startswith("sent_library")]:
        del sys.modules[name]


def origin(name: str) -> str:
    return str(sys.modules[name].__file__)


def test_what_is_the_same_comes_from_the_host(sent: Callable[..., Path]) -> None:
    here = sent(LIBRARY)
    importlib.import_module("sent_library.core.same")
    assert origin("sent_library.core.same") == str(here / "core/same.py")
    assert origin("sent_library.deep") == str(here / "deep/__init__.py")
    assert sys.modules["sent_library.deep.thing"].VALUE == 2


def test_what_is_older_or_missing_there_comes_from_the_archive(sent: Callable[..., Path]) -> None:
    here = sent({"core/__init__.py": "", "core/same.py": LIBRARY["core/same.py"], "core/other.py": "VALUE = 'old'\n"})
    importlib.import_module("sent_library.core.same")
    assert origin("sent_library.core.same") == str(here / "core/same.py")
    assert sys.modules["sent_library.core.other"].VALUE == "new"
    assert sys.modules["sent_library.deep.thing"].VALUE == 2
    assert "payload.zip" in origin("sent_library.deep.thing")


def test_a_bare_host_has_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finders = list(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", list(finders))
    installed.use("sent_library.entry.run", str(tmp_path / "missing"))
    assert sys.meta_path == finders


def test_other_modules_are_found_as_before(sent: Callable[..., Path]) -> None:
    here = sent({**LIBRARY, "json.py": ""})
    finder = installed.Installed("sent_library", str(here))
    assert finder.find_spec("json", None) is None
    assert finder.find_spec("sent_library.missing", []) is None
