# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which port of an app that runs by hand a load balancer can have, and why not."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import adoption_front
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.containers import Document

WEB = {"8000/tcp": [("", 8000)]}
FIXED = {"web": {"networks": {"inner": {"ipv4_address": "10.9.0.5"}}}}


def container(service: str, ports: Mapping[str, Sequence[tuple[str, int]]], mode: str = "shop_default") -> Document:
    bindings = {
        inside: [{"HostIp": ip, "HostPort": str(port)} for ip, port in bound] for inside, bound in ports.items()
    }
    return {
        "Id": service,
        "Name": f"/shop-{service}-1",
        "State": {"Status": "running"},
        "Config": {"Labels": {"com.docker.compose.service": service}},
        "HostConfig": {"PortBindings": bindings, "NetworkMode": mode},
    }


def find(
    documents: Sequence[Document],
    http_ports: Collection[int] = (8000,),
    services: Mapping[str, Any] | None = None,
    closed: str = "",
) -> adoption_front.Front:
    return adoption_front.find(
        documents, {"services": services or {}}, lambda _address, port: port in http_ports, lambda _port: closed
    )


@pytest.mark.parametrize(("host_ips", "address"), [([""], "*"), (["0.0.0.0", "::"], "*"), (["127.0.0.1"], "127.0.0.1")])
def test_the_only_port_that_answers_http_is_the_one(host_ips: list[str], address: str) -> None:
    web = container("web", {"80/tcp": [(ip, 8000) for ip in host_ips]})
    found = find([web, container("db", {"5432/tcp": [("", 5432)]})], (8000, 5432))
    assert found == {"service": "web", "port": 8000, "container_port": 80, "address": address, "why_not": ""}


@pytest.mark.parametrize(
    ("documents", "more", "why"),
    [
        ([container("db", {"5432/tcp": [("", 5432)]})], {"http_ports": [5432]}, "no published port answers HTTP"),
        ([container("web", {}, "host")], {}, "A service uses the host's network"),
        ([container("dns", {"8000/udp": [("", 8000)]})], {}, "no published port answers HTTP"),
        (
            [container("web", WEB), container("admin", {"9000/tcp": [("", 9000)]})],
            {"http_ports": [8000, 9000]},
            "it is for one: 9000 (admin), 8000 (web)",
        ),
        ([container("web", {**WEB, "8443/tcp": [("", 8443)]})], {}, "web publishes 8443/tcp, too"),
        ([container("web", {**WEB, "8000/udp": [("", 8000)]})], {}, "web publishes 8000/udp, too"),
        (
            [container("web", {"8000/tcp": [("10.0.0.1", 8000), ("10.0.0.2", 8000)]})],
            {},
            "at several addresses: 10.0.0.1, 10.0.0.2",
        ),
        ([container("web", WEB)], {"services": FIXED}, "web has a fixed address in the network inner"),
        ([container("web", WEB)], {"closed": "iptables -t filter -P INPUT DROP"}, "allow port 8000"),
    ],
)
def test_what_it_cannot_be_put_in_front_of_is_named(documents: list[Document], more: dict[str, Any], why: str) -> None:
    assert why in find(documents, **more)["why_not"]


def test_a_port_of_the_loopback_interface_passes_no_firewall() -> None:
    assert find([container("web", {"80/tcp": [("127.0.0.1", 8000)]})], closed="INPUT DROP")["why_not"] == ""


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", True),
        # Django, of a host that it does not know.
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", True),
        (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n<h1>The plain HTTP request was sent to HTTPS port</h1>", False),
        (b"220 mail.example ESMTP\r\n", False),
        (b"", False),
    ],
)
def test_a_port_is_asked_whether_it_speaks_http(answer: bytes, expected: bool) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1024)
            self.request.sendall(answer)

    with _Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = int(server.server_address[1])
        assert adoption_front.answers_http("127.0.0.1", port) is expected
        server.shutdown()
    assert adoption_front.answers_http("127.0.0.1", port) is False
