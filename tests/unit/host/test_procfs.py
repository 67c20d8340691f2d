# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Facts of the host, read from /proc and /sys."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs


def test_connections_without_an_acknowledgement_are_found() -> None:
    """A listener that never accepts queues two connections; the third one gets no answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _unused in range(3):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        assert listener.getsockname() in procfs.unanswered(os.getpid())
        assert listener.getsockname() not in procfs.unanswered(0)


# From proc(5): the bytes of an address are reversed; state 01 is TCP_ESTABLISHED; `retrnsmt` is the seventh field.
CONNECTED = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 020012AC:A1B2 0302010A:01BB 01 00000205:00000000 01:00000190 {retransmits}     0        0 4711 2 0 100 4 0 10 -1
"""


@pytest.mark.parametrize(("retransmits", "found"), [("00000003", [("10.1.2.3", 443)]), ("00000000", [])])
def test_a_connection_with_retransmits_waits_for_an_acknowledgement(
    retransmits: str, found: list[tuple[str, int]], tmp_path: Path
) -> None:
    table = tmp_path / "7/net/tcp"
    table.parent.mkdir(parents=True)
    table.write_text(CONNECTED.format(retransmits=retransmits), encoding="ascii")
    assert procfs.unanswered(7, str(tmp_path)) == found


def test_a_stopped_engine_differs_from_one_that_is_gone(tmp_path: Path) -> None:
    """Only its process is read: a stopped engine accepts a request but does not answer it."""
    program, note = tmp_path / "dockerd", tmp_path / "docker.pid"
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "60"]) as process:
        note.write_text(f"{process.pid}\n")
        for number in (signal.SIGCONT, signal.SIGSTOP, signal.SIGCONT):
            process.send_signal(number)
            until = time.monotonic() + 10
            expected = {"known": True, "alive": True, "stopped": number == signal.SIGSTOP, "pid": process.pid}
            while procfs.engine_process(str(note)) != expected and time.monotonic() < until:
                time.sleep(0.01)
            assert procfs.engine_process(str(note)) == expected
        process.kill()
    assert procfs.engine_process(str(note)) == {"known": True, "alive": False, "stopped": False, "pid": process.pid}


WAITS = "import sys; print('ready', flush=True); sys.stdin.read()"
WORKS = "print('ready', flush=True)\nwhile True: pass"
# A child works, and its parent waits for it.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORKS!r}])"


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, "-c", request.param],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        yield started
        os.killpg(started.pid, signal.SIGKILL)


@pytest.mark.parametrize(("process", "idle"), [(WAITS, True), (WORKS, False), (PARENT, False)], indirect=["process"])
def test_only_a_waiting_process_is_idle(process: subprocess.Popen[str], idle: bool) -> None:
    assert procfs.idle([process.pid]) is idle


