# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The messages of playbooks and roles, the whole text."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils.listening import Holder
from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import (
    backup,
    deployment,
    engine,
    ports,
    project,
    promotion,
    reach,
    status,
    status_page,
    vault,
)

DEPLOYED: dict[str, Any] = {
    "changed": True,
    "healthy": True,
    "release": "20261125T020000Z-1a2b",
    "differences": ["service backend: image", "env: PORT"],
    "checks": {"summary": "2 of 2 checks passed"},
    "seconds": 12.34,
}
UNCHANGED: dict[str, Any] = {**DEPLOYED, "changed": False, "differences": []}


def deployed(result: dict[str, Any], check_mode: bool = False) -> list[str]:
    return deployment.deploy_message(cast(deployment.Deployment, result), "shop", "web1", check_mode).splitlines()


@pytest.mark.parametrize(
    ("log", "refused", "hints", "last"),
    [
        ("", "", [], "Next: correct it, and deploy again"),
        ("    KeyError: 'A'", "", [], "Next: correct what the log above says, and deploy again"),
        ("    KeyError: 'A'", "", ["compose_app_services: {web: {}}"], "compose_app_services: {web: {}}"),
        ("    FATAL: no", "PostgreSQL", [], "PostgreSQL refused the login. Its volume keeps the password of its first"),
        ("    FATAL: no", "PostgreSQL", [], "last good release: DB_PASSWORD. Write"),
        ("    WRONGPASS", "Redis", [], "the same variable"),
    ],
)
def test_a_deploy_that_failed_says_its_log_once_and_ends_with_the_next_step(
    log: str, refused: str, hints: list[str], last: str
) -> None:
    shown = deployment.failure(
        {
            "msg": "it failed.\nThe last good release serves.",
            "hints": hints,
            "log": log,
            "variables": ["DB_PASSWORD"],
            "refused": refused,
        }
    )
    assert shown.log == log
    lines = shown.msg.splitlines()
    assert lines[:2] == ["it failed.", "The last good release serves."]
    assert last in lines[2]
    assert len(lines) == 3


def test_a_deploy_lists_what_differed() -> None:
    assert deployed(DEPLOYED) == [
        "changed: service backend: image",
        "changed: env: PORT",
        "shop on web1: release 20261125T020000Z-1a2b serves, 2 of 2 checks passed, deployed in 12.3 s",
    ]


def test_a_rollback_names_what_would_undo_it() -> None:
    said = deployment.deploy_message(cast(deployment.Deployment, DEPLOYED), "shop", "web1", False, rolled_back=True)
    assert said.splitlines()[:-1] == deployed(DEPLOYED)
    assert said.endswith("The project and the inventory are as they were: correct them, or site.yml deploys them again")


def test_a_deploy_that_changed_nothing() -> None:
    assert deployed(UNCHANGED) == [
        "shop on web1: release 20261125T020000Z-1a2b serves, 2 of 2 checks passed, nothing differed"
    ]


def test_a_deploy_in_check_mode() -> None:
    assert deployed({**DEPLOYED, "checks": {}}, check_mode=True) == [
        "would change: service backend: image",
        "would change: env: PORT",
        "shop on web1: would be deployed",
    ]
    assert deployed(UNCHANGED, check_mode=True) == ["shop on web1: nothing differs"]


def test_a_long_list_of_differences_is_cut() -> None:
    lines = deployed({**DEPLOYED, "differences": [f"file {number}" for number in range(33)]})
    assert lines[29:31] == ["changed: file 29", "and 3 more"]
    assert len(lines) == 32


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            DEPLOYED,
            "shop on web1 is healthy: 2 of 2 checks passed; release 20261125T020000Z-1a2b, deployed now.",
        ),
        (
            UNCHANGED,
            "shop on web1 is healthy: 2 of 2 checks passed; release 20261125T020000Z-1a2b, nothing to change.",
        ),
        (
            {**DEPLOYED, "healthy": False},
            "shop on web1: check mode, nothing was changed. A run would deploy it: service backend: image; env: PORT.",
        ),
        (
            {"failed": True, "msg": "no image backend"},
            "shop on web1 is not deployed yet; the restore deploys it: no image backend",
        ),
    ],
)
def test_the_end_of_site(result: dict[str, Any], expected: str) -> None:
    assert deployment.site_message(cast(deployment.Deployment, result), "shop", "web1") == expected


