# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Receivers are notified of an incident's start, escalation and end by Telegram, mail and Slack, once each.

The tests run in the order of an outage. Each leaves a healthy app, and the last ones check all messages.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from shared.acting import HOST_PLAY, paused, until

APP = "christmas-backend"
CONTAINER = f"{APP}-backend-1"
HOST = "molecule-alerting"
ABOUT = f"{APP} @ {HOST}:"
STATE = f"/var/lib/selfheal/{APP}"
UNIT = "prometheus-alertmanager.service"
FOLDER = "/etc/prometheus/alertmanager-secrets"
FILES = ["deadman", "email-3", "slack-4", "slack-5", "telegram-1", "telegram-2"]
CRITICAL_ONLY = "telegram -1002"
PORT_UNIT = "selfheal-test-port.service"


def healthy(host: Any) -> bool:
    return bool(host.run("selfheal probe").rc == 0)


def waiting(host: Any) -> int:
    return int(json.loads(host.run("selfheal status --json").stdout)["alerts_waiting"])


def started(host: Any) -> str:
    return str(host.check_output(f"docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}' {CONTAINER}"))


def says(host: Any, command: str, pattern: str) -> bool:
    return re.search(pattern, host.check_output(command)) is not None


def fire(host: Any, name: str, severity: str, app: str, summary: str) -> None:
    """Send an alert as monitoring would."""
    labels = f"alertname={name} severity={severity} app={app} host={HOST}"
    host.check_output(
        f"amtool --alertmanager.url=http://127.0.0.1:9093 alert add {labels} --annotation='summary=\"{summary}\"'"
    )


def has(message: Any, title: str, *lines: str) -> None:
    """Assert a message's title and lines, and that it fits a phone."""
    assert re.search(title, message.title), message
    missing = [line for line in lines if not re.search(line, message.text, re.MULTILINE)]
    assert missing == [], message
    assert len(message.title) <= 120, message
    assert len(message.text) <= 700, message
    assert message.text.count("\n") <= 8, message


def test_alertmanager_is_set_up(host: Any) -> None:
    assert host.service("prometheus-alertmanager").is_enabled
    assert host.check_output("amtool check-config /etc/prometheus/alertmanager.yml >/dev/null && echo good") == "good"
    listening = host.check_output("ss -Hltnp | grep prometheus-aler").splitlines()
    assert [line.split()[3] for line in listening] == ["127.0.0.1:9093"]
    assert sorted(host.file(FOLDER).listdir()) == FILES
    for name in FILES:
        file = host.file(f"{FOLDER}/{name}")
        assert (file.mode, file.user, file.group) == (0o640, "root", "prometheus"), name


@pytest.mark.usefixtures("trusted")
def test_unreachable_receivers_are_in_metrics_and_journal(host: Any) -> None:
    """The receivers do not listen yet. The last test checks that the journal shows no secret of theirs."""
    fire(host, "EarlyBird", "critical", "shop", "before anybody listens")
    metrics = 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:9093/metrics").read().decode())'
    for kind in ("telegram", "email", "slack"):
        failed = f'alertmanager_notification_requests_failed_total{{integration="{kind}"}} [1-9]'
        until(functools.partial(says, host, f"python3 -c '{metrics}'", failed))
    assert says(host, f"journalctl --unit {UNIT} --no-pager --output cat", "integration=slack.*connection refused")


def test_a_receiver_that_was_unreachable_is_notified_later(receivers: Any) -> None:
    for one in receivers.wait("before anybody listens", *receivers.everything, CRITICAL_ONLY):
        has(one, "^🔴 before anybody listens$")


def test_opened_and_resolved(host: Any, receivers: Any) -> None:
    with paused(host):
        # The watcher must not see it stopped before it is removed.
        host.check_output(f"docker rm --force {CONTAINER}")
    for one in receivers.wait(f"{ABOUT} a container is missing"):
        has(
            one,
            rf"^🟡 {ABOUT} a container is missing$",
            r"^The host is healing it",
            rf"^• .*{CONTAINER}|^• .*backend",
            r"^Next: ",
        )
    for one in receivers.wait("healthy again"):
        has(
            one,
            rf"^🟢 {ABOUT} healthy again after [\d.]+ s \(a container is missing\)$",
            r"^Cured by: container started$",
            r"^MTTR [\d.]+ s, from \d\d:\d\d:\d\d to \d\d:\d\d:\d\d UTC$",
        )
    assert receivers.of(ABOUT, CRITICAL_ONLY) == [], "a person was called without need"


