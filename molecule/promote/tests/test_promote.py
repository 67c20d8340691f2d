# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release that staging has run healthy goes to production: the same images with production's own env, nothing else.

`host` is the production host. The tests build on each other, in order.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import testinfra
from shared.acting import incidents, kill, until

REPOSITORY = Path(__file__).resolve().parents[3]
APP = "christmas-backend"
CONTAINER = f"{APP}-backend-1"
DIRECTORY = f"/opt/{APP}"
ARCHIVE = f"/var/lib/selfheal/{APP}/promotion"
STAGING, PRODUCTION = "molecule-promote-staging", "molecule-promote-production"
# Three seconds are enough: the soak is a comparison of two numbers.
SOON = {"promote_soak_minutes": 0.05}
# Production's own secret, from molecule/shared/host_vars.
OWN = hashlib.sha256(b"production").hexdigest()

Play = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def staging() -> Any:
    return testinfra.get_host("ssh://root@172.30.57.43", ssh_config="../shared/ssh_config")


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder on this machine for images that are being copied."""
    return tmp_path_factory.mktemp("carried")


@pytest.fixture(scope="module")
def promote(play: Play, carried: Path) -> Play:
    def run(*words: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        return play("promote.yml", *words, extra={**variables, "compose_app_promotion_directory": str(carried)})

    return run


@pytest.fixture(scope="module")
def deploy_on_staging(play: Play, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """Deploy a release with an image, a compose file and a mounted file of its own."""

    def run(name: str) -> None:
        folder = tmp_path_factory.mktemp("sources") / name
        shutil.copytree(REPOSITORY / "lab/backend", folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("app.py", "compose.yaml"):
            with open(folder / file, "a", encoding="utf-8") as stream:
                stream.write(f"# {name}\n")
        text = (folder / "compose.yaml").read_text(encoding="utf-8")
        mounted = 'env_file: .env\n    volumes: ["./release.txt:/srv/release.txt:ro"]\n'
        assert text.count("env_file: .env\n") == 1
        (folder / "compose.yaml").write_text(text.replace("env_file: .env\n", mounted), encoding="utf-8")
        (folder / "release.txt").write_text(name, encoding="utf-8")
        ended = play("deploy.yml", f"--limit={STAGING}", extra={"compose_app_source": str(folder)})
        assert ended.returncode == 0, ended.stdout[-4000:]

    return run


def state(host: Any) -> dict[str, Any]:
    """The state that a refused promotion, or a dry run, must keep."""
    return {
        "env": env(host),
        "files": host.check_output(f"cd {DIRECTORY} && sha256sum compose.yaml compose.hardened.yaml"),
        "image": image(host),
        "images": host.check_output("docker images --all --quiet --no-trunc | sort"),
        "release": host.check_output(f"readlink {DIRECTORY}/releases/last-good"),
    }


def env(host: Any) -> str:
    return str(host.check_output(f"sha256sum <{DIRECTORY}/.env"))


def image(host: Any) -> str:
    return str(host.check_output(f"docker inspect --format '{{{{.Image}}}}' {CONTAINER}"))


def compose(host: Any) -> str:
    return str(host.check_output(f"sha256sum <{DIRECTORY}/compose.yaml"))


def release(host: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.check_output(f"cat {DIRECTORY}/releases/last-good/release.json"))
    return found


def plain(ended: subprocess.CompletedProcess[str]) -> str:
    return " ".join(ended.stdout.split())


def test_a_release_that_has_not_served_long_enough_is_refused(promote: Play, host: Any) -> None:
    before = state(host)
    ended = promote()
    assert ended.returncode != 0
    assert "it has served for" in plain(ended)
    assert "and 60.0 min are asked for. Do: wait" in plain(ended)
    assert state(host) == before


def test_a_dry_run_says_what_would_be_promoted_and_changes_nothing(promote: Play, staging: Any, host: Any) -> None:
    before = [state(staging), state(host)]
    ended = promote("--check", "--diff", **SOON)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "1 of 1 images would have to be sent" in plain(ended)
    assert "the image of service backend differs from release" in plain(ended)
    assert [state(staging), state(host)] == before


def test_a_good_release_goes_to_production_with_productions_own_env(
    promote: Play,
    staging: Any,
    host: Any,
    carried: Path,
    leaks: Callable[[str], list[str]],
    secrets: dict[str, str],
) -> None:
    before = state(host)
    ended = promote("-vvv", "--diff", **SOON)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert image(host) == image(staging) != before["image"]
    assert release(host)["images"] == release(staging)["images"]
    assert compose(host) == compose(staging)
    assert release(host)["promoted_from"] == {"host": STAGING, "release": release(staging)["id"]}

    assert OWN in host.file(f"{DIRECTORY}/.env").content_string
    assert env(host) == before["env"]
    running = host.check_output(f"docker inspect --format '{{{{json .Config.Env}}}}' {CONTAINER}")
    assert f"JWT_SECRET={OWN}" in running
    everything = host.check_output(f"cat $(find {DIRECTORY} /var/lib/selfheal /etc/selfheal -type f)")
    assert secrets["vault_jwt_secret"] not in everything + running + host.check_output("journalctl --no-pager")
    assert (leaks(ended.stdout), OWN in ended.stdout) == ([], False)
    assert [staging.file(ARCHIVE).exists, host.file(ARCHIVE).exists, list(carried.iterdir())] == [False, False, []]


def test_a_promoted_release_stays(promote: Play, play: Play, host: Any) -> None:
    """A second promotion changes nothing, and neither does a deploy: nothing is copied or built from this machine."""
    before = state(host)
    for ended in (promote(**SOON), play("deploy.yml", f"--limit={PRODUCTION}")):
        assert ended.returncode == 0, ended.stdout[-4000:]
        assert "changed=1" not in ended.stdout
        assert "nothing differed" in plain(ended)
    assert state(host) == before
    shown = play("status.yml", f"--limit={PRODUCTION}").stdout
    assert f"promoted from {STAGING}" in shown


def test_an_unhealthy_release_is_refused_with_its_incident(
    promote: Play, staging: Any, host: Any, deploy_on_staging: Callable[[str], None]
) -> None:
    deploy_on_staging("another")
    before, known = state(host), {one["id"] for one in incidents(staging)}
    staging.check_output(f"docker exec {CONTAINER} sh -c 'echo errors >/tmp/fault'")
    ids: list[str] = []

    def over() -> bool:
        new = (one for one in incidents(staging) if one["id"] not in known)
        ids[:] = [one["id"] for one in new if (one["cause"], one["healthy"]) == ("erroring", True)]
        return bool(ids)

    until(over)
    ended = promote(promote_soak_minutes=5)
    assert ended.returncode != 0
    assert f"incident {ids[0]} (erroring) was over " in plain(ended)
    assert "Nothing was changed, here or in production." in plain(ended)
    assert state(host) == before


def test_a_killed_promotion_leaves_production_unchanged_and_the_next_continues(
    promote: Play, staging: Any, host: Any, carried: Path
) -> None:
    before = state(host)
    extra = {**SOON, "compose_app_promotion_directory": str(carried)}
    argv = ["ansible-playbook", "playbooks/promote.yml", "-i", "inventory/lab", "-i", "molecule/shared/inventory.yml"]
    with subprocess.Popen(
        [*argv, "-l", f"{STAGING},{PRODUCTION}", "-e", json.dumps(extra)],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(lambda: bool(host.run(f"ls -A {ARCHIVE}").stdout.strip()), longest=0.2)
        finally:
            kill(process.pid)
    after = state(host)
    # The image may have been copied completely; no container uses it.
    sent = set(after.pop("images").split()) ^ set(before.pop("images").split())
    assert sent <= {image(staging)}
    assert after == before
    assert urlopen(f"http://{host.backend.host.name}:8000/health", timeout=5).status == 200

    ended = promote(**SOON)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert image(host) == image(staging) != before["image"]
    assert compose(host) == compose(staging)
    # No image contains it.
    assert host.check_output(f"docker exec {CONTAINER} cat /srv/release.txt") == "another"
    assert [staging.file(ARCHIVE).exists, host.file(ARCHIVE).exists, list(carried.iterdir())] == [False, False, []]
