# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A container's log and state → the inventory line that loosens the limits it fails on.

The messages are what programs print in containers that run with the defaults.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.compose.loosening_hints import entrypoint_paths, hints
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.overlay import read_table
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result

STAMP = "2026-11-23T04:01:29.300435234Z "


def inspected(**changes: Any) -> dict[str, Any]:
    """One document of `docker inspect`, of a container with the defaults."""
    return {
        "Config": {
            "Labels": {"com.docker.compose.service": "backend"},
            "User": changes.get("user", ""),
            "Env": changes.get("env"),
        },
        "HostConfig": {
            "Memory": 512 << 20,
            "PidsLimit": 256,
            "ReadonlyRootfs": changes.get("read_only", True),
            "CapDrop": changes.get("cap_drop", ["ALL"]),
            "SecurityOpt": changes.get("security_opt", ["no-new-privileges:true"]),
            "Init": changes.get("init", True),
            "Tmpfs": changes.get("tmpfs", {"/tmp": ""}),
            "CapAdd": changes.get("cap_add"),
        },
        "State": {
            "OOMKilled": changes.get("oom", False),
            "ExitCode": changes.get("code", 1),
            "Error": changes.get("error", ""),
            "Health": {"Log": [{"Output": changes.get("health", "")}]},
        },
        "Mounts": [{"Destination": place} for place in changes.get("mounts", [])],
    }


def python(call: str, error: str) -> str:
    """What Python 3.13 prints of an error in a call."""
    lines = ["Traceback (most recent call last):", '  File "/app/chown.py", line 1, in <module>', f"    {call}"]
    return "\n".join([*lines, "    ~~~~~~~~~^^^^^^", error])


