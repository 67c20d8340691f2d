# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bad input: a clear message, a non-zero exit code, and an unchanged host."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

APP = "christmas-backend"
HERE = f"/opt/{APP}"
BACKEND = Path(__file__).resolve().parents[3] / "lab" / "backend"
HOSTED = "https://abcdefghijklmnopqrst.supabase.co"


def jwt(**claims: Any) -> str:
    """A legacy key, signed with a secret of its own."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    now = int(time.time())
    body = {"iss": "supabase", "role": "service_role", "iat": now - 86400, "exp": now + 86400 * 365, **claims}
    head = part(b'{"alg":"HS256","typ":"JWT"}')
    signed = f"{head}.{part(json.dumps(body, separators=(',', ':')).encode())}"
    signature = hmac.new(b"made up for this test, and for nothing else", signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{part(signature)}"


@pytest.fixture
def unchanged(host: Any) -> Iterator[None]:
    """Assert that the test changes neither the app's files, nor its env's history, nor its containers."""

    def read() -> str:
        # The folder itself counts too: a stale temporary file is a change. A copy of the project that waits for its
        # validation does not count, nor do the lists of the files that the last copy brought, and of their content.
        lists = "-name copied.json -o -name written.json"
        found = f"find {HERE} /var/lib/selfheal/{APP} -path '*/incoming' -prune -o {lists} -o"
        return str(
            host.check_output(
                f"{found} -printf '%p %m %u\\n' | sort; {found} -type f -exec sha256sum {{}} + | sort;"
                f"docker ps -aq --no-trunc | xargs -r docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}'"
            )
        )

    before = read()
    yield
    assert read() == before


def refuses(ended: Any, *words: str) -> None:
    """Assert that the run failed, and that its output contains all of these words."""
    output = " ".join(ended.stdout.split())
    assert ended.returncode != 0, output[-2000:]
    missing = [word for word in words if word not in output]
    assert not missing, f"{missing} not in: {output[-3000:]}"
    # A traceback of this collection; the log of an app may contain its own.
    assert not re.search("Traceback.*(AnsiballZ|module_utils)", output)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the sample app for a test to change."""
    return Path(shutil.copytree(BACKEND, tmp_path / "backend"))


SECRETS: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("missing", {"vault_supabase_service_key": ""}, ("SUPABASE_SERVICE_KEY", "Fix:")),
    ("placeholder", {"vault_supabase_service_key": "your-supabase-service-role-key"}, ("placeholder",)),
    (
        "swapped",
        {"vault_supabase_anon_key": jwt(role="service_role"), "vault_supabase_service_key": jwt(role="anon")},
        ("SUPABASE_ANON_KEY", "SUPABASE_SERVICE_KEY", "swapped"),
    ),
    (
        "another project's key",
        {
            "vault_supabase_url": HOSTED,
            "vault_supabase_anon_key": jwt(role="anon", ref="abcdefghijklmnopqrst"),
            "vault_supabase_service_key": jwt(ref="zzzzzzzzzzzzzzzzzzzz"),
        },
        ("SUPABASE_SERVICE_KEY", "project"),
    ),
    ("expired", {"vault_supabase_service_key": jwt(exp=int(time.time()) - 3600)}, ("expired",)),
    ("quotes around it", {"vault_supabase_service_key": f'"{jwt()}"'}, ("quot",)),
    ("a newline after it", {"vault_supabase_service_key": f"{jwt()}\n"}, ("SUPABASE_SERVICE_KEY", "Fix:")),
    ("a template by chance", {"vault_jwt_secret": "Gr{{4}}YJ" + "k3Jx9" * 8}, ("vault_jwt_secret", "!unsafe")),
    ("a comment by chance", {"vault_jwt_secret": "Gr{#4YJ" + "k3Jx9" * 8}, ("vault_jwt_secret", "!unsafe")),
    ("no values", {"app_env_values": {}, "app_env_plain": {}}, ("PORT: missing", "app_env_values is empty")),
]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("extra", "words"), [case[1:] for case in SECRETS], ids=[case[0] for case in SECRETS])
def test_a_bad_secret_stops_the_run_on_the_controller(
    play: Callable[..., Any], extra: dict[str, Any], words: tuple[str, ...]
) -> None:
    ended = play("site.yml", "-vvv", extra=extra)
    refuses(ended, *words)
    assert "docker_engine" not in ended.stdout.split("PLAY RECAP")[0].split("TASK")[-1]
    for value in extra.values():
        if str(value).startswith(("ey", "Gr")):
            assert value not in ended.stdout
            assert "4YJ" not in ended.stdout