def test_escalated(host: Any, receivers: Any) -> None:
    """An unmanaged process takes the port, and no remedy may end it."""
    host.check_output(
        f"mkdir -p /run/nothing && systemd-run --quiet --unit={PORT_UNIT}"
        " --property=Restart=always --property=RestartSec=50ms --property=StartLimitIntervalSec=0"
        " python3 -m http.server --directory=/run/nothing 8000"
    )
    taken = r"its port is taken by python3 \(pid \d+\)"
    try:
        with paused(host):
            # The test needs the process, not the app, to hold the port.
            host.check_output(f"docker stop -t 1 {CONTAINER}")
            until(lambda: "python3" in host.check_output("ss -Hltnp 'sport = :8000'"))
        for one in receivers.wait(f"{ABOUT} needs a person", *receivers.everything, CRITICAL_ONLY):
            has(one, rf"^🔴 {ABOUT} needs a person: {taken}$", "^Nothing could be tried", "^• port 8000", "^Next: Stop")
        for one in receivers.wait(f"{ABOUT} its port is taken"):
            has(one, rf"^🟡 {ABOUT} {taken}$", "^The host leaves a foreign process alone", "^Next: Stop that process")
    finally:
        host.run(f"systemctl stop {PORT_UNIT}; systemctl reset-failed {PORT_UNIT}; rmdir /run/nothing")
    for one in receivers.wait("(its port is taken", *receivers.everything, CRITICAL_ONLY):
        has(one, rf"^🟢 {ABOUT} healthy again after .* \({taken}\)$", "^MTTR ")


def test_alerts_are_kept_while_alertmanager_is_down(host: Any, receivers: Any) -> None:
    # Without it the watcher would wait longer, because of the incidents before.
    host.check_output("selfheal resume")
    host.check_output(f"systemctl stop {UNIT}")
    try:
        host.check_output(f"docker top {CONTAINER} -eo pid | tail -n +2 | xargs kill -STOP")
        until(lambda: "hung" in host.check_output("selfheal incidents --last 1"))
        # The incident ends when the container has passed its own health check too.
        until(lambda: host.run("selfheal status").rc == 0, why=lambda: host.run("selfheal status").stdout)
        until(lambda: waiting(host) == 1)
        assert "alerts not delivered yet: 1" in host.check_output("selfheal status")
        assert receivers.of("does not answer") == []
    finally:
        host.check_output(f"systemctl start {UNIT}")
    for one in receivers.wait(f"{ABOUT} it takes requests and does not answer"):
        has(one, "^🟡", "^• ")
    for one in receivers.wait("(it takes requests and does not answer)"):
        has(one, "^🟢", "^Cured by: restart$", "^MTTR ")
    until(lambda: waiting(host) == 0)


def test_an_upstream_that_is_down_mutes_other_warnings(host: Any, receivers: Any) -> None:
    before = started(host)
    standin = f"{host.backend.host.name.rpartition('.')[0]}.10"
    rule = f"-d {standin} -p tcp --dport 8000 -j REJECT --reject-with tcp-reset"
    host.check_output(f"iptables -I OUTPUT {rule} && iptables -I FORWARD {rule}")
    try:
        for one in receivers.wait(f"{ABOUT} upstream supabase is down"):
            has(one, "^🟡", "^No restart: the app is not at fault", "^• .*supabase", "^Next: Look at the status page")
        fire(host, "Slow", "warning", APP, "slow answers")
        fire(host, "DiskBreaks", "critical", APP, "the disk breaks")
        # Korean, and characters that are markup in Slack or Telegram.
        fire(host, "Elsewhere", "warning", "shop", "다른 앱 <!channel> & my_app *매우* [느림]")
        for one in receivers.wait("다른 앱"):
            has(one, r"^🟡 다른 앱 <!channel> & my_app \*매우\* \[느림\]$")
        receivers.wait("the disk breaks", *receivers.everything, CRITICAL_ONLY)
        assert receivers.of("slow answers") == [], "a warning was sent that the upstream explains"
    finally:
        host.check_output(f"iptables -D OUTPUT {rule}; iptables -D FORWARD {rule}")
    for one in receivers.wait("(upstream supabase is down)"):
        has(one, "^🟢", "^No remedy was needed", "^MTTR ")
    assert started(host) == before, "a restart, though the app was not at fault"
    # The warning still fires, and no upstream explains it any more.
    receivers.wait("slow answers")


RECEIVER = {"kind": "slack", "url": "https://hooks.slack.com/services/T0/B0/5f1c0a7e9b3d4d2688aa"}
BAD: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("no entry", {"alerting_receivers": []}, ("alerting_receivers: it is empty for molecule-alerting", "Add an entry")),
    (
        "a key is missing",
        {"alerting_receivers": [RECEIVER, {"kind": "telegram", "token": "1:0a7e9b3d4d2688aa5f1c0a7e9b3d4d2688a"}]},
        ("alerting_receivers, entry 2 (telegram): chat_id is missing", "Add `chat_id: …`"),
    ),
    (
        "a placeholder",
        {"alerting_receivers": [{"kind": "telegram", "chat_id": 1, "token": "your-telegram-bot-token"}]},
        ("alerting_receivers_1_token", "placeholder", "BotFather"),
    ),
    ("an invalid kind", {"alerting_receivers": [{"kind": "pager"}]}, ("pager", "telegram, email, slack")),
    (
        "an address that documentation uses",
        {"alerting_receivers": [{"kind": "email", "to": ["a@example.com"], "from": "b@c.de", "smarthost": "c.de"}]},
        ("a@example.com is an example address", "smarthost has no port"),
    ),
]