ERRNO_1 = "PermissionError: [Errno 1] Operation not permitted"
# The capabilities of an entrypoint that drops root, in the order of its calls.
STEPS_DOWN = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
NGINX = ("CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID")
NGINX_ROW = (
    "{tmpfs: [/tmp, /var/cache/nginx, /run], loosen: {cap_add: {to: [CHOWN, DAC_OVERRIDE, SETGID, SETUID], because: "
    '"its entrypoint gives files to a user and becomes that user"}}}'
)
# id, what the log says, how the container differs, the YAML that the hint gives ("" for no hint)
CASES = [
    ("touch", "touch: cannot touch '/srv/x': Read-only file system", {}, "tmpfs: [/tmp, /srv]"),
    (
        "mkdir",
        "mkdir: cannot create directory '/var/cache/app': Read-only file system",
        {},
        "tmpfs: [/tmp, /var/cache/app]",
    ),
    ("busybox mkdir", "mkdir: can't create directory '/data/x/': Read-only file system", {}, "tmpfs: [/tmp, /data/x]"),
    ("dash", "sh: 1: cannot create /run/app.pid: Read-only file system", {}, "tmpfs: [/tmp, /run]"),
    (
        "nginx",
        'nginx: [emerg] mkdir() "/var/cache/nginx/client_temp" failed (30: Read-only file system)',
        {},
        NGINX_ROW,
    ),
    (
        "nginx pid",
        'nginx: [emerg] open() "/run/nginx.pid" failed (30: Read-only file system)',
        {},
        NGINX_ROW,
    ),
    (
        "python",
        python('open("/srv/thumbs/a.png", "w")', "OSError: [Errno 30] Read-only file system: '/srv/thumbs/a.png'"),
        {},
        "tmpfs: [/tmp, /srv/thumbs]",
    ),
    (
        "python makedirs",
        python('os.makedirs("/var/lib/app")', "OSError: [Errno 30] Read-only file system: '/var/lib/app'"),
        {},
        "tmpfs: [/tmp, /var/lib/app]",
    ),
    (
        "node",
        "Error: EROFS: read-only file system, open '/home/node/cache/x.json'",
        {},
        "tmpfs: [/tmp, /home/node/cache]",
    ),
    ("go", "panic: open /data/db.sqlite: read-only file system", {}, "tmpfs: [/tmp, /data]"),
    ("java", "java.io.FileNotFoundException: /logs/app.log (Read-only file system)", {}, "tmpfs: [/tmp, /logs]"),
    (
        "two places",
        "open /a/x: read-only file system\nopen /b/c/y: read-only file system\nopen /b/z: read-only file system",
        {},
        "tmpfs: [/tmp, /a, /b]",
    ),
    (
        "a tmpfs with options stays",
        "open /a/x: read-only file system",
        {"tmpfs": {"/run": "size=1m"}},
        'tmpfs: ["/run:size=1m", /a]',
    ),
    (
        "the default tmpfs with options stays",
        "open /a/x: read-only file system",
        {"tmpfs": {"/tmp": "size=16m"}},
        'tmpfs: ["/tmp:size=16m", /a]',
    ),
    (
        "program code in a tmpfs with options",
        "OSError: /tmp/x.so: failed to map segment from shared object",
        {"tmpfs": {"/tmp": "size=16m"}},
        'tmpfs: ["/tmp:size=16m,exec"]',
    ),
    (
        "an nginx that is built from the official image",
        'nginx: [emerg] mkdir() "/var/cache/nginx/client_temp" failed (30: Read-only file system)',
        {"env": ["NGINX_VERSION=1.27"]},
        NGINX_ROW,
    ),
    (
        "for a user of its own",
        "open /a/x: read-only file system",
        {"user": "1000:1000"},
        'tmpfs: [/tmp, "/a:uid=1000"]',
    ),
    (
        "for a user with a name",
        "open /a/x: read-only file system",
        {"user": "node"},
        'tmpfs: [/tmp, "/a:mode=1777"]',
    ),
    (
        "the image's own files",
        "sh: 1: cannot create /etc/app.conf: Read-only file system",
        {},
        'loosen: {read_only: {to: false, because: "writes to /etc"}}',
    ),
    (
        "the root itself",
        "open /x: read-only file system",
        {},
        'loosen: {read_only: {to: false, because: "writes to /"}}',
    ),
    (
        "where others' files are",
        "open /var/lib/x: read-only file system",
        {},
        'loosen: {read_only: {to: false, because: "writes to /var/lib"}}',
    ),
    (
        "no path",
        "write failed: Read-only file system",
        {},
        'loosen: {read_only: {to: false, because: "writes to its root file system"}}',
    ),
    ("the user's read-only volume", "open /data/x: read-only file system", {"mounts": ["/data"]}, ""),
    ("a root that is writable", "open /a/x: read-only file system", {"read_only": False}, ""),
    ("chown", "chown: changing ownership of '/data': Operation not permitted", {}, STEPS_DOWN),
    ("busybox chown", "chown: /data: Operation not permitted", {}, STEPS_DOWN),
    ("node chown", "Error: EPERM: operation not permitted, chown '/data'", {}, ("CHOWN",)),
    ("python chown", python('os.chown("/d", 1, 1)', f"{ERRNO_1}: '/d'"), {}, ("CHOWN",)),
    (
        "nginx chown",
        'nginx: [emerg] chown("/var/cache/nginx", 101) failed (1: Operation not permitted)',
        {},
        NGINX,
    ),
    ("python setuid", python("os.setuid(1000)", ERRNO_1), {}, ("SETGID", "SETUID")),
    ("su", "su: cannot set groups: Operation not permitted", {}, STEPS_DOWN),
    ("gosu", 'error: failed switching to "redis": operation not permitted', {}, STEPS_DOWN),
    ("su-exec", "su-exec: setgroups: Operation not permitted", {}, STEPS_DOWN),
    ("setpriv", "setpriv: setresuid failed: Operation not permitted", {}, STEPS_DOWN),
    (
        "nginx worker",
        "[emerg] 31#31: setgid(101) failed (1: Operation not permitted)",
        {},
        NGINX,
    ),
    ("chmod", "chmod: changing permissions of '/data': Operation not permitted", {}, STEPS_DOWN),
    ("chmod by a user", "chmod: changing permissions of '/data': Operation not permitted", {"user": "5"}, ("FOWNER",)),
    ("chown that may not enter", "chown: cannot read directory '/data/x': Permission denied", {}, STEPS_DOWN),
    ("find that may not enter", "find: './appendonlydir': Permission denied", {}, STEPS_DOWN),
    (
        "without an init nothing hands a signal on",
        "chown: /data: Operation not permitted",
        {"init": None},
        tuple(name for name in STEPS_DOWN if name != "KILL"),
    ),
    (
        "an init that may not signal",
        "[FATAL tini (1)] Unexpected error when forwarding signal: 'Operation not permitted'",
        {"cap_add": ["CAP_SETUID"]},
        ("KILL", "SETUID"),
    ),
    (
        "what is in force stays",
        "chown: /data: Operation not permitted",
        {"cap_add": ["CAP_NET_RAW", "SETUID"]},
        (*STEPS_DOWN[:4], "NET_RAW", *STEPS_DOWN[4:]),
    ),
    ("what is there is not proposed", python('os.chown("/d", 1, 1)', ERRNO_1), {"cap_add": ["CHOWN"]}, ""),
    (
        "nginx bind",
        "nginx: [emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)",
        {},
        (*NGINX[:2], "NET_BIND_SERVICE", *NGINX[2:]),
    ),
    (
        "chmod of a folder",
        "chmod: changing permissions of '/var/run/app': Read-only file system",
        {},
        "tmpfs: [/tmp, /var/run/app]",
    ),
    ("go bind", "listen tcp :443: bind: permission denied", {}, ("NET_BIND_SERVICE",)),
    ("node bind", "Error: listen EACCES: permission denied 0.0.0.0:80", {}, ("NET_BIND_SERVICE",)),
    (
        "python bind",
        python('s.bind(("", 80))', "PermissionError: [Errno 13] Permission denied"),
        {},
        ("NET_BIND_SERVICE",),
    ),
    ("a high port is another matter", "listen tcp :8443: bind: permission denied", {}, ""),
    (
        "marked program",
        "[FATAL tini (7)] exec /usr/bin/caddy failed: Operation not permitted",
        {},
        ("NET_BIND_SERVICE",),
    ),
    ("marked program, runc", "", {"error": 'exec: "/usr/bin/caddy": operation not permitted'}, ("NET_BIND_SERVICE",)),
    ("ping", "ping: socktype: SOCK_RAW: Operation not permitted", {}, ("NET_RAW",)),
    ("mlock", "mlockall failed: Operation not permitted", {}, ("IPC_LOCK",)),
    (
        "root and others' files",
        python('open("/data/x", "w")', "PermissionError: [Errno 13] Permission denied: '/data/x'"),
        {},
        ("DAC_OVERRIDE",),
    ),
    ("root and others' files, dash", "sh: 1: cannot create /data/x: Permission denied", {}, ("DAC_OVERRIDE",)),
    ("root and others' files, nginx", 'open() "/var/log/x" failed (13: Permission denied)', {}, ("DAC_OVERRIDE",)),
    ("somebody else and others' files", "sh: 1: cannot create /data/x: Permission denied", {"user": "1000"}, ""),
    ("the app's own answers", "GET /api/gifts 403 permission denied", {}, ""),
    (
        "several",
        "chown: /data: Operation not permitted\nsu-exec: setgroups: Operation not permitted",
        {},
        STEPS_DOWN,
    ),
    ("capabilities that are there", "chown: /data: Operation not permitted", {"cap_drop": []}, ""),
    (
        "sudo",
        'sudo: The "no new privileges" flag is set, which prevents sudo from running as root.',
        {},
        'loosen: {no_new_privileges: {to: false, because: "runs sudo"}}',
    ),
    ("sudo that may", 'sudo: The "no new privileges" flag is set', {"security_opt": None}, ""),
    (
        "s6",
        "s6-overlay-suexec: fatal: can only run as pid 1",
        {},
        'loosen: {init: {to: false, because: "brings its own init"}}',
    ),
    ("s6 without init", "s6-overlay-suexec: fatal: can only run as pid 1", {"init": None}, ""),
    ("dash fork", "sh: 0: Cannot fork", {}, "pids: 512"),
    ("bash fork", "bash: fork: retry: Resource temporarily unavailable", {}, "pids: 512"),
    ("busybox fork", "sh: can't fork: Resource temporarily unavailable", {}, "pids: 512"),
    ("python thread", "RuntimeError: can't start new thread", {}, "pids: 512"),
    ("python fork", "BlockingIOError: [Errno 11] Resource temporarily unavailable", {}, "pids: 512"),
    (
        "java thread",
        "java.lang.OutOfMemoryError: unable to create native thread: possibly out of memory",
        {},
        "pids: 512",
    ),
    ("go thread", "runtime: failed to create new OS thread (have 12 already; errno=11)", {}, "pids: 512"),
    ("a busy socket", "recv: Resource temporarily unavailable", {}, ""),
    ("killed at the limit", "", {"oom": True, "code": 137}, "memory: 1024M"),
    ("killed, for an unknown reason", "", {"code": 137}, "memory: 1024M"),
    ("python memory", "MemoryError", {}, "memory: 1024M"),
    (
        "node memory",
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
        {},
        "memory: 1024M",
    ),
    ("gunicorn", "[ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?", {}, "memory: 1024M"),
    ("library in /tmp", "OSError: /tmp/x.so: failed to map segment from shared object", {}, 'tmpfs: ["/tmp:exec"]'),
    (
        "library, older glibc",
        "ImportError: /tmp/x.so: failed to map segment from shared object: Operation not permitted",
        {},
        'tmpfs: ["/tmp:exec"]',
    ),
    ("program in /tmp", "sh: 1: /tmp/true: Permission denied", {}, 'tmpfs: ["/tmp:exec"]'),
    ("library elsewhere", "OSError: /app/x.so: failed to map segment from shared object", {}, ""),
    (
        "no client",
        "",
        {"health": 'OCI runtime exec failed: exec: "curl": executable file not found in $PATH'},
        'healthcheck: {test: ["CMD", "a program of the image", "its argument"]}',
    ),
    (
        "none of the clients",
        "",
        {"health": "no curl, wget, python3 or node in this image: set"},
        'healthcheck: {test: ["CMD", "a program of the image", "its argument"]}',
    ),
    ("the app's own complaint", "JWT_SECRET is a placeholder", {}, ""),
    ("nothing", "", {}, ""),
]


