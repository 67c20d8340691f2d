# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The watcher's config: an invalid value is refused with the file, the key and the fix."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.backup import config as backup_config
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import config as agent_config
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.config import ConfigError, load

CONFIG: dict[str, Any] = {
    "app": "shop",
    "variables": [{"name": "KEY", "kind": "token"}],
    "checks": [{"name": "health", "url": "http://127.0.0.1:1/", "proves": "health"}],
}


def written(root: Path, content: Any) -> str:
    path = Path(agent_config.path_of("shop", str(root)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_a_missing_key_has_a_default(tmp_path: Path) -> None:
    config = load(written(tmp_path, CONFIG), str(tmp_path))
    assert (config.interval, config.response_seconds, config.keep_days) == (1.0, 2.0, 100.0)
    assert config.policy.attempts == 5
    assert (config.alertmanager, config.metrics_directory) == ("", "")
    assert config.app.paths.directory == str(tmp_path / "opt/shop")
    assert agent_config.apps(str(tmp_path)) == ["shop"]


def test_a_check_may_have_its_own_timeout(tmp_path: Path) -> None:
    checks = [CONFIG["checks"][0], {"name": "slow", "url": "http://127.0.0.1:1/", "timeout": 9}]
    config = load(written(tmp_path, {**CONFIG, "response_seconds": 3, "checks": checks}), str(tmp_path))
    assert [check.timeout for check in config.app.checks] == [3.0, 9]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        pytest.param("", "is not valid JSON", id="empty"),
        pytest.param('{"app": "sh', "is not valid JSON", id="truncated"),
        pytest.param("[" * 100000, "is not valid JSON", id="nested too deep"),
        pytest.param("[]", "not a JSON object", id="a list"),
        pytest.param({}, "`app`", id="an empty object"),
        pytest.param({**CONFIG, "app": "My Shop"}, "My Shop", id="an invalid project name"),
        pytest.param({**CONFIG, "checks": "health"}, "`checks`", id="checks that are not a list"),
        pytest.param({**CONFIG, "enabled": "no"}, "`enabled`", id="a switch that is not a boolean"),
        pytest.param({**CONFIG, "checks": [{"name": "x"}]}, "url", id="a check without a URL"),
        pytest.param(
            {**CONFIG, "checks": [{"name": "x", "url": "ftp://h/"}]}, "http(s) URL", id="an unsupported scheme"
        ),
        pytest.param(
            {**CONFIG, "checks": [{"name": "x", "url": "http://h/${NOPE}"}]}, "NOPE", id="an unknown variable"
        ),
        pytest.param({**CONFIG, "variables": [{"name": "KEY", "kind": "tokn"}]}, "no such kind", id="an unknown kind"),
        pytest.param({**CONFIG, "upstreams": [{"name": "db"}]}, "url", id="an upstream without a URL"),
        pytest.param({**CONFIG, "intervall": 1}, "`intervall`", id="an unknown key"),
        pytest.param({**CONFIG, "interval": 0}, "`interval`", id="zero"),
        pytest.param({**CONFIG, "interval": "1"}, "`interval`", id="text for a number"),
        pytest.param({**CONFIG, "interval": True}, "`interval`", id="a boolean for a number"),
        pytest.param({**CONFIG, "response_seconds": float("nan")}, "`response_seconds`", id="not a number"),
        pytest.param({**CONFIG, "settle_seconds": float("inf")}, "`settle_seconds`", id="infinite"),
        pytest.param({**CONFIG, "keep_days": -1}, "`keep_days`", id="negative"),
        pytest.param({**CONFIG, "policy": {"attempts": 0}}, "`attempts`", id="an invalid policy"),
        pytest.param({**CONFIG, "policy": "strict"}, "policy", id="a policy that is not a mapping"),
        pytest.param({**CONFIG, "language": "fr"}, "`language`", id="an unsupported language"),
        pytest.param({**CONFIG, "alertmanager": "localhost:9093"}, "`alertmanager`", id="an address without a scheme"),
    ],
)
def test_an_invalid_value_is_refused_with_the_file_and_the_key(tmp_path: Path, content: Any, named: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ConfigError) as refused:
        load(path, str(tmp_path))
    assert str(refused.value).startswith(path)
    assert named in str(refused.value)


