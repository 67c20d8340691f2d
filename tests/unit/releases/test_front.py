# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HAProxy in front of a container: the unit and its rules, against a simulated systemd, iptables and runtime socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import Balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppPaths, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import conntrack, firewall
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import front, haproxy

BALANCER = Balancer("web", 1, 18000, (8000, 443))
PART = 'frontend selfheal-shop\n.if defined(SELFHEAL_FRONT)\n    bind "${SELFHEAL_FRONT}"\n.endif\n'
NAMES = ("selfheal-shop", "selfheal-shop-unchecked")


def container(**more: Any) -> Any:
    target = {"host_ip": "0.0.0.0", "host_port": 8000, "container_port": 80}
    base = {"name": "shop-web-1", "state": "running", "pid": 7, "ports": [8000], "networks": {"shop": "172.18.0.3"}}
    return {**base, "targets": [target, {**target, "host_ip": "::"}], **more}


class Host:
    """What was run, which rules are there, and what the runtime socket was sent."""

    def __init__(self, paths: AppPaths) -> None:
        self.paths = paths
        self.ran: list[list[str]] = []
        self.rules: list[str] = []
        self.sent: list[str] = []
        self.fails, self.closed, self.check, self.sessions, self.now = "", "", "L7OK", 0, 0.0
        self.units: dict[str, list[str]] = {}

    def run(self, argv: list[str], *_unused: Any, **__: Any) -> Result:
        line = " ".join(argv)
        self.ran.append(list(argv))
        if self.fails and self.fails in line:
            return Result(1, "", "refused")
        if argv[0] == "systemd-run":
            self.units[next(one for one in argv if one.startswith("--unit="))[7:]] = list(argv)
        if argv[:2] == ["systemctl", "stop"]:
            for word in self.units.pop(argv[-1], []):
                if word.startswith("--property=ExecStop="):
                    self.rules = [rule for rule in self.rules if rule != word[21:].replace(" -D ", " -I ")]
        if argv[:2] == ["systemctl", "is-active"]:
            return Result(0 if argv[-1] in self.units else 3, "", "")
        if "tables" in argv[0] and "-I" in argv:
            self.rules.append(line)
        return Result(0, "", "")

    def say(self, _paths: AppPaths, line: str, at: str = "") -> str:
        assert at == "run/selfheal/shop.front.sock"
        if not line.startswith("show"):
            self.sent += line.split("; ")
            return ""
        rows = [
            f"{name},{server},172.18.0.3:80,{self.check},{self.sessions},100"
            for name in NAMES
            for server in ("before", "slot0")
        ]
        return "# pxname,svname,addr,check_status,scur,slim\n" + "\n".join(rows)

    def tick(self, seconds: float = 0.01) -> float:
        self.now += seconds
        return self.now

    def put(self, *blocking: Any) -> front.Put:
        return front.put(self.paths, BALANCER, blocking or [container()], self.clock)

    @property
    def clock(self) -> Clock:
        return Clock(self.tick, self.tick, lambda seconds: void(self.tick(seconds)))


def void(_unused: Any) -> None:
    pass


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    it = Host(app_paths("shop", root=str(tmp_path)))
    part = tmp_path / "etc/haproxy/selfheal/shop.cfg"
    part.parent.mkdir(parents=True)
    part.write_text(PART, encoding="utf-8")
    monkeypatch.setattr(commands, "run", it.run)
    monkeypatch.setattr(haproxy, "say", it.say)
    monkeypatch.setattr(firewall, "is_the_engines", lambda: True)
    monkeypatch.setattr(firewall, "closed", lambda _port: it.closed)
    return it


def test_the_unit_undoes_each_rule_that_is_made(host: Host) -> None:
    done = host.put()
    assert (done.before and done.before.name, done.why, done.is_new) == ("shop-web-1", "", True)
    assert done.before is not None
    front.hold(host.paths, done.before, host.clock)
    redirected = [rule for rule in host.rules if "iptables " in rule and "REDIRECT" in rule]
    assert [word for rule in redirected for word in ("PREROUTING", "OUTPUT") if word in rule] == [
        "PREROUTING",
        "OUTPUT",
    ]
    unit = host.units["selfheal-front-shop.service"]
    undone = {f"/{word.partition('=-/')[2]}" for word in unit if word.startswith("--property=ExecStopPost=")}
    assert {rule.replace(" -I ", " -D ") for rule in host.rules} == undone
    # It listens on for those that a rule had still sent to it.
    assert [word for word in unit if word.startswith("--property=ExecStop=")][-1].endswith("-/usr/bin/sleep 4")
    front.end(host.paths)
    assert (host.rules, host.units) == ([], {})


