# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What all unit tests share: the collection by its full name, and connections to this machine only."""

from __future__ import annotations

import importlib
import ipaddress
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

REPOSITORY = Path(__file__).resolve().parents[2]

set_hypothesis_home_dir(REPOSITORY / ".cache" / "hypothesis")
if "CI" not in os.environ:  # in CI hypothesis uses its own profile, without deadlines or randomness
    hypothesis.settings.register_profile("here", deadline=None)  # no test fails because the machine is busy
    hypothesis.settings.load_profile("here")

MEMORY = "/dev/shm"
"""Files there are in memory: what the library syncs to disk costs no time. The tests' files take less than 100 MB."""


def _is_fit_for_files(folder: str) -> bool:
    """Whether programs run from a folder, and it has room for the tests' files."""
    try:
        about = os.statvfs(folder)
    except OSError:
        return False
    return (
        os.access(folder, os.W_OK)
        and not about.f_flag & (os.ST_RDONLY | os.ST_NOEXEC)
        and about.f_bavail * about.f_frsize > 500_000_000
    )


if "TMPDIR" not in os.environ and _is_fit_for_files(MEMORY):
    os.environ["TMPDIR"] = tempfile.tempdir = MEMORY


def _name_the_collection() -> None:
    """Make `ansible_collections.christmas.selfheal` this directory, wherever it is, with and without `ansible`."""
    try:
        importlib.import_module("ansible_collections")
    except ModuleNotFoundError:
        sys.modules["ansible_collections"] = ModuleType("ansible_collections")
        sys.modules["ansible_collections"].__path__ = []
    for name, path in (("christmas", []), ("christmas.selfheal", [str(REPOSITORY)])):
        package = ModuleType(f"ansible_collections.{name}")
        package.__path__ = path
        sys.modules[package.__name__] = package


_name_the_collection()

engine = importlib.import_module("ansible_collections.christmas.selfheal.plugins.module_utils.docker.engine")


@pytest.fixture(autouse=True)
def _own_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty list of warnings, as a new process has: one process runs many modules here.

    A test that imports Ansible's controller makes every module of the process print its warnings, not return them.
    """
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
    for name in ("_global_warnings", "_global_deprecations"):
        monkeypatch.setattr(f"ansible.module_utils.common.warnings.{name}", {})


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep docker commands that a test does not replace away from this machine's engine."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.setattr(engine, "PLUGIN_FOLDERS", ())


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True)
def _nothing_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects to anything but this machine, or to this machine's engine.

    The inventories hold addresses of real hosts, and other programs use the engine.
    """

    def guarded(connect: Any) -> Any:
        def attempt(self: socket.socket, address: Any) -> Any:
            if self.family == socket.AF_UNIX and str(address) in ("/var/run/docker.sock", "/run/docker.sock"):
                pytest.fail("a unit test asks this machine's engine")
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
                pytest.fail(f"a unit test connects to {address[0]}")
            return connect(self, address)

        return attempt

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


@pytest.fixture(scope="session")
def run_tasks() -> Callable[[Path, list[dict[str, Any]]], None]:
    """Run tasks with Ansible on this machine, from a play in a folder; they have to succeed."""

    def run(folder: Path, tasks: list[dict[str, Any]]) -> None:
        play = folder / "play.yml"
        play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        python = f"ansible_python_interpreter={sys.executable}"
        ended = subprocess.run(
            ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", python, str(play)],
            cwd=REPOSITORY,
            env={**kept, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout

    return run