@pytest.mark.parametrize(("log", "changes", "line"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("stamp", ["", STAMP])
def test_hints(log: str, changes: dict[str, Any], line: str | tuple[str, ...], stamp: str) -> None:
    found = hints("\n".join(stamp + text for text in log.splitlines()), inspected(**changes))
    assert len(found) == bool(line), found
    if not line:
        return
    before, after = found[0].split(". In the inventory, under compose_app_services.backend: ")
    assert "backend" in before
    assert STAMP.strip() not in before
    # The table accepts the line without a change.
    row = yaml.safe_load(re.sub(r" \(what is .*\)$", "", after))
    said, loosened = read_table({"backend": row})["backend"]
    assert said or loosened
    if isinstance(line, tuple):
        assert loosened["cap_add"].to == list(line)
        assert loosened["cap_add"].because
    else:
        assert after.startswith(line)


def row_of(hint: str) -> Any:
    """The row that a hint gives, as the table reads it."""
    return read_table({"backend": yaml.safe_load(hint.split("compose_app_services.backend: ")[1])})["backend"]


def test_all_failures_give_one_row() -> None:
    log = "chown: /data: Operation not permitted\nopen /srv/x: read-only file system\nsh: 0: Cannot fork"
    (hint,) = hints(log, inspected(oom=True, code=137))
    said, loosened = row_of(hint)
    assert said == {"memory": "1024M", "pids": 512, "tmpfs": ["/tmp", "/srv"]}
    assert loosened["cap_add"].to == list(STEPS_DOWN)
    assert "compose_app_services.backend: {memory: 1024M, " in hint


def test_two_limits_to_loosen_share_one_key() -> None:
    (hint,) = hints("open /etc/x: read-only file system\nlisten tcp :80: bind: permission denied", inspected())
    assert list(row_of(hint).loosened) == ["read_only", "cap_add"]
    assert hint.count("loosen: ") == 1


def test_a_writable_root_needs_no_tmpfs() -> None:
    (hint,) = hints("open /etc/x: read-only file system\nopen /srv/x: read-only file system", inspected())
    assert row_of(hint).said == {}


@pytest.mark.parametrize(
    ("variable", "log", "wanted"),
    [
        ("PG_MAJOR=17", "find: /x: Permission denied", STEPS_DOWN),
        ("NGINX_VERSION=1", "[emerg] 31#31: setgid(101) failed (1: Operation not permitted)", NGINX),
        (
            "CADDY_VERSION=2",
            "exec /usr/bin/caddy failed: Operation not permitted",
            ("DAC_OVERRIDE", "NET_BIND_SERVICE"),
        ),
    ],
)
def test_an_image_needs_the_capabilities_of_its_official_base_image(
    variable: str, log: str, wanted: tuple[str, ...]
) -> None:
    (hint,) = hints(log, inspected(env=["A=b", variable]))
    assert row_of(hint).loosened["cap_add"].to == sorted(wanted)


SCRIPTS = [
    ("nothing", "#!/bin/sh\nexec app", "", ()),
    ("becomes a user", '#!/bin/sh\nexec gosu app "$@"', "", ("CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETUID")),
    ("with modes", "#!/bin/sh\nchmod 700 /d\nchown -R app /d\nexec su-exec app x", "", STEPS_DOWN),
    ("gives files away", "#!/bin/sh\nchown -R app /d\nexec app", "", ("CHOWN", "DAC_OVERRIDE")),
    ("as another user", '#!/bin/sh\nexec gosu app "$@"', "1000", ()),
]


@pytest.mark.parametrize(("script", "user", "wanted"), [row[1:] for row in SCRIPTS], ids=[row[0] for row in SCRIPTS])
def test_the_script_shows_which_capabilities_it_needs(script: str, user: str, wanted: tuple[str, ...]) -> None:
    log = "mkdir: cannot create directory '/run/app': Read-only file system"
    (hint,) = hints(log, inspected(user=user), script)
    said, loosened = row_of(hint)
    assert said["tmpfs"][0] == "/tmp"
    assert (tuple(loosened["cap_add"].to) if wanted else ()) == wanted
    assert bool(loosened) == bool(wanted)
    # Capabilities that are already granted, and an app that fails for another reason, need no hint.
    there = hints(log, inspected(user=user, cap_add=list(wanted)), script)
    assert "cap_add" not in there[0]
    assert hints("JWT_SECRET is a placeholder", inspected(user=user), script) == []


@pytest.mark.parametrize(
    ("entrypoint", "first"),
    [
        (["docker-entrypoint.sh"], "/usr/local/bin/docker-entrypoint.sh"),
        (["/docker-entrypoint.sh"], "/docker-entrypoint.sh"),
        (["/bin/tini", "--", "/usr/local/bin/entrypoint"], "/usr/local/bin/entrypoint"),
        (["sh", "-c", "x /entrypoint.sh"], ""),
        (["/app"], ""),
        (None, ""),
    ],
)
def test_where_the_script_of_an_entrypoint_is(entrypoint: list[str] | None, first: str) -> None:
    found = entrypoint_paths({"Config": {"Entrypoint": entrypoint}})
    assert (found[0] if found else "") == first


def test_a_script_is_read_from_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/usr/bin/x.sh": "#!/bin/sh\nexec gosu app x\n", "/bin/x.sh": "\x7fELF"}

    def run(argv: list[str], _timeout: float) -> Result:
        path = argv[-2].partition(":")[2]
        text = files.get(path)
        return Result(0, "h" * 512 + text + "\0" * 700, "") if text else Result(1, "", "no such file")

    monkeypatch.setattr(commands, "run", run)
    project = docker_project.Project("app", "/nowhere", [])
    assert project.script("c", ["/usr/local/bin/x.sh", "/usr/bin/x.sh"]) == files["/usr/bin/x.sh"]
    assert project.script("c", ["/bin/x.sh"]) == ""
    assert project.script("c", []) == ""


def test_a_format_that_the_processor_does_not_know() -> None:
    (hint,) = hints("exec /app/run: exec format error", inspected())
    assert hint.startswith("backend cannot be executed: its image is for another processor")


def test_a_container_that_is_gone() -> None:
    (hint,) = hints("open /a/x: read-only file system", {})
    assert "under compose_app_services.<service>: tmpfs: [/tmp, /a]" in hint


def test_the_same_is_said_once() -> None:
    assert len(hints("chown: /d: Operation not permitted\n" * 30, inspected())) == 1


def test_what_is_quoted_fits_between_quotes_in_one_line() -> None:
    (hint,) = hints('chown "/a\x1b[0m": Operation not permitted ' + "x" * 300, inspected())
    assert hint.isprintable()
    assert len(hint) < 400


@given(st.text(), st.sampled_from([{}, inspected(), inspected(user="node")]))
def test_any_text_is_accepted(text: str, container: dict[str, Any]) -> None:
    for log in (
        text,
        f"{text} Operation not permitted {text}",
        f"/{text}: Read-only file system",
        f"/{text}: Permission denied",
    ):
        assert all(isinstance(hint, str) for hint in hints(log, container))
