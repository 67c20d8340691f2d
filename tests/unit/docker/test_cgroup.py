# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What containers use, by control groups of both versions, and as Prometheus reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import cgroup, engine
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.containers import Container
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import metrics

VERSION_1 = {
    "proc/7/cgroup": "4:memory:/docker/one\n2:cpuacct:/docker/one\n1:cpu:/docker/one\n0::/docker/one\n",
    "cgroup/memory/docker/one/memory.usage_in_bytes": "1000\n",
    "cgroup/memory/docker/one/memory.stat": "cache 500\ntotal_inactive_file 400\n",
    "cgroup/memory/docker/one/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "cgroup/cpuacct/docker/one/cpuacct.usage": "2500000000\n",
    "cgroup/cpu/docker/one/cpu.stat": "nr_periods 9\nnr_throttled 1\nthrottled_time 500000000\n",
}
# A kernel may join cpu and cpuacct: one folder, and a link for each name.
JOINED = {**VERSION_1, "proc/7/cgroup": "5:cpu,cpuacct:/docker/one\n4:memory:/docker/one\n0::/\n"}
VERSION_2 = {
    "proc/7/cgroup": "0::/system.slice/docker-one.scope\n",
    "cgroup/system.slice/docker-one.scope/memory.current": "1000\n",
    "cgroup/system.slice/docker-one.scope/memory.stat": "anon 500\ninactive_file 400\n",
    "cgroup/system.slice/docker-one.scope/memory.events": "low 0\noom 1\noom_kill 2\n",
    "cgroup/system.slice/docker-one.scope/cpu.stat": "usage_usec 2500000\nnr_throttled 1\nthrottled_usec 500000\n",
}
USED = {"cpu_seconds": 2.5, "throttled_seconds": 0.5, "memory_bytes": 600.0, "oom_kills": 2.0}


def host(folder: Path, files: dict[str, str]) -> tuple[str, str]:
    """Write a host's files; return its /proc and its control groups."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return str(folder / "proc"), str(folder / "cgroup")


@pytest.mark.parametrize(
    ("files", "used"),
    [
        pytest.param(VERSION_1, USED, id="version 1"),
        pytest.param(JOINED, USED, id="version 1, joined"),
        pytest.param(VERSION_2, USED, id="version 2"),
        pytest.param({}, {}, id="ended meanwhile"),
        pytest.param({"proc/7/cgroup": VERSION_2["proc/7/cgroup"]}, {}, id="its group is gone"),
    ],
)
def test_what_a_process_has_used(tmp_path: Path, files: dict[str, str], used: dict[str, float]) -> None:
    assert cgroup.usage(7, *host(tmp_path, files)) == used


def instance(**changes: Any) -> Container:
    about = {
        "name": "shop-backend-1",
        "service": "backend",
        "state": "running",
        "restarts": 1,
        "started": "2025-05-27T02:00:00.25Z",
        "pid": 7,
        "limits": {"cpus": 0.5, "memory_bytes": 2048},
    }
    return cast(Container, {**about, **changes})


def test_a_container_as_prometheus_reads_it(tmp_path: Path) -> None:
    found = cgroup.read([instance()], *host(tmp_path, VERSION_2))
    samples = [line for line in metrics.render_containers({"shop": found}).splitlines() if line[0] != "#"]
    labels = '{app="shop",service="backend",container="shop-backend-1"}'
    assert samples == [
        f"selfheal_container_running{labels} 1",
        f"selfheal_container_restarts_total{labels} 1",
        f"selfheal_container_start_timestamp_seconds{labels} 1748311200.25",
        f"selfheal_container_cpu_limit_cores{labels} 0.5",
        f"selfheal_container_memory_limit_bytes{labels} 2048",
        f"selfheal_container_cpu_seconds_total{labels} 2.5",
        f"selfheal_container_cpu_throttled_seconds_total{labels} 0.5",
        f"selfheal_container_memory_bytes{labels} 600",
        f"selfheal_container_oom_kills_total{labels} 2",
    ]


def test_a_stopped_container_has_no_usage(tmp_path: Path) -> None:
    """It has no samples of usage: Prometheus would read 0 as a reset of the counter."""
    stopped = instance(state="exited", pid=0, started="0001-01-01T00:00:00Z", limits={"cpus": 0, "memory_bytes": 0})
    text = metrics.render_containers({"shop": cgroup.read([stopped], *host(tmp_path, VERSION_2))})
    names = {line.split("{")[0] for line in text.splitlines() if line[0] != "#"}
    assert names == {f"selfheal_container_{name}" for name in ("running", "restarts_total", "cpu_limit_cores")}


def test_a_start_is_the_same_number_each_time() -> None:
    """A value computed from 'seconds ago' would vary, and Prometheus would count restarts."""
    one = instance(pid=0, started="2025-05-27T02:00:00.123456789Z")
    assert len({cgroup.read([one])[0]["started"] for _unused in range(20)}) == 1


def test_an_engine_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    """It must not look like an app without containers."""
    with pytest.raises(engine.EngineError, match="the Docker engine does not answer at"):
        docker_containers.inspected("shop", 1.0, str(tmp_path / "docker.sock"))