CREATED: backup.Backup = {
    "set": "20261125T020000Z",
    "seconds": 8.1,
    "bytes": 5 * 1024**3,
    "added": 300 * 1024**2,
    "not_in_it": ["volume cache, left out by backup_volumes_left_out"],
}
VERIFIED: backup.Verification = {
    "seconds": 21.5,
    "checks": [{}, {}],
    "contents": ["database shop: 3 tables"],
}


def test_a_backup_that_is_verified() -> None:
    assert backup.backup_message(CREATED, VERIFIED, "shop", "web1", False).splitlines() == [
        "shop on web1: backup 20261125T020000Z was created in 8.1 s: 5.00 GB, 300.00 MB of it new",
        "  not included: volume cache, left out by backup_volumes_left_out",
        "It was verified in 21.5 s, by restoring it; 2 checks passed",
        "  verified: database shop: 3 tables",
    ]


def test_a_backup_that_is_not_verified() -> None:
    assert backup.backup_message(
        {**CREATED, "not_in_it": []}, {"skipped": True}, "shop", "web1", False
    ).splitlines() == [
        "shop on web1: backup 20261125T020000Z was created in 8.1 s: 5.00 GB, 300.00 MB of it new",
        "It is not verified yet: the host does that on its schedule, -e backup_verify=true does it now",
    ]


@pytest.mark.parametrize(("newest", "said"), [("20261125T020000Z", "20261125T020000Z"), ("", "none")])
def test_a_backup_in_check_mode(newest: str, said: str) -> None:
    assert (
        backup.backup_message({"set": newest}, {"skipped": True}, "shop", "web1", True)
        == f"shop on web1: the repository can be opened; the newest backup is {said}"
    )


RESTORED: backup.Restore = {
    "set": "20261125T020000Z",
    "what": "app",
    "differences": ["volume data: replaced", "env: replaced"],
    "safety": "20261126T090000Z",
    "unsaved": False,
    "seconds": 30.2,
    "gap": 4.5,
}


@pytest.mark.parametrize(
    ("restored", "undo"),
    [
        (RESTORED, ["To undo it: -e restore_to=20261126T090000Z"]),
        (
            {**RESTORED, "what": "volume:data"},
            ["To undo it: -e restore_to=20261126T090000Z -e restore_what=volume:data"],
        ),
        (
            {**RESTORED, "safety": "", "unsaved": True},
            [
                "What it replaced could not be backed up and is kept on the host: "
                "`docker volume ls --filter label=christmas.selfheal.restore` lists its volumes"
            ],
        ),
        ({**RESTORED, "safety": ""}, []),
    ],
)
def test_a_restore(restored: backup.Restore, undo: list[str]) -> None:
    done = f"shop on web1: restored {restored['what']} from backup 20261125T020000Z in 30.2 s; "
    assert backup.restore_message(restored, "shop", "web1", False).splitlines() == [
        f"{done}the app was stopped for 4.5 s",
        *undo,
    ]


def test_a_restore_in_check_mode() -> None:
    assert backup.restore_message({"differences": RESTORED["differences"]}, "shop", "web1", True).splitlines() == [
        "shop on web1: nothing was changed. A restore would do this:",
        "  volume data: replaced",
        "  env: replaced",
    ]


def test_a_rebuild() -> None:
    assert backup.rebuild_message(RESTORED, 321.6, "shop", "web1", False) == (
        "shop on web1 was rebuilt in 322 s, from backup 20261125T020000Z. Data written after that backup is not in it."
    )
    assert "from backup none." in backup.rebuild_message({}, 1.0, "shop", "web1", False)
    assert backup.rebuild_message(RESTORED, 3.0, "shop", "web1", True).endswith("Nothing was changed.")


INFO: dict[str, Any] = {
    "app": "shop",
    "healthy": True,
    "cause": "",
    "summary": "2 of 2 checks passed",
    "checks": {"summary": "2 of 2 checks passed"},
    "env_fingerprint": "1a2b3c4d",
    "env_findings": [],
    "release": "r3",
    "releases": [{"id": "r1", "by": ""}, {"id": "r2", "by": "kim"}, {"id": "r3", "by": ""}],
    "rolls_back_to": "r2",
    "care": ["watcher: alive", "breaker: closed (0 of 4 attempts)", "problem: a: b"],
    "promoted_from": {},
    "last_incident": None,
    "backup": None,
    "disk": [{"path": "/", "free_bytes": 5 * 1024**3, "total_bytes": 20 * 1024**3}],
    "memory": {"available_bytes": 1024**3, "total_bytes": 2 * 1024**3},
    "instances": [
        {
            "name": "shop-web-1",
            "state": "running",
            "health": "healthy",
            "restarts": 0,
            "limits": {"cpus": 0.5, "memory_bytes": 256 * 1024**2, "pids": 128},
            "digest": "sha256:0123456789abcdef",
            "image": "web:1",
        },
        {
            "name": "shop-worker-1",
            "state": "exited",
            "health": "none",
            "restarts": 3,
            "limits": {"cpus": None, "memory_bytes": None, "pids": None},
            "digest": "",
            "image": "shop/worker:1",
        },
    ],
    "engine": {"reason": ""},
}


