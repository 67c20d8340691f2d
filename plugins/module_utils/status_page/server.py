# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The status page's server, for this host alone: systemd starts it on a request, and it ends without any.

A client says which app and which language, and nothing else. Prometheus is asked the queries of `page_queries`.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, TypedDict, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

from ..core.app_paths import AppPaths
from ..core.clock import iso
from ..records import incidents as records_incidents
from ..records.incidents import IncidentRecord
from ..releases import store as release_store
from . import figures as page_figures
from . import html as page_html
from . import queries as page_queries
from .figures import Minutes, ShownApp
from .queries import About, Line, Samples

FOLDER = "/etc/selfheal-page"
STATIC: dict[str, tuple[str, str]] = {
    "/page.css": ("/usr/local/share/selfheal-page/page.css", "text/css; charset=utf-8"),
    "/page.js": ("/usr/local/share/selfheal-page/page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("/usr/local/share/selfheal-page/icon.svg", "image/svg+xml"),
    # Debian's package libjs-dygraphs.
    "/dygraph.js": ("/usr/share/javascript/dygraphs/dygraph.min.js", "text/javascript; charset=utf-8"),
}
IDLE_SECONDS = 60.0
LIFE_SECONDS = 3600.0
# Another client may have asked a moment ago.
FRESH_SECONDS = 5.0
_PROMETHEUS_SECONDS = 8.0

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Thresholds(TypedDict, total=False):
    thresholds: dict[str, float]


class PageSettings(_Thresholds):
    """What the role has written of an app of this host; `prometheus` is its port, `thresholds` are not the defaults."""

    app: str
    host: str
    directory: str
    language: str
    prometheus: int


class Shown(NamedTuple):
    """An app that can be shown; `settings` is None for one that another host has."""

    app: str
    host: str
    settings: PageSettings | None


def settings(folder: str = FOLDER) -> list[PageSettings]:
    """Read what the role has written of this host's apps; what cannot be read is left out."""
    found: list[PageSettings] = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        with contextlib.suppress(OSError, ValueError), open(os.path.join(folder, name), encoding="utf-8") as stream:
            one = json.load(stream)
            if isinstance(one, dict) and {"app", "host", "directory", "language", "prometheus"} <= set(one):
                found.append(cast(PageSettings, one))
    return found


def choice(measured: Sequence[Mapping[str, str]], own: Sequence[PageSettings]) -> dict[str, Shown]:
    """Return the apps that there are, by what names them in a link: the app, with its host where that is needed."""
    pairs: dict[tuple[str, str], PageSettings | None] = {
        (one["app"], one["host"]): None for one in measured if one.get("app") and one.get("host")
    }
    pairs.update({(one["app"], one["host"]): one for one in own})
    names = [app for app, _unused in pairs]
    return {
        (app if names.count(app) == 1 else f"{app}@{host}"): Shown(app, host, pairs[app, host])
        for app, host in sorted(pairs)
    }


class Prometheus:
    """One connection to Prometheus on the loopback address."""

    def __init__(self, port: int) -> None:
        self._end = time.monotonic() + _PROMETHEUS_SECONDS
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PROMETHEUS_SECONDS)
        self.answers = True

    def get(self, path: str) -> Any:
        """Return the answer; None without one, and then no other is waited for."""
        if not self.answers or time.monotonic() > self._end:
            return None
        try:
            self._connection.request("GET", path)
            return json.loads(self._connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            self._connection.close()
            self.answers = False
            return None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class _Answers(NamedTuple):
    """What Prometheus says of now, the minutes of the days, and the lines. A query that it refuses is left out."""

    now: dict[str, Samples]
    minutes: Minutes
    lines: dict[str, Line]


def _ask(prometheus: Prometheus, about: About, now: float) -> _Answers:

    def queries(templates: Mapping[str, str]) -> dict[str, str]:
        return {name: page_queries.expression(template, about) for name, template in templates.items()}

    instants = {name: page_queries.instant(query, now) for name, query in queries(page_queries.NOW).items()}
    answers = _read(prometheus, page_queries.samples, instants)
    days = _read(prometheus, page_queries.counted, page_queries.by_day(about, now))
    minutes = page_queries.minutes(days)
    # The charts go back as far as there is something to draw.
    seconds = page_figures.window(answers, minutes, now)
    steps = {name: page_queries.by_step(query, now, seconds) for name, query in queries(page_queries.BY_STEP).items()}
    return _Answers(answers, minutes, _read(prometheus, page_queries.line, steps))


_Read = TypeVar("_Read")


def _read(prometheus: Prometheus, read: Callable[[Any], _Read], paths: Mapping[str, str]) -> dict[str, _Read]:
    """The answers to these paths, by name, each as `read` makes it."""
    answers: dict[str, _Read] = {}
    for name, path in paths.items():
        with contextlib.suppress(page_queries.AnswerError):
            answer = prometheus.get(path)
            if answer is not None:
                answers[name] = read(answer)
    return answers


def _recent(folder: str, now: float) -> Iterator[IncidentRecord]:
    """The incidents that the page needs, newest first."""
    since = iso(now - page_figures.MONTH_DAYS * 86400)
    for at, one in enumerate(records_incidents.every(folder)):
        if at >= page_figures.SHOWN and str(one.get("seen", "")) < since:
            return
        yield one


class Page:
    """What the server knows: the pages, each kept for a few seconds."""

    def __init__(self, folder: str = FOLDER, root: str = "/") -> None:
        self._folder, self._root = folder, root
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], tuple[float, int, str]] = {}

    def get(self, asked: str, language: str, accepted: str) -> tuple[int, str]:
        """Return (status, HTML) of an app, of the first one when none is named."""
        own = settings(self._folder)
        default = str(own[0]["language"]) if own else page_html.LANGUAGES[0]
        language = page_html.choose(language, accepted, default)
        with self._lock:
            kept = self._kept.get((asked, language))
            if kept and time.monotonic() - kept[0] < FRESH_SECONDS:
                return kept[1], kept[2]
            status, text = self._build(own, asked, language)
            # Only what there is is kept, so it cannot grow.
            if status == 200:
                self._kept[asked, language] = (time.monotonic(), status, text)
            return status, text

    def _build(self, own: Sequence[PageSettings], asked: str, language: str) -> tuple[int, str]:
        now = time.time()
        zone = datetime.now().astimezone().tzinfo or timezone.utc
        prometheus = Prometheus(int(own[0]["prometheus"]) if own else 9090)
        try:
            answer = prometheus.get(page_queries.instant(page_queries.APPS, now))
            found = [labels for labels, _unused in page_queries.samples(answer)] if answer is not None else []
            apps = choice(found, own)
            chosen = asked or next((key for key, one in apps.items() if one.settings), next(iter(apps), ""))
            links = [(key, key) for key in apps]
            if chosen not in apps:
                why = "unknown_app" if asked else "no_app"
                return 404 if asked else 503, page_html.nothing(why, links, language, now, zone)
            shown = apps[chosen]
            thresholds = shown.settings.get("thresholds", {}) if shown.settings else {}
            about: ShownApp = {"app": shown.app, "host": shown.host, "thresholds": thresholds}
            answers = _ask(prometheus, about, now)
        finally:
            prometheus.close()
        # Of an app on another host, only Prometheus knows.
        incidents: list[IncidentRecord] = []
        releases: list[release_store.Release] = []
        if shown.settings:
            paths = AppPaths(shown.app, str(shown.settings["directory"]), self._root)
            incidents = list(_recent(paths.incidents, now))
            releases = release_store.known(paths.directory)
        figures = page_figures.build(about, answers.now, answers.lines, answers.minutes, incidents, releases, now)
        return 200, page_html.render(figures, links, chosen, language, zone)


