# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What alerts say, and that all of it reaches Alertmanager, in its order, however long that is down."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import iso, moment
from ansible_collections.christmas.selfheal.plugins.module_utils.health import diagnosis
from ansible_collections.christmas.selfheal.plugins.module_utils.records.incidents import IncidentRecord
from ansible_collections.christmas.selfheal.plugins.module_utils.records.state import Pause
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import ladder
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import alert_messages, alert_outbox
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting.alert_messages import Alert

NOW = 1748311203.0


def record(cause: str = "hung", number: int = 0, at: float = NOW, **more: Any) -> IncidentRecord:
    found = {
        "id": f"20250527T020003Z-{cause}-{number}",
        "app": "shop",
        "host": "web1",
        "cause": cause,
        "meaning": "what it means",
        "evidence": ["`health`: no answer within 2 s"],
        "seen": iso(at),
        "ended": iso(at + 4.2),
        "seconds": 4.2,
        "remedies": [],
        "hold": "",
        "next_step": "Read the evidence.",
        **more,
    }
    return cast(IncidentRecord, found)


PAUSE: Pause = {"until": NOW, "reason": "migration", "since": moment(NOW - 60.0)}
TRIED = [
    {"name": "restart", "done": True, "result": "restarted", "seconds": 0.6},
    {"name": "recreate", "done": False, "result": "no such image", "seconds": 0.1},
    {"name": "restart", "done": True, "result": "restarted", "seconds": 0.6},
]
UPSTREAM: dict[str, Any] = {"cause": "upstream_down", "evidence": ["supabase: it answers 503"]}
PORT: dict[str, Any] = {"cause": "port_taken", "evidence": ["port 8000 is held by nginx (pid 123)"]}

HOLDER = "the container blog-web-1 of the compose project blog in /srv/blog"
HELD: dict[str, Any] = {"cause": "port_taken", "evidence": [f"port 8000 is held by {HOLDER}"]}

# id, the alert, texts of the summary, texts of the description
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
        ["시도: 재시작, 컨테이너 재생성 (실패)", "다음 할 일: 인시던트"],
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
    (alert_messages.watchdog("shop", "web1"), ("SelfhealWatchdog", "none", "none", "watchdog")),
]


@pytest.mark.parametrize(
    ("alert", "labels"), LABELS, ids=[alert["labels"]["alertname"] + alert["labels"]["severity"] for alert, _ in LABELS]
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


# --- the outbox ------------------------------------------------------------------------------------------------------


class Alertmanager:
    """What the real one does, as far as it matters here; the scenario `alerting` runs the real one."""

    def __init__(self) -> None:
        self.up = True
        self.fired: dict[str, float] = {}
        self.sent: list[tuple[str, str]] = []

    def take(self, posts: list[Alert], now: float) -> None:
        for post in posts:
            assert post["startsAt"] <= post["endsAt"], "refused, and all of the post with it"
            name = f"{post['labels']['alertname']} {post['labels']['incident']}"
            if post["endsAt"] > iso(now):
                if name not in self.fired:
                    self.sent.append((name, "firing"))
                    self.fired[name] = now
            elif name in self.fired:
                assert now - self.fired[name] >= alert_outbox.APART_SECONDS, (
                    "an end right after its beginning is not sent"
                )
                self.sent.append((name, "resolved"))


class Host:
    """One watcher with its clock, its state file and its Alertmanager."""

    def __init__(self) -> None:
        self.now = NOW
        self.outbox: list[Any] = []
        self.manager = Alertmanager()

    def add(self, alert: Alert) -> None:
        before = json.loads(json.dumps(self.outbox))
        self.outbox = alert_outbox.add(self.outbox, alert, self.now)
        assert alert_outbox.dropped(before, self.outbox) == 0
        assert alert_outbox.add(self.outbox, alert, self.now) == self.outbox, "twice is once"

    def turn(self, seconds: float) -> None:
        self.now += seconds
        self.outbox = json.loads(json.dumps(self.outbox))
        sent = alert_outbox.due(self.outbox, self.now)
        if sent and self.manager.up:
            self.manager.take(sent, self.now)
            self.outbox = alert_outbox.posted(self.outbox, sent, self.now)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["open", "escalate", "resolve"]), st.integers(0, 3)),
        st.tuples(st.just("turn"), st.sampled_from([0.0, 1.0, 2.9, 3.0, 7.0, 59.0, 60.0, 61.0, 86400.0])),
        st.tuples(st.just("manager is up"), st.booleans()),
    ),
    max_size=40,
)


