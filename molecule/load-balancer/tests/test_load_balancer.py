# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A client notices nothing when one instance fails, and as little as possible when all fail."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from shared.acting import until

REPOSITORY = Path(__file__).resolve().parents[3]
ADDRESS = "172.30.57.27"
APP = "selfheal-christmas-backend"
PORTS = (18000, 18001)
CONFIG = "/etc/haproxy/selfheal/christmas-backend.cfg"
FIRST = PORTS[0]
PEM = "/etc/haproxy/selfheal-certs/christmas-backend.pem"
SECRET = "5f1c0a7e9b3d4d2688aa"
SECRETS = {"Authorization": f"Bearer {SECRET}", "Cookie": f"session={SECRET}"}

# Runs on the host, with a source address that the load balancer does not trust: the number of answers by status.
FLOOD = """
import collections, http.client, json, sys
statuses = collections.Counter()
for _ in range(int(sys.argv[3])):
    connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=5, source_address=(sys.argv[2], 0))
    connection.request("GET", "/", headers={"X-Forwarded-For": "198.51.100.1"})
    response = connection.getresponse()
    text = response.read().decode()
    statuses[str(response.status)] += 1
print(json.dumps([statuses, text]))
"""


# The request that reaches an instance when an untrusted client on the host sends these headers.
ECHO = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=5, source_address=(sys.argv[2], 0))
connection.request("GET", "/headers", headers={{"Host": "shop.example", **{headers}}})
print(connection.getresponse().read().decode())
"""


def from_host(host: Any, source: str, times: int) -> tuple[dict[str, int], str]:
    statuses, text = json.loads(host.check_output(f"python3 - {ADDRESS} {source} {times} <<'END'{FLOOD}END"))
    return statuses, text


def test_the_load_balancer_is_set_up(host: Any) -> None:
    assert host.service("haproxy").is_enabled
    assert host.run("haproxy -c -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/selfheal").rc == 0
    assert "/etc/" not in host.run("dpkg --verify haproxy").stdout, "a file of the distribution was changed"
    listening = {line.split()[3] for line in host.check_output("ss -Hltnp | grep haproxy").splitlines()}
    assert listening == {"0.0.0.0:80", "127.0.0.1:8405"}
    fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8405/metrics').read().decode())"
    server = f'haproxy_server_status{{proxy="{APP}",server="slot0",state="UP"}} 1'
    assert server in host.check_output(f'python3 -c "{fetch}"')


# Faults, and the time within which HAProxy notices them: 2 s or 0.7 s, and 3 s more on a busy machine.
FAULTS: list[tuple[str, Callable[[Any], None], float]] = [
    ("hangs", lambda instances: instances.signal("STOP", FIRST), 5.0),
    ("answers 500", lambda instances: instances.say(500, FIRST), 4.0),
    ("is killed", lambda instances: instances.signal("KILL", FIRST), 4.0),
]


@pytest.mark.parametrize(("fault", "seconds"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_one_instance(instances: Any, fault: Callable[[Any], None], seconds: float, load: Any) -> None:
    with load() as during:
        time.sleep(0.3)
        fault(instances)
        looked = instances.wait("DOWN")
        assert looked - int(instances.show(0, "lastchg")) < seconds
        with load(method="POST") as after:
            time.sleep(1.0)
        # A hanging instance is stopped at some point; the other one then answers its requests.
        instances.signal("KILL", FIRST)
    assert after.bad == [], "requests after it was marked down"
    assert during.bad == [], "GETs while it failed"
    assert len(during.answers) > 50


def test_all_are_unhealthy_and_answer(instances: Any, ask: Any) -> None:
    """As when an upstream is down. The app's answer is passed on at once."""
    instances.say(418, *PORTS)
    for slot in range(len(PORTS)):
        instances.wait("DOWN", slot)
    for method in ("GET", "POST"):
        answer = ask(method)
        assert (answer.status, answer.seconds < 1.0) == (418, True), answer
        assert "says 418" in answer.text


