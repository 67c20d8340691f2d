# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a firewall does to an app's packets, from the output of iptables-save on a host with Docker 26."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.host import firewall
from ansible_collections.christmas.selfheal.plugins.modules import firewall_check

DOCKERS = """\
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
{raw}COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
:OURS - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o br-1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-1 -j DOCKER
-A DOCKER -d 172.18.0.2/32 ! -i br-1 -o br-1 -p tcp -m tcp --dport 8000 -j ACCEPT
-A DOCKER ! -i br-1 -o br-1 -j DROP
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
{filter}-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.18.0.0/16 ! -o br-1 -j MASQUERADE
COMMIT
"""
FLUSHED = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
COMMIT
"""
OUT = firewall.Packet("172.18.0.2", "10.1.2.3", 443)


def rules(raw: str = "", filter_: str = "") -> firewall.Rules:
    return firewall.parse(DOCKERS.format(raw=raw, filter=filter_))


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        pytest.param(DOCKERS.format(raw="", filter=""), "", id="all there"),
        pytest.param(FLUSHED, "nat PREROUTING and filter FORWARD", id="flushed"),
        pytest.param("", "", id="unreadable"),
    ],
)
def test_missing_rules_of_the_engine_are_named(text: str, missing: str) -> None:
    found = firewall.flushed(firewall.parse(text))
    assert missing in found
    assert bool(missing) is bool(found)


@pytest.mark.parametrize(
    ("line", "drops"),
    [
        ("-A DOCKER-USER -p tcp -m tcp --dport 443 -j DROP", True),
        ('-A DOCKER-USER -p tcp -m comment --comment "no way -j ACCEPT" -j REJECT --reject-with tcp-reset', True),
        ("-A DOCKER-USER -s 172.16.0.0/12 -d 10.0.0.0/8 -j DROP", True),
        ("-A DOCKER-USER -p tcp -m tcp --dport 1:1024 -j OURS\n-A OURS -j DROP", True),
        ("-A DOCKER-USER -d 10.1.2.3/32 -j ACCEPT\n-A DOCKER-USER -p tcp -j DROP", False),
        ("-A DOCKER-USER -d 10.1.2.3/32 -j RETURN\n-A DOCKER-USER -p tcp -j DROP", False),
        ("-A DOCKER-USER ! -s 172.16.0.0/12 -j DROP", False),
        ("-A DOCKER-USER -p udp -j DROP", False),
        ("-A DOCKER-USER -p tcp -m tcp --dport 8000 -j DROP", False),
        # These may or may not match the packet.
        ("-A DOCKER-USER -i eth0 -j DROP", False),
        ("-A DOCKER-USER -m conntrack --ctstate INVALID -j DROP", False),
        ("-A DOCKER-USER -m set --match-set banned src -j DROP", False),
        ("-A INPUT -j DROP", False),
        ("", False),
    ],
)
def test_only_a_rule_that_certainly_drops_the_packet_is_named(line: str, drops: bool) -> None:
    found = firewall.passing(rules(filter_=f"{line}\n"), [OUT, OUT])
    assert len(found) == drops, found
    if drops:
        assert found[0].startswith("-t filter -A ")


ASKED = [firewall.Packet("10.0.0.5", "10.0.0.5", 8000, "lo"), firewall.Packet("", "172.18.0.2", 80)]


def test_a_rule_for_public_traffic_does_not_match_the_hosts_own_requests() -> None:
    for line in ("-A PREROUTING -i eth0 -p tcp --dport 8000 -j DROP", "-A PREROUTING ! -s 10.0.0.0/8 -j DROP"):
        assert firewall.local(rules(raw=f"{line}\n"), ASKED) == []
    dropping = "-A OUTPUT -p tcp -m tcp --dport 8000 -j DROP"
    assert firewall.local(rules(raw=f"{dropping}\n"), ASKED) == [f"-t raw {dropping}"]
    # After the engine's NAT the packet goes to the container.
    dropping = "-A OUTPUT -d 172.18.0.0/16 -p tcp -m tcp --dport 80 -j REJECT"
    assert firewall.local(rules(filter_=f"{dropping}\n"), ASKED) == [f"-t filter {dropping}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, True),
        ("{}", True),
        ('{"iptables": false}', False),
        ('{"firewall-backend": "nftables"}', False),
        ("{", False),
    ],
)
def test_an_engine_without_iptables_has_no_missing_rules(tmp_path: Path, text: str | None, expected: bool) -> None:
    config = tmp_path / "daemon.json"
    if text is not None:
        config.write_text(text)
    assert firewall.is_the_engines(str(config)) is expected


UFW = """\
*filter
:INPUT DROP [0:0]
:ufw-before-input - [0:0]
:ufw-not-local - [0:0]
:ufw-user-input - [0:0]
-A INPUT -j ufw-before-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -j DROP
-A ufw-user-input -p tcp -m tcp --dport 80 -j ACCEPT
-A ufw-user-input -s 10.0.0.1/32 -p tcp -m tcp --dport 81 -j ACCEPT
-A ufw-user-input -p tcp -m multiport --dports 82,85:88 -j ACCEPT
-A ufw-user-input -p tcp -m state --state NEW -m tcp --dport 89 -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 90 -m time --timestart 08:00:00 -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize(
    ("text", "port", "why"),
    [
        (DOCKERS.format(raw="", filter=""), 8000, ""),
        (UFW, 80, ""),
        (UFW, 22, "-P INPUT DROP"),
        (UFW, 81, "-P INPUT DROP"),
        (UFW, 82, ""),
        (UFW, 84, "-P INPUT DROP"),
        (UFW, 87, ""),
        (UFW, 89, ""),
        # What is not understood does not count as open.
        (UFW, 90, "-P INPUT DROP"),
        (
            "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j REJECT\nCOMMIT\n",
            80,
            "-A INPUT -j REJECT",
        ),
        ("", 80, ""),
    ],
)
def test_a_port_of_the_host_itself_is_open_or_not(text: str, port: int, why: str) -> None:
    found = firewall.refusing(text, port)
    assert why in found
    assert bool(found) is bool(why)


@pytest.mark.parametrize(
    ("body", "refuses"),
    [
        ("table inet own {\n\tchain in {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n", True),
        (
            "table inet firewalld {\n\tchain in {\n\t\ttype filter hook input priority 10; policy accept;\n"
            "\t\treject with icmpx admin-prohibited\n\t}\n}\n",
            True,
        ),
        # Of fail2ban: from some addresses, to some ports.
        (
            "table inet f2b {\n\tchain in {\n\t\ttype filter hook input priority -1; policy accept;\n"
            "\t\ttcp dport 22 ip saddr @sshd reject with icmp port-unreachable\n\t}\n}\n",
            False,
        ),
        # What iptables keeps there is read with iptables-save.
        ("table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority 0; policy drop;\n\t}\n}\n", False),
        ("", False),
    ],
)
def test_a_table_of_nftables_that_refuses_the_rest_is_named(body: str, refuses: bool) -> None:
    assert bool(firewall.native(body)) is refuses


def test_the_warning_of_a_closed_port_says_how_to_open_it() -> None:
    assert "ufw allow 80/tcp" in firewall_check.warning(80, "iptables -t filter -A ufw-reject -j REJECT")
