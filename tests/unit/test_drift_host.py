# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host says of itself when one of its commands does not answer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils import commands, drift_host
from ansible_collections.christmas.selfheal.plugins.module_utils.app import App

PRINTED = {
    "dpkg-query": "installed haproxy 3.0.1-1\nconfig-files nginx 1.2-3\n",
    "sshd": "port 22\n",
    "ss": 'LISTEN 0 4096 0.0.0.0:80 0.0.0.0:* users:(("haproxy",pid=9,fd=4))\n',
}


def marks(monkeypatch: pytest.MonkeyPatch, broken: str, code: int) -> tuple[dict[str, str], list[str]]:
    def run(argv: Sequence[str], _timeout: float) -> commands.Result:
        if argv[0] == broken:
            return commands.Result(code, "", "it hangs")
        return commands.Result(0, PRINTED.get(argv[0], ""), "")

    monkeypatch.setattr(commands, "run", run)
    monkeypatch.setattr(drift_host, "FOLDERS", ())
    problems: list[str] = []
    return dict(drift_host._marks(set(), [], problems)), problems


@pytest.mark.parametrize(
    ("broken", "mark", "unasked", "told"),
    [
        ("dpkg-query", "package haproxy", "unasked package", 1),
        ("ss", "listens 80", "unasked listens", 1),
        # It may be that it never answers there.
        ("sshd", "sshd port", "unasked sshd", 0),
    ],
)
def test_what_cannot_be_asked_is_not_taken_for_gone(
    monkeypatch: pytest.MonkeyPatch, broken: str, mark: str, unasked: str, told: int
) -> None:
    found, problems = marks(monkeypatch, "nothing", 1)
    assert mark in found
    assert (unasked in found, problems) == (False, [])
    found, problems = marks(monkeypatch, broken, 1)
    assert mark not in found
    assert (unasked in found, len(problems)) == (True, told)


def test_a_port_that_a_role_opens_is_the_role_s(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"/etc/haproxy/selfheal/shop.cfg": b"frontend shop\n    bind *:80\n    bind :::443 v4v6 ssl crt x\n"}
    monkeypatch.setattr(drift_host, "read_small", kept.get)
    assert drift_host._balanced({"shop"}) == {"80", "443"}
    monkeypatch.setattr(
        commands,
        "run",
        lambda *_: commands.Result(0, PRINTED["ss"] + 'LISTEN 0 9 *:81 *:* users:(("haproxy",pid=9,fd=5))', ""),
    )
    assert dict(drift_host._listening([], {"80", "443"})) == {"listens 81": "haproxy"}


def test_what_is_not_installed_has_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    found, problems = marks(monkeypatch, "dpkg-query", 127)
    assert "unasked package" not in found
    assert problems == []


def test_a_job_is_not_expected_to_have_a_container() -> None:
    good = {"env": "", "images": {"web": "1", "migrate": "2"}, "jobs": ["migrate"]}
    found = drift_host._meant(App("shop"), good, {"services": {"web": {}, "migrate": {}}})
    assert {name: one["wanted"] for name, one in found.items()} == {"web": True, "migrate": False}
