# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the host has the packages that a role needs, or its distribution offers them, in versions that suffice.

A program that is there counts, however it was installed, because the roles install only what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..core.versions import is_older, upstream_version
from . import command as commands
from . import docker_packages

OS_RELEASE = "/etc/os-release"
# What older releases of Debian offer, for a host whose package lists are empty: "" is a package that they do not have.
KNOWN: dict[str, dict[str, str]] = {
    "debian-11": {"docker-compose": "1.25.0"},
    "debian-12": {
        "docker-compose": "1.29.2",
        "prometheus": "2.42.0",
        "prometheus-alertmanager": "0.25.0",
        "prometheus-pgbouncer-exporter": "1.7",
        "prometheus-postgres-exporter": "0.11.1",
        "prometheus-redis-exporter": "1.45.0",
        "promtool": "",
        "restic": "0.14.0",
    },
}
# Debian 12 has promtool in the package of Prometheus.
PARTS = {"promtool": "prometheus"}
UPGRADE = "upgrade the host to Debian 13"
# A busy host takes seconds to start a program; one that ran out of time would count as too old.
_SECONDS = 60.0
_NUMBER = re.compile(r"[0-9]+(?:[.][0-9]+)+")
_POLICY = re.compile(r"^(\S+?):\n +Installed: (\S+)\n +Candidate: (\S+)", re.MULTILINE)
# Other programs have --version.
_VERSION_ARGUMENT = {"restic": "version"}


class Need(NamedTuple):
    """A package, its least version ("" for any), the option that needs it, and how to do without it."""

    name: str
    minimum: str
    option: str
    otherwise: str


class System(NamedTuple):
    """A distribution: its name for people, its key in KNOWN, and the origin in its package lists."""

    name: str
    key: str
    origin: str


class Policy(NamedTuple):
    """The versions of a package that apt has installed, and would install; "" for none."""

    installed: str
    candidate: str


class Found(NamedTuple):
    """The version of a package that is installed, and the one that apt would install.

    `installed` is None where the program is missing, "" where it names no version. `offered` is "" where the
    distribution has no such package, None where the host does not know, because its package lists are empty.
    """

    installed: str | None
    offered: str | None


class Checked(NamedTuple):
    """A line for each need that is not met, and the packages that are parts of others here."""

    problems: list[str]
    not_offered: list[str]


def check(needs: Iterable[Need]) -> Checked:
    """Compare what is needed with what this host has, or can get."""
    asked = list(needs)
    system = parse_system(_os_release())
    policies = parse_policies(commands.run(["apt-cache", "policy", *(need.name for need in asked)], _SECONDS).out)
    offered = _offered([need.name for need in asked], policies, system)
    found = [(need, Found(_installed(need, policies), offered[need.name])) for need in asked]
    lines = [problem(need, its, system) for need, its in found]
    not_offered = [need.name for need, its in found if its == Found(None, "")]
    return Checked([line for line in lines if line], not_offered)


def problem(need: Need, found: Found, system: System) -> str:
    """Return what is wrong, and the fix; "" when the package suffices, or when it is not known whether it does."""
    if found.installed is not None:
        return _of_installed(need, found.installed, found.offered, system)
    if found.offered is None or (found.offered and _suffices(found.offered, need.minimum)):
        return ""
    if not found.offered:
        is_ = f"{system.name} offers no {need.name}, which is needed"
        return "" if need.name in PARTS else f"{need.option}: {is_}. Fix: {_fix(need, system)}."
    is_ = f"{system.name} offers {need.name} {_shown(found.offered, need)}"
    return f"{need.option}: {is_}, and {need.minimum} or newer is needed. Fix: {_fix(need, system)}."


def _of_installed(need: Need, installed: str, offered: str | None, system: System) -> str:
    if _suffices(installed, need.minimum):
        return ""
    can_upgrade = bool(offered) and _suffices(offered or "", need.minimum)
    fix = f"run `apt-get install {need.name}` there" if can_upgrade else _fix(need, system)
    is_ = f"{need.name} on the host is {_shown(installed, need) or 'of an unknown version'}"
    return f"{need.option}: {is_}, and {need.minimum} or newer is needed. Fix: {fix}."


def _suffices(version: str, minimum: str) -> bool:
    if not minimum:
        return True
    return version != "" and not is_older(version if ":" in minimum else upstream_version(version), minimum)


def _shown(version: str, need: Need) -> str:
    """Return it as a person writes it: with epoch and revision where the epoch counts."""
    return version if ":" in need.minimum else upstream_version(version)


def _fix(need: Need, system: System) -> str:
    newer = f" {need.minimum} or newer" if need.minimum else ""
    ways = [f"install {need.name}{newer} there", need.otherwise]
    if system.key in KNOWN:
        ways.insert(0, UPGRADE)
    return f"{', '.join(ways[:-1])}, or {ways[-1]}"


# --- what is read ---


def parse_system(os_release: str) -> System:
    """Read /etc/os-release (os-release(5)). Debian's testing and unstable have no VERSION_ID there."""
    pairs = (line.partition("=")[::2] for line in os_release.splitlines() if not line.startswith("#"))
    values = {key: value.strip("\"'") for key, value in pairs}
    identity = values.get("ID", "linux")
    name = values.get("PRETTY_NAME", identity).replace("GNU/Linux ", "")
    return System(name, f"{identity}-{values.get('VERSION_ID', '')}", identity.capitalize())


def parse_policies(text: str) -> dict[str, Policy]:
    """Read what `apt-cache policy NAME…` says. It leaves out a package that no list names."""
    none = {"(none)": ""}
    return {
        name: Policy(none.get(installed, installed), none.get(candidate, candidate))
        for name, installed, candidate in _POLICY.findall(text)
    }


def has_lists(policy: str, origin: str) -> bool:
    """Whether `apt-cache policy` names a package list of the distribution itself."""
    return re.search(rf"^ +release .*\bo={re.escape(origin)}\b", policy, re.MULTILINE) is not None


def _offered(names: list[str], policies: Mapping[str, Policy], system: System) -> dict[str, str | None]:
    found = {name: policy.candidate for name, policy in policies.items() if policy.candidate}
    if found.keys() >= set(names):
        return {name: found[name] for name in names}
    if has_lists(commands.run(["apt-cache", "policy"], _SECONDS).out, system.origin):
        return {name: found.get(name, "") for name in names}
    known = KNOWN.get(system.key, {})
    return {name: found.get(name, known.get(name)) for name in names}


def _installed(need: Need, policies: Mapping[str, Policy]) -> str | None:
    place = docker_packages.PACKAGES.get(need.name)
    if place is None or not docker_packages.is_there(place):
        return None
    if not need.minimum:
        return ""
    by_apt = policies.get(need.name, Policy("", "")).installed
    epoch, colon, _unused = need.minimum.rpartition(":")
    if colon and by_apt:
        return by_apt
    shown = commands.run([place, _VERSION_ARGUMENT.get(place, "--version")], _SECONDS)
    number = _NUMBER.search(shown.out or shown.err)
    return f"{epoch}{colon}{number.group()}" if number else ""


def _os_release() -> str:
    try:
        with open(OS_RELEASE, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError):
        return ""
