# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every alert reaches Alertmanager, in its order, however long that is down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import iso
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import alert_messages, alert_outbox
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting.alert_messages import Alert
from ansible_collections.christmas.selfheal.tests.unit.reporting.factories import NOW, PAUSE, record


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
    for _unused in range(12):
        host.turn(pace)
    for which, phases in expected.items():
        identity = record(number=which)["id"]
        found = [one for one in host.manager.sent if one[0].endswith(identity)]
        wanted = [(f"SelfhealIncident {identity}", "firing")]
        wanted += [(f"SelfhealEscalated {identity}", "firing")] if "escalate" in phases else []
        assert found[: len(wanted)] == wanted
        ends = sorted((name, "resolved") for name, _unused in wanted) if "resolve" in phases else []
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
    for _unused in range(125):
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
