# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app that was started by hand is taken over by one command, while it is written to 50 times a second.

prepare.yml has started it by plain `docker compose up -d` in /root/ledger. The tests build on each other, in order.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from shared.acting import incidents, kill, slow, until

REPOSITORY = Path(__file__).resolve().parents[3]
PROJECT = Path(__file__).resolve().parents[1] / "project"
TO = REPOSITORY / ".lab/adopt"
# What dpkg, containerd and systemd keep of packages and units.
OF_PACKAGES = ("/var/lib/dpkg", "/var/lib/apt", "/var/lib/containerd", "/var/lib/systemd", "/root/.docker")
FOLDER, APP, DIRECTORY = "/root/ledger", "ledger", "/opt/ledger"
LOST_SECONDS = 25.0
SETTINGS = {"compose_app_gate_timeout": 20}


class Client:
    """Requests over one connection, which is opened again when it has ended."""

    def __init__(self, address: str, timeout: float = 2.0) -> None:
        self.address, self.timeout = address, timeout
        self.connection = http.client.HTTPConnection(address, 8000, timeout=timeout)

    def ask(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        try:
            self.connection.request(method, path)
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            self.connection.close()
            return 0, {}


def ask(address: str, path: str, timeout: float = 2.0) -> tuple[int, dict[str, Any]]:
    """GET over a connection of its own."""
    client = Client(address, timeout)
    try:
        return client.ask("GET", path)
    finally:
        client.connection.close()


class Load:
    """A writer of 50 records a second, each until it is acknowledged, and a prober at 10 Hz with new connections."""

    def __init__(self, address: str) -> None:
        self.address, self.acknowledged = address, 0
        self.answers: list[tuple[float, bool]] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._write, self._probe)]

    def __enter__(self) -> Load:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._over.set()
        for one in self._threads:
            one.join()

    def _write(self) -> None:
        client = Client(self.address)
        status, found = ask(self.address, "/records")
        number = max(found["numbers"], default=0) if status == 200 else 0
        self.acknowledged = number
        due = time.monotonic()
        while not self._over.is_set():
            if client.ask("POST", f"/records/{self.acknowledged + 1}")[0] == 201:
                self.acknowledged += 1
            due = max(due + 0.02, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))
        client.connection.close()

    def _probe(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            threading.Thread(target=self._ask_once, daemon=True).start()
            due += 0.1
            time.sleep(max(0.0, due - time.monotonic()))
        time.sleep(2.0)

    def _ask_once(self) -> None:
        sent = time.monotonic()
        status, _unused = ask(self.address, "/health")
        self.answers.append((sent, status == 200))

    def writes(self) -> bool:
        return self.acknowledged > 0

    def serves(self) -> bool:
        return ask(self.address, "/health")[0] == 200

    def outages(self) -> list[float]:
        """Seconds of each stretch without an answer: from the first request that failed to the next that did not."""
        found: list[float] = []
        since: float | None = None
        for sent, ok in sorted(self.answers):
            if ok and since is not None:
                found.append(sent - since)
            if ok:
                since = None
            elif since is None:
                since = sent
        assert since is None, "the last request was not answered"
        return found

    def downtime(self) -> float:
        return sum(self.outages())


class Ended(NamedTuple):
    code: int
    text: str


class Run:
    """A run of adopt, and its output so far."""

    def __init__(self, address: str, *words: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
        self.text = ""
        self.process = subprocess.Popen(
            command(address, *words),
            cwd=REPOSITORY,
            env=kept,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.text += line

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def says(self, text: str) -> bool:
        return text in self.text or self.is_over()

    def end(self, seconds: float = 600.0) -> Ended:
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=10.0)
        return Ended(code, self.text)


def command(address: str, *words: str) -> list[str]:
    keys = f"-o UserKnownHostsFile={REPOSITORY}/.lab/host_keys/{address}"
    return [
        *("ansible-playbook", "playbooks/adopt.yml", "-e", f"adopt=root@{address}:{FOLDER}", "-e", f"to={TO}"),
        *("-e", json.dumps(SETTINGS), "--private-key", ".lab/id_ed25519", "--ssh-common-args", keys, *words),
    ]


def adopt(address: str, *words: str) -> Ended:
    return Run(address, *words).end()


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    shutil.rmtree(TO, ignore_errors=True)
    found = str(host.backend.host.name)
    until(lambda: ask(found, "/health")[0] == 200, 60)
    return found


@pytest.fixture
def load(address: str) -> Iterator[Load]:
    with Load(address) as made:
        until(lambda: made.acknowledged > 0)
        yield made


def containers(host: Any) -> dict[str, dict[str, Any]]:
    ids = host.check_output(f"docker ps -aq --filter label=com.docker.compose.project={APP}").split()
    documents = json.loads(host.check_output(f"docker inspect {' '.join(ids)}"))
    return {document["Config"]["Labels"]["com.docker.compose.service"]: document for document in documents}


def started_from(host: Any) -> dict[str, str]:
    label = "com.docker.compose.project.working_dir"
    return {name: one["Config"]["Labels"][label] for name, one in containers(host).items()}


def volumes(host: Any) -> set[str]:
    names = host.check_output("docker volume ls -q").split()
    return {json.dumps(json.loads(host.check_output(f"docker volume inspect {name}"))[0]) for name in names}


def old_folder(host: Any) -> str:
    listed = f"find {FOLDER} -name receipts -prune -o -name ADOPTED-BY-SELFHEAL.md -prune -o -type f -print0"
    return str(host.check_output(f"{listed} | sort -z | xargs -0 sha256sum; stat -c '%n %a' {FOLDER}/.env"))


def check_records(load: Load) -> None:
    """Assert that each record that was acknowledged is there, and its receipt."""
    until(lambda: ask(load.address, "/records")[0] == 200)
    known = load.acknowledged
    _unused, found = ask(load.address, "/records", 10.0)
    assert set(range(1, known + 1)) <= set(found["numbers"])
    assert found["receipts"] >= known


def secrets(host: Any) -> list[str]:
    text = host.check_output(f"cat {FOLDER}/.env")
    return [text.split("'")[1], text.split("KEY-----\n")[1].split("\n")[0]]


def goes_on(load: Load) -> None:
    before = load.acknowledged
    until(lambda: load.acknowledged > before + 20, 30)


def files(host: Any) -> str:
    """Every file of the host that may be changed by a take-over, with its time; and the engine's objects."""
    places = "/etc /opt /root /run/selfheal /usr/local /var/lib/selfheal"
    found = host.run(
        f"find {places} -path {FOLDER}/receipts -prune -o -path /root/.ansible -prune -o -printf '%p %m %T@\\n'"
    )
    return f"{found.stdout}{host.check_output('docker ps -aq --no-trunc; docker image ls -aq; docker volume ls -q')}"


def paths(host: Any) -> set[str]:
    """The files and folders of the host, but for those of Debian packages, of the engine, and of this run."""
    passed = f"/proc /sys /dev /run /tmp /var/tmp /var/log /var/cache /var/lib/docker {FOLDER}/receipts /root/.ansible"
    prune = " -o ".join(f"-path {path}" for path in [*passed.split(), *OF_PACKAGES])
    packaged = set(host.check_output("cat /var/lib/dpkg/info/*.list").splitlines())
    return set(host.check_output(f"find / -xdev \\( {prune} \\) -prune -o -print").splitlines()) - packaged


@pytest.fixture(scope="module")
def found_first(host: Any, address: str) -> set[str]:
    return paths(host)


@pytest.fixture(scope="module", autouse=True)
def _before_all(found_first: set[str]) -> None:
    """What is there is looked at before the first test."""


@pytest.mark.parametrize("words", [("-e", "adopt_dry=true"), ("--check", "--diff")], ids=["dry", "check"])
def test_a_dry_run_shows_the_plan_and_changes_nothing(words: tuple[str, ...], host: Any, address: str) -> None:
    before = files(host)
    ended = adopt(address, *words)
    assert ended.code == 0, ended.text
    for line in ("ledger_db (", f"{FOLDER}/receipts (", "8000 -> app:8000", "Dry run: nothing was written"):
        assert line in ended.text, ended.text
    assert files(host) == before
    assert not TO.exists()


def test_what_is_refused_before_the_switch_leaves_the_app_alone(host: Any, load: Load) -> None:
    before, kept = {name: one["Id"] for name, one in containers(host).items()}, old_folder(host)
    ended = adopt(load.address, "-e", '{"compose_app_files": ["none.yaml"]}')
    assert ended.code != 0
    assert "none.yaml" in ended.text
    assert f"2 of 2 containers run, from {FOLDER}, with the images as before" in " ".join(ended.text.split())
    assert {name: one["Id"] for name, one in containers(host).items()} == before
    assert old_folder(host) == kept
    assert load.downtime() == 0.0
    for secret in secrets(host):
        assert secret not in ended.text


def test_a_bad_first_release_is_given_back_as_it_was(host: Any, load: Load) -> None:
    before = {name: one["Image"] for name, one in containers(host).items()}
    (TO / "app.py").write_text("raise SystemExit('the ledger cannot start')\n", encoding="utf-8")
    ended = adopt(load.address)
    assert ended.code != 0
    said = " ".join(ended.text.split())
    assert "the ledger cannot start" in said
    assert "What ran before is put back, from its own /root/ledger/compose.yaml, not hardened. It serves" in said
    assert f"2 of 2 containers run, from {FOLDER}, with the images as before" in said
    goes_on(load)
    assert {name: one["Image"] for name, one in containers(host).items()} == before
    assert set(started_from(host).values()) == {FOLDER}
    check_records(load)


def test_the_app_is_adopted_with_its_data(host: Any, load: Load) -> None:
    shutil.copy(PROJECT / "app.py", TO / "app.py")
    before, kept = volumes(host), old_folder(host)
    ended = adopt(load.address, "-vvv")
    assert ended.code == 0, ended.text
    goes_on(load)
    time.sleep(1.0)
    print(f"without an answer: {load.downtime():.1f} s")
    assert volumes(host) == before
    assert set(started_from(host).values()) == {DIRECTORY}
    for name, document in containers(host).items():
        assert document["HostConfig"]["CapDrop"] == ["ALL"], name
    mounts = {mount["Destination"]: mount["Source"] for mount in containers(host)["app"]["Mounts"]}
    assert mounts == {"/receipts": f"{FOLDER}/receipts", "/etc/ledger.ini": f"{DIRECTORY}/ledger.ini"}
    check_records(load)
    assert old_folder(host) == kept
    assert DIRECTORY in host.check_output(f"cat {FOLDER}/ADOPTED-BY-SELFHEAL.md")
    for secret in secrets(host):
        assert secret not in ended.text
        assert not [path for path in TO.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]
    assert host.run(f"grep -c KEY {DIRECTORY}/.env").rc == 0


def test_adopting_twice_changes_nothing(host: Any, load: Load) -> None:
    before = {name: one["Id"] for name, one in containers(host).items()}
    ended = adopt(load.address)
    assert ended.code == 0, ended.text
    assert "is adopted already: it runs from /opt/ledger. Nothing was changed" in ended.text
    assert "changed=0" in ended.text
    assert {name: one["Id"] for name, one in containers(host).items()} == before
    assert load.downtime() == 0.0


def test_compose_up_in_the_old_folder_is_noticed(host: Any, address: str) -> None:
    known = {one["id"] for one in incidents(host)}
    host.check_output(f"cd {FOLDER} && docker compose up --detach --quiet-pull")
    found: list[str] = []

    def is_noticed() -> bool:
        found[:] = json.loads(host.run("selfheal status --json").stdout)["problems"]
        return any(f"were started by `docker compose up` in {FOLDER}" in problem for problem in found)

    # The watcher may be busy with the restart first.
    until(is_noticed, 90, why=lambda: str(found))
    until(lambda: ask(address, "/health")[0] == 200)
    until(lambda: host.run("selfheal status").rc == 0, why=lambda: host.run("selfheal status").stdout)
    # While it serves, it is left alone.
    assert set(started_from(host).values()) == {FOLDER}
    found_since = [one for one in incidents(host) if one["id"] not in known]
    assert [one for one in found_since if one["remedies"] or one["cause"] in ("crashed", "port_taken")] == []
    ended = adopt(address)
    assert "`docker compose` was run again in /root/ledger" in ended.text


def site(address: str, playbook: str, *words: str) -> Ended:
    """Run a playbook with the inventory that adopt has written."""
    hosts, password = f"{TO}/deploy/hosts.yml", f"{TO}/deploy/.vault-password"
    connection = command(address)[-4:]
    argv = ["ansible-playbook", f"playbooks/{playbook}", "-i", hosts, "--vault-password-file", password, *connection]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    ended = subprocess.run(
        [*argv, *words],
        cwd=REPOSITORY,
        env=kept,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout)


def test_it_is_removed_again_and_runs_as_before(host: Any, load: Load, found_first: set[str]) -> None:
    hardened = site(load.address, "site.yml")
    assert hardened.code == 0, hardened.text
    assert set(started_from(host).values()) == {DIRECTORY}
    before = volumes(host)
    removed = site(load.address, "remove.yml", "-e", f"remove_confirm={APP}")
    assert removed.code == 0, removed.text
    goes_on(load)
    assert set(started_from(host).values()) == {FOLDER}
    assert volumes(host) == before
    check_records(load)
    assert paths(host) - found_first <= {"/etc/docker", "/etc/docker/daemon.json"}, removed.text
    assert found_first - paths(host) == set()
    assert "changed=0" in site(load.address, "remove.yml", "-e", f"remove_confirm={APP}").text


def by_hand(host: Any, address: str) -> None:
    """Bring the app and the engine back to how prepare.yml left them; the data stays."""
    host.run(f"systemctl stop selfheal@{APP}.timer selfheal@{APP}.service")
    host.run(f"systemctl disable selfheal@{APP}.timer")
    host.run("rm -f /etc/docker/daemon.json; systemctl reset-failed docker.service; systemctl restart docker.service")
    until(lambda: host.run("docker info").rc == 0)
    folders = f"{DIRECTORY} /var/lib/selfheal/{APP} /etc/selfheal/{APP}.json {FOLDER}/ADOPTED-BY-SELFHEAL.md"
    host.check_output(f"rm -rf {folders} /run/selfheal/{APP}.*")
    host.check_output(f"cd {FOLDER} && docker compose up --detach --quiet-pull --force-recreate")
    shutil.rmtree(TO, ignore_errors=True)
    until(lambda: ask(address, "/health")[0] == 200, 60)


@slow
def test_each_adoption_loses_nothing(host: Any, address: str) -> None:
    gaps = []
    for number in range(int(os.environ.get("ADOPT_ROUNDS", "10"))):
        by_hand(host, address)
        with Load(address) as load:
            until(load.writes)
            ended = adopt(address)
            assert ended.code == 0, ended.text
            goes_on(load)
            time.sleep(1.0)
            check_records(load)
        gaps.append(load.downtime())
        print(f"round {number}: {gaps[-1]:.2f} s without an answer, {load.acknowledged} records", flush=True)
    print(f"n = {len(gaps)}, median {statistics.median(gaps):.2f} s, {min(gaps):.2f} to {max(gaps):.2f} s")


def kill_playbook(_host: Any, run: Run) -> None:
    kill(run.process.pid)


def kill_module(host: Any, _run: Run) -> None:
    host.run("pkill -9 -f '^/usr/bin/python3[0-9.]*( .*AnsiballZ_.*)?$'")


def kill_session(host: Any, _run: Run) -> None:
    host.run("""setsid -f sh -c "sleep 0.2; pkill -9 -f '^sshd-session: root@notty'" >/dev/null 2>&1""")


def lose_packets(host: Any, _run: Run) -> None:
    rule = "INPUT -p tcp --dport 22 -j DROP"
    host.run(f"setsid -f sh -c 'iptables -I {rule}; sleep {LOST_SECONDS:.0f}; iptables -D {rule}' >/dev/null 2>&1")


FAULTS = (kill_playbook, kill_module, kill_session, lose_packets)


@slow
def test_a_kill_at_any_moment_leaves_an_app_that_runs_and_the_next_run_goes_on(host: Any, address: str) -> None:
    """Half of the moments are in the seconds in which the containers are replaced."""
    rounds, chance = int(os.environ.get("ADOPT_ROUNDS", "20")), random.Random(20)
    for number in range(rounds):
        fault = FAULTS[number // 2 % len(FAULTS)]
        by_hand(host, address)
        with Load(address) as load:
            until(load.writes)
            begun, run = time.monotonic(), Run(address)
            if number % 2:
                until(partial(run.says, "building the images"), 120, longest=0.1)
                time.sleep(chance.uniform(0.0, 3.0))
            else:
                time.sleep(chance.uniform(1.0, 30.0))
            after = time.monotonic() - begun
            fault(host, run)
            run.end()
            if fault is lose_packets:
                time.sleep(max(0.0, begun + after + LOST_SECONDS + 1.0 - time.monotonic()))
            until(load.serves, 60)
            goes_on(load)
            time.sleep(1.0)
            check_records(load)
            where = ", ".join(sorted(set(started_from(host).values())))
        print(f"round {number}: {fault.__name__} after {after:.1f} s: ", end="")
        print(f"{load.downtime():.1f} s down, from {where}; ", end="")
        with Load(address) as load:
            until(load.writes)
            ended = adopt(address)
            assert ended.code == 0, ended.text
            goes_on(load)
            time.sleep(1.0)
            check_records(load)
            assert set(started_from(host).values()) == {DIRECTORY}
        print(f"the next run: {load.downtime():.1f} s down, {load.acknowledged} records", flush=True)