def test_all_are_gone(host: Any, instances: Any, ask: Any) -> None:
    """Requests of every method wait for an instance; when none returns, the client gets an error page."""
    instances.stop(*PORTS)
    # HAProxy's checks of each instance notice it.
    for slot in range(len(PORTS)):
        instances.wait("DOWN", slot)
        instances.wait("DOWN", slot, "-unchecked")
    with ThreadPoolExecutor() as clients:
        for answer in clients.map(
            lambda method: ask(method, f"/orders?token={SECRET}", headers=SECRETS), ("GET", "POST")
        ):
            assert (answer.status, 2.0 < answer.seconds < 6.0) == (503, True), answer
            assert "try again" in answer.text
            assert "다시 시도해" in answer.text
        # The instance returns while requests wait.
        instances.start_later(FIRST)
        for answer in clients.map(ask, ("GET", "POST")):
            assert (answer.status, 0.3 < answer.seconds < 6.0) == (200, True), answer
    journal = host.check_output("journalctl --no-pager --identifier=haproxy --output=cat")
    assert "GET /orders" in journal, "what failed is logged"
    assert SECRET not in journal


def test_the_only_one_restarts(instances: Any, load: Any) -> None:
    """Requests that were sent just before the restart was noticed wait too."""
    instances.stop(PORTS[1])
    instances.wait("DOWN", 1)
    with load() as clients:
        time.sleep(0.3)
        instances.restart(FIRST)
        time.sleep(1.0)
    assert clients.bad == []


def test_a_deploy_takes_slots_out(instances: Any, ask: Any, load: Any) -> None:
    """A drained instance finishes its requests. In maintenance it gets none, even if no other instance is up."""
    with load(method="POST", path="/slow") as clients:
        time.sleep(0.5)
        instances.set("drain")
        until(lambda: {instances.show(0, "scur", backend) for backend in ("", "-unchecked")} == {"0"})
        instances.set("maint")
        instances.signal("KILL", FIRST)
        time.sleep(0.5)
    assert clients.bad == []
    instances.start(FIRST)
    instances.stop(PORTS[1])
    instances.wait("DOWN", 1, "-unchecked")
    assert ask().status == 503


def test_a_reload_fails_no_request(host: Any, instances: Any, load: Any) -> None:
    with load(method="POST") as clients, load(path="/slow") as slow:
        for _unused in range(3):
            time.sleep(0.5)
            host.check_output("systemctl reload haproxy")
        time.sleep(0.5)
    assert [*clients.bad, *slow.bad] == []


