# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HAProxy: commands for its runtime socket, and the repair of its files. Molecule tests a real HAProxy."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import Balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppPaths, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.core.fingerprint import fingerprint
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import desired_files, procfs
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import web
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.web import Request
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import haproxy as releases_haproxy

BALANCER = Balancer("web", 2, 18000, (80, 443))
# Some of the columns of HAProxy 3.0. The message of a check may contain a comma.
STAT = """\
# pxname,svname,status,scur,check_status,check_code,last_chk,check_desc,addr,
selfheal-shop,slot1,UP,3,* L7OK,0,"OK, well",Layer7 check passed,127.0.0.1:18001,
selfheal-shop,slot0,DOWN 1/2,0,L7STS,400,Bad Request,Layer7 wrong status,127.0.0.1:18000,
selfheal-shop,slot2,MAINT,0,,,,,127.0.0.1:18002,
selfheal-shop,other,no check,0,,,,,127.0.0.1:1,
selfheal-shop-unchecked,slot0,UP,0,,,,,127.0.0.1:18000,
selfheal-other,slot0,UP,0,,,,,127.0.0.1:18100,
"""


class HAProxy:
    """Gives the configured answer, and records its commands."""

    def __init__(self, path: Path) -> None:
        self.answer, self.asked = "\n", list[str]()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _unused = self.listener.accept()
            except OSError:
                return
            with connection:
                self.asked += connection.recv(65536).decode().strip().split("; ")
                connection.sendall(self.answer.encode())


@pytest.fixture
def paths(tmp_path: Path) -> AppPaths:
    (tmp_path / "run/haproxy").mkdir(parents=True)
    return app_paths("shop", root=str(tmp_path))


@pytest.fixture
def haproxy(paths: AppPaths) -> Iterator[HAProxy]:
    it = HAProxy(Path(paths.root) / releases_haproxy.SOCKET)
    yield it
    it.listener.close()


def test_the_slots_of_this_app(paths: AppPaths, haproxy: HAProxy) -> None:
    haproxy.answer = STAT
    assert releases_haproxy.slots(paths) == [
        releases_haproxy.Slot(18000, False, 0, "DOWN 1/2, L7STS 400 Bad Request"),
        releases_haproxy.Slot(18001, True, 3, "UP, L7OK OK, well"),
        releases_haproxy.Slot(18002, False, 0, "MAINT"),
    ]
    assert releases_haproxy.serving(paths) == 1


def test_a_state_is_set_in_both_backends(paths: AppPaths, haproxy: HAProxy) -> None:
    releases_haproxy.set_state(paths, BALANCER, [18000, 18002], releases_haproxy.MAINT)
    assert haproxy.asked == [
        f"set server {backend}/{slot} state maint"
        for backend in ("selfheal-shop", "selfheal-shop-unchecked")
        for slot in ("slot0", "slot2")
    ]


def test_a_slot_serves_only_after_haproxy_finds_it_healthy(paths: AppPaths, haproxy: HAProxy) -> None:
    """HAProxy has to forget the health of the slot's previous instance."""
    releases_haproxy.take_in(paths, BALANCER, 18002)
    assert haproxy.asked[-1] == "set server selfheal-shop/slot2 health down"


@pytest.mark.parametrize(
    ("ports", "said"),
    [([18001], ""), ([18000, 18001], "slot 0 is DOWN 1/2, L7STS 400 Bad Request"), ([], "")],
    ids=["it serves", "one is unhealthy", "no instance"],
)
def test_a_slot_that_is_kept_out_is_named_with_haproxys_reason(
    paths: AppPaths, haproxy: HAProxy, ports: list[int], said: str
) -> None:
    haproxy.answer = STAT
    times = iter(range(100))
    clock = Clock(monotonic=lambda: next(times), sleep=lambda _: None)
    assert releases_haproxy.kept_out(paths, BALANCER, ports, clock, 3.0) == said


