# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a host has the packages of a role, or can get them, by what apt and the programs say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.backup import restic
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import packages
from ansible_collections.christmas.selfheal.plugins.module_utils.host.packages import (
    Checked,
    Found,
    Need,
    Policy,
    System,
)

REPOSITORY = Path(__file__).resolve().parents[3]
BOOKWORM = System("Debian 12 (bookworm)", "debian-12", "Debian")
TRIXIE = System("Debian 13 (trixie)", "debian-13", "Debian")
RESTIC = Need("restic", "0.17", "backup_repository", "leave it empty")
PROMTOOL = Need("promtool", "", "monitoring_enabled", "set it to false")
EXPORTER = Need("prometheus-redis-exporter", "", "monitoring_cache", "set it to false")
POOL = Need("prometheus-pgbouncer-exporter", "1:0.10", "monitoring_pool", "set it to false")
UPGRADE = "Fix: upgrade the host to Debian 13, install restic 0.17 or newer there, or leave it empty."

# What is found, on which system, and what is reported of it.
PROBLEMS: dict[str, tuple[Need, Found, System, str]] = {
    "offered": (RESTIC, Found(None, "0.18.0"), TRIXIE, ""),
    "offered, the oldest that suffices": (RESTIC, Found(None, "0.17"), TRIXIE, ""),
    "offered, any version": (PROMTOOL, Found(None, "2.42.0"), BOOKWORM, ""),
    "not known": (RESTIC, Found(None, None), TRIXIE, ""),
    "installed": (RESTIC, Found("0.18.0", ""), BOOKWORM, ""),
    "installed by hand where an old one is offered": (RESTIC, Found("0.17.3", "0.14.0"), BOOKWORM, ""),
    "installed, any version": (PROMTOOL, Found("", ""), BOOKWORM, ""),
    "an old one is offered": (
        RESTIC,
        Found(None, "0.14.0"),
        BOOKWORM,
        f"backup_repository: Debian 12 (bookworm) offers restic 0.14.0, and 0.17 or newer is needed. {UPGRADE}",
    ),
    "none is offered": (
        EXPORTER,
        Found(None, ""),
        BOOKWORM,
        "monitoring_cache: Debian 12 (bookworm) offers no prometheus-redis-exporter, which is needed. "
        "Fix: upgrade the host to Debian 13, install prometheus-redis-exporter there, or set it to false.",
    ),
    "none is offered, but it is a part of another package": (PROMTOOL, Found(None, ""), BOOKWORM, ""),
    "another program with a higher version and without an epoch": (
        POOL,
        Found(None, "1.7-2.1"),
        BOOKWORM,
        "monitoring_pool: Debian 12 (bookworm) offers prometheus-pgbouncer-exporter 1.7-2.1, and 1:0.10 or newer is "
        "needed. Fix: upgrade the host to Debian 13, install prometheus-pgbouncer-exporter 1:0.10 or newer there, "
        "or set it to false.",
    ),
    "an epoch": (POOL, Found(None, "1:0.10.2-2"), TRIXIE, ""),
    "none is offered by a release that is new": (
        RESTIC,
        Found(None, ""),
        TRIXIE,
        "backup_repository: Debian 13 (trixie) offers no restic, which is needed. "
        "Fix: install restic 0.17 or newer there, or leave it empty.",
    ),
    "an old one is installed": (
        RESTIC,
        Found("0.14.0", "0.14.0"),
        BOOKWORM,
        f"backup_repository: restic on the host is 0.14.0, and 0.17 or newer is needed. {UPGRADE}",
    ),
    "an old one is installed, a new one offered": (
        RESTIC,
        Found("0.16.4", "0.18.0"),
        TRIXIE,
        "backup_repository: restic on the host is 0.16.4, and 0.17 or newer is needed. "
        "Fix: run `apt-get install restic` there.",
    ),
    "one is installed that names no version": (
        RESTIC,
        Found("", None),
        BOOKWORM,
        f"backup_repository: restic on the host is of an unknown version, and 0.17 or newer is needed. {UPGRADE}",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_is_reported(case: str) -> None:
    need, found, system, expected = PROBLEMS[case]
    assert packages.problem(need, found, system) == expected


# --- what is read ---

OF_BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
OF_FORKY = 'PRETTY_NAME="Debian GNU/Linux forky/sid"\nNAME="Debian GNU/Linux"\nID=debian\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OF_BOOKWORM, BOOKWORM),
        (OF_FORKY, System("Debian forky/sid", "debian-", "Debian")),
        (
            "PRETTY_NAME='Ubuntu 24.04.1 LTS'\nVERSION_ID=24.04\nID=ubuntu\n",
            System("Ubuntu 24.04.1 LTS", "ubuntu-24.04", "Ubuntu"),
        ),
        ("# nothing\n", System("linux", "linux-", "Linux")),
    ],
)
def test_the_distribution(text: str, expected: System) -> None:
    assert packages.parse_system(text) == expected


