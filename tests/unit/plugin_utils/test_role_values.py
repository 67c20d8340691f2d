# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the variables of roles are computed from: options, files and units. Pure functions, as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.promotion.image_archive import Image
from ansible_collections.christmas.selfheal.plugins.plugin_utils import (
    command_options,
    docker_daemon,
    empty_values,
    image_transfer,
    monitoring_hosts,
    programs,
    project_copies,
    restic_files,
    scraping,
    unit_text,
)
from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import ports

# --- backup ---

REPOSITORIES: list[tuple[str, tuple[str, str] | None]] = [
    ("sftp:backup@store:/srv/shop", ("backup@store", "")),
    ("sftp:store:shop", ("store", "")),
    ("sftp://backup@store/srv/shop", ("backup@store", "")),
    ("sftp://backup@store:2222/srv/shop", ("backup@store", "2222")),
    ("sftp://backup@[2001:db8::1]:2222/srv/shop", ("backup@2001:db8::1", "2222")),
    ("sftp:backup@[2001:db8::1]:/srv/shop", ("backup@2001:db8::1", "")),
    ("/srv/backups", None),
    ("s3:https://store/bucket", None),
    ("", None),
]


@pytest.mark.parametrize(("repository", "expected"), REPOSITORIES)
def test_where_a_repository_is_reached_over_ssh(repository: str, expected: tuple[str, str] | None) -> None:
    assert restic_files.sftp_target(repository) == expected


def test_the_ssh_command_of_restic() -> None:
    assert restic_files.sftp_command("sftp://backup@store:2222/srv", "a key", "/etc/key", "/etc/hosts") == (
        "ssh -i /etc/key -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=10 "
        "-o StrictHostKeyChecking=yes -o UserKnownHostsFile=/etc/hosts -p 2222 backup@store -s sftp"
    )
    assert restic_files.sftp_command("sftp:store:shop", "a key", "/k", "/h").endswith("=/h store -s sftp")


@pytest.mark.parametrize(("repository", "key"), [("sftp:store:shop", ""), ("/srv/backups", "a key")])
def test_restic_needs_no_ssh_command(repository: str, key: str) -> None:
    assert restic_files.sftp_command(repository, key, "/etc/key", "/etc/hosts") == ""


def test_secrets_are_lines_by_name() -> None:
    assert restic_files.environment_lines({"b": "2", "A": "1\n", "C": 3}) == "A=1\nb=2\nC=3\n"
    assert restic_files.environment_lines({}) == ""


# --- docker_engine ---

BOUNDS: docker_daemon.LogBounds = {"max-size": "10m", "max-file": "3"}
BOUNDED = {"log-driver": "json-file", "log-opts": BOUNDS}

# The file, defaults, options, whether in a Swarm; what the file becomes, what changes, whether a restart is needed.
DAEMONS: dict[str, tuple[tuple[Any, Any, Any, bool], dict[str, Any], list[str], bool]] = {
    "nothing is there": (
        ({}, {"live-restore": True}, {}, False),
        {"live-restore": True, **BOUNDED},
        ["live-restore", "log-driver", "log-opts"],
        True,
    ),
    "it is as it should be": (({**BOUNDED, "dns": ["a"]}, {}, {}, False), {**BOUNDED, "dns": ["a"]}, [], False),
    "what is there counts above a default": (
        ({**BOUNDED, "live-restore": False}, {"live-restore": True}, {}, False),
        {**BOUNDED, "live-restore": False},
        [],
        False,
    ),
    "an option counts above what is there": (
        ({**BOUNDED, "debug": True}, {}, {"debug": False}, False),
        {**BOUNDED, "debug": False},
        ["debug"],
        False,
    ),
    "an option of null removes the key": (
        ({**BOUNDED, "dns": ["a"]}, {}, {"dns": None}, False),
        BOUNDED,
        ["dns"],
        True,
    ),
    "no live-restore in a Swarm": ((BOUNDED, {"live-restore": True}, {}, True), BOUNDED, [], False),
    "other options of the driver stay": (
        ({"log-driver": "local", "log-opts": {"compress": "true", "max-size": "1g"}}, {}, {}, False),
        {"log-driver": "local", "log-opts": {"compress": "true", **BOUNDS}},
        ["log-opts"],
        True,
    ),
    "another driver has no bounds": (
        ({}, {}, {"log-driver": "journald"}, False),
        {"log-driver": "journald"},
        ["log-driver"],
        True,
    ),
    "an option for the logs counts above the bounds": (
        (BOUNDED, {}, {"log-opts": {"max-size": "1g"}}, False),
        {"log-driver": "json-file", "log-opts": {"max-size": "1g", "max-file": "3"}},
        ["log-opts"],
        True,
    ),
}