def test_slow_clients_do_not_take_the_place_of_others(instances: Any, load: Any) -> None:
    slow = [socket.create_connection((ADDRESS, 80), timeout=15) for _unused in range(400)]
    try:
        for one in slow[:200]:
            one.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\n")
        for one in slow[200:]:
            one.sendall(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nhalf")
        time.sleep(0.5)
        with load() as clients:
            time.sleep(1.0)
        assert clients.bad == []
        assert max(one.seconds for one in clients.answers) < 2.0
        assert [instances.show(slot, "scur") for slot in range(len(PORTS))] == ["0", "0"], (
            "half a request is with the app"
        )
    finally:
        for one in slow:
            one.close()


def test_a_body_that_is_too_large(instances: Any, ask: Any) -> None:
    assert ask("POST", "/", bytes(10 << 20)).status == 200
    with socket.create_connection((ADDRESS, 80), timeout=5) as one:
        one.sendall(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 10485761\r\n\r\n" + bytes(20000))
        assert one.recv(20).startswith(b"HTTP/1.1 413")


def test_a_silent_event_stream_is_not_cut(instances: Any, ask: Any) -> None:
    """It pauses for 9 s, and an answer may pause for 6 s (load_balancer_timeout)."""
    answer = ask("GET", "/stream")
    assert (answer.status, answer.text.split("\n\n")[:2]) == (200, ["data: first", "data: last"]), answer
    assert answer.seconds > 8.0


FORGED = {
    "X-Forwarded-For": "198.51.100.1",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/evil",
    "X-Real-IP": "198.51.100.1",
    "X_Real_IP": "198.51.100.1",
    "X_Forwarded_Host": "evil.example",
    "Forwarded": "for=198.51.100.1;host=evil.example",
    "CF-Connecting-IP": "198.51.100.1",
    "True-Client-IP": "198.51.100.1",
    "X-Original-URL": "/admin",
}


def test_forwarding_headers_of_a_client_are_replaced_by_the_true_values(host: Any, instances: Any) -> None:
    """Only the headers of a trusted proxy are kept."""
    host.check_output("ip address add 192.0.2.8/32 dev lo")
    try:
        reached = host.check_output(f"python3 - {ADDRESS} 192.0.2.8 <<'END'{ECHO.format(headers=FORGED)}END")
    finally:
        host.check_output("ip address delete 192.0.2.8/32 dev lo")
    headers = json.loads(reached)
    assert "evil" not in reached
    assert "198.51.100.1" not in reached
    assert "/admin" not in reached
    assert {name: headers.get(name) for name in ("x-forwarded-for", "x-real-ip", "x-forwarded-host")} == {
        "x-forwarded-for": "192.0.2.8",
        "x-real-ip": "192.0.2.8",
        "x-forwarded-host": "shop.example",
    }
    assert (headers["x-forwarded-proto"], headers["x-forwarded-port"]) == ("http", "80")
    with closing(http.client.HTTPConnection(ADDRESS, timeout=5)) as trusted:
        trusted.request("GET", "/headers", headers={name: FORGED[name] for name in ("X-Forwarded-Proto", "X-Real-IP")})
        headers = json.loads(trusted.getresponse().read())
    assert (headers["x-forwarded-proto"], headers["x-real-ip"]) == ("https", "198.51.100.1")


def test_a_flood_from_one_address(host: Any, instances: Any, ask: Any) -> None:
    statuses, _unused = from_host(host, ADDRESS, 200)
    assert statuses == {"200": 100, "429": 100}
    # Another address that is not trusted, so its forwarding headers do not count.
    host.check_output("ip address add 192.0.2.7/32 dev lo")
    try:
        statuses, text = from_host(host, "192.0.2.7", 1)
    finally:
        host.check_output("ip address delete 192.0.2.7/32 dev lo")
    assert statuses == {"200": 1}
    assert "192.0.2.7 says" in text
    assert ask().status == 200


def converge(*words: str, **extra: Any) -> tuple[int, str]:
    """Run the role as a user does, with other variables."""
    argv = ["ansible-playbook", "molecule/load-balancer/converge.yml", *words]
    argv += [
        "--inventory=inventory/lab",
        "--inventory=molecule/shared/inventory.yml",
        "--extra-vars",
        json.dumps(extra),
    ]
    # Molecule's own settings for ansible would override those that a user has.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    ended = subprocess.run(argv, cwd=REPOSITORY, env=kept, text=True, capture_output=True, timeout=600, check=False)
    return ended.returncode, ended.stdout


def test_a_sticky_client_stays_at_its_instance_and_is_moved(host: Any, instances: Any) -> None:
    """Sessions in the instances' memory are lost only when a deploy takes their instance out."""
    code, output = converge(load_balancer_sticky=True)
    assert code == 0, output
    try:
        clients = [Client() for _unused in range(8)]
        homes = [client.ask() for client in clients]
        assert set(homes) == {str(port) for port in PORTS}
        assert [{client.ask() for _unused in range(5)} for client in clients] == [{home} for home in homes]
        instances.set("maint")
        assert {client.ask() for client in clients} == {str(PORTS[1])}
        instances.set("ready")
        assert {client.ask() for client in clients} == {str(PORTS[1])}, "who was moved stays there"
        assert "httponly" in clients[0].cookie.lower()
    finally:
        assert converge()[0] == 0


class Client:
    """A client that keeps cookies, as a browser does."""

    cookie = ""

    def ask(self) -> str:
        with closing(http.client.HTTPConnection(ADDRESS, timeout=5)) as connection:
            connection.request("GET", "/", headers={"Cookie": self.cookie.split(";")[0]} if self.cookie else {})
            answer = connection.getresponse()
            self.cookie = answer.headers.get("Set-Cookie") or self.cookie
            return answer.read().decode().split()[0]


BAD: dict[str, tuple[Any, str]] = {
    "load_balancer_instances": (0, "load_balancer_instances: 0 is not between 1 and 64"),
    "load_balancer_first_port": (9000, "load_balancer_port: port 9000 is among the ports of the slots, 9000 to 9000"),
    "load_balancer_port": (9000, "Choose another one, or change load_balancer_first_port"),
    "load_balancer_metrics_port": (70000, "load_balancer_metrics_port: 70000 is not a port"),
    "load_balancer_rate": (0, "load_balancer_rate: 0 is too small"),
    "load_balancer_max_body": ("lots", "load_balancer_max_body: lots is not a size"),
    "load_balancer_health_path": ("health", "load_balancer_health_path: health is not a path"),
    "load_balancer_trusted": (["localhost"], "load_balancer_trusted: localhost is not an address"),
    "load_balancer_certificate": ("/nowhere.pem", "load_balancer_certificate: /nowhere.pem does not exist"),
}


def test_bad_input_ends_before_anything_is_changed() -> None:
    code, output = converge(**{name: value for name, (value, _unused) in BAD.items()})
    assert code != 0
    assert [words for _unused, words in BAD.values() if words not in output] == [], output
    assert "changed=0" in output


def test_a_port_that_is_taken(host: Any) -> None:
    host.check_output("systemd-run --quiet --unit=taker python3 -m http.server --directory=/srv 8080")
    before = host.file(CONFIG).content_string
    try:
        code, output = converge(load_balancer_port=8080)
    finally:
        host.check_output("systemctl stop taker")
    assert code != 0
    assert "load_balancer_port: port 8080 of molecule-load-balancer is taken by python3 (pid " in output, output
    assert host.file(CONFIG).content_string == before


def test_a_container_that_has_the_port_keeps_it_for_the_deploy(host: Any, ask: Any) -> None:
    """The test's process has the name of Docker's own, docker-proxy."""
    host.check_output("systemctl stop haproxy; install $(readlink -f /usr/bin/python3) /usr/local/bin/docker-proxy")
    host.check_output("systemd-run --quiet --unit=taker /usr/local/bin/docker-proxy -m http.server --directory=/srv 80")
    try:
        code, output = converge(load_balancer_timeout=7)
        assert (code, host.service("haproxy").is_running) == (0, False), output
        assert host.service("haproxy").is_enabled
    finally:
        host.check_output("systemctl stop taker; rm /usr/local/bin/docker-proxy; systemctl start haproxy")
    assert ask().status == 200


def test_a_failed_reload_is_reported(ask: Any) -> None:
    """The host does not have this address, and `haproxy -c` still accepts the configuration."""
    code, output = converge(load_balancer_address="198.51.100.1")
    assert code != 0
    words = "did not take the new /etc/haproxy/selfheal/christmas-backend.cfg into use (Reload failed!)"
    assert words in output, output
    assert ask().status == 200
    # The next run tries again, although the file is already correct.
    assert converge(load_balancer_address="198.51.100.1")[0] != 0


def test_a_certificate_without_its_key_is_refused(host: Any, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.pem"
    first = certificate(tmp_path)[0].read_bytes()
    mixed.write_bytes(first + certificate(tmp_path)[1].read_bytes())
    code, output = converge("-vvv", "--diff", load_balancer_certificate=str(mixed))
    assert code != 0
    assert "certificate and key do not belong together" in " ".join(output.split()), output
    assert "PRIVATE KEY" not in output
    assert not host.file(PEM).exists


def test_a_certificate(host: Any, ask: Any, tmp_path: Path) -> None:
    """It also repairs what the tests before have broken."""
    public, key = certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(public.read_bytes() + key.read_bytes())
    code, output = converge("-vvv", "--diff", load_balancer_certificate=str(both))
    assert code == 0, output
    assert "PRIVATE KEY" not in output
    assert host.file(PEM).mode == 0o600
    assert ask().status == 308
    with closing(http.client.HTTPSConnection(ADDRESS, timeout=5, context=ssl._create_unverified_context())) as secure:
        secure.request("GET", "/")
        assert secure.getresponse().status == 200


def test_without_a_certificate_again(host: Any, ask: Any) -> None:
    code, output = converge("--diff")
    assert code == 0, output
    assert "PRIVATE KEY" not in output
    assert not host.file(PEM).exists
    assert ask().status == 200


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate and its key."""
    public, key = folder / "public.pem", folder / "key.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    made += ["-subj", "/CN=shop", "-keyout", str(key), "-out", str(public)]
    subprocess.run(made, check=True, capture_output=True)
    return public, key
