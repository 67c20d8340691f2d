# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What alerts say in both languages, and the labels that the routes go by."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.health import diagnosis
from ansible_collections.christmas.selfheal.plugins.module_utils.records.state import CertificateMemory
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import ladder
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import alert_messages
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting.alert_messages import Alert
from ansible_collections.christmas.selfheal.tests.unit.reporting.factories import NOW, PAUSE, record

TRIED = [
    {"name": "restart", "done": True, "result": "restarted", "seconds": 0.6},
    {"name": "recreate", "done": False, "result": "no such image", "seconds": 0.1},
    {"name": "restart", "done": True, "result": "restarted", "seconds": 0.6},
]
UPSTREAM: dict[str, Any] = {"cause": "upstream_down", "evidence": ["supabase: it answers 503"]}
PORT: dict[str, Any] = {"cause": "port_taken", "evidence": ["port 8000 is held by nginx (pid 123)"]}

HOLDER = "the container blog-web-1 of the compose project blog in /srv/blog"
HELD: dict[str, Any] = {"cause": "port_taken", "evidence": [f"port 8000 is held by {HOLDER}"]}

CERTIFICATE: CertificateMemory = {
    "wanted": ["shop.example"],
    "names": ["shop.example"],
    "begins": NOW - 80 * 86400,
    "ends": 1749175200.0,
    "directory": "",
    "problem": {"text": "the CA says: no", "since": NOW, "tried": NOW},
}

