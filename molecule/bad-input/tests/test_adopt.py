# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bad input of adopt: the app that was started by hand is untouched, nothing is written, and no secret is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER, HOST = "/root/shop", "molecule-bad-input"
SECRETS = {"API_TOKEN": "tk_9f8e7d6c5b4a39281706", "DB_PASSWORD": "pa$$w0rd$HOME_Zq8x"}
ENV = "".join(f"{name}='{value}'\n" for name, value in SECRETS.items())
COMPOSE: dict[str, Any] = {
    "services": {
        "web": {
            "image": "selfheal-lab/python",
            "command": ["sleep", "infinity"],
            "init": True,
            "environment": {name: f"${{{name}}}" for name in SECRETS},
        }
    }
}


def write(host: Any, compose: dict[str, Any], env: str = ENV) -> None:
    for name, text in (("compose.yaml", json.dumps(compose)), (".env", env)):
        host.run_expect([0], f"mkdir -p {FOLDER}; cat > {FOLDER}/{name} <<'END'\n{text}\nEND")


def changed(**web: Any) -> dict[str, Any]:
    return {"services": {"web": {**COMPOSE["services"]["web"], **web}}}


@pytest.fixture(scope="module", autouse=True)
def _app(host: Any) -> Iterator[None]:
    write(host, COMPOSE)
    host.run_expect([0], f"cd {FOLDER}; docker compose up --detach --quiet-pull")
    yield
    host.run(f"cd {FOLDER}; docker compose down --timeout 1; rm -rf {FOLDER}")


@pytest.fixture
def adopt(play: Callable[..., Any], host: Any, tmp_path: Path) -> Callable[..., Any]:
    """Run adopt, and assert that neither the host nor this machine has changed."""

    def state() -> str:
        return str(
            host.check_output(
                f"find {FOLDER} /opt /etc/selfheal /var/lib/selfheal ! -path '*/christmas-backend*' -printf '%p %m\\n'"
                f" | sort; cd {FOLDER}; docker ps -aq --no-trunc --filter label=com.docker.compose.project=shop"
                " | xargs docker inspect --format '{{.Id}} {{.State.StartedAt}}'"
            )
        )

    def run(*words: str, target: str = f"{HOST}:{FOLDER}", **settings: str) -> Any:
        before = state()
        to = tmp_path / "to"
        ended = play("adopt.yml", "-e", f"adopt={target}", "-e", f"to={to}", *words, settings=settings)
        assert state() == before
        assert not to.exists()
        shown = [name for name, value in SECRETS.items() if value in ended.stdout]
        assert not shown, f"{shown} are shown"
        return ended

    return run


@pytest.mark.parametrize(
    ("compose", "env", "said"),
    [
        pytest.param(changed(imagee="x"), ENV, "Compose refuses it", id="an unknown key"),
        pytest.param(changed(environment={"A": "${A:?is needed}"}), ENV, f"write it into {FOLDER}/.env", id="required"),
        pytest.param(COMPOSE, "API_TOKEN=x-$NOWHERE\n", "line 1: it uses a variable that no line", id="a reference"),
        pytest.param(COMPOSE, ENV.replace("tk_9", "tk_8"), "than its files give: API_TOKEN", id="other values"),
        pytest.param(changed(volumes=["${PWD}/data:/data"]), ENV, "it uses ${PWD}", id="the folder of the caller"),
    ],
)
def test_files_that_cannot_be_honoured(
    host: Any, adopt: Callable[..., Any], compose: dict[str, Any], env: str, said: str
) -> None:
    write(host, compose, env)
    try:
        ended = adopt()
    finally:
        write(host, COMPOSE)
    text = " ".join(ended.stdout.split())
    assert ended.returncode != 0
    assert said in text, text[-2000:]
    assert "Nothing was changed. Fix: " in text


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (f"{HOST}:/root/nothing", "/root/nothing: there is no such folder on the host"),
        ("nosuch.invalid:/root/shop", "Could not resolve hostname nosuch.invalid"),
        (f"ssh://{HOST}/root/shop", "is not HOST:/FOLDER"),
    ],
)
def test_targets_that_are_not_there(adopt: Callable[..., Any], target: str, said: str) -> None:
    ended = adopt("--limit=localhost,all", target=target)
    text = " ".join(ended.stdout.split())
    assert ended.returncode != 0
    assert said in text, text[-2000:]


@pytest.mark.parametrize("target", ["", "shop:root/shop"])
def test_a_run_that_names_no_host_says_so_without_a_trace(adopt: Callable[..., Any], target: str) -> None:
    ended = adopt("--limit=localhost,all", target=target)
    assert ended.returncode != 0
    assert "Fix: write -e adopt=HOST:/root/myapp" in " ".join(ended.stdout.split())
    assert "caused by" not in ended.stdout, ended.stdout


def test_no_secret_is_shown_or_logged(host: Any, adopt: Callable[..., Any], tmp_path: Path) -> None:
    log = tmp_path / "ansible.log"
    ended = adopt("-vvv", "-e", "adopt_dry=true", ANSIBLE_LOG_PATH=str(log))
    assert ended.returncode == 0, ended.stdout[-2000:]
    for name, value in SECRETS.items():
        assert value not in log.read_text(encoding="utf-8"), name
        assert host.run(f"journalctl --no-pager | grep -cF '{value}'").stdout.strip() == "0", name
        found = host.run(f"grep -rlF '{value}' /tmp /var/tmp /var/log /etc /var/lib/selfheal").stdout
        assert not found, (name, found)