def test_a_missing_config_is_reported_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist.*christmas\.selfheal\.site"):
        load(agent_config.path_of("shop", str(tmp_path)), str(tmp_path))
    assert agent_config.apps(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("more", "named"),
    [
        pytest.param({"upload": 1}, "unknown key `upload`", id="an unknown key"),
        pytest.param({"upload_kib": 1.5}, "`backup_upload_kib` is 1.5. Fix: write a whole number", id="a fraction"),
        pytest.param({"kept_days": 366}, "`backup_kept_days` is 366. Fix: write a whole", id="out of range"),
        pytest.param({"keep": {"daily": "7"}}, "`backup_daily` is '7'. Fix: write a whole number", id="text"),
    ],
)
def test_an_invalid_value_in_the_backup_config_is_refused_with_the_file_and_the_key(
    tmp_path: Path, more: dict[str, Any], named: str
) -> None:
    path = tmp_path / "backup.json"
    path.write_text(json.dumps({"app": "shop", "repository": "/srv/backup", **more}), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        backup_config.load("shop", str(tmp_path), str(path))
    assert str(refused.value).startswith(str(path))
    assert named in str(refused.value)


# --- the last good config --------------------------------------------------------------------------------------------


def kept(root: Path, content: Any = CONFIG) -> Path:
    """Write this config, and keep a copy of it as the last good one."""
    path = Path(written(root, content))
    agent_config.keep("shop", path.read_bytes(), str(root))
    return path


def test_a_valid_config_applies_instead_of_the_last_good_one(tmp_path: Path) -> None:
    kept(tmp_path, {**CONFIG, "interval": 3})
    written(tmp_path, {**CONFIG, "interval": 5})
    config, problem = agent_config.in_force("shop", str(tmp_path))
    assert (config.interval, problem) == (5.0, "")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: path.unlink(), "does not exist: christmas.selfheal.site writes it"),
        (lambda path: path.write_text("{"), "is not valid JSON"),
        (lambda path: path.write_text(json.dumps({**CONFIG, "interval": 0})), "`interval`"),
        (lambda path: path.write_text(json.dumps({**CONFIG, "app": "blog"})), "`app` is 'blog'"),
    ],
    ids=["deleted", "damaged", "invalid", "for another app"],
)
def test_without_a_valid_config_the_last_good_one_applies(tmp_path: Path, damage: Any, named: str) -> None:
    path = kept(tmp_path, {**CONFIG, "interval": 3})
    damage(path)
    config, problem = agent_config.in_force("shop", str(tmp_path))
    assert config.interval == 3.0
    assert problem.startswith(f"the config that was in force before stays in force: {path}")
    assert named in problem
    assert agent_config.kept(str(tmp_path)) == ["shop"]


def test_without_a_last_good_config_the_error_names_the_missing_one(tmp_path: Path) -> None:
    path = kept(tmp_path, {**CONFIG, "interval": 0})
    path.unlink()
    with pytest.raises(ConfigError, match=f"{path} does not exist"):
        agent_config.in_force("shop", str(tmp_path))


def test_only_root_can_read_the_last_good_config(tmp_path: Path) -> None:
    kept(tmp_path)
    copy = Path(agent_config.copy_of("shop", str(tmp_path)))
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    before = copy.stat()
    kept(tmp_path)
    assert copy.stat().st_ino == before.st_ino, "the same content is not written again"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (CONFIG, {"shop": "here"}),
        ({**CONFIG, "host": "web1"}, {"shop": "web1"}),
        ({**CONFIG, "enabled": False}, {}),
        ("{", {"shop": "here"}),
        ("[]", {"shop": "here"}),
    ],
    ids=["without a host", "with a host", "disabled", "not JSON", "a list"],
)
def test_which_apps_are_to_be_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, found: dict[str, str]
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    written(tmp_path, content)
    assert agent_config.to_be_watched(str(tmp_path)) == found
