# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""christmas-backend: a small API over Supabase, like the app of the incident of 2025-05-27.

GET  /health       200 when every dependency answers, 503 otherwise; the body has the state of each
POST /auth/login   {"email", "password"} -> {"access_token"}
GET  /api/gifts    needs the token as Bearer

It refuses to start, exit code 1, when a variable of REQUIRED is missing or still holds a placeholder.

With the variables of DATABASE it reads the gifts from PostgreSQL instead of Supabase's REST. With those of CACHE it
keeps an answer in Redis for some seconds. If the cache is down, slow or wrong, it answers without the cache.

For drills it can fail on purpose: for every request it does what FAULT_FILE says, as long as the file exists.

errors         answers 500
silent         accepts requests and does not answer, as long as the file exists
oom            allocates memory until the kernel kills it
slow SECONDS   answers that much later
flaky PERCENT  answers 500 to that share of the requests; delays all of them by 0 to 1.9 s, which is slow but no fault

The file is in the container's tmpfs, so a recreated or restarted container has no fault.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import random
import re
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

REQUIRED = ("SUPABASE_URL", "SUPABASE_ANON_KEY", "SUPABASE_SERVICE_KEY", "JWT_SECRET", "PORT")
DATABASE = ("DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME", "DATABASE_USER", "DATABASE_PASSWORD")
CACHE = ("REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD")
PLACEHOLDER = re.compile(
    r"(?i)^(?:your|my|the)[-_ ].*(?:key|secret|url|token|here)|change[-_ ]?me|placeholder|replace[-_ ]?(?:me|this|with)"
    r"|^(?:todo|tbd|xxx+|none|null|example|dummy|test|secret)$|^<.*>$|^\$\{?\w+\}?$|^\{\{.*\}\}$"
)
TOKEN_SECONDS = 3600
UPSTREAM_TIMEOUT = 3.0
# The time that a failing cache may cost a request, and the pause between attempts to reach it again.
CACHE_TIMEOUT, CACHE_REST = 0.05, 1.0
CACHED_SECONDS = 5
GRACE_SECONDS = 5.0
MAX_BODY = 64 * 1024
FAULT_FILE = Path("/tmp/fault")
FLAKY_LONGEST = 1.9


@dataclass(frozen=True)
class Settings:
    """The environment, read once. ``repr`` shows no secret."""

    supabase_url: str
    anon_key: str = field(repr=False)
    service_key: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    port: int
    database: Mapping[str, str] = field(default_factory=dict, repr=False)
    cache: Mapping[str, str] = field(default_factory=dict, repr=False)


def problems(env: Mapping[str, str]) -> list[str]:
    """Why the app must not start with this environment; names variables, never values."""
    found = []
    for name in REQUIRED:
        value = env.get(name, "").strip()
        if not value:
            found.append(f"{name} is missing")
        elif PLACEHOLDER.search(value):
            found.append(f"{name} contains a placeholder value")
        elif name == "PORT" and not (value.isdecimal() and 0 < int(value) < 65536):
            found.append("PORT is not a port number")
        elif name == "SUPABASE_URL" and not value.startswith(("http://", "https://")):
            found.append("SUPABASE_URL is not an http or https URL")
    return found


def read_settings(env: Mapping[str, str]) -> Settings:
    """Settings from an environment without :func:`problems`."""
    return Settings(
        supabase_url=env["SUPABASE_URL"].strip().rstrip("/"),
        anon_key=env["SUPABASE_ANON_KEY"].strip(),
        service_key=env["SUPABASE_SERVICE_KEY"].strip(),
        jwt_secret=env["JWT_SECRET"].strip(),
        port=int(env["PORT"]),
        database=_all_of(DATABASE, env),
        cache=_all_of(CACHE, env),
    )


