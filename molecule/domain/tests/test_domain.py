# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A certificate by ACME from a real CA: issued, renewed without a lost request, kept when the CA fails, and removed.

The CA forgets its accounts when it is started again, and then has another root.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from shared.acting import until

REPOSITORY = Path(__file__).resolve().parents[3]
ADDRESS, CA, NAME = "172.30.57.80", "172.30.57.89", "shop.example"
CONTAINER = "selfheal-lab-acme"
SECONDS = f"https://{CA}:14001/dir"
PEM = "/etc/haproxy/selfheal-certs/christmas-backend.domain.pem"
KEPT = "/var/lib/selfheal/christmas-backend/domain"
METRICS = "/run/selfheal/selfheal-christmas-backend.prom"
TIMER = "selfheal-certificate@christmas-backend.timer"


def root(port: int = 15000) -> str:
    """The root that signs the CA's certificates, from the CA itself."""
    trust = ssl.create_default_context(cafile=str(REPOSITORY / ".lab/acme/server.pem"))
    with urllib.request.urlopen(f"https://{CA}:{port}/roots/0", context=trust, timeout=5) as answer:
        return str(answer.read().decode())


def secure(trusted: str, path: str = "/health") -> tuple[int, dict[str, Any]]:
    """Ask by HTTPS as a browser does that trusts only this root: the status, and the certificate."""
    trust = ssl.create_default_context(cadata=trusted)
    with (
        socket.create_connection((ADDRESS, 443), timeout=10) as connection,
        trust.wrap_socket(connection, server_hostname=NAME) as tls,
    ):
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        status = int(tls.recv(64).split()[1])
        return status, dict(tls.getpeercert() or {})


def plain(path: str = "/health", name: str = NAME) -> tuple[int, str, str]:
    """Ask by HTTP: the status, where it leads, and the text."""
    with closing(http.client.HTTPConnection(ADDRESS, 80, timeout=10)) as connection:
        connection.request("GET", path, headers={"Host": name})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location", ""), answer.read().decode()


def balancer(*words: str, **extra: Any) -> tuple[int, str]:
    """Run the role as a user does, with other variables."""
    argv = ["ansible-playbook", "molecule/domain/balancer.yml", "--inventory=inventory/lab"]
    argv += ["--inventory=molecule/shared/inventory.yml", *words, "--extra-vars", json.dumps(extra)]
    # Molecule's own settings for ansible would override those that a user has.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    ended = subprocess.run(argv, cwd=REPOSITORY, env=kept, text=True, capture_output=True, timeout=300, check=False)
    return ended.returncode, " ".join(ended.stdout.split())


@contextlib.contextmanager
def ca_stopped() -> Iterator[None]:
    """Keep the CA from answering. It keeps its accounts and its root."""
    subprocess.run(["docker", "network", "disconnect", "selfheal-lab", CONTAINER], check=True, capture_output=True)
    try:
        yield
    finally:
        connect = ["docker", "network", "connect", "--ip", CA, "selfheal-lab", CONTAINER]
        subprocess.run(connect, check=True, capture_output=True)


def metric(host: Any, name: str) -> float:
    lines = host.file(METRICS).content_string.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"selfheal_certificate_{name}{{")))


@pytest.fixture
def load() -> Any:
    """Clients by HTTPS and HTTP, each request on a connection of its own; what was not 200."""

    @contextlib.contextmanager
    def run() -> Iterator[dict[str, Any]]:
        seen: dict[str, Any] = {"asked": 0, "bad": []}
        trusted, over = root(), threading.Event()

        def client(ask: Any) -> None:
            while not over.is_set():
                try:
                    status = ask()
                except (OSError, http.client.HTTPException) as error:
                    status = repr(error)
                seen["asked"] += 1
                seen["bad"] += [] if status == 200 else [status]
                over.wait(0.02)

        asks = [lambda: secure(trusted)[0], lambda: plain(name=ADDRESS)[0]]
        clients = [threading.Thread(target=client, args=(ask,)) for ask in asks * 3]
        for one in clients:
            one.start()
        try:
            yield seen
        finally:
            over.set()
            for one in clients:
                one.join()

    return run


def test_the_certificate_is_the_cas(host: Any) -> None:
    status, certificate = secure(root())
    assert status == 200
    assert certificate["subjectAltName"] == (("DNS", NAME),)
    assert plain("/health?x=1") == (308, f"https://{NAME}/health?x=1", "")
    assert plain(name=ADDRESS)[0] == 200, "HTTPS would give an error for another name"
    status, _unused, text = plain("/.well-known/acme-challenge/a-token_1")
    assert (status, text.split(".")[0]) == (200, "a-token_1")
    assert plain("/.well-known/acme-challenge/<script>")[0] == 308
    assert host.service(TIMER).is_running
    assert host.service(TIMER).is_enabled
    for path in (PEM, f"{KEPT}/pem", f"{KEPT}/account.key"):
        assert (host.file(path).mode, host.file(path).user) == (0o600, "root"), path
    assert host.run("selfheal certificate").rc == 0
    assert metric(host, "renewal_failing") == 0
    assert metric(host, "end_timestamp_seconds") > time.time() + 80 * 86400


def test_a_renewal_fails_no_request(host: Any, load: Any) -> None:
    before = secure(root())[1]["serialNumber"]
    with load() as seen:
        time.sleep(0.5)
        for _unused in range(3):
            said = host.check_output("selfheal certificate renew --force")
            assert "a new certificate (it was asked for): shop.example, until " in said
        time.sleep(0.5)
    assert seen["bad"] == []
    assert seen["asked"] > 100
    assert secure(root())[1]["serialNumber"] != before


