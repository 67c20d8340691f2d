# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What staging is judged by, read from its own records. The rest is molecule's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock, Moment, boot, iso, stamp
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.health import facts as health_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.health.fact_types import ContainerFacts
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.promotion import export as promotion_export
from ansible_collections.christmas.selfheal.plugins.module_utils.records import state
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import config as agent_config
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.config import ConfigError
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store

NOW = 1_750_000_000.0
IMAGE = "sha256:" + "1" * 64
CLOCK = Clock(now=lambda: NOW, monotonic=lambda: 7200.0, sleep=lambda _: None)


def before(seconds: float) -> Moment:
    """That many seconds before now."""
    return {"wall": NOW - seconds, "monotonic": 7200.0 - seconds, "boot": boot()}


class Staging:
    """A host with one release, one container of it, and a watcher that has been there for an hour."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = app_paths("shop", root=str(root))
        folder = root / "etc/selfheal"
        folder.mkdir(parents=True)
        config = {"app": "shop", "variables": [], "checks": [{"name": "health", "url": "http://127.0.0.1:1/health"}]}
        (folder / "shop.json").write_text(json.dumps({**config, "directory": self.paths.directory, "host": "stage1"}))
        directory = Path(self.paths.directory)
        directory.mkdir(parents=True)
        (directory / "compose.yaml").write_bytes("services: {}\r\n# 크리스마스\n".encode())
        (directory / ".env").write_text("SECRET='of staging'\n")
        self.mounts = [{"Type": "bind", "Source": str(directory / ".")}, {"Type": "volume", "Source": "/x"}]
        known: release_store.Release = {"id": "r1", "images": {"web": IMAGE}, "names": {"web": "shop"}}
        release_store.record(
            self.paths.directory,
            {
                **known,
                "services": {},
                "contexts": {},
                "env": "",
                "source": "",
                "files": release_store.files(self.paths.directory),
            },
        )
        release_store.mark_last_good(self.paths.directory, "r1")
        link = Path(release_store.folder(self.paths.directory)) / release_store.LAST_GOOD
        os.utime(link, (NOW - 3600, NOW - 3600), follow_symlinks=False)
        note = {"at": before(0), "pid": os.getpid(), "problems": [], "hold": ""}
        (root / "run/selfheal").mkdir(parents=True)
        (root / "run/selfheal/shop.json").write_text(json.dumps(note))

    def incident(self, name: str, **more: Any) -> None:
        identity = f"{stamp(NOW - 600)}-{name}"
        record = {"id": identity, "cause": name, "healthy": True, "seconds": 60.0}
        folder = Path(self.paths.incidents) / identity
        folder.mkdir(parents=True)
        (folder / "incident.json").write_text(json.dumps({**record, "seen": iso(NOW - 600), **more}))

    def run(self, argv: list[str], _timeout: float, **_unused: Any) -> commands.Result:
        # The watcher's timer has been active since an hour after the boot.
        known = {
            "systemctl": "3600000000\n",
            "docker": json.dumps([{"Id": IMAGE, "Size": 9, "Os": "linux", "Architecture": "arm64"}]),
        }
        return commands.Result(0, known[argv[0]], "")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Staging:
    it = Staging(tmp_path)

    def read_engine(*_unused: Any) -> health_facts.EngineSays:
        instance = {"name": "web", "service": "web", "digest": IMAGE, "state": "running", "job_done": False}
        containers = cast(ContainerFacts, {"instances": [instance]})
        return health_facts.EngineSays({"answers": True, "kind": "", "reason": "", "version": ""}, containers)

    monkeypatch.setattr(health_facts, "read_engine", read_engine)
    monkeypatch.setattr(health_facts, "ask", lambda *_: {"ok": True, "summary": ""})
    monkeypatch.setattr(commands, "run", it.run)
    monkeypatch.setattr(docker_project.Project, "documents", lambda _: [{"Mounts": it.mounts}])
    return it


def refused(host: Staging, soak: float = 3600.0) -> str:
    with pytest.raises(promotion_export.PromotionRefused) as found:
        promotion_export.offer("shop", soak, str(host.root), CLOCK)
    return str(found.value)


def test_the_offer_holds_the_users_file_byte_for_byte_and_nothing_of_the_env(host: Staging) -> None:
    found = promotion_export.offer("shop", 3600.0, str(host.root), CLOCK)
    kept = Path(found["folder"], "compose.yaml")
    assert kept.read_bytes() == Path(host.paths.directory, "compose.yaml").read_bytes()
    assert found["images"] == [{"service": "web", "id": IMAGE, "bytes": 9, "platform": "linux/arm64"}]
    assert (found["host"], found["release"]) == ("stage1", "r1")
    assert "of staging" not in json.dumps(found)


def test_what_has_served_since_is_counted_from_the_rollback_that_brought_it_back(host: Staging) -> None:
    release_store.mark_last_good(host.paths.directory, "r1")
    assert "it has served for 0 s" in refused(host)


@pytest.mark.parametrize(
    ("more", "ago"),
    [
        ({"ended": iso(NOW - 300)}, "5.0 min ago"),
        # One without an end, because the watcher was killed: it was seen ten minutes ago, and went on for one.
        ({"ended": "", "healthy": False}, "9.0 min ago"),
    ],
    ids=["ended", "never ended"],
)
def test_an_incident_counts_from_its_end(host: Staging, more: dict[str, Any], ago: str) -> None:
    host.incident("erroring", **more)
    assert f"(erroring) was over {ago}" in refused(host)
    assert promotion_export.offer("shop", 60.0, str(host.root), CLOCK)["release"] == "r1"


@pytest.mark.parametrize(
    ("paused", "resumed", "said"),
    [
        ({"until": NOW + 60, "reason": "disk", "since": before(60)}, None, "paused there: disk"),
        ({"until": NOW - 60, "reason": "x", "since": before(120)}, None, "1.0 min ago"),
        (None, before(120), "2.0 min ago"),
    ],
    ids=["is paused", "its pause ran out", "a person ended it"],
)
def test_a_pause_counts_while_it_lasts_and_after(
    host: Staging, paused: state.Pause | None, resumed: Moment | None, said: str
) -> None:
    state.write_orders(host.paths.state, {"paused": paused, "resumed": resumed})
    assert said in refused(host)


def test_a_file_of_the_project_that_is_mounted_is_named_and_data_is_not(host: Staging) -> None:
    mounted = Path(host.paths.directory) / "nginx.conf"
    mounted.write_text("x")
    host.mounts.append({"Type": "bind", "Source": str(mounted)})
    assert "on this host alone: nginx.conf" in refused(host)


def test_another_app_is_named(host: Staging) -> None:
    with pytest.raises(ConfigError, match=r"no app 'store' is watched on this host .* watched are: shop"):
        promotion_export.offer("store", 0.0, str(host.root), CLOCK)


def test_an_invalid_config_is_reported(host: Staging) -> None:
    Path(agent_config.path_of("shop", str(host.root))).write_text("{")
    with pytest.raises(ConfigError, match="is not valid JSON"):
        promotion_export.offer("shop", 0.0, str(host.root), CLOCK)