@pytest.mark.parametrize("case", DAEMONS)
def test_what_the_engines_configuration_becomes(case: str) -> None:
    (found, defaults, options, in_swarm), wanted, changed, restart = DAEMONS[case]
    before = json.dumps([found, defaults, options])
    plan = docker_daemon.daemon_plan(found, defaults, options, BOUNDS, in_swarm)
    assert plan == {"wanted": wanted, "changed_keys": changed, "needs_restart": restart}
    assert json.dumps([found, defaults, options]) == before, "what is given is not changed"


# --- compose_app, drift_control, app_env ---


@pytest.mark.parametrize(
    ("files", "exclude", "last"),
    [
        (["deploy/compose.yml", "x.yml"], [".git"], ["--exclude=/deploy/.env", "--exclude=.git"]),
        ("compose.yml", ".git, media", ["--exclude=.git", "--exclude=media"]),
        ([], [], []),
    ],
)
def test_what_rsync_leaves_out_of_a_project(files: object, exclude: object, last: list[str]) -> None:
    ours = ["--exclude=/.env", "--exclude=/.env.example", "--exclude=/releases", "--exclude=/compose.hardened.yaml"]
    assert command_options.project_excludes(files, exclude) == [*ours, *last]


def test_an_image_is_sent_once() -> None:
    web: Image = {"id": "sha256:1", "service": "web", "bytes": 1, "platform": "linux/amd64"}
    db: Image = {**web, "id": "sha256:2", "service": "db"}
    variables: dict[str, Any] = {
        "web1": {"compared": {"missing": [web, db]}},
        "web2": {"compared": {"missing": [web]}},
        "web3": {"compared": {"missing": []}},
        "other": {},
    }
    assert image_transfer.images_to_send(["web1", "web2", "web3", "other"], variables, "compared") == [web, db]


def test_empty_options() -> None:
    given = {"url": "", "token": "t", "validate_certs": False, "timeout": 0}
    assert empty_values.without_empty(given) == {"token": "t", "validate_certs": False, "timeout": 0}
    assert empty_values.empty_names(given) == ["url"]


def test_where_a_program_is(tmp_path: Path) -> None:
    program = tmp_path / "rsync"
    program.write_text("", encoding="utf-8")
    search_path = f"/nowhere:{tmp_path}"
    assert programs.program_path("rsync", search_path) == ""
    program.chmod(0o755)
    assert programs.program_path("rsync", search_path) == str(program)


CHECK: project_copies.CheckSettings = {
    "settings": "/etc/drift",
    "inventories": ["/opt/drift/inventories/0"],
    "limit": "web1",
    "group": "web",
}


def test_the_options_of_a_drift_check() -> None:
    *options, variables = project_copies.check_options({"web1": "/opt/projects/a"}, CHECK)
    assert options == ["--inventory=/opt/drift/inventories/0", "--limit=web1"]
    assert json.loads(variables.removeprefix("--extra-vars=")) == {
        "compose_app_source": '{{ {"web1": "/opt/projects/a"}[inventory_hostname] | default(\'\') }}',
        "ansible_ssh_private_key_file": "%d/ssh-key",
        "ansible_ssh_common_args": "-o UserKnownHostsFile=/etc/drift/known_hosts -o StrictHostKeyChecking=yes",
        "selfheal_hosts": "web",
    }


def test_a_drift_check_of_all_hosts() -> None:
    options = project_copies.check_options({}, {**CHECK, "limit": "", "group": "", "inventories": ["/a", "/b"]})
    assert options[:2] == ["--inventory=/a", "--inventory=/b"]
    assert len(options) == 3
    assert "selfheal_hosts" not in options[2]


# --- monitoring ---


def test_each_host_has_a_loopback_address_of_its_own() -> None:
    found = {monitoring_hosts.loopback_address(f"web{number}") for number in range(50)}
    assert len(found) == 50
    for address in found:
        first, second, _third, fourth = map(int, address.split("."))
        assert (first, 64 <= second < 192, 1 <= fourth <= 254) == (127, True, True)
    assert monitoring_hosts.loopback_address("web1") == monitoring_hosts.loopback_address("web1")


