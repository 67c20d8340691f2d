# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When a certificate is due, and that a renewal that fails changes nothing. openssl is real, the CA signs in the test.

The scenario `domain` has a real CA and a real HAProxy.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import cli, outcome
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.domain import authority, certificate, renewal
from ansible_collections.christmas.selfheal.plugins.module_utils.domain import config as domain_config
from ansible_collections.christmas.selfheal.plugins.module_utils.domain.certificate import Certificate
from ansible_collections.christmas.selfheal.plugins.module_utils.domain.config import Domain
from ansible_collections.christmas.selfheal.plugins.module_utils.domain.renewal import DomainError, InUse
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import web
from ansible_collections.christmas.selfheal.plugins.module_utils.records import state
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.config import ConfigError
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import haproxy

DAY = 86400.0
NOW = 1_800_000_000.0
ANSWER = web.Answer(status=200, headers=(), body=b"", cut=False, seconds=0.0, expires=None)
NAMES = ("shop.example", "www.shop.example")


def held(names: tuple[str, ...] = NAMES, days: float = 90, left: float = 60, issuer: str = "CN=CA") -> Certificate:
    ends = NOW + left * DAY
    return Certificate(names, ends - days * DAY, ends, issuer)


DUE = {
    "none": (None, "there is no certificate yet"),
    "the self-signed one": (InUse(held(issuer=f"CN={certificate.SELF_SIGNED}"), ""), "there is no certificate yet"),
    "good": (InUse(held(), ""), ""),
    "a third is left": (InUse(held(left=30.1), ""), ""),
    "less is left": (InUse(held(left=29.9), ""), "the certificate in use ends 2027-02-14 05:36 UTC"),
    "six days, two left": (InUse(held(days=6, left=1.9), ""), "ends"),
    "it has ended": (InUse(held(left=-1), ""), "ends"),
    "a new name": (InUse(held(NAMES[:1]), ""), "is not for www.shop.example"),
    "a name less": (InUse(held((*NAMES, "old.example")), ""), "is also for old.example"),
    "another CA": (InUse(held(), "https://staging.example/dir"), "is from https://staging.example/dir"),
}


@pytest.mark.parametrize(("used", "why"), DUE.values(), ids=DUE)
def test_when_a_certificate_is_due(used: InUse | None, why: str) -> None:
    said = renewal.due(NAMES, "", used, NOW)
    assert why in said
    assert bool(said) == bool(why)


@pytest.mark.parametrize(
    ("failing", "ago", "soon"),
    [(0, 60, False), (3600, 3500, True), (3600, 3700, False), (9 * DAY, 43100, True), (9 * DAY, 43300, False)],
    ids=["the first hour", "before an hour", "after an hour", "within half a day", "after half a day"],
)
def test_the_timer_waits_longer_the_longer_it_fails(failing: float, ago: float, soon: bool) -> None:
    tried = NOW - ago
    assert renewal.is_too_soon({"text": "", "since": tried - failing, "tried": tried}, NOW) is soon
    assert not renewal.is_too_soon(None, NOW)


@pytest.mark.parametrize(
    ("names", "left", "failing", "urgent"),
    [
        (NAMES, 80, True, False),
        (NAMES, 14, True, True),
        (NAMES, 14, False, False),
        (NAMES[:1], 80, True, True),
        ((), -NOW, True, True),
    ],
    ids=["it can wait", "it ends soon", "nothing failed", "a name has none", "there is none"],
)
def test_when_people_are_notified(names: tuple[str, ...], left: float, failing: bool, urgent: bool) -> None:
    record: state.CertificateMemory = {
        "wanted": list(NAMES),
        "names": list(names),
        "directory": "",
        "begins": NOW + (left - 90) * DAY,
        "ends": NOW + left * DAY,
        "problem": {"text": "refused", "since": NOW, "tried": NOW} if failing else None,
    }
    assert state.is_urgent(record, NOW) is urgent