class Server(ThreadingHTTPServer):
    """Serves on a socket that is open already, and counts who is being served."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, page: Page) -> None:
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.page = listening, page
        self.timeout = 1.0
        self.busy = 0
        self.last = time.monotonic()
        self._count = threading.Lock()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, and note when that was over."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._count:
                self.busy -= 1
                self.last = time.monotonic()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin to serve one connection."""
        with self._count:
            self.busy += 1
        super().process_request(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the page and of the few files that it needs."""

    server: Server
    # Of a connection on which nothing comes: browsers open some in advance.
    timeout = 10

    def do_GET(self) -> None:
        """Answer."""
        try:
            status, kind, body = self._answer()
        except Exception as error:
            print(
                f"the status page could not be generated: {type(error).__name__}: {error}", file=sys.stderr, flush=True
            )
            status, kind, body = (
                500,
                "text/plain; charset=utf-8",
                b"The status page could not be generated. The journal has the error: journalctl -u selfheal-page\n",
            )
        tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
        static = status == 200 and kind != _HTML
        if static and self.headers.get("If-None-Match") == tag:
            status, body = 304, b""
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "private, no-cache" if static else "no-store")
        if static:
            self.send_header("ETag", tag)
        if status != 304:
            self.send_header("Content-Type", kind)
            self.send_header("Vary", "Accept-Encoding, Accept-Language")
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                body = gzip.compress(body, 6, mtime=0)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def _is_asked_as_this_host(self) -> bool:
        """Whether it was asked by a name of this host: a foreign name may have led a browser here (DNS rebinding)."""
        return re.sub(r":[0-9]+$", "", self.headers.get("Host", "")) in ("localhost", "127.0.0.1", "[::1]")

    def _answer(self) -> tuple[int, str, bytes]:
        if not self._is_asked_as_this_host():
            return 421, _PLAIN, b"The page is asked for as localhost.\n"
        asked = urlsplit(self.path)
        if asked.path in STATIC:
            path, kind = STATIC[asked.path]
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as stream:
                return 200, kind, stream.read()
        if asked.path != "/":
            return 404, _PLAIN, b"There is nothing here but the page at /.\n"
        pairs = parse_qsl(asked.query)
        query = dict(pairs)
        if len(query) != len(pairs) or not set(query) <= {"app", "lang"}:
            return 400, _PLAIN, b"The page takes app and lang, and nothing else.\n"
        accepted = self.headers.get("Accept-Language", "")
        status, text = self.server.page.get(query.get("app", ""), query.get("lang", ""), accepted)
        return status, _HTML, text.encode("utf-8", "replace")

    def version_string(self) -> str:
        """The name alone, without a version."""
        return "selfheal"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: HAProxy counts."""


_HTML, _PLAIN = "text/html; charset=utf-8", "text/plain; charset=utf-8"


def main() -> int:
    """Serve on the socket that systemd passes, until a minute without a request."""
    server = Server(socket.socket(fileno=3), Page())
    end = time.monotonic() + LIFE_SECONDS
    while True:
        server.handle_request()
        now = time.monotonic()
        # A client that connects now waits in the socket, which is systemd's, and is served by the next process.
        if not server.busy and (now - server.last > IDLE_SECONDS or now > end):
            return 0