def test_new_instances_get_nothing_until_they_are_taken_in(host: Host) -> None:
    host.put()
    assert host.sent == [f"set server {name}/slot{slot} state maint" for name in NAMES for slot in (0, 1)]


def test_it_is_put_in_front_of_the_same_container_once(host: Host) -> None:
    host.put()
    before = list(host.rules)
    assert host.put().is_new is False
    assert host.rules == before
    # The container was recreated, at another address.
    assert host.put(container(networks={"shop": "172.18.0.9"})).is_new is True


@pytest.mark.parametrize("fails", ["ip6tables -w 5 -t nat -I", "iptables -w 5 -t nat -I", "guard", "haproxy -Ws"])
def test_what_fails_half_way_is_undone(host: Host, fails: str) -> None:
    host.fails = fails
    done = host.put()
    assert done.before is None
    assert "refused" in done.why
    assert (host.rules, "selfheal-front-shop.service" in host.units) == ([], False)


def test_a_container_that_haproxy_finds_unhealthy_keeps_its_port(host: Host) -> None:
    host.check = "L7STS"
    done = host.put()
    assert "health check of shop-web-1 at 172.18.0.3:80: L7STS" in done.why
    assert (host.rules, host.units) == ([], {})


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            {
                "ports": [8000, 443],
                "targets": [{"host_ip": "", "host_port": port, "container_port": port} for port in (8000, 443)],
            },
            "443, 8000",
        ),
        ({"networks": {"shop": ""}}, "no address"),
    ],
)
def test_a_container_that_it_cannot_be_put_in_front_of(host: Host, more: dict[str, Any], why: str) -> None:
    assert why in host.put(container(**more)).why
    assert host.ran == []


def test_a_closed_firewall_and_a_load_balancer_with_tls_are_reasons(host: Host) -> None:
    host.closed = "-P INPUT DROP"
    assert "-P INPUT DROP" in host.put().why
    part = Path(haproxy.part(host.paths))
    part.write_text(PART + "    bind *:443 ssl crt /x.pem alpn h2\n", encoding="utf-8")
    assert "TLS" in host.put().why
    part.unlink()
    assert "is not there" in host.put().why
    assert host.ran == []


def test_without_a_container_at_the_port_there_is_nothing_to_do(host: Host) -> None:
    assert host.put(container(ports=[18000], targets=[])) == front.Put()
    assert host.put(container(state="exited")) == front.Put()


def test_requests_are_held_for_as_long_as_the_deploy_lives(host: Host) -> None:
    before = host.put().before
    assert before is not None
    host.sent.clear()
    host.sessions = 3
    front.hold(host.paths, before, host.clock)
    assert host.sent == [f"set server {name}/before state maint" for name in NAMES]
    guard = host.units["selfheal-front-guard-shop.service"]
    assert guard[-3:] == ["flock", host.paths.lock, "true"]
    assert "--property=ExecStartPost=/usr/bin/systemctl stop selfheal-front-shop.service" in guard
    # Requests that do not end in time are not waited for.
    assert 3.0 <= host.now < 5.0


def test_closed_connections_are_forgotten_where_the_kernel_hands_out_its_table(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = host.put().before
    assert before is not None
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(conntrack, "forget_closed", lambda *ports: asked.append(ports))
    front.forget_closed(before)
    assert asked == [(8000, 80)]
    monkeypatch.setattr(conntrack, "forget_closed", refused)
    front.forget_closed(before)


def refused(*_unused: int) -> int:
    raise PermissionError


def test_held_requests_reach_the_new_instance_a_few_at_a_time(host: Host) -> None:
    host.put()
    host.sent.clear()
    front.take_in(host.paths, BALANCER, 18000, host.clock)
    name = NAMES[0]
    mine = [line for line in host.sent if f"{name}/slot0" in line]
    assert mine[:3] == [
        f"set maxconn server {name}/slot0 4",
        f"set server {name}/slot0 state ready",
        f"set server {name}/slot0 health up",
    ]
    assert mine[-1] == f"set maxconn server {name}/slot0 100"
