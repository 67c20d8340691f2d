# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which nginx is reloaded after other containers were started."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import proxies

WEB, OTHER, OUTER = "a" * 64, "b" * 64, "c" * 64


def process(folder: Path, pid: int, command: str, cgroup: str) -> None:
    (folder / str(pid)).mkdir()
    (folder / str(pid) / "cmdline").write_text(command, encoding="utf-8")
    (folder / str(pid) / "cgroup").write_text(cgroup, encoding="utf-8")


def test_the_masters_of_nginx_are_found_by_container(tmp_path: Path) -> None:
    process(tmp_path, 10, "nginx: master process nginx -g daemon off;", f"0::/system.slice/docker-{WEB}.scope\n")
    process(tmp_path, 11, "nginx: worker process", f"0::/system.slice/docker-{WEB}.scope\n")
    process(tmp_path, 12, "nginx: master process nginx", f"4:memory:/docker/{OUTER}/docker/{OTHER}\n")
    process(tmp_path, 13, "nginx: master process /usr/sbin/nginx", "0::/system.slice/nginx.service\n")
    process(tmp_path, 14, "sh\0-c\0nginx", f"0::/docker/{OUTER}\n")
    (tmp_path / "15").mkdir()
    assert proxies.masters(str(tmp_path)) == {WEB: [10], OTHER: [12]}


@pytest.mark.parametrize(
    ("age", "containers", "expected"),
    [
        (60.0, {WEB}, [(10, signal.SIGHUP)]),
        # It was started with the others, and has asked for their addresses since.
        (2.0, {WEB}, []),
        (None, {WEB}, []),
        # Another project's.
        (60.0, {OTHER}, []),
    ],
)
def test_only_what_ran_before_is_reloaded(
    age: float | None, containers: set[str], expected: list[tuple[int, int]]
) -> None:
    sent: list[tuple[int, int]] = []
    proxies.reload({WEB: [10]}, containers, 5.0, lambda _pid: age, lambda pid, number: sent.append((pid, number)))
    assert sent == expected