# --- with files ------------------------------------------------------------------------------------------------------


class Authority:
    """A CA that signs what it is asked for, unless it is to fail."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.orders, self.days = folder, 0, 90
        self.answer: Callable[[authority.Order], Result] = self.sign
        made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "99", "-subj", "/CN=CA"]
        self.openssl(*made, "-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.pem"))

    def openssl(self, *words: str) -> str:
        return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True).stdout

    def place(self, order: authority.Order) -> Result:
        self.orders += 1
        return self.answer(order)

    def sign(self, order: authority.Order) -> Result:
        words = ["-CA", str(self.folder / "ca.pem"), "-CAkey", str(self.folder / "ca.key"), "-copy_extensions", "copy"]
        signed = self.openssl("x509", "-req", "-in", order.request, "-days", str(self.days), *words)
        return Result(0, signed + (self.folder / "ca.pem").read_text(encoding="ascii"), "")


class World:
    """A domain on a host whose HAProxy answers the CA, and counts its reloads."""

    def __init__(self, folder: Path) -> None:
        self.domain = Domain(app_paths("shop", root=str(folder)), NAMES, "", "", "", "127.0.0.1")
        self.files, self.reloads, self.refuses, self.fails = haproxy.domain_files(self.domain.paths), 0, "", False

    def reload(self) -> None:
        self.reloads += 1
        if self.fails:
            self.fails = False
            raise haproxy.BalancerError("HAProxy does not start: out of sorts")

    def fetch(self, request: web.Request, *_unused: Any) -> web.Answer:
        mapped = dict(line.split() for line in Path(self.files.map).read_text().splitlines()[1:])
        said = f"{request.url.rpartition('/')[2]}.{mapped['challenge']}"
        return ANSWER._replace(body=said.encode())

    def renew(self, **more: bool) -> renewal.Renewed:
        return renewal.renew(self.domain, Clock(), **more)

    def read(self) -> tuple[bytes, ...]:
        return tuple(Path(path).read_bytes() for path in self.files)

    def record(self) -> state.CertificateMemory:
        found = state.read_certificate(self.domain.paths.certificate)
        assert found is not None
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    it = World(tmp_path / "root")
    monkeypatch.setattr(haproxy, "reload", it.reload)
    monkeypatch.setattr(haproxy, "refusal", lambda *_: it.refuses)
    monkeypatch.setattr(web, "fetch", it.fetch)
    return it


@pytest.fixture(scope="module")
def authority_for_all(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def ca(authority_for_all: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    it = authority_for_all
    it.orders, it.answer = 0, it.sign
    monkeypatch.setattr(authority, "place", it.place)
    return it


def test_before_the_first_certificate_haproxy_starts_and_nothing_is_redirected(world: World, ca: Authority) -> None:
    assert set(renewal.prepare(world.domain)) >= {world.files.pem, world.files.map}
    assert certificate.read(world.files.pem).is_self_signed
    assert "https" not in Path(world.files.map).read_text()
    assert os.stat(world.files.pem).st_mode & 0o777 == 0o600
    assert (renewal.prepare(world.domain), ca.orders) == ([], 0)


def test_a_certificate_is_issued_once(world: World, ca: Authority) -> None:
    done = world.renew()
    assert (done.changed, done.why) == (True, "there is no certificate yet")
    assert certificate.read(world.files.pem).names == NAMES
    assert "shop.example https\nwww.shop.example https\n" in Path(world.files.map).read_text()
    assert world.read()[:2] == world.read()[2:]
    assert world.record()["names"] == list(NAMES)
    before, reloads = world.read(), world.reloads
    assert (world.renew().changed, ca.orders, world.reloads, world.read()) == (False, 1, reloads, before)
    assert sorted(os.listdir(world.domain.paths.domain)) == ["account.key", "map", "pem"]
    before, reloads = world.read(), world.reloads
    assert (world.renew().changed, ca.orders, world.reloads, world.read()) == (False, 1, reloads, before)
    assert os.listdir(world.domain.paths.domain) == sorted(["account.key", "map", "pem"]) or not os.path.exists(
        os.path.join(world.domain.paths.domain, "order")
    )
    assert world.renew(force=True).changed
    assert world.read()[0] != before[0]


def refuse(_unused: authority.Order) -> Result:
    return Result(1, "", "ValueError: Error:\nUrl: https://ca.example/newOrder\nResponse Code: 500\nResponse: x\n")


def fill_the_disk(_unused: authority.Order) -> Result:
    raise OSError(errno.ENOSPC, "No space left on device", "/var/lib/selfheal/shop/domain/order/candidate.pem")


BROKEN: dict[str, tuple[Callable[[World, Authority], None], str]] = {
    "the CA refuses": (lambda _, ca: setattr(ca, "answer", refuse), "the CA answers 500"),
    "the disk is full": (lambda _, ca: setattr(ca, "answer", fill_the_disk), "the disk is full"),
    "nothing comes": (lambda _, ca: setattr(ca, "answer", lambda _: Result(0, "", "")), "sent no certificate"),
    "HAProxy refuses it": (lambda world, _: setattr(world, "refuses", "no ECDSA"), "HAProxy does not take the new"),
    "HAProxy does not come up": (lambda world, _: setattr(world, "fails", True), "does not start: out of sorts"),
    "another account's answer": (
        lambda world, _: setattr(world, "fetch", lambda *_: ANSWER._replace(body=b"x.y")),
        "does not answer the CA's challenge on port 80 (another answer), so the CA was not asked",
    ),
}


@pytest.mark.parametrize(("harm", "said"), BROKEN.values(), ids=BROKEN)
def test_a_renewal_that_fails_keeps_the_certificate_in_use(
    world: World, ca: Authority, monkeypatch: pytest.MonkeyPatch, harm: Callable[[World, Authority], None], said: str
) -> None:
    world.renew()
    before = world.read()
    harm(world, ca)
    monkeypatch.setattr(web, "fetch", world.fetch)
    with pytest.raises(DomainError) as failed:
        world.renew(force=True)
    assert said in str(failed.value)
    assert "The certificate in use stays (shop.example, www.shop.example, until " in str(failed.value)
    assert world.read() == before
    problem = world.record()["problem"]
    assert problem is not None
    assert problem["text"] == str(failed.value)
    assert world.record()["names"] == list(NAMES)


def test_a_certificate_for_other_names_is_not_used(world: World, ca: Authority) -> None:
    world.renew()
    before, certificate_of_others = world.read(), world.domain._replace(names=("blog.example",))
    blog = ca.sign(authority.Order("", str(request_for(world, certificate_of_others)), "", "", "", ""))
    ca.answer = lambda _: blog
    with pytest.raises(DomainError, match="key of another certificate"):
        world.renew(force=True)
    assert world.read() == before


def request_for(world: World, domain: Domain) -> Path:
    folder = Path(world.domain.paths.state)
    (folder / "key").write_text(certificate.make_key(), encoding="ascii")
    (folder / "request").write_text(certificate.make_request(domain.names, str(folder / "key")), encoding="ascii")
    return folder / "request"


def test_without_any_certificate_the_app_goes_on(world: World, ca: Authority) -> None:
    ca.answer = refuse
    with pytest.raises(DomainError, match="The app goes on by plain HTTP"):
        world.renew()
    assert certificate.read(world.files.pem).is_self_signed
    assert (world.record()["names"], world.record()["wanted"]) == ([], list(NAMES))
    first = world.record()["problem"]
    with pytest.raises(DomainError):
        world.renew()
    second = world.record()["problem"]
    assert first is not None
    assert second is not None
    assert second["since"] == first["since"]
    assert second["tried"] > first["tried"]
    ca.answer = ca.sign
    assert world.renew().changed
    assert world.record()["problem"] is None


def test_the_timer_leaves_out_its_turn(world: World, ca: Authority) -> None:
    ca.answer = refuse
    with pytest.raises(DomainError):
        world.renew()
    record = world.record()
    record["problem"] = {"text": "x", "since": time.time() - 7200, "tried": time.time() - 60}
    Path(world.domain.paths.certificate).write_text(json.dumps(record), encoding="utf-8")
    done = world.renew(patient=True)
    assert (done.changed, ca.orders) == (False, 1)
    assert "the next attempt is later" in done.why


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None])
def test_a_damaged_file_comes_back_without_the_ca(world: World, ca: Authority, content: bytes | None) -> None:
    world.renew()
    before = world.read()
    for path in world.files[:2]:
        Path(path).unlink()
        if content is not None:
            Path(path).write_bytes(content)
    assert renewal.prepare(world.domain) == [world.files.pem, world.files.map]
    assert (world.read(), ca.orders) == (before, 1)


def test_an_account_that_is_damaged_is_made_again(world: World, ca: Authority) -> None:
    world.renew()
    account = Path(world.domain.paths.domain) / "account.key"
    account.write_bytes(b"")
    before = Path(world.files.map).read_text()
    world.renew()
    assert Path(world.files.map).read_text() != before, "HAProxy answers for the new account"
    assert certificate.thumbprint(str(account)) in Path(world.files.map).read_text()
    assert ca.orders == 1


def test_what_a_killed_order_left_is_removed(world: World, ca: Authority) -> None:
    world.renew()
    left = Path(world.domain.paths.domain) / "order"
    left.mkdir()
    (left / "key").write_text("half", encoding="ascii")
    assert world.renew(force=True).changed
    assert not left.exists()


def test_a_change_of_the_domain_gets_another_certificate(world: World, ca: Authority) -> None:
    world.renew()
    world.domain = world.domain._replace(names=("shop.example",))
    assert "also for www.shop.example" in world.renew().why
    assert certificate.read(world.files.pem).names == ("shop.example",)
    world.domain = world.domain._replace(directory="https://ca.example/dir")
    assert "is from the default CA" in world.renew().why
    assert (world.renew().changed, ca.orders) == (False, 3)


# --- settings and command --------------------------------------------------------------------------------------------


def settings(world: World, **more: object) -> None:
    path = Path(domain_config.path_of("shop", world.domain.paths.root))
    path.parent.mkdir(parents=True, exist_ok=True)
    agent = path.parents[1] / "shop.json"
    agent.write_text("{}", encoding="utf-8")
    path.write_text(json.dumps({"app": "shop", "names": list(NAMES), **more}), encoding="utf-8")


def test_the_settings(world: World) -> None:
    settings(world)
    assert domain_config.load("shop", world.domain.paths.root) == world.domain
    settings(world, names=[])
    with pytest.raises(ConfigError, match="set load_balancer_domain"):
        domain_config.load("shop", world.domain.paths.root)
    with pytest.raises(ConfigError, match="blog has no domain"):
        domain_config.load("blog", world.domain.paths.root)


def test_the_command(world: World, ca: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    settings(world)
    root = world.domain.paths.root
    assert cli.main(["certificate", "--app", "shop"], root) == outcome.SICK
    assert cli.main(["certificate", "renew", "--app", "shop"], root) == outcome.GOOD
    assert "shop: a new certificate (there is no certificate yet): shop.example, www." in capsys.readouterr().out
    ca.answer = refuse
    assert cli.main(["certificate", "renew", "--force", "--app", "shop"], root) == outcome.WRONG
    said = capsys.readouterr()
    assert "the CA answers 500" in said.err
    assert "PRIVATE KEY" not in said.out + said.err
    assert cli.main(["certificate", "--app", "shop"], root) == outcome.SICK
    shown = capsys.readouterr().out
    assert "certificate: shop.example, www.shop.example, until 20" in shown
    assert "certificate: not renewed since" in shown
