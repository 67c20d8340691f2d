# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""nginx asks for the addresses of other services once, when it starts; a container that starts may get another one.

A reload (SIGHUP) asks again, and ends no request; with a configuration that is invalid, nginx keeps the old one
("Controlling nginx" in its documentation).
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Collection, Mapping, Sequence
from typing import Callable

from ..host import procfs

_MASTER = "nginx: master process"
_CONTAINER = re.compile(r"[0-9a-f]{64}")


def masters(folder: str = "/proc") -> dict[str, list[int]]:
    """{container id: the pids of its nginx masters}, of all containers of this host."""
    found: dict[str, list[int]] = {}
    for name in filter(str.isdigit, os.listdir(folder)):
        if not _read(folder, name, "cmdline").startswith(_MASTER):
            continue
        ids = _CONTAINER.findall(_read(folder, name, "cgroup"))
        if ids:
            # The innermost one, where this host is a container too.
            found.setdefault(ids[-1], []).append(int(name))
    return found


def reload(
    found: Mapping[str, Sequence[int]],
    containers: Collection[str],
    seconds: float,
    age: Callable[[int], float | None] = procfs.age,
    kill: Callable[[int, int], None] = os.kill,
) -> None:
    """Reload each nginx of some containers that has run for longer than `seconds`.

    :arg found: as `masters` returns it.
    """
    for identity, pids in found.items():
        for pid in pids if identity in containers else ():
            if (age(pid) or 0.0) > seconds:
                kill(pid, signal.SIGHUP)


def _read(folder: str, pid: str, name: str) -> str:
    try:
        with open(os.path.join(folder, pid, name), encoding="utf-8", errors="replace") as stream:
            return stream.read(4096)
    except OSError:
        # It has ended meanwhile.
        return ""