@pytest.mark.parametrize(
    ("seen", "waited"),
    [
        pytest.param("L7STS 400 Bad Request", 5, id="unhealthy"),
        pytest.param("L7OK Layer7 check passed", 30, id="not asked often enough yet"),
        pytest.param("L7TOUT", 30, id="too slow for its check"),
    ],
)
def test_a_slot_that_is_only_slow_gets_more_time(
    paths: AppPaths, monkeypatch: pytest.MonkeyPatch, seen: str, waited: int
) -> None:
    slot = releases_haproxy.Slot(18000, up=False, sessions=0, seen=f"DOWN 1/2, {seen}")
    monkeypatch.setattr(releases_haproxy, "slots", lambda _paths: [slot])
    now = [0.0]
    clock = Clock(monotonic=lambda: now[0], sleep=lambda _: now.__setitem__(0, now[0] + 1.0))
    assert seen in releases_haproxy.kept_out(paths, BALANCER, [18000], clock, 5.0, 30.0)
    assert now[0] == waited


def test_a_refusal_is_reported(paths: AppPaths, haproxy: HAProxy) -> None:
    haproxy.answer = "No such server.\n"
    with pytest.raises(releases_haproxy.BalancerError, match="No such server"):
        releases_haproxy.set_state(paths, BALANCER, [18000], releases_haproxy.READY)


def test_a_haproxy_that_does_not_answer_its_socket_in_time_is_not_a_missing_one(
    paths: AppPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(releases_haproxy.BalancerError) as missing:
        releases_haproxy.slots(paths)
    assert not isinstance(missing.value, releases_haproxy.BalancerLate)
    path = Path(paths.root, releases_haproxy.SOCKET)
    path.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(releases_haproxy, "_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(releases_haproxy.BalancerLate):
            releases_haproxy.slots(paths)


def test_a_missing_haproxy_is_reported_with_the_next_step(paths: AppPaths) -> None:
    with pytest.raises(releases_haproxy.BalancerError, match="systemctl status haproxy"):
        releases_haproxy.slots(paths)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1/health?deep=1", "http://127.0.0.1:18001/health?deep=1"),
        ("https://localhost/health", "http://127.0.0.1:18001/health"),
        ("http://127.0.0.1:3000/", "http://127.0.0.1:3000/"),
        ("https://192.0.2.7/", "https://192.0.2.7/"),
        ("https://shop.invalid/", "https://shop.invalid/"),
    ],
    ids=["the public port", "tls ends at the balancer", "another port", "another host", "a name that does not resolve"],
)
def test_only_requests_to_the_load_balancer_are_sent_to_an_instance(
    url: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Request] = []
    monkeypatch.setattr(web, "fetch", lambda request, _now: sent.append(request))
    ask: Callable[..., Any] = releases_haproxy.aside(BALANCER, 18001)
    ask(Request(url), lambda: 0.0)
    assert sent[0].url == expected
    headers = dict(sent[0].headers)
    assert (headers.get("X-Forwarded-Proto") == url.partition(":")[0]) is (url != expected)


# --- stopped ---------------------------------------------------------------------------------------------------------

WORKER = "import time; print('ready', flush=True); time.sleep(60)"
MASTER = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORKER!r}])"


@pytest.mark.parametrize(
    ("which", "called", "expected"),
    [("worker", True, True), ("master", True, False), ("", True, False), ("worker", False, False)],
    ids=["the worker is stopped", "only the master is stopped", "it runs", "another process has its pid now"],
)
def test_a_stopped_process_is_found_without_a_request(
    paths: AppPaths, monkeypatch: pytest.MonkeyPatch, which: str, called: bool, expected: bool
) -> None:
    name = "haproxy" if called else "another"
    # A process has the name of its file.
    python = Path(paths.root) / name
    python.symlink_to(os.path.realpath(sys.executable))
    with subprocess.Popen([str(python), "-c", MASTER], stdout=subprocess.PIPE, start_new_session=True) as master:
        assert master.stdout is not None
        master.stdout.readline()
        (Path(paths.root) / releases_haproxy.PID_FILE).write_text(f"{master.pid}\n", encoding="ascii")
        worker = procfs.newest_child(master.pid)
        for pid in [pid for pid, whose in ((worker, "worker"), (master.pid, "master")) if whose == which]:
            os.kill(pid, signal.SIGSTOP)
            _until_stopped(pid)
        found = releases_haproxy.is_stopped(paths)
        os.killpg(master.pid, signal.SIGKILL)
    assert found is expected


def _until_stopped(pid: int) -> None:
    while procfs._stat(f"/proc/{pid}/stat")[0] != "T":
        pass


def test_haproxy_that_does_not_run_is_not_stopped(paths: AppPaths) -> None:
    assert not releases_haproxy.is_stopped(paths)
    (Path(paths.root) / releases_haproxy.PID_FILE).write_text("no pid\n", encoding="ascii")
    assert not releases_haproxy.is_stopped(paths)