@pytest.mark.usefixtures("unchanged")
def test_recover_stops_on_a_bad_secret_in_the_vault(play: Callable[..., Any]) -> None:
    ended = play("recover.yml", extra={"vault_supabase_service_key": "your-supabase-service-role-key"})
    refuses(ended, "SUPABASE_SERVICE_KEY", "placeholder", "recover_use_last_good")


@pytest.mark.usefixtures("unchanged")
def test_a_wrong_vault_password(play: Callable[..., Any], tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("not-the-password\n", encoding="utf-8")
    ended = play("site.yml", settings={"ANSIBLE_VAULT_IDENTITY_LIST": f"lab@{wrong}"})
    refuses(ended, "vault", "decrypt")


@pytest.mark.usefixtures("unchanged")
def test_a_vault_that_cannot_be_reached(play: Callable[..., Any]) -> None:
    extra = {
        "app_env_backend": "hashi_vault",
        "app_env_vault_url": "http://127.0.0.1:9",
        "app_env_vault_token": "t" * 20,
    }
    refuses(play("site.yml", extra=extra), "127.0.0.1:9")


@pytest.mark.parametrize("playbook", ["recover.yml", "validate.yml"])
def test_a_host_that_cannot_be_reached(play: Callable[..., Any], playbook: str) -> None:
    refuses(play(playbook, extra={"ansible_host": "172.30.57.250", "ansible_ssh_timeout": 3}), "172.30.57.250")


def test_a_host_without_python(host: Any, play: Callable[..., Any]) -> None:
    host.check_output("mv /usr/bin/python3 /usr/bin/python3.away")
    try:
        refuses(play("recover.yml"), "python3")
    finally:
        host.check_output("mv /usr/bin/python3.away /usr/bin/python3")


@pytest.mark.usefixtures("unchanged")
def test_a_compose_file_that_does_not_parse(play: Callable[..., Any], project: Path) -> None:
    (project / "compose.yaml").write_text("services:\n  backend:\n   image: [x\n", encoding="utf-8")
    refuses(play("site.yml", extra={"compose_app_source": str(project)}), "compose.yaml")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("playbook", ["validate.yml", "site.yml"])
def test_a_placeholder_in_the_compose_file_that_overrides_a_validated_value(
    play: Callable[..., Any], project: Path, playbook: str
) -> None:
    path = project / "compose.yaml"
    text = path.read_text(encoding="utf-8")
    lines = "    environment: {JWT_SECRET: your-jwt-secret-here}\n    env_file: [.env, more.env]\n"
    path.write_text(text.replace("    env_file: .env\n", lines), encoding="utf-8")
    (project / "more.env").write_text("MAIL_KEY=changeme\n", encoding="utf-8")
    ended = play(playbook, extra={"compose_app_source": str(project)})
    refuses(ended, "`environment:` of service backend: JWT_SECRET", "env_file more.env: MAIL_KEY", "placeholder")


@pytest.mark.usefixtures("unchanged")
def test_a_service_that_is_missing_in_the_compose_file(play: Callable[..., Any]) -> None:
    refuses(play("site.yml", extra={"compose_app_services": {"worker": {}}}), "compose_app_services", "worker")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("limit", [{"cpus": "64"}, {"memory": "4096G"}], ids=["cores", "memory"])
def test_limits_that_the_host_cannot_give(play: Callable[..., Any], limit: dict[str, str]) -> None:
    refuses(play("site.yml", extra={"compose_app_services": {"backend": limit}}), "backend", *limit)


@pytest.mark.usefixtures("unchanged")
def test_a_port_that_is_taken(host: Any, play: Callable[..., Any], project: Path) -> None:
    """The app serves on 8000; another process holds a second published port."""
    path = project / "compose.yaml"
    text = path.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if ":8000:" in line)
    path.write_text(text.replace(line, f"{line}\n{line.replace(':8000:', ':8123:')}"), encoding="utf-8")
    holder = host.check_output("setsid python3 -m http.server 8123 >/dev/null 2>&1 & echo $!")
    try:
        refuses(play("site.yml", extra={"compose_app_source": str(project)}), "8123", "python3")
    finally:
        host.check_output(f"kill {holder}")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("playbook", ["validate.yml", "site.yml"])
