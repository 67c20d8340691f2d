# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sample backend behaves as the incident's did: it refuses an invalid environment, and reports its health."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

APP = Path(__file__).resolve().parents[3] / "lab/backend/app.py"
_spec = importlib.util.spec_from_file_location("lab_backend", APP)
assert _spec and _spec.loader
app = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = app  # dataclasses look their module up
_spec.loader.exec_module(app)

GOOD = {
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_ANON_KEY": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.bW9ja2Vk.c2lnbmVk",
    "SUPABASE_SERVICE_KEY": "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz",
    "JWT_SECRET": "k0Yd3mZ6v9yBq8eThWmZq4t7wzCnFjNRu1x4A7D0GKaPdSgV",
    "PORT": "8000",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({}, [], id="good"),
        pytest.param({"SUPABASE_SERVICE_KEY": None}, ["SUPABASE_SERVICE_KEY is missing"], id="missing"),
        pytest.param({"JWT_SECRET": "  "}, ["JWT_SECRET is missing"], id="blank"),
        *(
            pytest.param(
                {"SUPABASE_SERVICE_KEY": value}, ["SUPABASE_SERVICE_KEY contains a placeholder value"], id=value
            )
            for value in (
                "your-supabase-service-role-key",
                "YOUR_SUPABASE_SERVICE_KEY_HERE",
                "changeme",
                "placeholder",
                "replace-with-real-key",
                "xxxx",
                "TODO",
                "<service key>",
                "${SUPABASE_SERVICE_KEY}",
                "{{ vault_supabase_service_key }}",
            )
        ),
        pytest.param({"PORT": "http"}, ["PORT is not a port number"], id="port"),
        pytest.param({"SUPABASE_URL": "db.example"}, ["SUPABASE_URL is not an http or https URL"], id="URL"),
        pytest.param(
            {"PORT": None, "JWT_SECRET": None}, ["JWT_SECRET is missing", "PORT is missing"], id="all are named"
        ),
    ],
)
def test_problems(change: dict[str, str | None], expected: list[str]) -> None:
    env = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    assert app.problems(env) == expected


DATABASE = {
    "DATABASE_HOST": "pool",
    "DATABASE_PORT": "6432",
    "DATABASE_NAME": "gifts",
    "DATABASE_USER": "backend",
    "DATABASE_PASSWORD": "p w",
}


@pytest.mark.parametrize(
    ("change", "database", "cache"),
    [
        pytest.param({}, False, False, id="none"),
        pytest.param(DATABASE, True, False, id="database"),
        pytest.param({**DATABASE, "DATABASE_HOST": ""}, False, False, id="a database without a host"),
        pytest.param({"REDIS_PASSWORD": "x", "REDIS_HOST": "cache", "REDIS_PORT": "1"}, False, True, id="cache"),
        pytest.param({"REDIS_PASSWORD": "x"}, False, False, id="a stale password"),
    ],
)
def test_its_database_and_cache_are_optional(change: dict[str, str], database: bool, cache: bool) -> None:
    settings = app.read_settings({**GOOD, **change})
    assert (bool(settings.database), bool(settings.cache)) == (database, cache)
    assert "p w" not in repr(settings)


def test_without_them_their_libraries_are_not_loaded() -> None:
    """The benchmarks measure an app without these libraries."""
    backend = app.App(app.read_settings(GOOD))
    assert (backend.database, backend.cache) == (None, None)
    assert {"redis", "psycopg2"} & set(sys.modules) == set()


def test_tokens() -> None:
    token = app.issue_token("user-1", "secret", 1000.0)
    assert app.token_user(token, "secret", 1000.0) == "user-1"
    assert app.token_user(token, "secret", 1000.0 + app.TOKEN_SECONDS) is None
    assert app.token_user(token, "another", 1000.0) is None
    assert app.token_user(token[:-1], "secret", 1000.0) is None
    for nonsense in ("", ".", "a.b.c", "ü.ü.ü"):
        assert app.token_user(nonsense, "secret", 1000.0) is None