@pytest.mark.parametrize("process", [WORKS], indirect=True)
def test_a_stopped_process_is_idle(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert procfs.idle([process.pid]) is True


def test_a_process_that_does_not_exist_is_idle() -> None:
    assert procfs.idle([0]) is True


def test_paths_on_a_disk_are_found_without_access_to_it(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\nsysfs /sys sysfs rw 0 0\nnas:/x /mnt/nas nfs4 rw 0 0\n/dev/sdb /a\\040b xfs rw 0 0\n",
        encoding="ascii",
    )
    given = ["/srv/data", "/sys", "/mnt/nas/files", "/a b/c", "/srv/data"]
    assert procfs.on_disk(given, str(mounts)) == ["/srv/data", "/a b/c"]


def test_the_age_of_a_process_does_not_depend_on_the_system_clock() -> None:
    found = procfs.age(os.getpid())
    assert found is not None
    assert 0.0 <= found < time.clock_gettime(time.CLOCK_BOOTTIME)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        younger = procfs.age(child.pid)
        child.kill()
    assert younger is not None
    assert younger < found
    assert (procfs.age(0), procfs.age(child.pid)) == (None, None)


@pytest.mark.parametrize(
    "where", ["sys/fs/cgroup/cpu.stat", "sys/fs/cgroup/cpu/cpu.stat", None], ids=["v2", "v1", "none"]
)
def test_a_used_up_quota_counts_as_busy(where: str | None, tmp_path: Path) -> None:
    """A host that is a container also sees the idle processors of others. A used-up quota shows that it is busy."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 0 0 900 0 0 0 0 0 0\n", encoding="ascii")
    if where:
        (tmp_path / where).parent.mkdir(parents=True)
        (tmp_path / where).write_text("nr_periods 50\nnr_throttled 40\nthrottled_time 7\n", encoding="ascii")
    found = procfs.cpu_time(str(tmp_path))
    assert found[:3] == (100, 1000, 40 if where else 0)
    before = procfs.CpuTime(100, 800, 31, found.at - 1.0)
    assert procfs.cpu_busy(before, found) == (pytest.approx(0.9) if where else 0.0)


def test_a_host_that_cannot_be_read_is_not_busy(tmp_path: Path) -> None:
    found = procfs.cpu_time(str(tmp_path))
    assert procfs.cpu_busy(found, found) == 0.0


def test_only_a_file_system_that_the_kernel_made_read_only_is_named(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    lines = [
        "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw",
        "2 1 8:2 / /srv/my\\040data rw,relatime shared:1 - ext4 /dev/sdb1 ro,errors=remount-ro",
        "5 1 8:5 / /srv/logs rw,relatime - ext4 /dev/sde1 rw,errors=remount-ro,emergency_ro",
        "3 1 8:3 / /mnt/archive ro,relatime - ext4 /dev/sdc1 ro",
        "4 1 8:4 / /usr ro,relatime - ext4 /dev/sdd1 rw",
        "6 1 0:52 / /srv/layers rw,relatime - overlay overlay ro,lowerdir=/srv/a:/srv/b",
        "half a line",
    ]
    mounts.write_text("\n".join(lines), encoding="utf-8")
    paths = ["/opt/shop", "/srv/my data/db", "/srv/my data/files", "/srv/logs", "/mnt/archive/x", "/usr/lib"]
    paths.append("/srv/layers/x")
    assert procfs.frozen(paths, str(mounts)) == [
        {"path": "/srv/logs", "device": "/dev/sde1"},
        {"path": "/srv/my data", "device": "/dev/sdb1"},
    ]
    assert procfs.frozen(paths, str(tmp_path / "none")) == []


def test_a_link_to_a_read_only_disk_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk/docker").mkdir(parents=True)
    (tmp_path / "docker").symlink_to(tmp_path / "disk/docker")
    mounts = tmp_path / "mountinfo"
    lines = ["1 0 8:1 / / rw - ext4 /dev/sda1 rw", f"2 1 8:2 / {tmp_path}/disk rw - ext4 /dev/sdb1 ro"]
    mounts.write_text("\n".join(lines), encoding="utf-8")
    found = procfs.frozen([str(tmp_path / "docker")], str(mounts))
    assert found == [{"path": f"{tmp_path}/disk", "device": "/dev/sdb1"}]


def test_the_process_that_listens_on_a_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
        assert procfs.listeners(port) == [{"pid": os.getpid(), "process": name}]
    assert procfs.listeners(port) == []


def test_a_pid_file_counts_while_its_process_has_that_name(tmp_path: Path) -> None:
    note, name = tmp_path / "pid", Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    assert procfs.pid_in(str(note), name) == 0
    note.write_text(f"{os.getpid()}\n", encoding="ascii")
    assert (procfs.pid_in(str(note), name), procfs.pid_in(str(note), "haproxy")) == (os.getpid(), 0)


def test_kills_and_pressure_are_zero_where_the_kernel_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pgfault 9\noom_kill 3\n", encoding="ascii")
    (tmp_path / "cpu").write_text("some avg10=12.50 avg60=1.00 avg300=0.00 total=1\n", encoding="ascii")
    (tmp_path / "io").write_text("none\n", encoding="ascii")
    assert (procfs.oom_kills(str(tmp_path / "vmstat")), procfs.oom_kills(str(tmp_path / "none"))) == (3, 0)
    assert procfs.pressure(str(tmp_path)) == {"cpu": 12.5, "memory": 0.0, "io": 0.0}


def test_a_running_process_has_context_switches() -> None:
    before = procfs.switches([os.getpid()])
    time.sleep(0.01)
    assert procfs.switches([os.getpid()]) > before > 0
