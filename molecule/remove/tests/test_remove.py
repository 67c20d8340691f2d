# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two apps of one host are taken out of our care, one after the other. Nothing of ours is left, and no data is lost.

The tests build on each other, in order.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from module_utils.probe.continuous import Prober
from module_utils.removal import switch
from shared.acting import until

ADDRESS = "172.30.57.70"
FIRST, SECOND = "wishes", "letters"
OTHER = {"selfheal_app": SECOND, "app_env_plain": {"PORT": 8001}}
PORTS = {FIRST: 8000, SECOND: 8001}
WISHES = 3
# What changes by itself, and what Docker and the packages that were installed keep in their own folders.
PASSED_OVER = (
    *("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log", "/var/cache", "/var/lib/apt", "/var/lib/dpkg"),
    *(
        "/var/lib/docker",
        "/var/lib/containerd",
        "/var/lib/systemd",
        "/var/lib/logrotate",
        "/root/.ansible",
        "/root/.docker",
    ),
)
# What the report says to remain.
REMAINS = ("/opt/wishes", "/opt/letters", "/etc/docker/daemon.json")
# Written again by the installation of any package.
OF_PACKAGES = ("/etc/ld.so.cache",)

Play = Callable[..., Any]


def ask(app: str, method: str = "GET", body: str = "") -> tuple[int, dict[str, Any]]:
    """One request to an app."""
    connection = http.client.HTTPConnection(ADDRESS, PORTS[app], timeout=5)
    try:
        connection.request(method, "/", body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def fails(app: str) -> str:
    """Why the app does not answer, "" when it does: for a prober."""
    try:
        status, found = ask(app)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return repr(error)
    return "" if status == 200 else str(found)


def files(host: Any) -> dict[str, str]:
    """{path: checksum} of the files of the host, without those of Debian packages; a folder has no checksum."""
    passed = " -o ".join(f"-path {path}" for path in PASSED_OVER)
    shown = host.check_output(
        f"find / -xdev \\( {passed} \\) -prune -o -type d -printf 'd %p\\n' -o -type f -exec md5sum {{}} +"
    )
    packaged = set(host.check_output("cat /var/lib/dpkg/info/*.list").splitlines())
    found = {line.partition(" ")[2].strip(): line.partition(" ")[0] for line in shown.splitlines()}
    return {path: checksum for path, checksum in found.items() if path not in packaged and "__pycache__" not in path}


def units(host: Any) -> list[str]:
    """The units that the host knows by a file, and whether they are enabled."""
    return sorted(host.check_output("systemctl list-unit-files --no-legend --plain").splitlines())


def unharmed(host: Any, app: str) -> str:
    """What changes when a container of an app, or its watcher, is started again."""
    ids = host.check_output(f"docker ps --quiet --filter label=com.docker.compose.project={app}").split()
    shown = "{{.Id}} {{.State.StartedAt}} {{.RestartCount}}"
    watcher = host.check_output(f"systemctl show --property=MainPID,NRestarts selfheal@{app}.service")
    return f"{host.check_output(f'docker inspect --format {shown!r} ' + ' '.join(sorted(ids)))}\n{watcher}"


def reported(output: str) -> list[str]:
    """The lines of a report that name what is removed and what remains."""
    return [line.strip() for line in output.splitlines() if line.startswith(" " * 10)]


@pytest.fixture(scope="module")
def before(host: Any, play: Play) -> tuple[dict[str, str], list[str]]:
    """The host before it was provisioned. Then two apps are deployed, and each is given wishes."""
    found = files(host), units(host)
    for extra in (None, OTHER):
        ran = play("site.yml", extra=extra)
        assert ran.returncode == 0, ran.stdout
    for app in PORTS:
        for number in range(WISHES):
            assert ask(app, "POST", f"wish {number}")[0] == 201
    return found


@pytest.fixture(autouse=True)
def no_data_is_lost(before: Any) -> Any:
    """Whatever a test does, both apps have their data after it."""
    yield
    until(lambda: not any(map(fails, PORTS)), 10)
    for app in PORTS:
        assert ask(app) == (200, {"lines": WISHES, "cached": WISHES})


def test_with_another_name_nothing_is_removed(host: Any, play: Play) -> None:
    apps = [unharmed(host, app) for app in PORTS]
    ran = play("remove.yml", extra={"remove_confirm": SECOND})
    assert ran.returncode == 2
    assert "add -e remove_confirm=wishes" in " ".join(ran.stdout.split())
    assert [unharmed(host, app) for app in PORTS] == apps


def test_an_app_that_is_not_healthy_stays_in_our_care(host: Any, play: Play) -> None:
    host.check_output("selfheal pause --app wishes --for 5m --reason 'a test'")
    host.check_output("docker stop wishes-cache-1")
    try:
        status = host.run("selfheal status --app wishes")
        ran = play("remove.yml", extra={"remove_confirm": FIRST})
    finally:
        host.check_output("docker start wishes-cache-1")
        host.check_output("selfheal resume --app wishes")
    assert "service cache exited with" in status.stdout
    assert ran.returncode == 2
    assert "wishes is not healthy" in ran.stdout
    assert host.file("/etc/selfheal/wishes.json").exists


def test_the_logs_hold_no_secret(host: Any) -> None:
    shown = host.check_output("selfheal logs web --app wishes --since 1h")
    key = re.search("(?m)^API_KEY='?(\\w+)", host.check_output("cat /opt/wishes/.env"))
    assert key
    assert key[1] in host.check_output("docker logs wishes-web-1")
    assert key[1] not in shown
    assert shown.count(", with the key ") == WISHES


def test_an_app_runs_on_without_us_and_the_other_one_is_unharmed(host: Any, play: Play) -> None:
    other = unharmed(host, SECOND)
    assert "-/opt/wishes/compose.hardened.yaml" in play("remove.yml", "--check", "--diff").stdout
    planned = play("remove.yml", "--check")
    assert planned.returncode == 0, planned.stdout
    with Prober(lambda: fails(FIRST)) as prober:
        ran = play("remove.yml", extra={"remove_confirm": FIRST})
    assert ran.returncode == 0, ran.stdout
    assert reported(ran.stdout) == reported(planned.stdout)
    assert "/opt/wishes/compose.hardened.yaml" in ran.stdout
    seconds = switch.gap(prober.samples())
    assert seconds < 10, f"the app gave no answer for {seconds:.1f} s"
    assert unharmed(host, SECOND) == other
    assert [path for path in files(host) if "wishes" in path and not path.startswith("/opt/wishes")] == []
    own = host.check_output(
        "docker inspect --format '{{index .Config.Labels \"com.docker.compose.project.config_files\"}}' wishes-web-1"
    )
    assert own == "/opt/wishes/compose.yaml"


def test_a_second_run_changes_nothing(host: Any, play: Play) -> None:
    app = host.check_output("docker inspect --format '{{.State.StartedAt}}' wishes-web-1 wishes-cache-1")
    ran = play("remove.yml", extra={"remove_confirm": FIRST})
    assert "changed=0" in ran.stdout, ran.stdout
    assert host.check_output("docker inspect --format '{{.State.StartedAt}}' wishes-web-1 wishes-cache-1") == app


def test_an_app_that_was_removed_is_not_recovered(host: Any, play: Play) -> None:
    before = files(host)
    for playbook in ("recover.yml", "status.yml"):
        ran = play(playbook, extra={"selfheal_app": FIRST})
        assert ran.returncode == 2, ran.stdout
        assert "wishes is not under care on this host" in " ".join(ran.stdout.split())
    assert files(host) == before


def test_after_the_last_app_nothing_of_ours_is_on_the_host(
    host: Any, play: Play, before: tuple[dict[str, str], list[str]]
) -> None:
    ran = play("remove.yml", extra={**OTHER, "remove_confirm": SECOND})
    assert ran.returncode == 0, ran.stdout
    then, now = before[0], files(host)
    assert [path for path in now if path not in then and not path.startswith(REMAINS)] == []
    changed = [path for path in then if now.get(path) != then[path] and path not in OF_PACKAGES]
    assert changed == []
    assert units(host) == before[1]
    assert host.check_output("docker images --quiet 'selfheal/*'") == ""