@pytest.mark.parametrize(
    ("error", "health", "login"),
    [
        pytest.param(None, 200, 200, id="up"),
        pytest.param(app.UpstreamError(None, "timed out"), 503, 502, id="no answer"),
        pytest.param(app.UpstreamError(401, "401 Invalid API key"), 503, 502, id="key refused"),
        pytest.param(app.UpstreamError(400, "400 Invalid login credentials"), 503, 401, id="password refused"),
    ],
)
def test_upstream(monkeypatch: pytest.MonkeyPatch, error: Exception | None, health: int, login: int) -> None:
    def ask(*_unused: Any) -> Any:
        if error:
            raise error
        return {"user": {"id": "user-1"}}

    monkeypatch.setattr(app, "ask_supabase", ask)
    backend = app.App(app.read_settings(GOOD))
    status, body = backend.reply("GET", "/health", "", b"")
    assert status == health
    assert body["dependencies"]["supabase"].get("detail") == (str(error) if error else None)
    assert backend.reply("POST", "/auth/login", "", b'{"email": "a@b.c", "password": "d"}')[0] == login


@pytest.mark.parametrize("body", [b"", b"[]", b'{"email": "a@b.c"}', b"\xff"])
def test_login_needs_both(body: bytes) -> None:
    assert app.App(app.read_settings(GOOD)).reply("POST", "/auth/login", "", body)[0] == 400


@pytest.mark.parametrize(
    ("text", "status", "least"),
    [
        pytest.param(None, 0, 0.0, id="no file"),
        pytest.param("", 0, 0.0, id="empty"),
        pytest.param("nonsense", 0, 0.0, id="unknown"),
        pytest.param("slow soon", 0, 0.0, id="no number"),
        pytest.param("errors\n", 500, 0.0, id="errors"),
        pytest.param("slow 0.2", 0, 0.2, id="slow"),
        pytest.param("flaky 100", 500, 0.0, id="flaky, always"),
        pytest.param("flaky 0", 0, 0.0, id="flaky, never"),
    ],
)
def test_fault_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, status: int, least: float
) -> None:
    monkeypatch.setattr(app, "FAULT_FILE", tmp_path / "fault")
    monkeypatch.setattr(app, "FLAKY_LONGEST", 0.01)
    if text is not None:
        app.FAULT_FILE.write_text(text, encoding="ascii")
    began = time.monotonic()
    assert app.suffer(*app.injected_fault()) == status
    assert time.monotonic() - began >= least


def test_silent_until_the_file_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "FAULT_FILE", tmp_path / "fault")
    app.FAULT_FILE.write_text("silent", encoding="ascii")
    waiting = threading.Thread(target=app.suffer, args=app.injected_fault(), daemon=True)
    waiting.start()
    waiting.join(timeout=0.1)
    assert waiting.is_alive()
    app.FAULT_FILE.unlink()
    waiting.join(timeout=10)
    assert not waiting.is_alive()


def start(**change: str) -> subprocess.Popen[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **GOOD, **change}
    return subprocess.Popen(
        [sys.executable, str(APP)], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_refuses_to_start() -> None:
    with start(SUPABASE_SERVICE_KEY="your-supabase-service-role-key") as process:
        output, _unused = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "SUPABASE_SERVICE_KEY contains a placeholder value" in output
    assert "your-supabase-service-role-key" not in output


def test_runs_and_stops() -> None:
    """Supabase is away, so it says 503 and which dependency it is; SIGTERM ends it with 0; no secret in the log."""
    port = free_port()
    status, body = 0, dict[str, Any]()
    with start(PORT=str(port)) as process:
        try:
            for _unused in range(200):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                except urllib.error.HTTPError as error:
                    with error:
                        status, body = error.code, json.load(error)
                    break
                except OSError:
                    time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGTERM)
        output, _errors = process.communicate(timeout=10)
    assert (status, body["status"], body["dependencies"]["supabase"]["status"]) == (503, "degraded", "down")
    assert process.returncode == 0
    assert "GET /health 503" in output
    assert not any(GOOD[name] in output for name in ("SUPABASE_ANON_KEY", "SUPABASE_SERVICE_KEY", "JWT_SECRET"))