CHANGED: alert_messages.Changed = {
    "number": 1750000000,
    "at": 1750000000.0,
    "who": ["ada from 192.0.2.7", "bob from 192.0.2.8"],
    "things": {"/opt/shop/compose.yaml": "mode 0666 instead of 0644", "/etc/docker/daemon.json": "other content"},
}
TEXTS: list[tuple[str, Alert, list[str], list[str]]] = [
    (
        "opened",
        alert_messages.opened(record(), "en"),
        ["shop @ web1: it takes requests and does not answer"],
        ["The host is healing it", "• `health`: no answer within 2 s", "Next: Nothing to do yet."],
    ),
    (
        "an upstream is named, and the app is cleared",
        alert_messages.opened(record(**UPSTREAM), "en"),
        ["upstream supabase is down"],
        ["No restart: the app is not at fault", "• supabase: it answers 503"],
    ),
    (
        "an upstream that the front-end's check names",
        alert_messages.opened(record("upstream_down", evidence=["`page`: 503; the app's own checks pass"]), "en"),
        ["upstream page is down"],
        [],
    ),
    (
        "an upstream by its name, not by the variable that holds its address",
        alert_messages.opened(record("upstream_down", evidence=["SUPABASE_URL: refused", "supabase: refused"]), "en"),
        ["upstream supabase is down"],
        [],
    ),
    (
        "an upstream that only its variable names",
        alert_messages.opened(record("upstream_down", evidence=["SUPABASE_URL: refused"]), "en"),
        ["upstream SUPABASE_URL is down"],
        [],
    ),
    (
        "an upstream without a name",
        alert_messages.opened(record("upstream_down", evidence=[]), "en"),
        ["upstream service is down"],
        [],
    ),
    (
        "a process is named",
        alert_messages.opened(record(**PORT), "en"),
        ["its port is taken by nginx (pid 123)"],
        ["this one needs you", "Next: Stop that process"],
    ),
    (
        "a container is named",
        alert_messages.opened(record(**HELD), "en"),
        ["its port is taken by container blog-web-1"],
        ["of the compose project blog in /srv/blog", "Next: Stop that process or container"],
    ),
    (
        "escalated",
        alert_messages.escalated(record(remedies=TRIED, hold="5 attempts in 30 min"), "en"),
        ["shop @ web1: needs a person: it takes requests"],
        ["Tried: restart, new containers (failed)\n", "5 attempts in 30 min", "Next: Read the evidence."],
    ),
    (
        "escalated with nothing to try",
        alert_messages.escalated(record(**PORT), "en"),
        ["needs a person: its port is taken by nginx"],
        ["Nothing could be tried.", "Next: Stop that process"],
    ),
    (
        "resolved",
        alert_messages.resolved(record(remedies=TRIED[:1]), "en"),
        ["shop @ web1: healthy again after 4.2 s (it takes requests"],
        ["Cured by: restart", "MTTR 4.2 s, from 02:00:03 to 02:00:07 UTC"],
    ),
    (
        "resolved by itself, after hours",
        alert_messages.resolved(record(**UPSTREAM, seconds=11045.0), "en"),
        ["healthy again after 3 h 4 min (upstream supabase is down)"],
        ["No remedy was needed."],
    ),
    (
        "Korean: opened",
        alert_messages.opened(record(**UPSTREAM), "ko"),
        ["shop @ web1: 외부 서비스 supabase 장애"],
        ["재시작 안 함: 앱의 잘못이 아닙니다", "다음 할 일: "],
    ),
    (
        "Korean: escalated",
        alert_messages.escalated(record(remedies=TRIED), "ko"),
        ["사람이 필요함"],
        ["시도: 재시작, 컨테이너 재생성 (실패)", "다음 할 일: /var/lib/selfheal/shop/incidents/"],
    ),
    (
        "Korean: resolved",
        alert_messages.resolved(record(remedies=TRIED[:1], seconds=725.0), "ko"),
        ["12분 5초 만에 정상으로 돌아옴"],
        ["복구 방법: 재시작", "MTTR 12분 5초"],
    ),
    (
        "a pause that lasts",
        alert_messages.lasting_pause("shop", "web1", PAUSE, "en"),
        ["shop @ web1: healing is paused until 2025-05-27 02:00 UTC"],
        ["Reason: migration", "selfheal resume"],
    ),
    ("a pause that is over", alert_messages.lasting_pause("shop", "web1", None, "ko"), ["일시 중지"], []),
    (
        "a timer that was stopped",
        alert_messages.stopped_timer("shop", "web1", "812", "en"),
        ["shop @ web1: the timer of its watcher was stopped"],
        ["nothing heals the app", "systemctl enable --now selfheal@shop.timer"],
    ),
    (
        "Korean: a timer that was stopped",
        alert_messages.stopped_timer("shop", "web1", "812", "ko"),
        ["타이머가 꺼짐"],
        ["systemctl enable --now selfheal@shop.timer"],
    ),
    (
        "a backup that failed",
        alert_messages.bad_backup("shop", "web1", "backup", {"text": "the disk is full", "since": NOW}, "en"),
        ["shop @ web1: the last backup failed"],
        ["the disk is full", "selfheal backup"],
    ),
    (
        "a bad backup",
        alert_messages.bad_backup("shop", "web1", "verify", {"text": "cannot load shop.dump", "since": NOW}, "ko"),
        ["shop @ web1: 최신 백업을 검증하지 못함"],
        ["cannot load shop.dump", "selfheal backup verify"],
    ),
    (
        "files that were changed by hand",
        alert_messages.changed_by_hand("shop", "web1", CHANGED, "en"),
        ["shop @ web1: changed by hand: /etc/docker/daemon.json, /opt/shop/compose.yaml"],
        [
            "• /opt/shop/compose.yaml: mode 0666 instead of 0644",
            "At 2025-06-15 15:06:40 UTC. Logged in over ssh: ada from 192.0.2.7, bob from 192.0.2.8.",
            "then run site.yml",
        ],
    ),
    (
        "Korean: a container that was changed by hand",
        alert_messages.changed_by_hand("shop", "web1", {**CHANGED, "who": [], "things": {"container w": "x"}}, "ko"),
        ["shop @ web1: 수동으로 변경됨: container w"],
        ["ssh로 로그인한 사람: 없음.", "`docker update`"],
    ),
    (
        "a hundred files that were changed by hand",
        alert_messages.changed_by_hand(
            "shop", "web1", {**CHANGED, "things": {f"/etc/{one}": "is gone" for one in range(100)}}, "en"
        ),
        ["changed by hand: /etc/0, /etc/1, ", "…"],
        ["\n+ 94\n"],
    ),
    (
        "a certificate that ends",
        alert_messages.bad_certificate("shop", "web1", CERTIFICATE, "en"),
        ["shop @ web1: the certificate of shop.example is not renewed, it ends 2025-06-06 02:00 UTC"],
        ["the CA says: no", "selfheal certificate renew"],
    ),
    (
        "Korean: a name without a certificate",
        alert_messages.bad_certificate("shop", "web1", {**CERTIFICATE, "wanted": ["a.example", "shop.example"]}, "ko"),
        ["shop @ web1: a.example 인증서가 없음"],
        ["the CA says: no", "selfheal certificate renew"],
    ),
]