def table(**changed: Any) -> list[str]:
    info = cast(status.AppInfo, {**INFO, **changed})
    return status.status_message(info, "web1", "192.0.2.7").splitlines()


def test_the_status_of_a_healthy_app() -> None:
    assert table() == [
        "shop on web1 (192.0.2.7): healthy",
        "checks       2 of 2 checks passed",
        "env          1a2b3c4d, validated",
        "release      r3",
        "  earlier    r2, by kim (the next rollback goes there)",
        "  earlier    r1",
        "watcher      alive",
        "breaker      closed (0 of 4 attempts)",
        "problem      a: b",
        "incident     none",
        "disk         /: 5.00 GB of 20.00 GB free",
        "memory       1.00 GB of 2.00 GB available",
        "INSTANCE                         STATE      HEALTH     RESTARTS   CPUS     MEMORY   PIDS  IMAGE",
        "shop-web-1                       running    healthy           0    0.5  256.00 MB    128  0123456789ab web:1",
        "shop-worker-1                    exited     none              3      -          -      -   shop/worker:1",
    ]


def test_the_status_of_an_unhealthy_app() -> None:
    assert table(
        healthy=False,
        cause="env_invalid",
        summary="PORT is empty",
        checks={"summary": "0 of 2 checks passed"},
        env_findings=[{"variable": "PORT"}, {"variable": "KEY"}],
        releases=[{"id": "r3", "by": "kim"}],
        promoted_from={"host": "staging1", "release": "s7"},
        last_incident={"id": "20261125T020000Z", "healthy": False, "seconds": 42.0},
        backup={"made": 4 * 3600, "proved": None, "problems": ["the last backup failed"]},
        care=["watcher: alive", "PAUSED for another 3 min 2 s: maintenance"],
        disk=[],
        instances=[],
    ) == [
        "shop on web1 (192.0.2.7): NOT HEALTHY, env_invalid",
        "cause        PORT is empty",
        "checks       0 of 2 checks passed",
        "env          1a2b3c4d, invalid: PORT, KEY",
        "release      r3, promoted from staging1, s7",
        "  serves     r3, by kim",
        "watcher      alive",
        "             PAUSED for another 3 min 2 s: maintenance",
        "incident     20261125T020000Z, open for 42.0 s",
        "backup       verified never, created 4.0 h ago",
        "             the last backup failed",
        "memory       1.00 GB of 2.00 GB available",
        "no instance: no container of this app exists",
    ]


def test_the_status_before_the_first_deploy() -> None:
    lines = table(
        env_fingerprint="", release="", releases=[], instances=[], engine={"reason": "docker is not installed"}
    )
    assert lines[2:4] == ["env          none", "release      none"]
    assert lines[-1] == "no instance: docker is not installed"


def test_a_recovered_incident_and_a_verified_backup() -> None:
    lines = table(
        last_incident={"id": "20261125T020000Z", "healthy": True, "seconds": 42.0},
        backup={"made": 5400, "proved": 0, "problems": []},
    )
    assert lines[9:11] == [
        "incident     20261125T020000Z, recovered in 42.0 s",
        "backup       verified 0.0 h ago, created 1.5 h ago",
    ]


def reached(result: dict[str, Any], user: str = "root") -> reach.Reach:
    return reach.reach_report(cast(reach.RawResult, result), user, "192.0.2.7", 22, "python3")


def test_a_host_that_was_reached() -> None:
    result = {"rc": 0, "stdout": "Python 3.11.2\r\n", "stderr": "Shared connection to 192.0.2.7 closed.\r\n"}
    assert reached(result) == {"text": "Python 3.11.2", "problem": "", "next_step": ""}