@given(EVENTS, st.sampled_from([1.0, 3.0, 70.0]))
def test_nothing_is_lost_and_all_comes_in_its_order(events: list[tuple[str, Any]], pace: float) -> None:
    host = Host()
    expected: dict[int, list[str]] = {}
    for what, which in events:
        if what == "turn":
            host.turn(which)
        elif what == "manager is up":
            host.manager.up = which
        elif what == "open" and which not in expected:
            expected[which] = ["open"]
            host.add(alert_messages.opened(record(number=which, at=host.now), "en"))
        elif what in ("escalate", "resolve") and "resolve" not in expected.get(which, ["resolve"]):
            expected[which] += [what] if what not in expected[which] else []
            make = alert_messages.escalated if what == "escalate" else alert_messages.resolved
            host.add(make(record(number=which, at=host.now), "en"))
    host.manager.up = True
    for _ in range(12):
        host.turn(pace)
    for which, phases in expected.items():
        identity = record(number=which)["id"]
        found = [one for one in host.manager.sent if one[0].endswith(identity)]
        wanted = [(f"SelfhealIncident {identity}", "firing")]
        wanted += [(f"SelfhealEscalated {identity}", "firing")] if "escalate" in phases else []
        assert found[: len(wanted)] == wanted
        ends = sorted((name, "resolved") for name, _ in wanted) if "resolve" in phases else []
        assert sorted(found[len(wanted) :]) == ends
    assert len(host.outbox) == sum(
        1 + ("escalate" in phases) for phases in expected.values() if "resolve" not in phases
    )
    assert alert_outbox.waiting(host.outbox) == 0


@given(st.lists(st.tuples(st.sampled_from(["open", "resolve", "turn"]), st.floats(-1e6, 1e6)), max_size=30))
def test_a_clock_that_jumps_delays_but_loses_nothing(events: list[tuple[str, float]]) -> None:
    """A moment in the future holds nothing back."""
    now = NOW
    outbox: list[Any] = []
    fired: set[Any] = set()
    ended: set[Any] = set()
    for what, seconds in [*events, ("open", 0.0), ("resolve", 0.0), *[("turn", 4.0)] * 6]:
        now += seconds
        if what == "open":
            outbox = alert_outbox.add(outbox, alert_messages.opened(record(at=now - seconds), "en"), now)
        elif what == "resolve":
            outbox = alert_outbox.add(outbox, alert_messages.resolved(record(at=now - seconds), "en"), now)
        else:
            sent = alert_outbox.due(outbox, now)
            for post in sent:
                assert post["startsAt"] <= post["endsAt"]
                (fired if post["endsAt"] > iso(now) else ended).add(post["labels"]["incident"])
            outbox = alert_outbox.posted(outbox, sent, now)
    assert (outbox, len(fired), len(ended)) == ([], 1, 1)


def test_what_fires_is_posted_every_minute_and_holds_for_five() -> None:
    host = Host()
    host.add(alert_messages.opened(record(), "en"))
    host.add(alert_messages.watchdog("shop", "web1"))
    seen = []
    for _ in range(125):
        host.now += 1
        sent = alert_outbox.due(host.outbox, host.now)
        seen += [(host.now - NOW, post["labels"]["alertname"], post["endsAt"]) for post in sent]
        host.outbox = alert_outbox.posted(host.outbox, sent, host.now)
    assert seen == [
        (second, name, iso(NOW + second + hold))
        for second in (1, 61, 121)
        for name, hold in (("SelfhealIncident", 300), ("SelfhealWatchdog", 150))
    ]