def test_which_hosts_are_watched() -> None:
    variables: dict[str, dict[str, Any]] = {
        "web1": {"monitoring_hub": "hub", "monitoring_enabled": True},
        "web2": {"monitoring_hub": "hub", "monitoring_enabled": "no"},
        "web3": {"monitoring_hub": "hub"},
        "web4": {"monitoring_hub": "another", "monitoring_enabled": True},
        "web5": {"monitoring_hub": "hub-too", "monitoring_enabled": "yes"},
        "hub": {"monitoring_enabled": True},
    }
    assert monitoring_hosts.watched_hosts(variables, variables, ["hub", "hub-too"]) == ["web1", "web5"]


def test_the_names_of_files() -> None:
    files: list[monitoring_hosts.FoundFile] = [
        {"path": f"/etc/selfheal/{name}"} for name in ("web.1.tunnel", "shop.json", "a.tunnel")
    ]
    assert monitoring_hosts.file_stems(files, ".tunnel") == ["a", "web.1"]
    assert monitoring_hosts.file_stems(files, ".json") == ["shop"]


def test_which_units_run_and_start_at_boot() -> None:
    blocks = [("a", "active", "enabled"), ("b", "active", "enabled-runtime"), ("c", "failed", "enabled")]
    blocks += [("d", "active", "disabled"), ("e", "active", "enabled")]
    shown = "\n\n".join(f"Id={unit}.service\nActiveState={state}\nUnitFileState={boot}" for unit, state, boot in blocks)
    assert monitoring_hosts.running_units(shown) == ["a.service", "e.service"]


PORTS = {"cache": 9121, "pool": 9127, "database": 9187}
CACHE, POOL, DATABASE = scraping.exporters({"cache": True, "pool": True, "database": False}, "shop", PORTS, "/secrets")


def test_which_units_restart() -> None:
    services: list[monitoring_hosts.ServiceFile] = [
        {"unit": "prometheus.service", "file": {"path": "/etc/default/prometheus"}},
        {"unit": "prometheus.service", "file": {"path": "/etc/systemd/system/prometheus.service.d/selfheal.conf"}},
        {"unit": POOL["unit"], "file": {"path": POOL["file"]}},
    ]
    every = [service["file"]["path"] for service in services]
    assert monitoring_hosts.units_to_restart(services, [CACHE, POOL], []) == []
    assert monitoring_hosts.units_to_restart(services, [CACHE, POOL], [*every, CACHE["secret"], POOL["secret"]]) == [
        "prometheus.service",
        POOL["unit"],
        CACHE["unit"],
    ]


def test_which_units_stop() -> None:
    every = [CACHE, POOL, DATABASE]
    assert monitoring_hosts.units_to_stop(every, [one["file"] for one in every]) == [DATABASE["unit"]]
    assert monitoring_hosts.units_to_stop(every, [CACHE["file"]]) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("shop", "shop"), ("po/ol", "po%%2Fol"), ("u%", "u%%25"), ("a b@c", "a%%20b%%40c"), ("é", "%%C3%%A9")],
)
def test_a_part_of_a_url_in_a_unit(text: str, expected: str) -> None:
    assert unit_text.unit_url_part(text) == expected


# --- status_page ---

NGINX = 'LISTEN 0 511 *:8443 *:* users:(("nginx",pid=7,fd=3))'
HAPROXY = 'LISTEN 0 511 *:8443 *:* users:(("haproxy",pid=8,fd=3))'
TAKEN = (
    "status_page_public_port: port 8443 of web1 is taken by {}. The page is not served outside. Choose another port, "
    "or free that one."
)


@pytest.mark.parametrize(
    ("lines", "paths", "expected"),
    [
        ([], [], ""),
        ([HAPROXY], [], ""),
        ([HAPROXY, NGINX], [], TAKEN.format("nginx (pid 7)")),
        ([HAPROXY], ["/etc/haproxy/old.cfg"], TAKEN.format("/etc/haproxy/old.cfg")),
    ],
)
def test_who_has_the_port_of_the_status_page(lines: list[str], paths: list[str], expected: str) -> None:
    files: list[ports.ConfigFile] = [{"path": path} for path in paths]
    assert ports.public_port_conflict(lines, files, 8443, "web1") == expected