@pytest.mark.parametrize(
    ("result", "user", "problem", "next_step"),
    [
        (
            {"unreachable": True, "msg": "Task failed: ssh: connect to host 192.0.2.7 port 22: No route to host"},
            "root",
            "ssh: connect to host 192.0.2.7 port 22: No route to host",
            "root@192.0.2.7 does not answer. Look at the hosting company's console: is the server on, does it have "
            "this address, is port 22 open? Then run this again.",
        ),
        (
            {"unreachable": True, "msg": "Host key verification failed."},
            "",
            "Host key verification failed.",
            "The server's host key is not in known_hosts, or differs from the one there. On a first visit, log in once "
            "by hand (ssh 192.0.2.7) and compare the fingerprint. If the server was reinstalled, replace its line. "
            "If neither, ask the hosting company before you log in. Then run this again.",
        ),
        (
            {"unreachable": True, "msg": "root@192.0.2.7: Permission denied (publickey)."},
            "root",
            "root@192.0.2.7: Permission denied (publickey).",
            "The server refuses the login of root@192.0.2.7. Check ansible_user and ansible_ssh_private_key_file in "
            "the inventory, and that the key is in the server's authorized_keys. Then run this again.",
        ),
        (
            {"rc": 127, "msg": "non-zero return code", "stderr": "sh: 1: python3: not found"},
            "root",
            "sh: 1: python3: not found",
            "root@192.0.2.7 answers, but python3 does not run there. Log in and install it (apt-get install python3). "
            "Then run this again.",
        ),
    ],
)
def test_a_host_that_was_not_reached(result: dict[str, Any], user: str, problem: str, next_step: str) -> None:
    found = reached(result, user)
    assert (found["problem"], found["next_step"]) == (problem, next_step)


def test_a_host_that_gives_no_reason() -> None:
    assert reached({"rc": 1})["problem"] == "no reason given"


SETTINGS: vault.VaultSettings = {
    "address": "https://vault.example.org",
    "path": "shop/production",
    "mount": "secret",
    "auth": "token",
}


def test_a_vault_that_does_not_answer() -> None:
    reason = "The task failed.\nThe lookup plugin 'community.hashi_vault.vault_kv2_get' failed: Max retries\nexceeded"
    assert vault.vault_failure(reason, SETTINGS, "web1").splitlines() == [
        "The vault at https://vault.example.org gave no values for web1 (path shop/production, mount secret, "
        "login by token).",
        "It does not answer. Is it up, is app_env_vault_url right, and can this machine reach it?",
        "It said: Max retries exceeded",
        "Nothing was changed on the host.",
    ]


def test_a_vault_of_which_nothing_is_configured() -> None:
    settings: vault.VaultSettings = {"address": "", "path": "", "mount": "secret", "auth": "approle"}
    assert vault.vault_failure("oh", settings, "web1").splitlines() == [
        "The vault at no address gave no values for web1 (path not given, mount secret, login by approle).",
        "Check the variables app_env_vault_*. For the empty ones, VAULT_ADDR, VAULT_TOKEN and the file that "
        "`vault login` writes are used.",
        "It said: oh",
        "Nothing was changed on the host.",
    ]


@pytest.mark.parametrize(
    ("reason", "auth", "advice"),
    [
        ("No module named 'hvac'", "token", "The Python package hvac is missing on this machine: install it next to"),
        ("Vault is sealed, on get https://v:8200", "token", "It is sealed: unseal it, then run this again."),
        ("certificate verify failed", "token", "It does not answer."),
        ("Invalid or missing path 'shop'", "token", "It has nothing at that path: check app_env_vault_path"),
        ("403 permission denied", "token", "Is the token still valid, and may it read secret/data/shop/production?"),
        ("invalid role or secret ID", "approle", "Is the login still valid, and may it read secret/data/shop"),
    ],
)
def test_the_advice_on_a_vault(reason: str, auth: str, advice: str) -> None:
    assert advice in vault.vault_failure(reason, {**SETTINGS, "auth": auth}, "web1").splitlines()[1]


def test_a_long_reason_is_cut_between_words() -> None:
    said = vault.vault_failure("seventeen letters " * 30, SETTINGS, "web1").splitlines()[2]
    assert said.endswith("letters seventeen letters...")
    assert len(said) < len("It said: ") + 400


OPTIONS = {"load_balancer_metrics_port": 8405, "load_balancer_port": 80, "load_balancer_tls_port": 443}
PYTHON: Holder = {"address": "0.0.0.0", "port": 443, "who": "python3", "pid": "70"}
CONTAINER: Holder = {"address": "0.0.0.0", "port": 80, "who": "docker-proxy", "pid": "71"}


