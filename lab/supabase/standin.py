# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stand-in for the part of Supabase that the sample backend uses, over a real PostgreSQL.

Port 8000, the project's API:

=====================================  =======================================================================
GET  /rest/v1/                         200 for a service or secret key, 403 for an anon one, 401 otherwise
GET  /rest/v1/gifts                    rows that the key's role may see
GET  /auth/v1/settings                 200 for a good key, 401 otherwise
POST /auth/v1/token?grant_type=password  200 and a user token, 400 for a wrong password
=====================================  =======================================================================

Port 3000, the front-end page.

Port 9000, for drills: POST /fault with one of these as its body injects the fault into the API, for the requesting
address only. The page is not affected. An empty body ends the fault.

====  ============================================================================
503   every answer is 503, as while a project is being restarted
hang  no answer, until the fault ends
====  ============================================================================

Environment: STANDIN_JWT_SECRET, STANDIN_PUBLISHABLE_KEY, STANDIN_SECRET_KEY, STANDIN_EMAIL, STANDIN_PASSWORD, and
STANDIN_BACKEND, the backend's address for the page.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
from faults import KNOWN, Faults
from judge import Keyring, Verdict, judge_request, mint_jwt
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

USER_TOKEN_SECONDS = 3600
DATABASE_TIMEOUT = 3.0

Reply = tuple[int, Any]


def hash_password(password: str, salt: bytes) -> bytes:
    """A salted scrypt hash. It takes about 15 ms, since the checks log in often."""
    return hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1)


class Project:
    """One Supabase project: its keys, its database, and its replies."""

    def __init__(self, keyring: Keyring, pool: ConnectionPool) -> None:
        self.keyring = keyring
        self.pool = pool

    def seed_user(self, email: str, password: str) -> None:
        """Creates the user, or gives it the password of this start."""
        salt = secrets.token_bytes(16)
        with self.pool.connection() as connection:
            connection.execute(
                "INSERT INTO auth.users (email, password_salt, password_hash) VALUES (%s, %s, %s)"
                " ON CONFLICT (email) DO UPDATE"
                " SET password_salt = excluded.password_salt, password_hash = excluded.password_hash",
                (email, salt, hash_password(password, salt)),
            )

    def reply(self, method: str, target: str, apikey: str | None, authorization: str | None, body: bytes) -> Reply:
        """Status and JSON body for one request. Raises psycopg.Error or PoolTimeout when the database is down."""
        url = urlsplit(target)
        verdict = judge_request(apikey, authorization, self.keyring, time.time())
        if verdict.role is None:
            return 401, {"message": verdict.reason, "hint": "Double check your `anon` or `service_role` API key."}
        route = (method, url.path)
        if route == ("GET", "/rest/v1/"):
            return self.rest_root(verdict)
        if route == ("GET", "/rest/v1/gifts"):
            return 200, self.rows("gifts", verdict.role)
        if route == ("GET", "/auth/v1/settings"):
            return 200, {"external": {"email": True, "phone": False}, "disable_signup": True}
        if route == ("POST", "/auth/v1/token") and parse_qs(url.query).get("grant_type") == ["password"]:
            return self.log_in(body)
        return 404, {"message": "no Route matched with those values"}

    def rest_root(self, verdict: Verdict) -> Reply:
        """The schema description; since 2025 Supabase shows it to service keys only."""
        if verdict.role != "service_role":
            return 403, {"message": "Access to schema is forbidden", "hint": "Only `service_role` may read it."}
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        with self.pool.connection() as connection:
            tables = connection.execute(query).fetchall()
        return 200, {"swagger": "2.0", "paths": {f"/{row['tablename']}": {} for row in tables}}

    def rows(self, table: str, role: str) -> list[dict[str, Any]]:
        """Every row of the table that PostgreSQL's own row-level security lets the role see."""
        with self.pool.connection() as connection:
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
            query = sql.SQL("SELECT * FROM {} ORDER BY id").format(sql.Identifier(table))
            found: list[dict[str, Any]] = connection.execute(query).fetchall()
        return found

    def log_in(self, body: bytes) -> Reply:
        """The password grant."""
        wrong = 400, {"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"}
        try:
            given = json.loads(body)
            email, password = str(given["email"]), str(given["password"])
        except (ValueError, KeyError, TypeError):
            return 400, {"code": 400, "error_code": "bad_json", "msg": "email and password are needed"}
        with self.pool.connection() as connection:
            user = connection.execute("SELECT * FROM auth.users WHERE email = %s", (email,)).fetchone()
        # The hash is computed for an unknown user too: the time of an answer must not reveal which users exist.
        salt, known = (user["password_salt"], user["password_hash"]) if user else (b"-" * 16, b"")
        if not hmac.compare_digest(hash_password(password, salt), known) or user is None:
            return wrong
        expires = int(time.time()) + USER_TOKEN_SECONDS
        claims = {"sub": str(user["id"]), "email": email, "role": "authenticated", "exp": expires}
        return 200, {
            "access_token": mint_jwt(claims, self.keyring.jwt_secret),
            "token_type": "bearer",
            "expires_in": USER_TOKEN_SECONDS,
            "expires_at": expires,
            "refresh_token": secrets.token_urlsafe(12),
            "user": {"id": str(user["id"]), "email": email, "role": "authenticated"},
        }