def test_two_renewals_at_once_get_one_certificate_each_in_turn(host: Any) -> None:
    said = host.check_output("selfheal certificate renew --force & selfheal certificate renew; wait")
    assert said.count("until ") == 2
    assert secure(root())[0] == 200


def test_a_killed_renewal_leaves_the_certificate_in_use(host: Any) -> None:
    trusted = root()
    for after in (0.1, 0.2, 0.3, 0.4, 0.5):
        host.run(f"timeout --signal=KILL {after} selfheal certificate renew --force; true")
        assert host.run("haproxy -c -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/selfheal").rc == 0
        assert secure(trusted)[0] == 200
    host.check_output("selfheal certificate renew --force")
    assert sorted(host.file(KEPT).listdir()) == ["account.key", "map", "pem"]


def test_a_ca_that_does_not_answer(host: Any) -> None:
    with ca_stopped():
        ended = host.run("selfheal certificate renew --force")
        assert ended.rc == 2
        assert f"the CA cannot be reached at https://{CA}:14000/dir" in ended.stderr
        assert "The certificate in use stays (shop.example, until " in ended.stderr
        until(lambda: metric(host, "renewal_failing") == 1, 30)
        assert "not renewed since" in host.run("selfheal status").stdout
    assert secure(root())[0] == 200
    # It is not due, so it is good.
    host.check_output("selfheal certificate renew")
    until(lambda: metric(host, "renewal_failing") == 0, 30)


def test_an_emptied_certificate_comes_back(host: Any) -> None:
    host.check_output(f"truncate -s 0 {PEM}; systemctl start {TIMER.replace('timer', 'service')}")
    assert secure(root())[0] == 200
    host.check_output(f"truncate -s 0 {PEM}; systemctl kill --signal=KILL haproxy")
    until(lambda: host.run(f"cmp {PEM} {KEPT}/pem && systemctl is-active haproxy").rc == 0, 30)
    until(lambda: plain(name=ADDRESS)[0] == 200, 10)
    assert secure(root())[0] == 200


def test_a_name_that_leads_elsewhere(host: Any) -> None:
    """The run says why, and everything goes on as before; a second run goes on."""
    code, output = balancer("--diff", load_balancer_domain=[NAME, "elsewhere.example"])
    assert code != 0
    assert "shop.example, elsewhere.example: no new certificate: the CA says: elsewhere.example: " in output, output
    assert "no such host" in output
    assert "Fix: Let the name" in output
    assert "PRIVATE KEY" not in output
    assert secure(root())[0] == 200
    assert plain(name="elsewhere.example")[0] == 200, "it is not redirected without a certificate"
    code, output = balancer(load_balancer_domain=[NAME, "www.shop.example"])
    assert code == 0, output
    assert secure(root())[1]["subjectAltName"] == (("DNS", NAME), ("DNS", "www.shop.example"))
    assert plain(name="www.shop.example")[0] == 308


def test_a_certificate_of_seconds_is_renewed_and_its_end_is_reported(host: Any) -> None:
    """Another CA, so another certificate. When it is due, the timer's service renews it."""
    code, output = balancer(load_balancer_acme_directory=SECONDS)
    assert code == 0, output
    service = TIMER.replace("timer", "service")
    before = secure(root(15001))[1]["serialNumber"]
    host.check_output(f"systemctl start {service}")
    assert secure(root(15001))[1]["serialNumber"] == before, "two thirds of its time are left"
    time.sleep(max(0.0, metric_end(host) - time.time() - 6))
    host.check_output(f"systemctl start {service}")
    assert secure(root(15001))[1]["serialNumber"] != before
    with ca_stopped():
        time.sleep(max(0.0, metric_end(host) - time.time() - 4))
        assert host.run(f"systemctl start {service}").rc != 0
        until(lambda: metric(host, "renewal_failing") == 1, 30)
        assert metric(host, "end_timestamp_seconds") == metric_end(host)
        # It has ended, and nothing has removed it: a client that insists still gets an answer.
        until(lambda: time.time() > metric_end(host), 15)
        assert host.run("haproxy -c -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/selfheal").rc == 0
        assert plain()[0] == 308


def metric_end(host: Any) -> float:
    """When the certificate ends, as the record says it."""
    record = json.loads(host.file("/var/lib/selfheal/christmas-backend/certificate.json").content_string)
    return float(record["ends"])


def test_without_a_domain_and_with_it_again(host: Any) -> None:
    code, output = balancer()
    assert code == 0, output
    before = secure(root())[1]["serialNumber"]
    code, output = balancer("--check", "--diff", load_balancer_domain=[])
    assert code == 0, output
    assert plain()[0] == 308, "check mode changes nothing"
    code, output = balancer("--diff", load_balancer_domain=[])
    assert code == 0, output
    assert "PRIVATE KEY" not in output
    assert plain()[0] == 200
    gone = [PEM, PEM.replace(".pem", ".map"), "/etc/selfheal/domain/christmas-backend.json"]
    gone += [f"/etc/systemd/system/{TIMER}", "/var/lib/selfheal/christmas-backend/certificate.json"]
    assert [path for path in gone if host.file(path).exists] == []
    assert not host.service(TIMER).is_running
    assert "changed=0" in balancer(load_balancer_domain=[])[1]
    code, output = balancer("--check", "--diff")
    assert code == 0, output
    code, output = balancer()
    assert code == 0, output
    assert secure(root())[1]["serialNumber"] == before, "the account and the certificate were kept"
    assert host.service(TIMER).is_running