def conflicts(holders: list[Holder], *paths: str) -> str:
    files: list[ports.ConfigFile] = [{"path": path} for path in paths]
    return ports.port_conflicts(holders, files, OPTIONS, [80, 443, 18000], "shop", "web1")


def test_ports_that_are_taken() -> None:
    assert conflicts([PYTHON, CONTAINER, {**CONTAINER, "port": 8405}], "/etc/haproxy/old.cfg").splitlines() == [
        "load_balancer_tls_port: port 443 of web1 is taken by python3 (pid 70, it listens on 0.0.0.0). Nothing was "
        "changed. Stop that process (`systemctl status 70` there names its unit), or choose another port.",
        "load_balancer_metrics_port: port 8405 of web1 is taken by docker-proxy (pid 71, it listens on 0.0.0.0). "
        "Nothing was changed. Stop that process (`systemctl status 71` there names its unit), or choose another port.",
        "load_balancer_port: /etc/haproxy/old.cfg on web1 already has one of the ports 80, 443, 18000. Nothing was "
        "changed. Choose another load_balancer_port or load_balancer_first_port for shop, or remove that file.",
    ]


def test_ports_that_are_free_or_held_by_a_container() -> None:
    assert conflicts([CONTAINER]) == ""


ADDRESS: status_page.PageAddress = {
    "public": True,
    "url": "https://192.0.2.7:8443/",
    "user": "ops",
    "tunnel": "ssh -N -L 9400:127.0.0.1:9400 root@192.0.2.7",
    "port": 9400,
}


def test_where_the_status_page_is() -> None:
    assert status_page.page_message(ADDRESS, "web1") == "The status page is at https://192.0.2.7:8443/, user ops."
    assert status_page.page_message({**ADDRESS, "public": False}, "web1") == (
        "The status page is on web1 alone. Run `ssh -N -L 9400:127.0.0.1:9400 root@192.0.2.7` and open "
        "http://localhost:9400/"
    )


@pytest.mark.parametrize(("check_mode", "verb"), [(False, "have"), (True, "would have")])
def test_what_a_promotion_sends(check_mode: bool, verb: str) -> None:
    compared: promotion.Comparison = {"missing": [{}], "bytes": 200 * 1024**2}
    said = promotion.images_message(compared, [{}, {}, {}], "shop", "web1", check_mode)
    assert said == f"shop on web1: 1 of 3 images {verb} to be sent, 200.00 MB"


@pytest.mark.parametrize(
    ("packages", "advice"),
    [
        ("debian", "See `journalctl -u docker -n 50` there."),
        (
            "existing",
            'docker_engine_packages is "existing", so nothing was installed: install Docker, or set it to debian or '
            "docker.",
        ),
    ],
)
def test_an_engine_that_does_not_start(packages: str, advice: str) -> None:
    said = engine.engine_start_failure("no such unit", packages, "web1")
    assert said == f"The engine on web1 does not start: no such unit. {advice}"


def test_an_engine_that_is_too_old() -> None:
    assert engine.engine_too_old("Docker's Compose plugin", "", "2.24", "existing", "web1") == (
        "Docker's Compose plugin on web1: found none, needed 2.24 or newer. Fix: upgrade it there."
    )
    assert engine.engine_too_old("Docker's engine", "19.03", "20.10", "debian", "web1") == (
        "Docker's engine on web1: found 19.03, needed 20.10 or newer. "
        "Fix: set docker_engine_packages to docker and give docker_engine_repository."
    )


def test_a_project_that_cannot_be_copied() -> None:
    assert project.source_problem("", "shop") == (
        "compose_app_source is empty: it names the folder on this machine that holds the compose file of shop."
    )
    assert project.source_problem("/shop", "shop") == (
        "/shop is not a folder on this machine: correct compose_app_source."
    )


@pytest.mark.parametrize(("defined", "state"), [(True, "empty"), (False, "missing")])
def test_an_app_without_checks(defined: bool, state: str) -> None:
    assert project.checks_problem(defined, "shop", "web1") == (
        f"selfheal_checks is {state} for web1, so nothing shows whether shop works. Fix: add at least one check, "
        "such as the URL of the app's /health (christmas.selfheal.init writes one from a compose file). An app without "
        "HTTP, such as a bot, needs `selfheal_checks: []`; then only the state of its containers is checked."
    )