class Handler(BaseHTTPRequestHandler):
    """Shared by all ports: HTTP/1.1 with a length on every answer, and one log line a request, without secrets."""

    protocol_version = "HTTP/1.1"
    server_version = "standin"
    sys_version = ""
    timeout = 30

    def send(self, status: int, content_type: str, body: bytes) -> None:
        """Writes one whole answer; HEAD gets the headers only."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """One line a request, without its query, which may hold a key."""
        print(f"{self.command} {urlsplit(self.path).path} {int(code)}", flush=True)


def api_handler(project: Project, faults: Faults) -> type[Handler]:
    """The handler of port 8000."""

    class Api(Handler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = faults.mode(self.client_address[0])
            if fault == "hang":
                faults.hang(self.client_address[0])
                self.close_connection = True
                return
            if fault == "503":
                self.send(503, "application/json", b'{"message": "Service Unavailable"}')
                return
            try:
                status, value = project.reply(
                    self.command, self.path, self.headers.get("apikey"), self.headers.get("Authorization"), body
                )
            except (psycopg.Error, PoolTimeout):
                status, value = 503, {"code": "PGRST000", "message": "Could not connect with the database"}
            self.send(status, "application/json", json.dumps(value, default=str).encode())

        do_GET = do_POST = answer

    return Api


def page_handler(page: bytes) -> type[Handler]:
    """The handler of port 3000."""

    class Page(Handler):
        def answer(self) -> None:
            found = urlsplit(self.path).path == "/"
            self.send(200 if found else 404, "text/html; charset=utf-8", page if found else b"not found\n")

        do_GET = do_HEAD = answer

    return Page


def drill_handler(faults: Faults) -> type[Handler]:
    """The handler of port 9000."""

    class Drill(Handler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("ascii", "replace").strip()
            known = self.path == "/fault" and faults.set(self.client_address[0], asked)
            answer = f"fault: {asked or 'none'}" if known else f"POST /fault with one of: {', '.join(KNOWN)}"
            self.send(200 if known else 400, "text/plain; charset=utf-8", f"{answer}\n".encode())

    return Drill


def main() -> None:
    """Seed the project's user, then serve the API on 8000, the page on 3000 and the drills on 9000 until SIGTERM."""
    env = os.environ
    keyring = Keyring(env["STANDIN_JWT_SECRET"], env["STANDIN_PUBLISHABLE_KEY"], env["STANDIN_SECRET_KEY"])
    pool = ConnectionPool(
        "dbname=postgres",
        min_size=2,
        max_size=16,
        timeout=DATABASE_TIMEOUT,
        kwargs={"row_factory": dict_row},
        open=True,
    )
    project = Project(keyring, pool)
    project.seed_user(env["STANDIN_EMAIL"], env["STANDIN_PASSWORD"])
    # json.dumps gives a JavaScript string literal; "<" must not end the script element.
    backend = json.dumps(env.get("STANDIN_BACKEND", "")).replace("<", "\\u003c")
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8").replace("{{BACKEND}}", backend).encode()

    ThreadingHTTPServer.request_queue_size = 128
    faults = Faults()
    api = ThreadingHTTPServer(("", 8000), api_handler(project, faults))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=api.shutdown).start())
    for server in (
        ThreadingHTTPServer(("", 3000), page_handler(page)),
        ThreadingHTTPServer(("", 9000), drill_handler(faults)),
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("stand-in: serving the API on 8000 and the page on 3000", flush=True)
    api.serve_forever()
    # The process ends without waiting for pooled connections; the database ends with the container.
    os._exit(0)


if __name__ == "__main__":
    main()
