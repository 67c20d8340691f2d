# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The request that verifies health: the gate, HAProxy and the container's own healthcheck all send it alike. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import NamedTuple

Headers = tuple[tuple[str, str], ...]


class HealthRequest(NamedTuple):
    """One request without a body. `headers` begin with Host; `status`: the answers that mean healthy.

    `port`: the one that is asked from outside; `tls`: whether the app itself speaks TLS there.
    """

    method: str
    target: str
    headers: Headers
    status: tuple[int, ...]
    port: int = 0
    tls: bool = False


def host_header(scheme: str, host: str, port: int) -> str:
    """The Host header of a URL, which leaves the scheme's own port out."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port == (443 if scheme == "https" else 80) else f"{shown}:{port}"


def with_host(scheme: str, host: str, port: int, headers: Iterable[tuple[str, str]]) -> Headers:
    """The headers of a request, beginning with Host; one that is given counts."""
    given = tuple(headers)
    named = [value for name, value in given if name.lower() == "host"]
    value = named[-1] if named else host_header(scheme, host, port)
    return (("Host", value), *((name, value) for name, value in given if name.lower() != "host"))


def through_balancer(scheme: str, host: str, port: int, headers: Iterable[tuple[str, str]]) -> Headers:
    """The headers with which the same request arrives through the load balancer, asked on this host."""
    whole = with_host(scheme, host, port, headers)
    added = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Real-IP": "127.0.0.1",
        "X-Forwarded-Proto": scheme,
        "X-Forwarded-Host": whole[0][1],
        "X-Forwarded-Port": str(port),
    }
    given = {name.lower() for name, _value in whole}
    return (whole[0], *((name, value) for name, value in added.items() if name.lower() not in given), *whole[1:])


# No image has a client for certain, so the first of these that it has is used. The proxies that an app is given for the
# outside must not be asked for its own port. `$$` is a `$` in a compose file.
_CLIENTS = (
    "unset http_proxy HTTP_PROXY all_proxy ALL_PROXY; u={url};",
    'if command -v curl >/dev/null; then exec curl -fsS{curl} -o /dev/null "$$u";',
    'elif command -v wget >/dev/null; then exec wget -q{wget} -O /dev/null "$$u";',
    'elif command -v python3 >/dev/null; then exec python3 -I -c {python} "$$u"{named};',
    'elif command -v node >/dev/null; then exec node -e {node} "$$u"{named};',
    "else echo 'no curl, wget, python3 or node in this image: set healthcheck.test in compose_app_services'; exit 1;",
    "fi",
)
_PYTHON = "'import sys, urllib.request as r; sys.tracebacklimit = 0; r.urlopen({asked})'"
_NODE = "'require(\"{scheme}\").get(process.argv[1], {options}r => process.exit(r.statusCode < 400 ? 0 : 1))'"
_PYTHON_ASKED = 'r.Request(sys.argv[1], headers=dict(h.split(": ", 1) for h in sys.argv[2:]))'
_PYTHON_CONTEXT = ', context=__import__("ssl")._create_unverified_context()'
_NODE_HEADERS = "headers: Object.fromEntries(process.argv.slice(2).map(h => h.split(/: (.*)/).slice(0, 2)))"


def container_command(port: int, path: str, asked: HealthRequest | None) -> tuple[str, ...]:
    """The shell lines with which a container asks itself, on its own port, as a compose file has them.

    :arg asked: the health check that leads here; None asks for the path alone. Its target counts, if it is there.
    """
    headers = [f"{name}: {value}" for name, value in asked.headers] if asked else []
    headers = [header for header in headers if header != f"Host: 127.0.0.1:{port}"]
    words = [_shell_word(header) for header in headers]
    tls = asked is not None and asked.tls
    scheme = "https" if tls else "http"
    options = [*([_NODE_HEADERS] if words else []), *(["rejectUnauthorized: false"] if tls else [])]
    parts = {
        "{url}": _shell_word(f"{scheme}://127.0.0.1:{port}{asked.target if asked else path}"),
        "{curl}": "".join([" -k" if tls else "", *(f" -H {word}" for word in words)]),
        "{wget}": "".join([" --no-check-certificate" if tls else "", *(f" --header {word}" for word in words)]),
        "{python}": _PYTHON.replace(
            "{asked}", (_PYTHON_ASKED if words else "sys.argv[1]") + (_PYTHON_CONTEXT if tls else "")
        ),
        "{node}": _NODE.replace("{scheme}", scheme).replace(
            "{options}", f"{{{', '.join(options)}}}, " if options else ""
        ),
        "{named}": "".join(f" {word}" for word in words),
    }
    lines = []
    for line in _CLIENTS:
        for name, text in parts.items():
            line = line.replace(name, text)
        lines.append(line)
    return tuple(lines)


def _shell_word(text: str) -> str:
    """A text as one word of a shell in a compose file, always quoted."""
    quoted = shlex.quote(text)
    return (quoted if quoted.startswith("'") else f"'{quoted}'").replace("$", "$$")
