# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Users send requests all the time, and none of them fails.

No request fails while a release is deployed or rolled back, when a release fails its gate, or when a deploy is killed.
The tests build on each other, in order.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from shared.acting import EVERYTHING, kill, paused, until

REPOSITORY = Path(__file__).resolve().parents[3]
APP = "christmas-backend"
DIRECTORY = f"/opt/{APP}"
MARKER = f"/var/lib/selfheal/{APP}/rollout.json"
INVENTORY = ["-i", "inventory/lab", "-i", "molecule/shared/inventory.yml", "-l", "localhost,molecule-deploy"]
# Requests a second, below the limit for one address. With this number of threads a late answer does not delay the next
# request.
RATE, THREADS = 30, 20
SETTINGS = {"compose_app_watch_seconds": 3, "compose_app_gate_timeout": 20}
# A release that never passes, and a fault of one of two instances. SELFHEAL_FAULTS=all: every such fault.
QUICK = "bad_release,errors"
ONE_OF_TWO = f"{QUICK},crash,hang,silent,oom,stopped,container_removed"
REGISTERED = "127.0.0.1:5000/shop:1"
EXITS = "    return 1\n"
# After the gate has passed, even on a busy machine, and before the watch is over.
TURNS_BAD, WATCHED = 6.0, {"compose_app_watch_seconds": 12}


class Users:
    """Steady requests inside the `with` block, each with a new connection. At its end no request may have failed."""

    def __init__(self, address: str) -> None:
        self.address, self.begun, self.sent = address, time.monotonic(), 0
        self.lock, self.over, self.failed = threading.Lock(), threading.Event(), list[str]()

    def __enter__(self) -> Users:
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _unused in range(THREADS)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind: Any, *_unused: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(15)
        if kind is None:
            assert self.failed == []
            assert self.sent > 0.7 * RATE * (time.monotonic() - self.begun), (
                f"{self.sent} requests are too few for this test"
            )

    def _ask(self) -> None:
        while True:
            with self.lock:
                self.sent += 1
                due = self.begun + self.sent / RATE
            if self.over.wait(max(0.0, due - time.monotonic())):
                return
            code = ask(self.address)[0]
            if code != "200":
                self.failed.append(f"{code} after {time.monotonic() - self.begun:.1f} s")


def ask(address: str) -> tuple[str, str]:
    """Send a user's request: (status or error, the release that answered)."""
    connection = http.client.HTTPConnection(address, 8000, timeout=10)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        return str(answer.status), answer.headers.get("X-Release", "")
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__, ""
    finally:
        connection.close()


@pytest.fixture
def address(host: Any) -> str:
    return str(host.backend.host.name)


@pytest.fixture
def users(address: str) -> Users:
    return Users(address)


