# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Containers that the kernel killed at their memory limit, from its log."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.host import oom_log

OURS, OUTER, OTHER = "a" * 64, "b" * 64, "c" * 64
UPTIME = 5000.0


def log(at: float, path: str) -> str:
    """The lines of one kill, as dmesg prints those of Linux 6."""
    return "\n".join(
        [
            f"[ {at:.6f}] python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
            f"[ {at:.6f}] memory: usage 524288kB, limit 524288kB, failcnt 12",
            f"[ {at:.6f}] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg={path},task_memcg={path},"
            "task=python3,pid=4711,uid=10001",
        ]
    )


def container(ended_seconds: float | None) -> oom_log.Limited:
    return oom_log.Limited(OURS, "shop-backend-1", limit_bytes=1, ended_seconds=ended_seconds)


CASES = [
    ("ours", log(4990.0, f"/docker/{OURS}"), None, ["shop-backend-1"]),
    ("of systemd's cgroup driver", log(4990.0, f"/system.slice/docker-{OURS}.scope"), None, ["shop-backend-1"]),
    ("of a nested engine", log(4990.0, f"/docker/{OUTER}/docker/{OURS}"), None, ["shop-backend-1"]),
    ("another container's", log(4990.0, f"/docker/{OTHER}"), None, []),
    ("long ago", log(4900.0, f"/docker/{OURS}"), None, []),
    ("it ended by the kill", log(4990.0, f"/docker/{OURS}"), 9.8, ["shop-backend-1"]),
    ("it ended again, for another reason", log(4990.0, f"/docker/{OURS}"), 1.0, []),
    ("nothing", "[ 4990.000000] eth0: link is up\nno time stamp", None, []),
]


@pytest.mark.parametrize(
    ("text", "ended_seconds", "killed"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_kills(text: str, ended_seconds: float | None, killed: list[str]) -> None:
    assert [item["container"] for item in oom_log.oom_kills(text, [container(ended_seconds)], UPTIME)] == killed


def test_a_kill_is_reported_with_limit_and_peak() -> None:
    (found,) = oom_log.oom_kills(log(4990.0, f"/docker/{OURS}"), [container(None)], UPTIME)
    assert (found["limit_bytes"], found["peak_bytes"], found["seconds"]) == (512 << 20, 512 << 20, 10.0)
    assert "killed python3 (pid 4711)" in found["line"]
