# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app is taken over behind a load balancer that is put in front first: requests wait, and none fails."""

from __future__ import annotations

import errno
import http.client
import itertools
import threading
import time
from typing import Any

import pytest
from adopt.tests.test_adopt import DIRECTORY, TO, Load, adopt, by_hand, check_records, goes_on, started_from
from shared.acting import slow

# All requests come from one address, and the limits are by address.
IN_FRONT = ("-e", "adopt_load_balancer=true", "-e", "load_balancer_rate=100000 load_balancer_connections=10000")


class Readers:
    """100 requests a second, each over a connection of its own, for as long as a client waits.

    A port of the client is used again after half a minute, while the host still remembers its connection before.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self._ports = itertools.cycle(range(12000, 15000))
        self._over = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Readers:
        self._clock.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._over.set()
        self._clock.join()

    def _tick(self) -> None:
        readers, due = [], time.monotonic()
        while not self._over.is_set():
            readers.append(threading.Thread(target=self._read, daemon=True))
            readers[-1].start()
            due += 0.01
            time.sleep(max(0.0, due - time.monotonic()))
        for one in readers:
            one.join()

    def _read(self) -> None:
        begun = time.monotonic()
        try:
            connection = self._connected()
            # The server closes it first, so that the client's port is free at once.
            connection.request("GET", "/health", headers={"Connection": "close"})
            answer = connection.getresponse()
            answer.read()
            connection.close()
            if answer.status != 200:
                self.failed.append(f"{begun:.1f}: {answer.status}")
        except (OSError, http.client.HTTPException) as error:
            self.failed.append(f"{begun:.1f}: {error!r}")
        self.seconds.append(time.monotonic() - begun)

    def _connected(self) -> http.client.HTTPConnection:
        while True:
            source = ("", next(self._ports))
            connection = http.client.HTTPConnection(self.address, 8000, timeout=20.0, source_address=source)
            try:
                connection.connect()
                return connection
            except OSError as error:
                # Another program has that port.
                if error.errno != errno.EADDRINUSE:
                    raise


@pytest.fixture
def address(host: Any) -> str:
    found = str(host.backend.host.name)
    # The watcher would start HAProxy again.
    host.run("systemctl stop selfheal@ledger.timer selfheal@ledger.service")
    host.run("systemctl disable --now haproxy; rm -f /etc/haproxy/selfheal/ledger.cfg")
    # The engine has to be restarted by adopt, as on a host that is new to this collection.
    host.check_output("rm -f /etc/docker/daemon.json && systemctl restart docker")
    by_hand(host, found)
    return found


def rules(host: Any) -> str:
    return str(host.run("iptables-save | grep selfheal-front; ip6tables-save | grep selfheal-front").stdout)


def holder(host: Any) -> str:
    """The program that has the public port."""
    return str(host.check_output("ss -Hltnp 'sport = :8000' | grep -oE 'haproxy|docker-proxy' | sort -u"))


def units(host: Any) -> str:
    return str(host.check_output("systemctl list-units --no-legend --state=active 'selfheal-front*'"))


@slow
def test_no_request_fails(host: Any, address: str) -> None:
    with Load(address) as load, Readers(address) as readers:
        ended = adopt(address, *IN_FRONT)
        assert ended.code == 0, ended.text
        goes_on(load)
        time.sleep(2.0)
    print(f"{len(readers.seconds)} requests, {len(readers.failed)} failed, longest {max(readers.seconds):.1f} s")
    assert "HAProxy, which has port 8000 from then on, and forwards to app:8000" in ended.text
    assert readers.failed == []
    assert set(started_from(host).values()) == {DIRECTORY}
    assert holder(host) == "haproxy"
    assert rules(host) == ""
    check_records(load)


@slow
def test_a_bad_release_is_given_back_without_haproxy(host: Any, address: str) -> None:
    assert adopt(address, *IN_FRONT, "-e", '{"compose_app_files": ["none.yaml"]}').code != 0
    program = TO / "app.py"
    program.write_text(program.read_text(encoding="utf-8").replace("settings = ", "sys.exit()\nsettings = ", 1))
    with Load(address) as load:
        ended = adopt(address, *IN_FRONT)
        assert ended.code != 0
        assert "What ran before is put back" in " ".join(ended.text.split())
        goes_on(load)
    assert (rules(host), units(host)) == ("", "")
    assert holder(host) == "docker-proxy"
    check_records(load)


@slow
def test_when_haproxy_dies_the_container_gets_the_connections_again(host: Any, address: str) -> None:
    # It stops before the deploy, with HAProxy in front.
    assert adopt(address, *IN_FRONT, "-e", '{"compose_app_files": ["none.yaml"]}').code != 0
    assert "REDIRECT" in rules(host)
    with Readers(address) as readers:
        time.sleep(1.0)
        host.check_output("systemctl kill --signal=KILL selfheal-front-ledger.service")
        time.sleep(1.0)
        before = len(readers.failed)
        time.sleep(1.0)
        assert (rules(host), len(readers.failed)) == ("", before)
