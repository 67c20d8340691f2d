# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a host was reached over ssh, and what to do when it was not. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple, TypedDict

# ssh is asked for a terminal, so it says on stderr that it closed the connection.
_NOISE = re.compile(r"Shared connection to \S+ closed[.]|Task failed:|non-zero return code")
_UNKNOWN_KEY = re.compile("Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|host key is known")
_REFUSED = "Permission denied"


class RawResult(TypedDict, total=False):
    """The result of the task that asks Python for its version."""

    unreachable: bool
    rc: int
    msg: str
    stdout: str
    stderr: str


class Login(NamedTuple):
    """How the host is reached: user or "", address, port, Python's command."""

    user: str
    address: str
    port: int
    python: str

    def __str__(self) -> str:
        return f"{self.user}@{self.address}" if self.user else self.address


class Reach(TypedDict):
    """What the host said; why it was not reached and what to do next, both "" when it was."""

    text: str
    problem: str
    next_step: str


def reach_report(result: RawResult, user: str, address: str, port: int, python: str) -> Reach:
    """Return whether the host was reached, and what a person does when it was not."""
    text = _text(result)
    if not result.get("unreachable") and not result.get("rc"):
        return Reach(text=text, problem="", next_step="")
    advice = _advice(result, text, Login(user, address, port, python))
    return Reach(text=text, problem=text or "no reason given", next_step=f"{advice} Then run this again.")


def _text(result: RawResult) -> str:
    said = " ".join([result.get("msg", ""), result.get("stdout", ""), result.get("stderr", "")])
    return " ".join(_NOISE.sub("", said).split())


def _advice(result: RawResult, text: str, login: Login) -> str:
    if _UNKNOWN_KEY.search(text):
        return (
            "The server's host key is not in known_hosts, or differs from the one there. On a first visit, log in once "
            f"by hand (ssh {login}) and compare the fingerprint. If the server was reinstalled, replace its line. "
            "If neither, ask the hosting company before you log in."
        )
    if _REFUSED in text:
        return (
            f"The server refuses the login of {login}. Check ansible_user and ansible_ssh_private_key_file in the "
            "inventory, and that the key is in the server's authorized_keys."
        )
    if result.get("unreachable"):
        return (
            f"{login} does not answer. Look at the hosting company's console: is the server on, does it have this "
            f"address, is port {login.port} open?"
        )
    return f"{login} answers, but {login.python} does not run there. Log in and install it (apt-get install python3)."