def test_a_pause_ends_with_the_words_it_had_for_that() -> None:
    pause = alert_messages.lasting_pause("shop", "web1", PAUSE, "en")
    host = Host()
    host.outbox = alert_outbox.end(host.outbox, pause, host.now)
    assert host.outbox == [], "what is not there cannot end"
    host.add(pause)
    host.turn(1.0)
    host.outbox = alert_outbox.end(host.outbox, alert_messages.lasting_pause("shop", "web1", None, "en"), host.now)
    assert alert_outbox.waiting(host.outbox) == 1
    host.now += alert_outbox.APART_SECONDS
    (post,) = alert_outbox.due(host.outbox, host.now)
    assert "the pause is over" in post["annotations"]["over"]
    assert alert_outbox.posted(host.outbox, [post], host.now) == []


def test_of_stopped_timers_those_fire_that_are_stopped_now() -> None:
    host = Host()
    shop, blog = (alert_messages.stopped_timer(name, "web1", "812", "en") for name in ("shop", "blog"))
    host.outbox = alert_outbox.only(host.outbox, alert_messages.TIMER, [shop, blog], host.now)
    host.outbox = alert_outbox.only(host.outbox, alert_messages.TIMER, [shop, blog], host.now)
    assert [one["alert"]["labels"]["app"] for one in host.outbox] == ["shop", "blog"]
    assert alert_outbox.holds(host.outbox, alert_messages.TIMER)
    host.turn(1.0)
    again = alert_messages.stopped_timer("shop", "web1", "999", "en")
    host.outbox = alert_outbox.only(host.outbox, alert_messages.TIMER, [again], host.now)
    ends = {one["alert"]["labels"]["incident"]: bool(one["end"]) for one in host.outbox}
    assert ends == {"timer-812": True, "timer-999": False}
    host.now += alert_outbox.APART_SECONDS
    found = [
        post["annotations"]["over"]
        for post in alert_outbox.due(host.outbox, host.now)
        if post["endsAt"] <= iso(host.now)
    ]
    assert len(found) == 2
    assert found[0] == "shop @ web1: the timer of its watcher runs again"


def test_the_outbox_is_bounded_and_says_what_it_gives_up() -> None:
    outbox: list[Any] = alert_outbox.add([], alert_messages.watchdog("shop", "web1"), NOW)
    lost = 0
    for number in range(alert_outbox.BOUND + 30):
        for make in (alert_messages.opened, alert_messages.resolved):
            after = alert_outbox.add(outbox, make(record(number=number), "en"), NOW + number)
            lost += alert_outbox.dropped(outbox, after)
            outbox = after
    assert len(outbox) == alert_outbox.BOUND
    assert lost == 31
    kept = [one["alert"]["labels"]["incident"].rpartition("-")[2] for one in outbox]
    assert kept == ["watchdog", *(str(number) for number in range(31, alert_outbox.BOUND + 30))]


@pytest.mark.parametrize(
    "damage",
    [None, "text", {}, {"key": "x", "alert": {"labels": {}}}, {"key": None, "alert": None, "end": 3}],
    ids=["null", "text", "empty", "no labels", "other types"],
)
def test_an_entry_without_its_shape_is_passed_over(damage: Any) -> None:
    outbox = [damage, *alert_outbox.add([], alert_messages.opened(record(), "en"), NOW), damage]
    assert len(alert_outbox.due(outbox, NOW)) == 1
    assert alert_outbox.waiting(outbox) == 1
    assert len(alert_outbox.add(outbox, alert_messages.escalated(record(), "en"), NOW)) == 2