def test_an_engine_from_snap_has_one_verdict(host: Any, play: Callable[..., Any], playbook: str) -> None:
    """Its unit has another name, and docker.service does not exist."""
    # systemd's answers on such a host.
    said = "*LoadState*docker.service) echo LoadState=not-found;; *LoadState*dockerd.service) echo LoadState=loaded"
    host.check_output(
        f'printf \'#!/bin/sh\\ncase "$*" in {said};; *) exec /usr/bin/systemctl "$@";; esac\\n\''
        " >/usr/local/bin/systemctl && chmod 0755 /usr/local/bin/systemctl"
    )
    try:
        refuses(play(playbook), "comes from snap", "snap remove docker")
    finally:
        host.check_output("rm /usr/local/bin/systemctl")


def test_the_run_names_the_line_for_an_app_that_needs_a_default_back(
    host: Any, play: Callable[..., Any], project: Path
) -> None:
    path = project / "app.py"
    text = path.read_text(encoding="utf-8")
    marker = "from __future__ import annotations\n"
    assert marker in text
    path.write_text(text.replace(marker, f"{marker}\nopen('/srv/state', 'w').close()\n"), encoding="utf-8")
    (project / "compose.yaml").touch()
    ended = play("site.yml", extra={"compose_app_source": str(project), "compose_app_gate_timeout": 30})
    refuses(ended, "compose_app_services.backend", "/srv", "read-only", "put back and serves")
    url = f"http://{host.backend.host.name}:8000/health"
    assert host.run(f"python3 -c \"import urllib.request as u; u.urlopen('{url}')\"").rc == 0


def test_a_balancer_that_the_checks_do_not_reach_is_rolled_back(host: Any, play: Callable[..., Any]) -> None:
    """The checks use the port that the app had without the balancer."""
    extra = {"compose_app_instances": 1, "load_balancer_port": 8081, "compose_app_gate_timeout": 10}
    refuses(play("site.yml", extra=extra), "nothing listens there", "The last good release", "serves")
    url = f"http://{host.backend.host.name}:8000/health"
    assert host.run(f"python3 -c \"import urllib.request as u; u.urlopen('{url}')\"").rc == 0
    assert not host.service("haproxy").is_running


def test_a_full_disk_leaves_the_old_env(host: Any, play: Callable[..., Any]) -> None:
    """The app's directory is a small file system that is full."""
    host.check_output(
        f"mkdir /mnt/small && mount -t tmpfs -o size=1m tmpfs /mnt/small && cp -a {HERE}/. /mnt/small/"
        f" && mount --move /mnt/small {HERE} && dd if=/dev/zero of={HERE}/fill bs=4k 2>/dev/null; test -e {HERE}/fill"
    )
    try:
        before = host.file(f"{HERE}/.env").content_string
        ended = play("site.yml", "--tags", "app_env", extra={"vault_jwt_secret": secrets.token_hex(32)})
        refuses(ended, f"{HERE}/.env", "disk is full", "nothing was replaced")
        assert host.file(f"{HERE}/.env").content_string == before
        assert host.check_output(f"find {HERE} -name '.env.*selfheal*'") == ""
    finally:
        host.check_output(f"umount {HERE}; rmdir /mnt/small")
