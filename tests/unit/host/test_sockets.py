# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the sockets of a container say that it waits for somebody else."""

from __future__ import annotations

import os

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.host import command, sockets

# As `ss` of iproute2 6.15 lists them, shortened.
ESTABLISHED = "ESTAB 0 0 10.0.0.2:55958 10.0.0.9:5432 cubic rto:204 rtt:0.1/0.05 mss:1448 {} pacing_rate 1bps"


@pytest.mark.parametrize(
    ("figures", "waits"),
    [
        pytest.param("bytes_sent:29 bytes_acked:30 lastsnd:520 lastrcv:524 lastack:520", True, id="first question"),
        pytest.param("bytes_sent:29 bytes_acked:30 lastrcv:4", True, id="just now"),
        pytest.param("bytes_sent:90 bytes_received:9 lastsnd:500 lastrcv:800", True, id="next question"),
        pytest.param("bytes_sent:90 bytes_received:9 lastsnd:500 lastrcv:500", True, id="answer and question at once"),
        pytest.param("bytes_sent:90 bytes_received:9 lastsnd:504 lastrcv:500", False, id="answered"),
        pytest.param("bytes_sent:90 bytes_received:9 lastsnd:9000 lastrcv:9500", False, id="asked long ago"),
        pytest.param("bytes_acked:1 lastsnd:620 lastrcv:620", False, id="nothing sent"),
        pytest.param("bytes_received:80 lastsnd:500 lastrcv:500", False, id="a client that waits for us"),
    ],
)
def test_a_question_without_an_answer_is_waited_for(figures: str, waits: bool) -> None:
    assert sockets.asks(ESTABLISHED.format(figures), 0.6) is waits


@pytest.mark.parametrize(("state", "waits"), [("SYN-SENT", True), ("SYN-RECV", False), ("TIME-WAIT", False)])
def test_a_connection_that_is_being_made_is_waited_for(state: str, waits: bool) -> None:
    assert sockets.asks(f"{state} 0 1 10.0.0.2:55958 10.0.0.9:443", 0.6) is waits


def test_of_a_process_in_the_networks_of_this_host_nothing_is_known() -> None:
    assert sockets.await_answers([os.getpid()], 0.6)


def test_of_a_process_that_has_ended_nothing_is_known() -> None:
    assert sockets.await_answers([2**22 + 1], 0.6)


@pytest.mark.parametrize(
    ("tcp", "udp", "code", "waits"),
    [
        ("", "", 0, False),
        (ESTABLISHED.format("bytes_sent:29 lastsnd:520 lastrcv:524"), "", 0, True),
        ("", "0 0 172.18.0.3:40000 127.0.0.11:53", 0, True),
        ("", "", 127, True),
    ],
    ids=["quiet", "a question by TCP", "a question by UDP", "ss is not installed"],
)
def test_each_network_is_listed_once(
    monkeypatch: pytest.MonkeyPatch, tcp: str, udp: str, code: int, waits: bool
) -> None:
    entered: list[str] = []

    def run(argv: list[str], _timeout: float) -> command.Result:
        entered.append(argv[1])
        return command.Result(code, udp if "--udp" in argv else tcp, "")

    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(os, "readlink", lambda path: "net:[1]" if "self" in path else "net:[2]")
    assert sockets.await_answers([7, 7], 0.6) is waits
    assert entered == ["--net=/proc/7/ns/net"] * 2


@pytest.mark.parametrize(
    ("listed", "waits"),
    [
        ("LISTEN 0 128 0.0.0.0:8000 0.0.0.0:*\n", False),
        ("LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\nLISTEN 2 5 0.0.0.0:8000 0.0.0.0:*\n", True),
        ("", False),
    ],
    ids=["all are accepted", "two wait", "nothing is known"],
)
def test_connections_that_are_not_accepted_wait(monkeypatch: pytest.MonkeyPatch, listed: str, waits: bool) -> None:
    monkeypatch.setattr(command, "run", lambda *_: command.Result(0, listed, ""))
    assert sockets.unaccepted([7]) is waits
