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
_FIGURES = re.compile(r"\b(lastsnd|lastrcv|bytes_sent|bytes_received):(\d+)")


def await_answers(pids: Iterable[int], seconds: float) -> bool:
    """Say whether one of these processes' networks has asked something in the last `seconds`, and has no answer yet.

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
    for pid in networks.values():
        # UDP is connected by who waits for an answer, as a resolver does.
        udp = _list(pid, "--udp", "state", "established")
        tcp = _list(pid, "--oneline", "--info", "--tcp", "state", "connected")
        if udp.code or tcp.code or udp.out.strip() or asks(tcp.out, seconds):
            return True
    return False


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


def asks(listed: str, seconds: float) -> bool:
    """Say whether a connection has sent something in the last `seconds`, and has received nothing since.

    One that waits to be made counts as well. What was sent and received in the same tick of the kernel's clock may be
    an answer and the next question.

    :arg listed: what `ss --oneline --info --tcp state connected` lists. It leaves out a figure of 0 (ss.c of iproute2).
    """
    for line in listed.splitlines():
        if line.startswith("SYN-SENT"):
            return True
        figures = {name: int(value) for name, value in _FIGURES.findall(line)}
        if not figures.get("bytes_sent"):
            continue
        sent, received = figures.get("lastsnd", 0), figures.get("lastrcv", 0)
        if sent <= 1000 * (seconds + _MARGIN) and (sent <= received or not figures.get("bytes_received")):
            return True
    return False
