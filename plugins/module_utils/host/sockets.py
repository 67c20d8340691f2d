# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the sockets of a process tell: who waits for it, and whether it waits for somebody else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from . import command

# That one look may take (s).
_SECONDS = 1.0
# What the kernel rounds times to, and what it takes from a request to what it makes a process ask (s).
_MARGIN = 0.05
_MAPPED = re.compile(r"\[::ffff:([\d.]+)\]")
_FIGURES = re.compile(r"\b(lastsnd|lastrcv|bytes_sent|bytes_received):(\d+)")


def await_answers(pids: Iterable[int], seconds: float) -> bool:
    """Say whether one of these processes' networks has asked something in the last `seconds`, and has no answer yet.

    What one of them asks another that leaves connections unaccepted does not count: that other one is what hangs.
    Also true where that cannot be said: of a process that shares the host's network, and without `ss`.
    """
    networks: dict[str, int] = {}
    try:
        for pid in pids:
            networks[os.readlink(f"/proc/{pid}/ns/net")] = pid
        if os.readlink("/proc/self/ns/net") in networks:
            return True
    except OSError:
        return True
    listed: dict[int, str] = {}
    for pid in networks.values():
        # UDP is connected by who waits for an answer, as a resolver does.
        udp = _list(pid, "--udp", "state", "established")
        tcp = _list(pid, "--oneline", "--info", "--tcp", "state", "connected")
        if udp.code or tcp.code or udp.out.strip():
            return True
        listed[pid] = tcp.out
    questions = {ends for text in listed.values() for ends in asked(text, seconds)}
    if questions:
        stuck = "".join(text for pid, text in listed.items() if unaccepted([pid]))
        questions -= {(peer, local) for local, peer in map(_ends, stuck.splitlines())}
    return bool(questions)


def unaccepted(pids: Iterable[int]) -> bool:
    """Say whether connections wait to be accepted in the network of one of these processes.

    Of a socket that listens, `ss` lists their number as Recv-Q (ss(8)). False where that cannot be said.
    """
    for pid in pids:
        fields = [line.split() for line in _list(pid, "--tcp", "--listening").out.splitlines()]
        if any(len(one) > 1 and one[1].isdigit() and int(one[1]) for one in fields):
            return True
    return False


def _list(pid: int, *words: str) -> command.Result:
    """What `ss` lists in the network of a process."""
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    return command.run([*enter, "ss", "--no-header", "--numeric", *words], _SECONDS)


def asked(listed: str, seconds: float) -> list[tuple[str, str]]:
    """The connections that have sent something in the last `seconds`, and have received nothing since: (local, peer).

    One that waits to be made counts as well. What was sent and received in the same tick of the kernel's clock may be
    an answer and the next question.

    :arg listed: what `ss --oneline --info --tcp state connected` lists. It leaves out a figure of 0 (ss.c of iproute2).
    """
    return [_ends(line) for line in listed.splitlines() if _asks(line, seconds)]


def _asks(line: str, seconds: float) -> bool:
    if line.startswith("SYN-SENT"):
        return True
    figures = {name: int(value) for name, value in _FIGURES.findall(line)}
    if not figures.get("bytes_sent"):
        return False
    sent, received = figures.get("lastsnd", 0), figures.get("lastrcv", 0)
    return sent <= 1000 * (seconds + _MARGIN) and (sent <= received or not figures.get("bytes_received"))


def _ends(line: str) -> tuple[str, str]:
    """The two ends of a listed connection. A socket for IPv6 and IPv4 has IPv4's addresses as `[::ffff:10.0.0.2]`."""
    local, peer = (*line.split(), "", "", "", "", "")[3:5]
    return _MAPPED.sub(r"\1", local), _MAPPED.sub(r"\1", peer)