POLICY = """restic:
  Installed: (none)
  Candidate: {restic}
  Version table:
     {restic} 500
        500 http://mirror.internal/debian bookworm/main amd64 Packages
docker-compose:
  Installed: 1.0-1
  Candidate: 1:2.26.1+ds1-4
  Version table:
prometheus:
  Installed: (none)
  Candidate: (none)
  Version table:
"""


def test_what_apt_would_install() -> None:
    assert packages.parse_policies(POLICY.format(restic="0.14.0-1+b5")) == {
        "restic": Policy("", "0.14.0-1+b5"),
        "docker-compose": Policy("1.0-1", "1:2.26.1+ds1-4"),
        "prometheus": Policy("", ""),
    }
    assert packages.parse_policies("") == {}


NO_LISTS = "Package files:\n 100 /var/lib/dpkg/status\n     release a=now\nPinned packages:\n"
LISTS = (
    f"{NO_LISTS} 500 http://mirror.internal/debian bookworm/main amd64 Packages\n"
    "     release v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64\n     origin mirror.internal\n"
)


def test_whether_there_are_package_lists() -> None:
    assert packages.has_lists(LISTS, "Debian")
    assert not packages.has_lists(NO_LISTS, "Debian")
    assert not packages.has_lists("", "Debian")
    # Those of another publisher do not say what the distribution has.
    assert not packages.has_lists(LISTS.replace("o=Debian", "o=Docker"), "Debian")
    assert not packages.has_lists(LISTS.replace("o=Debian", "o=Debian Backports").replace("l=Debian,", ""), "Ubuntu")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Checked]:
    """Check a host: its os-release, what apt says, and the output of the programs that are there."""

    def check(os_release: str, policy: str, lists: str, programs: dict[str, str], *needs: Need) -> Checked:
        (tmp_path / "os-release").write_text(os_release, encoding="utf-8")
        monkeypatch.setattr(packages, "OS_RELEASE", str(tmp_path / "os-release"))
        for name in programs:
            (tmp_path / name).touch(mode=0o755)
        monkeypatch.setattr(commands, "environment", lambda: {"PATH": str(tmp_path)})

        def run(argv: Sequence[str], _timeout: float) -> commands.Result:
            if argv[0] in programs:
                assert argv[1:] == [{"restic": "version"}.get(argv[0], "--version")]
                return commands.Result(0, programs[argv[0]], "")
            if argv[:2] == ["apt-cache", "policy"] and policy != "no apt":
                return commands.Result(0, policy if argv[2:] else lists, "")
            return commands.Result(127, "", f"{argv[0]} is not installed")

        monkeypatch.setattr(commands, "run", run)
        return packages.check(needs)

    return check


