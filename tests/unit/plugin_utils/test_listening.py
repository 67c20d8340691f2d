# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who has a port that HAProxy needs, from the lines of `ss`."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils.listening import port_holders

PYTHON = 'users:(("python3",pid=70,fd=3))'
PROXY = 'users:(("docker-proxy",pid=71,fd=7),("docker-proxy",pid=72,fd=7))'
HAPROXY = 'users:(("haproxy",pid=80,fd=7))'


def line(local: str, process: str = PYTHON) -> str:
    return f"LISTEN 0 511 {local} 0.0.0.0:* {process}"


# The line, the address of HAProxy, and what is reported: address, port, who, pid.
LINES: list[tuple[str, str, tuple[str, int, str, str] | None]] = [
    (line("0.0.0.0:80"), "*", ("0.0.0.0", 80, "python3", "70")),
    (line("*:443"), "192.0.2.7", ("*", 443, "python3", "70")),
    (line("[::]:80", PROXY), "*", ("::", 80, "docker-proxy", "71")),
    (line("127.0.0.1:80"), "*", ("127.0.0.1", 80, "python3", "70")),
    (line("127.0.0.1:80"), "192.0.2.7", None),
    (line("192.0.2.7:80"), "192.0.2.7", ("192.0.2.7", 80, "python3", "70")),
    (line("127.0.0.53%lo:80"), "127.0.0.53", ("127.0.0.53", 80, "python3", "70")),
    (line("[fe80::1%eth0]:80"), "fe80::1", ("fe80::1", 80, "python3", "70")),
    (line("0.0.0.0:80", HAPROXY), "*", None),
    (line("0.0.0.0:22"), "*", None),
    (line("0.0.0.0:http"), "*", None),
    (line("127.0.0.1:8405"), "192.0.2.7", ("127.0.0.1", 8405, "python3", "70")),
    (line("10.0.0.1:8405"), "*", None),
    (line("0.0.0.0:80", ""), "*", ("0.0.0.0", 80, "a process without a name", "?")),
]


@pytest.mark.parametrize(("given", "address", "expected"), LINES)
def test_who_is_in_the_way(given: str, address: str, expected: tuple[str, int, str, str] | None) -> None:
    found = port_holders([given], address, [80, 443], 8405)
    assert [(one["address"], one["port"], one["who"], one["pid"]) for one in found] == ([expected] if expected else [])