# --- its journal -----------------------------------------------------------------------------------------------------

RUNS = ["[NOTICE]   (70) : Loading success.", "Started haproxy.service - HAProxy Load Balancer."]
KILLED = ["[ALERT]    (70) : Current worker (72) exited with code 137 (Killed)", "haproxy.service: Failed with result"]
ALONE = ["[ALERT]    (72) : backend 'selfheal-shop' has no server available!"]
UNKNOWN = "config : parsing [/etc/haproxy/selfheal/shop.cfg:7] : unknown keyword 'tiemout' in 'defaults' section"
REFUSED = [
    "Starting haproxy.service - HAProxy Load Balancer...",
    "[NOTICE]   (90) : haproxy version is 3.0.11-1+deb13u1",
    f"[ALERT]    (90) : {UNKNOWN}",
    "[ALERT]    (90) : config : Error(s) found in configuration file : /etc/haproxy/selfheal/shop.cfg",
    "[ALERT]    (90) : config : Fatal errors found in configuration.",
    "haproxy.service: Main process exited, code=exited, status=1/FAILURE",
    "Failed to start haproxy.service - HAProxy Load Balancer.",
]
BOUND = "Binding [/etc/haproxy/selfheal/shop.cfg:31] for frontend selfheal-shop: protocol tcpv4: cannot bind socket"
NOT_BOUND = [
    f"[ALERT]    (95) : {BOUND} (Address already in use) for [0.0.0.0:80]",
    "[ALERT]    (95) : [haproxy.main()] Some protocols failed to start their listeners! Exiting.",
]


@pytest.mark.parametrize(
    ("journal", "said"),
    [
        ([], ""),
        (RUNS + ALONE, ""),
        (RUNS + KILLED, ""),
        (RUNS + ALONE + KILLED + REFUSED, UNKNOWN),
        (REFUSED + RUNS, ""),
        (REFUSED + RUNS + KILLED + NOT_BOUND, f"{BOUND} (Address already in use) for [0.0.0.0:80]"),
        (REFUSED + REFUSED, UNKNOWN),
    ],
    ids=["nothing", "it runs", "it was killed", "refused", "fixed since", "port taken", "refused again and again"],
)
def test_the_error_is_that_of_the_last_start(journal: list[str], said: str) -> None:
    assert releases_haproxy.first_error(journal) == said


# --- its files -------------------------------------------------------------------------------------------------------