ALERTMANAGER = Need("prometheus-alertmanager", "0.26", "alerting_receivers", "leave it empty")
OLD = POLICY.format(restic="0.14.0-1+b5")
NEW = POLICY.format(restic="0.18.0-1")
# os-release, what apt says of the packages and of its lists, programs that are there, needs; words of each problem.
HOSTS: dict[str, tuple[str, str, str, dict[str, str], list[Need], list[str]]] = {
    "Debian 12": (
        OF_BOOKWORM,
        OLD,
        LISTS,
        {},
        [RESTIC, EXPORTER],
        ["offers restic 0.14.0,", "offers no prometheus-redis"],
    ),
    "Debian 12 without lists": (
        OF_BOOKWORM,
        "",
        NO_LISTS,
        {},
        [RESTIC, POOL, ALERTMANAGER],
        [
            "offers restic 0.14.0,",
            "offers prometheus-pgbouncer-exporter 1.7,",
            "offers prometheus-alertmanager 0.25.0,",
        ],
    ),
    "Debian 12 with a newer restic from another source": (OF_BOOKWORM, NEW, LISTS, {}, [RESTIC], []),
    "Debian 12 with a restic of its own": (
        OF_BOOKWORM,
        OLD,
        LISTS,
        {"restic": "restic 0.18.0 compiled with go1.24.4 on linux/amd64"},
        [RESTIC],
        [],
    ),
    "Debian 12 with its restic": (
        OF_BOOKWORM,
        OLD,
        LISTS,
        {"restic": "restic 0.14.0 compiled with go1.19.8 on linux/amd64"},
        [RESTIC],
        ["restic on the host is 0.14.0,"],
    ),
    "a program that names no version": (
        OF_BOOKWORM,
        NEW,
        LISTS,
        {"restic": "Killed"},
        [RESTIC],
        ["apt-get install restic"],
    ),
    "its version is not asked where any suffices": (OF_BOOKWORM, "", LISTS, {"promtool": ""}, [PROMTOOL], []),
    "Alertmanager, by amtool": (
        OF_FORKY,
        "",
        LISTS,
        {"amtool": "amtool, version 0.25.0 (branch: debian/sid, revision: 0.25.0-1+b4)\n  go version: go1.19.8"},
        [ALERTMANAGER],
        ["prometheus-alertmanager on the host is 0.25.0,"],
    ),
    "Debian testing": (OF_FORKY, NEW, LISTS, {}, [RESTIC], []),
    "Debian testing without lists": (OF_FORKY, "", NO_LISTS, {}, [RESTIC, PROMTOOL], []),
    "Debian testing that has dropped a package": (
        OF_FORKY,
        "",
        LISTS,
        {},
        [EXPORTER],
        ["forky/sid offers no prometheus-"],
    ),
    "no apt": ("", "no apt", "", {}, [RESTIC, PROMTOOL], []),
}


@pytest.mark.parametrize("case", HOSTS)
def test_hosts(host: Callable[..., Checked], case: str) -> None:
    os_release, policy, lists, programs, needs, expected = HOSTS[case]
    found = host(os_release, policy, lists, programs, *needs).problems
    assert len(found) == len(expected), found
    assert [words for words, line in zip(expected, found) if words not in line] == [], found


@pytest.mark.parametrize(
    ("os_release", "policy", "lists", "programs", "not_offered"),
    [
        (OF_BOOKWORM, OLD, LISTS, {}, ["promtool"]),
        (OF_BOOKWORM, "", NO_LISTS, {}, ["promtool"]),
        (OF_BOOKWORM, OLD, LISTS, {"promtool": ""}, []),
        (OF_FORKY, "", NO_LISTS, {}, []),
        (OF_FORKY, NEW.replace("restic", "promtool"), LISTS, {}, []),
    ],
)
def test_a_package_that_is_a_part_of_another_one(
    host: Callable[..., Checked],
    os_release: str,
    policy: str,
    lists: str,
    programs: dict[str, str],
    not_offered: list[str],
) -> None:
    assert host(os_release, policy, lists, programs, PROMTOOL) == Checked([], not_offered)


@pytest.mark.parametrize(
    ("installed", "shown", "problem"),
    [
        ("1.7-2.1", "1.7", "is 1.7-2.1, and 1:0.10 or newer"),
        ("1:0.10.2-2", "pgbouncer_exporter, version 0.10.2", ""),
        ("(none)", "pgbouncer_exporter, version 0.10.2", ""),
        ("(none)", "pgbouncer_exporter, version 0.9.0", "is 1:0.9.0, and 1:0.10 or newer"),
    ],
)
def test_an_epoch_is_known_to_apt_alone(host: Callable[..., Checked], installed: str, shown: str, problem: str) -> None:
    policy = f"{POOL.name}:\n  Installed: {installed}\n  Candidate: 1.7-2.1\n  Version table:\n"
    found = host(OF_BOOKWORM, policy, LISTS, {POOL.name: shown}, POOL).problems
    assert len(found) == bool(problem)
    assert problem in "".join(found)


def test_the_role_needs_the_restic_that_the_library_needs() -> None:
    values = yaml.safe_load((REPOSITORY / "roles/backup/vars/main.yml").read_text(encoding="utf-8"))
    assert values["__backup_needed"][0]["minimum"] == ".".join(map(str, restic.MINIMUM))