@pytest.mark.parametrize(("alert", "title", "text"), [case[1:] for case in TEXTS], ids=[case[0] for case in TEXTS])
def test_what_people_read(alert: Alert, title: list[str], text: list[str]) -> None:
    summary, description = (alert["annotations"][name] for name in ("summary", "description"))
    assert [words for words in title if words not in summary] == []
    assert [words for words in text if words not in description] == []


LABELS = [
    (alert_messages.opened(record(), "en"), ("SelfhealIncident", "hung", "warning", record()["id"])),
    (alert_messages.resolved(record(), "en"), ("SelfhealIncident", "hung", "warning", record()["id"])),
    (alert_messages.escalated(record(), "en"), ("SelfhealEscalated", "hung", "critical", record()["id"])),
    (alert_messages.lasting_pause("shop", "web1", None, "en"), ("SelfhealPaused", "paused", "warning", "pause")),
    (
        alert_messages.bad_backup("shop", "web1", "backup", None, "en"),
        ("SelfhealBackupFailed", "backup", "warning", "backup"),
    ),
    (
        alert_messages.bad_backup("shop", "web1", "verify", None, "en"),
        ("SelfhealBackupNotProved", "verify", "warning", "verify"),
    ),
    (
        alert_messages.stopped_timer("shop", "web1", "812", "en"),
        ("SelfhealTimerStopped", "timer", "warning", "timer-812"),
    ),
    (
        alert_messages.replaced_by_hand("shop", "web1", {"app": "/root/shop"}, "en"),
        ("SelfhealReplacedByHand", "by_hand", "warning", "by-hand"),
    ),
    (
        alert_messages.bad_certificate("shop", "web1", CERTIFICATE, "en"),
        ("SelfhealCertificateNotRenewed", "certificate", "critical", f"certificate-{NOW:.0f}"),
    ),
    (
        alert_messages.changed_by_hand("shop", "web1", CHANGED, "en"),
        ("SelfhealChangedByHand", "changed", "warning", "changed-1750000000"),
    ),
    (alert_messages.watchdog("shop", "web1"), ("SelfhealWatchdog", "none", "none", "watchdog")),
]


@pytest.mark.parametrize(
    ("alert", "labels"),
    LABELS,
    ids=[alert["labels"]["alertname"] + alert["labels"]["severity"] for alert, _unused in LABELS],
)
def test_labels_are_what_the_routes_go_by(alert: Alert, labels: tuple[str, ...]) -> None:
    assert alert["labels"] == {
        **dict(zip(("alertname", "cause", "severity", "incident"), labels, strict=True)),
        "app": "shop",
        "host": "web1",
    }


NOTHING_YET = {"en": "Nothing to do yet.", "ko": "아직 할 일은 없습니다."}


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_next_step_is_a_persons_once_the_host_leaves_it(language: str) -> None:
    assert alert_messages.next_step(record(), language) == NOTHING_YET[language]
    for left in ("escalated", "held"):
        changed: dict[str, Any] = {left: True}
        assert alert_messages.next_step(record(**changed), language) != NOTHING_YET[language]
    # Whatever the host does, these need a look at once.
    assert alert_messages.next_step(record(**UPSTREAM), language) != NOTHING_YET[language]


@pytest.mark.parametrize("cause", sorted(ladder.NEXT_STEP))
def test_every_next_step_is_there_in_korean(cause: str) -> None:
    general = alert_messages.next_step(record("hung", escalated=True), "ko")
    assert alert_messages.next_step(record(cause, escalated=True), "ko") != general


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("cause", sorted({*diagnosis.MEANING, "engine_hung", "overloaded"} - {"stopped"}))
def test_every_cause_has_words_that_fit_a_phone(cause: str, language: str) -> None:
    long = record(cause, app="a" * 60, host="h" * 60, evidence=["e" * 4000] * 9, remedies=TRIED, hold="w" * 4000)
    for make in (alert_messages.opened, alert_messages.escalated, alert_messages.resolved):
        short = make(record(cause), language)["annotations"]
        assert "what it means" not in short["summary"], "no words of its own"
        assert len(short["summary"]) <= alert_messages.SUMMARY_LENGTH
        found = make(long, language)["annotations"]
        assert len(found["summary"]) <= alert_messages.SUMMARY_LENGTH
        assert found["description"].count("\n") < 8
        assert len(found["description"]) < 900