@pytest.fixture
def serves(address: str) -> Callable[[], set[str]]:
    """The releases that answer, from enough requests to reach every instance."""
    return lambda: {ask(address)[1] for _unused in range(20)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Create a release that names itself in each answer and may fail; the variables for its deploy."""

    def make(name: str, begins: str = "", bad_after: float = 3600.0) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("sources") / name
        shutil.copytree(REPOSITORY / "lab/backend", folder, ignore=shutil.ignore_patterns("__pycache__"))
        text = (folder / "app.py").read_text(encoding="utf-8")
        for old, new in (
            ("def main() -> int:\n", f"BORN = time.monotonic()\n\n\ndef main() -> int:\n{begins}"),
            ("if suffer(*injected_fault()):", f"if time.monotonic() - BORN > {bad_after}:"),
            ('self.send_header("Content-Length"', f'self.send_header("X-Release", "{name}")\n            \\g<0>'),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new.replace("\\g<0>", old))
        (folder / "app.py").write_text(text, encoding="utf-8")
        with open(folder / "compose.yaml", "a", encoding="utf-8") as stream:
            stream.write(f"# {name}\n")
        return {**SETTINGS, "compose_app_source": str(folder)}

    return make


@pytest.fixture
def state(host: Any, containers: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The state that a deploy must keep when it changes nothing or is rolled back."""

    def read() -> dict[str, Any]:
        files = ("compose.yaml", "compose.hardened.yaml", ".env")
        return {
            "files": {name: host.file(f"{DIRECTORY}/{name}").content_string for name in files},
            "images": sorted(document["Image"] for document in containers().values()),
            "release": host.check_output(f"readlink {DIRECTORY}/releases/last-good"),
            "under way": host.file(MARKER).exists,
        }

    return read


@contextlib.contextmanager
def deploying(host: Any, extra: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Run deploy.yml until it watches its first new instance, then enter the block."""
    begun = time.time()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    with subprocess.Popen(
        ["ansible-playbook", "playbooks/deploy.yml", *INVENTORY, "-e", json.dumps(extra)],
        cwd=REPOSITORY,
        env=kept,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            said = f"journalctl -q -o cat --since @{begun + 1:.0f} | grep -q ': watching .* for '"
            until(lambda: bool(host.run(said).rc == 0), 180.0)
            yield process
        finally:
            if process.poll() is None:
                kill(process.pid)


def test_drills_behind_the_load_balancer(
    play: Callable[..., Any], drilled: Callable[[], Any], leaks: Callable[[str], list[str]]
) -> None:
    """This test comes first: the releases of the later tests ignore the drills' faults."""
    ended = play("drill.yml", extra={"drill_faults": ONE_OF_TWO if EVERYTHING else QUICK})
    report, wrong = drilled()
    assert wrong == {}, ended.stdout[-4000:]
    assert all(one["balanced"] for one in report["runs"])
    assert (report["troubles"], leaks(ended.stdout)) == ([], [])


def test_a_good_release_replaces_the_one_before(
    users: Users,
    play: Callable[..., Any],
    source: Callable[..., dict[str, Any]],
    serves: Callable[[], set[str]],
    leaks: Callable[[str], list[str]],
) -> None:
    with users:
        ended = play("deploy.yml", "-vvv", extra=source("first"))
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert serves() == {"first"}
    assert leaks(ended.stdout) == []


@pytest.mark.parametrize(
    ("name", "faults", "reason"),
    [
        ("exits", {"begins": EXITS}, "the new instance did not pass its gate: it exits"),
        ("turns-bad", {"bad_after": TURNS_BAD}, "the release turned bad"),
    ],
)
def test_a_bad_release_is_rolled_back_and_the_play_gives_the_reason(
    name: str,
    faults: dict[str, Any],
    reason: str,
    users: Users,
    play: Callable[..., Any],
    source: Callable[..., dict[str, Any]],
    serves: Callable[[], set[str]],
    state: Callable[[], dict[str, Any]],
    leaks: Callable[[str], list[str]],
) -> None:
    before = state()
    with users:
        ended = play("deploy.yml", "--diff", extra={**source(name, **faults), **WATCHED})
    assert ended.returncode != 0
    assert reason in " ".join(ended.stdout.split())
    assert serves() == {"first"}
    assert state() == before
    assert leaks(ended.stdout) == []


def test_a_killed_play_is_rolled_back(
    host: Any,
    users: Users,
    source: Callable[..., dict[str, Any]],
    serves: Callable[[], set[str]],
    state: Callable[[], dict[str, Any]],
) -> None:
    before = state()
    with users:
        with deploying(host, source("killed")) as process:
            kill(process.pid)
        until(lambda: not host.file(MARKER).exists, 180.0)
    assert state() == before
    assert serves() == {"first"}


def test_the_next_deploy_cleans_up_after_a_killed_module(
    host: Any,
    users: Users,
    play: Callable[..., Any],
    source: Callable[..., dict[str, Any]],
    serves: Callable[[], set[str]],
    state: Callable[[], dict[str, Any]],
    leaks: Callable[[str], list[str]],
) -> None:
    # Also with another env, for the test of rollback.yml.
    secret = token_hex(32)
    extra = {**source("second"), "vault_jwt_secret": secret}
    with users:
        with deploying(host, source("killed-again")) as process:
            host.check_output(f"kill -9 $(cut -d ' ' -f 1 /run/selfheal/{APP}.lock)")
            process.communicate(timeout=180)
        assert process.returncode != 0
        ended = play("deploy.yml", "--diff", extra=extra)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert serves() == {"second"}
    assert len(state()["images"]) == 2
    assert leaks(ended.stdout) == []
    assert secret not in ended.stdout

    after = state()
    again = play("deploy.yml", extra=extra)
    assert again.returncode == 0, again.stdout[-4000:]
    assert "changed=0" in again.stdout
    assert state() == after


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    play: Callable[..., Any],
    source: Callable[..., dict[str, Any]],
    state: Callable[[], dict[str, Any]],
    leaks: Callable[[str], list[str]],
) -> None:
    before = state()
    ended = play("deploy.yml", "--check", "--diff", extra=source("third"))
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "+# third" in ended.stdout
    assert state() == before
    assert leaks(ended.stdout) == []


def test_rollback_restores_the_release_before_with_its_env(
    host: Any,
    users: Users,
    play: Callable[..., Any],
    serves: Callable[[], set[str]],
    leaks: Callable[[str], list[str]],
    state: Callable[[], dict[str, Any]],
    secrets: dict[str, str],
) -> None:
    before = state()
    with users:
        ended = play("rollback.yml", extra=SETTINGS)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert serves() == {"first"}
    after = state()
    assert after["files"]["compose.yaml"].endswith("# first\n")
    assert secrets["vault_jwt_secret"] in after["files"][".env"]
    assert secrets["vault_jwt_secret"] not in before["files"][".env"]
    assert after["under way"] is False
    assert leaks(ended.stdout + host.check_output("journalctl --no-pager")) == []


def test_an_image_stays_until_its_name_is_resolved_again(
    host: Any,
    users: Users,
    play: Callable[..., Any],
    source: Callable[..., dict[str, Any]],
    serves: Callable[[], set[str]],
    containers: Callable[[], dict[str, Any]],
) -> None:
    apt = "DEBIAN_FRONTEND=noninteractive apt-get -qq"
    host.check_output(f"{apt} update && {apt} install -y --no-install-recommends docker-registry")
    host.check_output("systemctl stop docker-registry")
    settings = "version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\nhttp: {addr: 127.0.0.1:5000}"
    host.check_output(f"mkdir -p /var/lib/registry && printf '{settings}\\n' >/etc/registry.yml")
    host.check_output("systemd-run --quiet --unit registry docker-registry serve /etc/registry.yml")

    def publish(image: str) -> None:
        until(lambda: bool(host.run(f"docker tag {image} {REGISTERED} && docker push -q {REGISTERED}").rc == 0))
        host.check_output(f"docker rmi {REGISTERED}")

    def image() -> str:
        found = {document["Image"] for document in containers().values()}
        assert len(found) == 1
        return str(found.pop())

    records = f"cat {DIRECTORY}/releases/last-good/release.json"
    first = image()
    newest = f"cat $(ls -d {DIRECTORY}/releases/2* | tail -n 1)/release.json"
    second = json.loads(host.check_output(newest))["images"]["backend"]
    assert first != second
    publish(first)
    extra = {**source("registered"), "compose_app_by": "the test"}
    compose = Path(extra["compose_app_source"], "compose.yaml")
    text = compose.read_text(encoding="utf-8").replace("    build: .\n", "")
    compose.write_text(text.replace("christmas-backend:1.0.0", REGISTERED), encoding="utf-8")
    with users:
        ended = play("deploy.yml", extra=extra)
        assert ended.returncode == 0, ended.stdout[-4000:]
        release = json.loads(host.check_output(records))
        assert (image(), release["by"]) == (first, "the test")
        assert release["pins"][REGISTERED].startswith(REGISTERED.rpartition(":")[0] + "@sha256:")

        # The name moves to another image in the registry, and the host loses the image of that name.
        publish(second)
        again = play("deploy.yml", extra=extra)
        assert again.returncode == 0, again.stdout[-4000:]
        assert ("changed=0" in again.stdout, image()) == (True, first)

        pulled = play("deploy.yml", extra={**extra, "compose_app_pull": True})
        assert pulled.returncode == 0, pulled.stdout[-4000:]
        assert (image(), serves()) == (second, {"second"})
    assert "by the test" in play("status.yml").stdout

    publish(first)
    with paused(host):
        # Otherwise the watcher would start a container from the image that is about to be removed.
        host.check_output(f"docker rm -f $(docker ps -q) && docker rmi -f {second}")
    until(lambda: serves() == {"second"}, 180.0)
    assert image() == second