class Host:
    """A host whose HAProxy starts unless a file contains `damaged`, and serves the app only if its file names it."""

    def __init__(self, paths: AppPaths, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.up, self.ran = Path(paths.root), False, list[list[str]]()
        self.journal: list[str] = []
        self.taken = False
        self.write("haproxy.cfg", "global")
        self.write("selfheal/shop.cfg", "shop 1")
        self.write("selfheal/blog.cfg", "blog 1")
        monkeypatch.setattr(commands, "run", self.run)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        monkeypatch.setattr(
            releases_haproxy, "slots", lambda _: [1] if "shop" in self.read("selfheal/shop.cfg") else []
        )

    def path(self, name: str) -> Path:
        return self.root / "etc/haproxy" / name

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        return self.path(name).read_text(encoding="utf-8") if self.path(name).exists() else ""

    def error(self, files: list[Path]) -> str:
        pem = self.path("selfheal-certs/shop.domain.pem")
        read = [*files, pem] if pem.exists() and len(files) > 2 else files
        damaged = [path for path in read if "damaged" in path.read_text(encoding="utf-8")]
        if damaged:
            return f"config : parsing [{damaged[0]}:3] : unknown keyword 'damaged'"
        return f"Binding [{self.path('selfheal/blog.cfg')}:3]: cannot bind socket" if self.taken else ""

    def run(self, argv: list[str], *_unused: Any) -> commands.Result:
        self.ran.append(argv)
        if argv[0] == "haproxy":
            return commands.Result(int(bool(self.error([Path(one) for one in argv if "/" in one]))), "", "")
        if argv[0] == "journalctl":
            return commands.Result(0, "\n".join(self.journal), "")
        if argv[1] in ("kill", "stop"):
            self.up = False
        if argv[1] == "reload-or-restart":
            said = self.error([self.path("haproxy.cfg"), *sorted(self.path("selfheal").glob("*.cfg"))])
            self.up = not said
            self.journal += [f"[ALERT]    ({len(self.ran)}) : {said}"] if said else ["Started haproxy.service"]
        return commands.Result(0 if self.up or argv[1] in ("reset-failed", "show") else 1, "", "")


@pytest.fixture
def on_host(paths: AppPaths, monkeypatch: pytest.MonkeyPatch) -> Host:
    it = Host(paths, monkeypatch)
    releases_haproxy.keep(paths)
    releases_haproxy.keep(app_paths("blog", root=paths.root))
    return it


@pytest.mark.parametrize(
    ("name", "was"), [("selfheal/shop.cfg", "shop 1"), ("haproxy.cfg", "global"), ("selfheal/blog.cfg", "blog 1")]
)
def test_a_damaged_file_is_restored_and_kept_under_another_name(
    paths: AppPaths, on_host: Host, name: str, was: str
) -> None:
    on_host.write("selfheal/shop.cfg", "shop 1")
    on_host.write(name, "damaged")
    notes = releases_haproxy.restart(paths)
    path = on_host.path(name)
    assert notes == [f"{path} is restored from the last good copy, the damaged one is kept as {path}.damaged"]
    assert (on_host.read(name), on_host.read(f"{name}.damaged"), on_host.up) == (was, "damaged", True)


def test_an_earlier_damaged_file_is_kept(paths: AppPaths, on_host: Host) -> None:
    """A user who made two wrong edits keeps both of them."""
    name = "selfheal/shop.cfg"
    releases_haproxy.keep(paths)
    for text in ("damaged once", "damaged twice"):
        on_host.write(name, text)
        releases_haproxy.restart(paths)
    assert [on_host.read(f"{name}.{end}") for end in ("damaged", "2.damaged")] == ["damaged once", "damaged twice"]


def test_several_damaged_files_are_restored(paths: AppPaths, on_host: Host) -> None:
    for name in ("haproxy.cfg", "selfheal/shop.cfg", "selfheal/blog.cfg"):
        on_host.write(name, "damaged")
    assert len(releases_haproxy.restart(paths)) == 3
    assert on_host.up


@pytest.mark.parametrize("content", ["", None], ids=["emptied", "gone"])
def test_a_missing_or_empty_file_of_the_app_is_restored(paths: AppPaths, on_host: Host, content: str | None) -> None:
    """HAProxy starts without it, because it serves other apps."""
    on_host.path("selfheal/shop.cfg").unlink()
    if content is not None:
        on_host.write("selfheal/shop.cfg", content)
    (note,) = releases_haproxy.restart(paths)
    assert note.endswith("shop.cfg.damaged" if content is not None else "it was missing")
    assert on_host.read("selfheal/shop.cfg") == "shop 1"


def test_a_damaged_file_without_a_copy_is_set_aside(paths: AppPaths, on_host: Host) -> None:
    on_host.write("selfheal/try.cfg", "damaged")
    (note,) = releases_haproxy.restart(paths)
    assert note.endswith(f"is set aside as {on_host.path('selfheal/try.cfg.damaged')}")
    assert on_host.up


def test_a_certificate_of_the_domain_is_restored_for_root_alone(paths: AppPaths, on_host: Host) -> None:
    files = releases_haproxy.domain_files(paths)
    for path in (files.pem, files.kept_pem):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("certificate", encoding="utf-8")
    on_host.write("selfheal-certs/shop.domain.pem", "damaged")
    (note,) = releases_haproxy.restart(paths)
    assert note.startswith(f"{files.pem} is restored from the last good copy")
    assert Path(files.pem).read_text(encoding="utf-8") == "certificate"
    assert Path(files.pem).stat().st_mode & 0o777 == 0o600


def test_a_certificate_is_tried_in_a_copy_of_the_apps_part(paths: AppPaths, on_host: Host) -> None:
    pem = releases_haproxy.domain_files(paths).pem
    on_host.write("selfheal/shop.cfg", f"bind *:443 ssl crt {pem}")
    assert releases_haproxy.refusal(paths, {pem: "/tmp/good"}) == ""
    assert releases_haproxy.refusal(paths, {pem: "/tmp/damaged"}) != ""
    assert "damaged" not in on_host.read("selfheal/shop.cfg")
    on_host.path("selfheal/shop.cfg").unlink()
    assert releases_haproxy.refusal(paths, {pem: "/tmp/damaged"}) == "", "the app has no part yet"


def test_files_with_which_haproxy_starts_are_not_changed(paths: AppPaths, on_host: Host) -> None:
    on_host.write("haproxy.cfg", "global, edited by hand")
    on_host.write("selfheal/shop.cfg", "shop 2")
    assert releases_haproxy.restart(paths) == []
    assert on_host.read("haproxy.cfg") == "global, edited by hand"


def test_a_port_that_is_taken_does_not_replace_a_file(paths: AppPaths, on_host: Host) -> None:
    on_host.taken = True
    on_host.write("haproxy.cfg", "global, edited by hand")
    Path(releases_haproxy._others(paths)[0].copy).unlink()
    with pytest.raises(
        releases_haproxy.BalancerError, match=r"does not start: Binding .*blog.cfg:3.*: cannot bind socket"
    ):
        releases_haproxy.restart(paths)
    assert on_host.read("haproxy.cfg") == "global, edited by hand"
    assert on_host.read("selfheal/blog.cfg") == "blog 1"


def test_a_file_that_cannot_be_restored_is_reported_with_haproxys_own_error(paths: AppPaths, on_host: Host) -> None:
    on_host.journal = RUNS + ALONE
    Path(releases_haproxy._own(paths)[0].copy).unlink()
    on_host.write("selfheal/shop.cfg", "damaged")
    with pytest.raises(
        releases_haproxy.BalancerError, match=r"does not start: config : parsing .*shop.cfg:3.*'damaged'"
    ):
        releases_haproxy.restart(paths)
    assert releases_haproxy.start_error().startswith("HAProxy does not start: config : parsing")
    assert on_host.read("selfheal/shop.cfg") == "damaged"


def test_only_files_that_pass_haproxys_check_are_copied(paths: AppPaths, on_host: Host) -> None:
    on_host.write("selfheal/shop.cfg", "damaged")
    releases_haproxy.keep(paths)
    copy = Path(releases_haproxy._own(paths)[0].copy)
    assert copy.read_text(encoding="utf-8") == "shop 1"
    on_host.write("selfheal/shop.cfg", "shop 2")
    releases_haproxy.keep(paths)
    assert copy.read_text(encoding="utf-8") == "shop 2"
    assert copy.stat().st_mode & 0o777 == 0o600
    on_host.ran.clear()
    releases_haproxy.keep(paths)
    assert on_host.ran == [], "nothing has changed, so nothing is checked"


@pytest.mark.parametrize("line", ["stats auth admin:hunter2", "user ops insecure-password hunter2"])
def test_a_file_with_a_password_is_not_copied(paths: AppPaths, on_host: Host, line: str) -> None:
    on_host.write("haproxy.cfg", f"global\n    {line}\n")
    releases_haproxy.keep(paths)
    assert [path for path in Path(paths.state).rglob("*.cfg") if "hunter2" in path.read_text()] == []
    # A copy without the password is not restored either: it would give access to everyone.
    assert not Path(releases_haproxy._own(paths)[1].copy).exists()


def test_a_file_that_is_restored_or_set_aside_is_recorded_so(paths: AppPaths, on_host: Host) -> None:
    """The role may have written another one since: that was not a person."""
    shop, other = "/etc/haproxy/selfheal/shop.cfg", "/etc/haproxy/selfheal/try.cfg"
    with desired_files.writing([desired_files.Wanted(one, b"new", 0o644) for one in (shop, other)], paths.root):
        on_host.write("selfheal/shop.cfg", "damaged")
        on_host.write("selfheal/try.cfg", "damaged")
    releases_haproxy.restart(paths)
    record = desired_files.read(paths.root)
    assert record is not None
    assert {path: one.content for path, one in record.files.items()} == {shop: fingerprint("shop 1")}


@pytest.mark.parametrize("was_killed", [False, True])
def test_a_part_that_is_given_back_is_not_reported_as_gone(was_killed: bool, paths: AppPaths, on_host: Host) -> None:
    shop = "/etc/haproxy/selfheal/shop.cfg"
    with desired_files.writing([desired_files.Wanted(shop, b"shop 1", 0o644)], paths.root):
        on_host.write("selfheal/shop.cfg", "shop 1")
    if was_killed:
        Path(paths.root, shop.lstrip("/")).unlink()
    releases_haproxy.leave(paths)
    record = desired_files.read(paths.root)
    assert record is not None
    assert shop not in record.files
    assert not Path(paths.root, shop.lstrip("/")).exists()
