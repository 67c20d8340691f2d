# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HAProxy's runtime socket: what is asked, and what is made of the answers. The real one is molecule's."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils import balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.app import App, Balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.web import Request

BALANCER = Balancer("web", 2, 18000, (80, 443))
# Some of the columns that HAProxy 3.0 has; what a check said may hold a comma.
STAT = """\
# pxname,svname,status,scur,check_status,last_chk,addr,
selfheal-shop,slot1,UP,3,L7OK,"OK, well",127.0.0.1:18001,
selfheal-shop,slot0,DOWN 1/2,0,L4CON,Connection refused,127.0.0.1:18000,
selfheal-shop,slot2,MAINT,0,,,127.0.0.1:18002,
selfheal-shop,nobody,no check,0,,,127.0.0.1:1,
selfheal-shop-unchecked,slot0,UP,0,,,127.0.0.1:18000,
selfheal-other,slot0,UP,0,,,127.0.0.1:18100,
"""


class HAProxy:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self, path: Path) -> None:
        self.answer, self.asked = "\n", list[str]()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.asked += connection.recv(65536).decode().strip().split("; ")
                connection.sendall(self.answer.encode())


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "run/haproxy").mkdir(parents=True)
    return App("shop", root=str(tmp_path), balancer=BALANCER)


@pytest.fixture
def haproxy(app: App) -> Iterator[HAProxy]:
    it = HAProxy(Path(app.root) / balancer.SOCKET)
    yield it
    it.listener.close()


def test_the_slots_of_this_app(app: App, haproxy: HAProxy) -> None:
    haproxy.answer = STAT
    found = balancer.slots(app)
    assert [(one["port"], one["up"], one["sessions"]) for one in found] == [
        (18000, False, 0),
        (18001, True, 3),
        (18002, False, 0),
    ]
    assert balancer.serving(app) == 1


def test_a_state_is_set_where_a_request_may_go(app: App, haproxy: HAProxy) -> None:
    balancer.set_state(app, [18000, 18002], balancer.DRAIN)
    assert haproxy.asked == [
        f"set server {backend}/{slot} state drain"
        for backend in ("selfheal-shop", "selfheal-shop-unchecked")
        for slot in ("slot0", "slot2")
    ]


def test_a_refusal_is_told(app: App, haproxy: HAProxy) -> None:
    haproxy.answer = "No such server.\n"
    with pytest.raises(balancer.BalancerError, match="No such server"):
        balancer.set_state(app, [18000], balancer.READY)


def test_nobody_there_is_told_with_the_next_step(app: App) -> None:
    with pytest.raises(balancer.BalancerError, match="systemctl status haproxy"):
        balancer.slots(app)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1/health?deep=1", "http://127.0.0.1:18001/health?deep=1"),
        ("https://localhost/health", "http://127.0.0.1:18001/health"),
        ("http://127.0.0.1:3000/", "http://127.0.0.1:3000/"),
        ("https://192.0.2.7/", "https://192.0.2.7/"),
        ("https://shop.invalid/", "https://shop.invalid/"),
    ],
    ids=["the public port", "tls ends at the balancer", "another port", "another host", "a name that leads nowhere"],
)
def test_only_what_leads_to_the_balancer_is_asked_of_an_instance(
    url: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Request] = []
    monkeypatch.setattr(balancer.web, "fetch", lambda request, _now: sent.append(request))
    ask: Callable[..., Any] = balancer.aside(BALANCER, 18001)
    ask(Request(url), lambda: 0.0)
    assert sent[0].url == expected
    headers = dict(sent[0].headers)
    assert (headers.get("X-Forwarded-Proto") == url.partition(":")[0]) is (url != expected)
