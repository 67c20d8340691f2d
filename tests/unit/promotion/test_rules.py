# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which releases may be promoted from staging to production, and the message of every refusal."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.promotion import rules as promotion_rules

SOAK = 3600.0
IMAGE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
JOB = {"name": "shop-migrate-1", "service": "migrate", "digest": OTHER, "state": "exited", "job_done": True}
WEB = {"name": "shop-web-1", "service": "web", "digest": IMAGE, "state": "running", "job_done": False}
GOOD: dict[str, Any] = {
    "app": "shop",
    "engine": "",
    "busy": "",
    "release": {"id": "20250527T020000Z-0a1b2c3d", "images": {"web": IMAGE, "migrate": OTHER}},
    "serving": SOAK,
    "missing": [],
    "changed": [],
    "mounted": [],
    "incidents": [{"id": "20250526T010000Z-erroring", "cause": "erroring", "open": False, "ago": SOAK}],
    "watcher": {"alive": True, "since": SOAK},
    "paused": {"left": 0.0, "reason": "", "ago": SOAK},
    "probe": {"ok": True, "summary": "3 of 3 checks passed"},
    "env": [],
    "instances": [WEB, JOB],
}


def said(**facts: Any) -> list[str]:
    given = cast(promotion_rules.StagingFacts, {**GOOD, **facts})
    return [str(one) for one in promotion_rules.refusals(given, SOAK)]


def incident(name: str, ago: float, is_open: bool = False) -> dict[str, Any]:
    return {"id": f"20250527T010000Z-{name}", "cause": name, "open": is_open, "ago": ago}


def test_a_release_that_ran_healthy_may_be_promoted() -> None:
    assert said() == []


def test_a_job_whose_container_was_pruned_is_not_missing() -> None:
    assert "service migrate has no container" in said(instances=[WEB])[0]
    assert said(instances=[WEB], release={**GOOD["release"], "jobs": ["migrate"]}) == []


@pytest.mark.parametrize(
    ("facts", "reason", "fix"),
    [
        pytest.param({"release": None}, "no release has passed its gate there yet", "deploy there first", id="nothing"),
        pytest.param(
            {"busy": "a deploy holds it"}, "the app is busy there", "when it has ended", id="a deploy goes on"
        ),
        pytest.param({"serving": 1800.0}, "served for 30.0 min, and 60.0 min", "wait 30.0 min more", id="too young"),
        pytest.param(
            {"incidents": [incident("erroring", 600.0)]},
            "incident 20250527T010000Z-erroring (erroring) was over 10.0 min ago",
            "/var/lib/selfheal/shop/incidents/20250527T010000Z-erroring/incident.md",
            id="an incident that is over",
        ),
        pytest.param(
            {"incidents": [incident("hung", 0.0, is_open=True)]},
            "(hung) is open",
            "selfheal status says what it waits for",
            id="an open incident",
        ),
        pytest.param(
            {"watcher": {"alive": False, "since": 0.0}}, "was not watched", "selfheal@shop.timer", id="not watched"
        ),
        pytest.param(
            {"watcher": {"alive": True, "since": 60.0}}, "has run for 1.0 min only", "wait 59.0", id="since now"
        ),
        pytest.param(
            {"paused": {"left": 9.0, "reason": "disk", "ago": 0.0}},
            "paused there: disk",
            "selfheal resume",
            id="paused",
        ),
        pytest.param(
            {"paused": {"left": 0.0, "reason": "", "ago": 60.0}}, "paused or resumed", "wait 59.0", id="was paused"
        ),
        pytest.param(
            {"probe": {"ok": False, "summary": "login: 500"}},
            "checks now: login: 500",
            "christmas.selfheal.status",
            id="sick now",
        ),
        pytest.param(
            {"instances": [{**WEB, "digest": OTHER}, JOB]}, "shop-web-1 runs another image", "again", id="another image"
        ),
        pytest.param({"instances": [JOB]}, "service web has no container", "again", id="no container"),
        pytest.param(
            {"instances": [{**WEB, "state": "exited"}, JOB]}, "is exited", "christmas.selfheal.deploy", id="stopped"
        ),
        pytest.param(
            {"instances": [WEB, JOB, {**WEB, "name": "shop-x-1", "service": "x"}]},
            "shop-x-1 is not part",
            "",
            id="unmanaged",
        ),
        pytest.param(
            {"engine": "no answer", "instances": []}, "engine there does not answer", "systemctl", id="no engine"
        ),
        pytest.param({"changed": ["compose.yaml"]}, "compose.yaml differs from the release", "again", id="edited"),
        pytest.param({"missing": ["web"]}, "the image of service web is gone", "again", id="image gone"),
        pytest.param(
            {"mounted": ["nginx.conf"]},
            "on this host alone: nginx.conf",
            "add them to the project",
            id="a mounted file",
        ),
        pytest.param(
            {"env": [{"variable": "KEY", "rule": "placeholder", "reason": "is a placeholder", "fix": "write the key"}]},
            "the env there: KEY: is a placeholder",
            "write the key",
            id="a bad env",
        ),
    ],
)
def test_a_refusal_names_its_reason_and_the_fix(facts: dict[str, Any], reason: str, fix: str) -> None:
    (found,) = said(**facts)
    reason_, _unused, todo = found.partition(". Do: ")
    assert reason in reason_
    assert fix in todo


def test_all_reasons_are_reported_at_once_and_many_incidents_are_counted() -> None:
    found = said(
        serving=60.0,
        probe={"ok": False, "summary": "health: refused"},
        incidents=[incident(f"crashed_{number}", 60.0) for number in "abcdefg"],
    )
    assert [line.split()[0] for line in found] == ["it", *["incident"] * 5, "2", "it"]


DISK: promotion_rules.Room = {"device": 1, "free_bytes": 1000 << 20}
SMALL: promotion_rules.Room = {"device": 2, "free_bytes": 100 << 20}


@pytest.mark.parametrize(
    ("wanted", "short"),
    [
        ([("/a", 700 << 20)], []),
        ([("/a", 800 << 20)], ["/a: 1,000 MiB free, 1,056 MiB needed"]),
        ([("/a", 400 << 20), ("/b", 400 << 20)], ["/a: 1,000 MiB free, 1,056 MiB needed"]),
        ([("/a", 400 << 20), ("/c", 1)], ["/c: 100 MiB free, 256 MiB needed"]),
    ],
    ids=["fits", "does not fit", "two on one file system", "the small file system"],
)
def test_room_for_the_images(wanted: list[tuple[str, int]], short: list[str]) -> None:
    assert promotion_rules.missing_room(wanted, {"/a": DISK, "/b": DISK, "/c": SMALL}) == short