@pytest.mark.parametrize(("extra", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_ends_before_the_host_is_touched(
    play: Callable[..., Any], extra: dict[str, Any], words: tuple[str, ...]
) -> None:
    ended = play("site.yml", "-vvv", extra=extra)
    output = " ".join(ended.stdout.split())
    assert ended.returncode != 0, output[-2000:]
    assert [word for word in words if word not in output] == [], output[-3000:]
    assert HOST_PLAY not in output, "the host was reached"
    assert RECEIVER["url"] not in output
    assert "0a7e9b3d4d2688aa5f1c" not in output


def test_secret_files_are_restored_and_not_shown(host: Any, play: Callable[..., Any], receivers: Any) -> None:
    """A missing file is written, a stale one is removed, and no verbosity shows their content."""
    host.check_output(f"cd {FOLDER} && mv slack-4 slack-9")
    ended = play("site.yml", "-vvv", "--diff", "--tags", "alerting")
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert sorted(host.file(FOLDER).listdir()) == FILES
    assert (host.file(f"{FOLDER}/slack-4").mode, host.file(f"{FOLDER}/slack-4").group) == (0o640, "prometheus")
    assert [name for name, value in receivers.secrets.items() if value in ended.stdout] == []


def test_a_change_by_hand_is_reported_with_who_was_logged_in(host: Any, receivers: Any) -> None:
    path = f"/opt/{APP}/compose.yaml"
    host.check_output(f"cp -p {path} /root/before && echo '# mine' >> {path}")
    for one in receivers.wait(f"{ABOUT} changed by hand: {path}"):
        has(
            one,
            rf"^🟡 {ABOUT} changed by hand: {path}$",
            f"^• {path}: other content$",
            r"^At .* UTC\. Logged in over ssh: .*root from ",
            "^Next: write it into the inventory",
        )
    assert says(host, "selfheal status", rf"{path} \(other content\)")
    host.check_output(f"cp -p /root/before {path} && rm /root/before")
    for one in receivers.wait(f"{ABOUT} as desired again: {path}"):
        has(one, "^🟢 ")


def test_a_long_pause_is_reported(host: Any, receivers: Any) -> None:
    host.check_output("selfheal pause --for 1h --reason 'a new disk'")
    # As if it had begun a minute ago, the shortest time that may be configured.
    older = "import json; d = json.load(open(f)); d['paused']['since']['monotonic'] -= 60; json.dump(d, open(f, 'w'))"
    host.check_output(f"python3 -c \"f = '{STATE}/orders.json'; {older}\"")
    for one in receivers.wait(f"{ABOUT} healing is paused until"):
        has(one, r"^🟡 .* until \d{4}-\d\d-\d\d \d\d:\d\d UTC$", "Reason: a new disk$", "^Next: `selfheal resume`")
    host.check_output("selfheal resume")
    for one in receivers.wait(f"{ABOUT} the pause is over"):
        has(one, "^🟢 .*: the pause is over, the host heals again$")


def test_the_dead_mans_signal_is_repeated(receivers: Any) -> None:
    until(lambda: len(receivers.signals) >= 2, 75.0)


def test_every_receiver_was_notified_once_and_in_the_same_words(host: Any, receivers: Any) -> None:
    until(lambda: waiting(host) == 0)
    assert receivers.problems == []
    places: dict[tuple[str, str], list[str]] = {}
    for one in receivers.received:
        places.setdefault((one.title, one.text), []).append(one.where)
    all_of_them = sorted(receivers.everything)
    by_title = {title: sorted(found) for (title, _unused), found in places.items()}
    heard = {title: [place for place in found if place != CRITICAL_ONLY] for title, found in by_title.items()}
    assert heard == dict.fromkeys(heard, all_of_them)
    assert Counter(title[0] for title, found in by_title.items() if CRITICAL_ONLY in found) == {"🔴": 3, "🟢": 1}


def test_no_secret_is_anywhere_else(host: Any, receivers: Any, leaks: Callable[[str], list[str]]) -> None:
    pattern = "|".join(receivers.secrets.values())
    places = "/etc /opt /run /tmp /usr/local /var"
    found = host.run(f"grep -rlE '{pattern}' {places} --exclude-dir=docker 2>/dev/null").stdout
    assert sorted(found.split()) == [f"{FOLDER}/{name}" for name in FILES]
    shown = host.check_output("journalctl --no-pager; ps axww") + json.dumps([one.text for one in receivers.received])
    assert [name for name, value in receivers.secrets.items() if value in shown] == []
    assert leaks(shown) == []