def _all_of(names: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """The variables if all of them are set, else none: the app then works without the service."""
    found = {name.partition("_")[2].lower(): env.get(name, "") for name in names}
    return found if all(found.values()) else {}


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _sign(text: str, secret: str) -> str:
    return _b64url(hmac.new(secret.encode(), text.encode("ascii"), hashlib.sha256).digest())


def issue_token(user: str, secret: str, now: float) -> str:
    """This app's own HS256 token for a user id, good for an hour."""
    header = _b64url(b'{"alg":"HS256","typ":"JWT"}')
    payload = _b64url(json.dumps({"sub": user, "exp": int(now) + TOKEN_SECONDS}).encode())
    return f"{header}.{payload}.{_sign(f'{header}.{payload}', secret)}"


def token_user(token: str, secret: str, now: float) -> str | None:
    """The user id of a token that this app issued and that has not expired, else None."""
    try:
        signed, signature = token.rsplit(".", 1)
        if not hmac.compare_digest(_sign(signed, secret), signature):
            return None
        payload = signed.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, TypeError, IndexError):
        return None
    return str(claims["sub"]) if claims.get("exp", 0) > now else None


class UpstreamError(Exception):
    """Supabase or the database refused, or did not answer. Without an answer ``status`` is None."""

    def __init__(self, status: int | None, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def ask_supabase(settings: Settings, path: str, key: str, body: Any = None) -> Any:
    """One request to Supabase; the decoded answer. The key goes into ``apikey`` only: new keys are no Bearer tokens."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"apikey": key, "Content-Type": "application/json"}
    request = Request(settings.supabase_url + path, data=data, headers=headers)
    try:
        with urlopen(request, timeout=UPSTREAM_TIMEOUT) as answer:
            return json.load(answer)
    except HTTPError as error:
        with error:
            try:
                said = json.load(error)
                text = said.get("message") or said.get("msg") or ""
            except (ValueError, AttributeError):
                text = ""
        raise UpstreamError(error.code, f"{error.code} {text}".strip()) from None
    except (OSError, ValueError) as error:
        raise UpstreamError(None, str(getattr(error, "reason", error))) from None


class Database:
    """PostgreSQL. Connections are kept; each statement is a transaction, so that it works through a pool."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        import psycopg2  # only for an app with a database: it costs time and memory
        from psycopg2 import extensions

        self.library, self.extensions = psycopg2, extensions
        extensions.set_wait_callback(self._wait)
        self.where = {"dbname" if name == "name" else name: value for name, value in settings.items()}
        self.idle: list[Any] = []

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """The rows that a statement finds."""
        try:
            connection = self.idle.pop()
        except IndexError:
            return self._ask(self._connect(), statement)
        try:
            return self._ask(connection, statement)
        except UpstreamError:
            # A kept connection may be closed at its other end, and then the others probably are too.
            self.idle.clear()
            return self._ask(self._connect(), statement)

    def _connect(self) -> Any:
        try:
            connection = self.library.connect(**self.where)
        except self.library.Error as error:
            raise _database_error(error) from None
        connection.autocommit = True
        return connection

    def _ask(self, connection: Any, statement: str) -> list[dict[str, Any]]:
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                names = [column.name for column in cursor.description]
                found = [dict(zip(names, row)) for row in cursor.fetchall()]
        except self.library.Error as error:
            connection.close()
            raise _database_error(error) from None
        self.idle.append(connection)
        return found

    def _wait(self, connection: Any) -> None:
        """Wait for the server, with a deadline; psycopg2's own wait has none."""
        events = {self.extensions.POLL_READ: select.POLLIN, self.extensions.POLL_WRITE: select.POLLOUT}
        while (state := connection.poll()) != self.extensions.POLL_OK:
            waiting = select.poll()
            waiting.register(connection.fileno(), events[state])
            if not waiting.poll(UPSTREAM_TIMEOUT * 1000):
                raise self.library.OperationalError(f"no answer within {UPSTREAM_TIMEOUT:.0f} s")


def _database_error(error: Exception) -> UpstreamError:
    return UpstreamError(None, next(iter(str(error).splitlines()), type(error).__name__))


class Cache:
    """Redis. After any error, requests do without it until it answers again."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        import redis  # only for an app with a cache: it costs time and memory
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self.settings = settings
        self.error = redis.RedisError
        self.connect: Callable[[str], Any] = lambda address: redis.Redis(
            host=address,
            port=int(settings["port"]),
            password=settings["password"],
            socket_timeout=CACHE_TIMEOUT,
            socket_connect_timeout=CACHE_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        self.client: Any = None
        self.trouble = "not asked yet"
        self.lost = threading.Event()
        self.lost.set()
        threading.Thread(target=self._find, daemon=True).start()

    def _find(self) -> None:
        """Reconnects in a thread of its own: resolving a wrong name takes seconds, too long for a request."""
        while True:
            self.lost.wait()
            try:
                client = self.connect(socket.gethostbyname(self.settings["host"]))
                client.ping()
            except (self.error, OSError) as error:
                self.trouble = str(error)
                time.sleep(CACHE_REST)
            else:
                self.lost.clear()
                self.client = client

    def _ask(self, what: Callable[[Any], Any]) -> Any:
        client = self.client
        if client is None:
            return None
        try:
            return what(client)
        except (self.error, OSError, ValueError) as error:
            self.trouble, self.client = str(error), None
            self.lost.set()
            return None

    def get(self, key: str) -> Any:
        """The stored value, or None."""

        def get(client: Any) -> Any:
            found = client.get(key)
            return None if found is None else json.loads(found)

        return self._ask(get)

    def put(self, key: str, value: Any) -> None:
        """Store a value for CACHED_SECONDS."""
        self._ask(lambda client: client.set(key, json.dumps(value), ex=CACHED_SECONDS))

    def state(self) -> dict[str, Any]:
        """The cache's state, from a ping unless it is lost."""
        self._ask(lambda client: client.ping())
        return {"status": "ok"} if self.client is not None else {"status": "down", "detail": self.trouble}


class App:
    """The routes. Every method returns a status and a value for the JSON body."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database) if settings.database else None
        self.cache = Cache(settings.cache) if settings.cache else None

    def health(self) -> tuple[int, Any]:
        """Asks every dependency with the app's own key. The cache's state does not count: the app works without it."""
        asked: dict[str, Callable[[], Any]] = {
            "supabase": lambda: ask_supabase(self.settings, "/rest/v1/", self.settings.service_key)
        }
        database = self.database
        if database:
            asked["database"] = lambda: database.rows("SELECT 1 AS one")
        states: dict[str, dict[str, Any]] = {}
        for name, ask in asked.items():
            began = time.monotonic()
            states[name] = {"status": "ok"}
            try:
                ask()
            except UpstreamError as error:
                states[name] = {"status": "down", "detail": error.detail}
            states[name]["seconds"] = round(time.monotonic() - began, 4)
        ok = all(state["status"] == "ok" for state in states.values())
        if self.cache:
            states["cache"] = self.cache.state()
        return (200 if ok else 503), {"status": "ok" if ok else "degraded", "dependencies": states}

    def login(self, body: bytes) -> tuple[int, Any]:
        """Has Supabase check the password and issues this app's own token."""
        try:
            given = json.loads(body)
            credentials = {"email": str(given["email"]), "password": str(given["password"])}
        except (ValueError, KeyError, TypeError):
            return 400, {"error": "email and password are needed, as JSON"}
        try:
            path = "/auth/v1/token?grant_type=password"
            session = ask_supabase(self.settings, path, self.settings.anon_key, credentials)
        except UpstreamError as error:
            if error.status == 400:
                return 401, {"error": "wrong email or password"}
            return 502, {"error": f"supabase: {error.detail}"}
        return 200, {
            "access_token": issue_token(session["user"]["id"], self.settings.jwt_secret, time.time()),
            "token_type": "bearer",
            "expires_in": TOKEN_SECONDS,
        }

    def gifts(self, authorization: str) -> tuple[int, Any]:
        """The gifts, read for a user who has logged in."""
        scheme, _unused, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or token_user(token, self.settings.jwt_secret, time.time()) is None:
            return 401, {"error": "log in first"}
        found = self.cache.get("gifts") if self.cache else None
        if found is None:
            try:
                found = self.read_gifts()
            except UpstreamError as error:
                return 502, {"error": f"{'database' if self.database else 'supabase'}: {error.detail}"}
            if self.cache:
                self.cache.put("gifts", found)
        return 200, {"gifts": found}

    def read_gifts(self) -> Any:
        """The current gifts, read with the rights of the service."""
        if self.database:
            return self.database.rows("SELECT id, name, child, wrapped FROM public.gifts ORDER BY id")
        return ask_supabase(self.settings, "/rest/v1/gifts", self.settings.service_key)

    def reply(self, method: str, path: str, authorization: str, body: bytes) -> tuple[int, Any]:
        """Finds the route."""
        if (method, path) == ("GET", "/health"):
            return self.health()
        if (method, path) == ("POST", "/auth/login"):
            return self.login(body)
        if (method, path) == ("GET", "/api/gifts"):
            return self.gifts(authorization)
        return 404, {"error": "no such route"}


def injected_fault() -> tuple[str, float]:
    """The fault in FAULT_FILE, as (word, number); ("", 0.0) without a known one."""
    try:
        word, _unused, number = FAULT_FILE.read_text(encoding="ascii").strip().partition(" ")
        return word, float(number or 0)
    except (OSError, ValueError):
        return "", 0.0


def suffer(word: str, number: float) -> int:
    """Apply the fault; return its status, or 0 for the app's own answer."""
    if word == "silent":
        while injected_fault()[0] == "silent":
            time.sleep(0.5)
    elif word == "oom":
        hoard = []
        while True:
            hoard.append(b"x" * (1 << 24))
    elif word == "slow":
        time.sleep(number)
    elif word == "flaky":
        time.sleep(random.uniform(0, FLAKY_LONGEST))
        return 500 if random.uniform(0, 100) < number else 0
    return 500 if word == "errors" else 0


class Server(ThreadingHTTPServer):
    """Counts the requests in flight, so that a stop waits for them but not for idle connections."""

    request_queue_size = 128

    def __init__(self, app: App) -> None:
        self.app = app
        self.busy = 0
        self.idle = threading.Condition()
        super().__init__(("", app.settings.port), Handler)

    def drain(self, seconds: float) -> None:
        """Waits until no request is in flight, or the time is over."""
        with self.idle:
            self.idle.wait_for(lambda: self.busy == 0, timeout=seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs one line, without a traceback, when a client hangs up."""
        print(f"connection from {client_address[0]} broke: {sys.exc_info()[1]!r}", flush=True)


class Handler(BaseHTTPRequestHandler):
    """HTTP around :class:`App`: one log line a request, without query and headers."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "christmas-backend"
    sys_version = ""
    timeout = 30

    def answer(self) -> None:
        """Serve one request of any method, and count it as in flight until its answer is written."""
        began = time.monotonic()
        path = self.path.partition("?")[0]
        with self.server.idle:
            self.server.busy += 1
        try:
            status, value = self.dispatch(path)
            body = b"" if value is None else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            # Any origin may ask: the data needs a token, which no browser sends by itself.
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "Authorization, Content-Type")
            self.end_headers()
            self.wfile.write(body)
            print(f"{self.command} {path} {status} {(time.monotonic() - began) * 1000:.0f} ms", flush=True)
        finally:
            with self.server.idle:
                self.server.busy -= 1
                self.server.idle.notify_all()

    def dispatch(self, path: str) -> tuple[int, Any]:
        """Status and body; None for no body."""
        if self.command == "OPTIONS":
            return 204, None
        length = self.headers.get("Content-Length") or "0"
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            return 413, {"error": f"a body has at most {MAX_BODY} bytes"}
        body = self.rfile.read(int(length))
        if suffer(*injected_fault()):
            return 500, {"error": "a drill asked for this"}
        return self.server.app.reply(self.command, path, self.headers.get("Authorization") or "", body)

    do_GET = do_POST = do_OPTIONS = answer

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing: :meth:`answer` logs the request with its time."""


def main() -> int:
    """Serve until SIGTERM, then finish the requests in flight. Returns 1 when the environment is invalid."""
    found = problems(os.environ)
    for problem in found:
        print(f"christmas-backend: refusing to start: {problem}", file=sys.stderr, flush=True)
    if found:
        return 1
    server = Server(App(read_settings(os.environ)))
    # shutdown() waits for serve_forever(), which runs in this thread, so it needs another one.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"christmas-backend: listening on port {server.app.settings.port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.socket.close()
    server.drain(GRACE_SECONDS)
    print("christmas-backend: stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
