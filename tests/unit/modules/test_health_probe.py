# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module: arguments in, one result out. What the checks can do is in test_probe.py."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.christmas.selfheal.plugins.modules import health_probe

KEY = "hush-hush-hush-1"


class App(BaseHTTPRequestHandler):
    """Answers 200 to the right key, 401 to any other, and says which one it got."""

    def log_message(self, *_words: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        key = self.headers["X-Key"]
        self.send_response(200 if key == KEY else 401)
        self.end_headers()
        assert isinstance(self.server, HTTPServer)
        self.wfile.write(json.dumps({"key": key, "port": self.server.server_port}).encode())


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module with arguments; its result, as Ansible would get it."""

    def with_arguments(**arguments: Any) -> dict[str, Any]:
        with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
            health_probe.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert bool(ended.value.code) == bool(result.get("failed"))
        return result

    return with_arguments


CHECK = {"name": "key", "url": "http://127.0.0.1:${PORT}/", "headers": {"X-Key": "${KEY}"}}


@pytest.mark.parametrize("check_mode", [False, True])
def test_all_checks_pass(run: Run, port: int, check_mode: bool) -> None:
    result = run(checks=[CHECK], values={"PORT": port, "KEY": KEY}, _ansible_check_mode=check_mode)
    assert (result["changed"], result["ok"], result["passed"], result["total"]) == (False, True, 1, 1)
    assert set(result) - {"invocation"} == {
        *("changed", "ok", "passed", "total", "summary", "seconds", "latency", "results"),
    }
    assert KEY not in json.dumps(result)


def test_a_failed_check_fails_the_module(run: Run, port: int) -> None:
    result = run(checks=[CHECK], values={"PORT": port, "KEY": "another-hush-hush"})
    assert result["failed"]
    assert result["msg"] == result["summary"]
    assert "`key` got 401 in" in result["msg"]
    # The port is said, though it is one of the values; the key, which the app echoes, is not.
    assert f'"port": {port}' in result["msg"]
    assert "another-hush" not in json.dumps(result)
    assert result["results"][0]["kind"] == "status"


def test_values_come_from_the_env_file(run: Run, port: int, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f'PORT={port}\nKEY="{KEY}"\n')
    for arguments in (
        {"path": f"{tmp_path}/.env"},
        {"directory": str(tmp_path)},
        {"directory": str(tmp_path), "app": "shop"},
    ):
        assert run(checks=[CHECK], **arguments)["ok"]
    assert run(checks=[CHECK], path=f"{tmp_path}/.env", values={"KEY": "another-hush-hush"})["failed"]
    assert "KEY" in run(checks=[CHECK], directory=str(tmp_path), values={"PORT": port})["msg"]


# id, arguments ({dir} is an empty directory), what the message says
BAD = [
    ("no checks", {"checks": []}, "selfheal_checks: `selfheal_checks` is empty"),
    (
        "unknown key",
        {"checks": [{**CHECK, "expect": 1}]},
        "selfheal_checks: check `key`: `expect` is not a key of a check. Fix: use",
    ),
    ("unknown name", {"checks": [CHECK], "values": {"PORT": 1}}, "uses ${KEY}, which nothing defines. Fix: add KEY to"),
    (
        "no file",
        {"checks": [CHECK], "path": "{dir}/none"},
        "path: {dir}/none: No such file or directory. Fix: name an env",
    ),
    ("a directory", {"checks": [CHECK], "path": "{dir}"}, "path: {dir}: Is a directory. Fix: name an env"),
    ("no env in the directory", {"checks": [CHECK], "directory": "{dir}"}, "uses ${KEY}, which nothing defines"),
    ("no text", {"checks": [CHECK], "path": "{dir}/latin"}, "path: {dir}/latin is not UTF-8 text. Fix:"),
    ("no env file", {"checks": [CHECK], "path": "{dir}/broken"}, "path: {dir}/broken: line 2: "),
]


@pytest.mark.parametrize(("arguments", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_arguments(run: Run, tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    (tmp_path / "latin").write_bytes(b"A=\xff\n")
    (tmp_path / "broken").write_text('A=1\nB="hush-hush\n')
    real = {
        key: str(tmp_path) + value[5:] if str(value).startswith("{dir}") else value for key, value in arguments.items()
    }
    result = run(**real)
    assert result["failed"]
    assert said.replace("{dir}", str(tmp_path)) in result["msg"]
    assert "hush" not in result["msg"]
    assert "results" not in result
