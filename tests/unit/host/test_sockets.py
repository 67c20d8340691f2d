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
    assert bool(sockets.asked(ESTABLISHED.format(figures), 0.6)) is waits


@pytest.mark.parametrize(("state", "waits"), [("SYN-SENT", True), ("SYN-RECV", False), ("TIME-WAIT", False)])
def test_a_connection_that_is_being_made_is_waited_for(state: str, waits: bool) -> None:
    assert bool(sockets.asked(f"{state} 0 1 10.0.0.2:55958 10.0.0.9:443", 0.6)) is waits


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
        if "--listening" in argv:
            return command.Result(0, "", "")
        entered.append(argv[1])
        return command.Result(code, udp if "--udp" in argv else tcp, "")

    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(os, "readlink", lambda path: "net:[1]" if "self" in path else "net:[2]")
    assert sockets.await_answers([7, 7], 0.6) is waits
    assert entered == ["--net=/proc/7/ns/net"] * 2


PROXY, APP, DATABASE = 7, 8, 9
"""Processes of three services of one app, each with a network of its own."""
ASKING = "bytes_sent:29 bytes_acked:30 lastsnd:520"


@pytest.mark.parametrize(
    ("connections", "unaccepted", "waits"),
    [
        pytest.param(
            {
                PROXY: [f"ESTAB 0 0 10.0.0.1:40000 10.0.0.2:8000 {ASKING}"],
                APP: ["ESTAB 80 0 [::ffff:10.0.0.2]:8000 [::ffff:10.0.0.1]:40000 bytes_received:29 lastrcv:520"],
            },
            [APP],
            False,
            id="a proxy waits for the app that hangs",
        ),
        pytest.param(
            {
                APP: [f"ESTAB 0 0 10.0.0.2:40001 10.0.0.3:5432 {ASKING}"],
                DATABASE: ["ESTAB 0 0 10.0.0.3:5432 10.0.0.2:40001 bytes_received:29 lastrcv:520"],
            },
            [APP],
            True,
            id="the app waits for a lock of its database",
        ),
        pytest.param(
            {
                PROXY: [f"ESTAB 0 0 10.0.0.1:40000 10.0.0.2:8000 {ASKING}"],
                APP: [
                    "ESTAB 80 0 10.0.0.2:8000 10.0.0.1:40000 bytes_received:29 lastrcv:520",
                    f"ESTAB 0 0 10.0.0.2:40002 192.0.2.1:443 {ASKING}",
                ],
            },
            [APP],
            True,
            id="the app waits for another host",
        ),
    ],
)
def test_what_services_of_the_app_ask_each_other(
    monkeypatch: pytest.MonkeyPatch, connections: dict[int, list[str]], unaccepted: list[int], waits: bool
) -> None:
    def run(argv: list[str], _timeout: float) -> command.Result:
        pid = int(argv[1].split("/")[2])
        if "--listening" in argv:
            return command.Result(0, f"LISTEN {int(pid in unaccepted)} 5 0.0.0.0:8000 0.0.0.0:*\n", "")
        return command.Result(0, "" if "--udp" in argv else "\n".join(connections[pid]), "")

    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(os, "readlink", lambda path: f"net:[{path.split('/')[2]}]")
    assert sockets.await_answers(connections, 0.6) is waits


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
