# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page agrees with Prometheus and the incidents: while the app is healthy, during an incident, and after it.

With SELFHEAL_SCREENSHOTS=1 the tests take the screenshots of docs/.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import ssl
import subprocess
import time
import urllib.parse
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from seeing import ADDRESS, APP, DESK, HOST, PASSWORD, PHONE, USER, Look, Prometheus
from shared import history
from shared.acting import HOST_PLAY, incidents, slow, until

LABELS = f'app="{APP}",host="{HOST}"'
ROUTE = "{table} {action} {chain} -d 172.30.57.10 -p tcp --dport 8000 -j REJECT --reject-with tcp-reset"
PAGE_BYTES = 150 * 1000
# Prometheus takes a sample every ten seconds, a rule of minutes one a minute.
SETTLED = 300.0
WEEK = (
    history.Episode(1 * 86400 + 9 * 3600, 12, 0.0, 1.0, 2.0),
    history.Episode(3 * 86400 + 3600, 40, 0.5, 0.1, 2.4),
    history.Episode(5 * 86400, 720, None),
)
# The week and today, and one day more after midnight.
DAYS = (8, 9)


def ask(path: str = "", password: str | None = PASSWORD, method: str = "GET", body: str = "") -> tuple[int, str]:
    """One request from outside, over TLS: (status, text)."""
    address = urllib.parse.urlsplit(ADDRESS)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(str(address.hostname), address.port, context=context, timeout=20)
    given = {} if password is None else {"Authorization": f"Basic {b64encode(f'{USER}:{password}'.encode()).decode()}"}
    try:
        connection.request(method, "/" + path, body or None, given)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()


def route(host: Any, action: str) -> None:
    """Block (-I) or unblock (-D) this host's route to Supabase. Other hosts of the lab notice nothing."""
    for chain in ("OUTPUT", "FORWARD"):
        host.run(ROUTE.format(table="iptables", action=action, chain=chain))


def unreadable(shown: Any) -> list[tuple[str, str]]:
    """Accessibility problems by axe's rules, and truncated texts: (rule, place)."""
    faults = Axe().run(shown.page).response["violations"]
    bad = [(one["id"], one["nodes"][0]["html"]) for one in faults if one["impact"] in ("serious", "critical")]
    width = shown.page.evaluate("document.documentElement.scrollWidth")
    return bad + [("width", f"{width} px")] * (width > shown.page.viewport_size["width"])


def photograph(shown: Any, name: str, repository: Path) -> None:
    if os.environ.get("SELFHEAL_SCREENSHOTS"):
        if shown.page.viewport_size["width"] == DESK[0]:
            shown.page.set_viewport_size({"width": DESK[0], "height": 1010})
        shown.page.wait_for_timeout(500)
        shown.page.screenshot(path=repository / "docs" / "images" / f"{name}.png", full_page=False)


@pytest.fixture(scope="module")
def week(host: Any, prometheus: Prometheus, repository: Path) -> None:
    """A week before today, with an outage, a bad hour and half a day without measurements."""
    today = int(host.check_output("date +%s")) // 86400 * 86400
    text = history.openmetrics({"app": APP, "host": HOST}, today - 7 * 86400, 7 * 1440, WEEK)
    command = ["ssh", "-F", "../shared/ssh_config", "172.30.57.47", "cat >/run/week.om"]
    subprocess.run(command, input=text, text=True, check=True, cwd=repository / "molecule" / "status-page")
    host.check_output("promtool tsdb create-blocks-from openmetrics /run/week.om /var/lib/prometheus/metrics2")
    host.check_output("chown -R prometheus: /var/lib/prometheus/metrics2 && systemctl restart prometheus")
    expression = f"count_over_time(app:state:now{{{LABELS}}}[8d]) > 9000"
    until(lambda: prometheus.ready)
    until(lambda: prometheus.query(expression), SETTLED, lambda: prometheus.query("app:state:now"))


@pytest.fixture(scope="module")
def settled(host: Any, prometheus: Prometheus, week: None) -> None:
    """Wait until every metric has a value, and all are good."""
    for expression in (
        f"app:state:now{{{LABELS}}} == 1",
        f"app:error_budget:left{{{LABELS}}}",
        f"selfheal_healthy{{{LABELS}}} == 1",
        f"container:cpu:ratio{{{LABELS}}}",
        f'host:cpu:ratio{{host="{HOST}"}}',
    ):
        until(functools.partial(prometheus.query, expression), SETTLED, functools.partial(str, expression))


@pytest.fixture
def well(prometheus: Prometheus, settled: None) -> None:
    """Wait until the last minute was good too: on a busy machine a check from outside may fail now and then."""
    expression = f"app:state:now{{{LABELS}}} == 1"
    until(lambda: prometheus.query(expression), SETTLED, lambda: expression)


def number(text: str) -> float:
    return float(re.sub(r"[^0-9.\-]", "", text.split()[0]))


def secrets(host: Any) -> tuple[str, str]:
    """The password, and its hash in HAProxy's configuration."""
    found = re.search(r" password (\S+)", host.file("/etc/haproxy/selfheal/_status-page.cfg").content_string)
    assert found
    return PASSWORD, found[1]


def test_no_answer_without_the_password(host: Any) -> None:
    for password in (None, "wrong", PASSWORD[:-1]):
        status, text = ask(password=password)
        assert (status, APP in text) == (401, False)
    assert ask()[0] == 200
    assert host.socket("tcp://127.0.0.1:9418").is_listening
    assert "*:9418" not in host.check_output("ss -Hltn")


def test_the_password_is_nowhere_else(host: Any, play: Callable[..., Any]) -> None:
    found = host.run(f"grep -rlF {PASSWORD} /etc /usr/local /var/log /run 2>/dev/null")
    assert found.stdout == ""
    shown = play(
        "site.yml", "-vvv", "--check", "--diff", "--tags", "status_page", extra={"status_page_user": "another"}
    )
    assert shown.returncode == 0, shown.stdout[-2000:]
    assert [one for one in secrets(host) if one in shown.stdout] == []
    config = host.file("/etc/haproxy/selfheal/_status-page.cfg")
    assert (config.mode, config.user) == (0o600, "root")
    assert host.run("journalctl --no-pager | grep -cF " + PASSWORD).stdout.strip() == "0"


QUERY = urllib.parse.quote('count({__name__=~".+"})')


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"?query={QUERY}", 400),
        (f"?app={QUERY}", 404),
        (f"?app={APP}&lang=ko&query={QUERY}", 400),
        (f"?app={APP}&app={APP}", 400),
        (f"api/v1/query?query={QUERY}", 404),
        ("../etc/passwd", 404),
        ("page.css/../../../etc/passwd", 404),
        (f"?app={urllib.parse.quote('<script>alert(1)</script>')}", 404),
    ],
)
def test_a_client_cannot_send_a_query(path: str, status: int) -> None:
    found, text = ask(path)
    assert found == status
    assert "<script>alert" not in text
    assert "root:" not in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_can_only_be_read(method: str) -> None:
    assert ask("api/v1/admin/tsdb/delete_series", method=method, body="match[]=up")[0] == 405


# Bad variables, and words of the message. The host is not touched.
REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"status_page_password": "your-status-page-password"}, ["status_page_password", "openssl rand"]),
    ({"status_page_password": "Kx8vQ2"}, ["status_page_password", "16"]),
    ({"status_page_password": "Kx8vQ2mé" * 32}, ["status_page_password: it is longer than the 256 bytes"]),
    (
        {"status_page_password_hash": "$5$x", "status_page_certificate": "", "status_page_public_port": 8000},
        [
            "status_page_password_hash: status_page_password is set, too",
            "status_page_certificate: it is empty, so the password would cross the network unencrypted",
            "status_page_public_port: 8000 is also the port of load_balancer_port",
        ],
    ),
    (
        {"status_page_password": "", "status_page_password_hash": "plain", "status_page_balancer": False},
        ["status_page_password_hash: it is not a SHA-256", "status_page_balancer: there is a password, and no HAProxy"],
    ),
    ({"monitoring_enabled": False, "status_page_enabled": True}, ["the page would have nothing to show"]),
    (
        {"status_page_certificate": "/etc/ssl/my page.pem"},
        ["status_page_certificate: /etc/ssl/my page.pem has a space"],
    ),
]


@pytest.mark.parametrize(
    ("given", "said"),
    REFUSED,
    ids=["placeholder", "short", "long", "three things", "no balancer", "no monitoring", "a space"],
)
def test_invalid_variables_are_refused(play: Callable[..., Any], given: dict[str, Any], said: list[str]) -> None:
    shown = play("site.yml", extra=given)
    text = " ".join(re.sub(r"[│\n]", " ", shown.stdout).split())
    assert shown.returncode != 0
    assert [one for one in said if one not in text] == []
    assert HOST_PLAY not in text
    password = given.get("status_page_password")
    assert not password or password not in text
    assert PASSWORD not in text


def test_haproxys_error_about_a_bad_certificate_is_shown(host: Any, play: Callable[..., Any]) -> None:
    before = host.check_output("sha256sum /etc/haproxy/selfheal/_status-page.cfg")
    shown = play("site.yml", "--tags", "status_page", extra={"status_page_certificate": "/etc/hostname"})
    assert shown.returncode != 0
    text = " ".join(shown.stdout.split())
    assert "haproxy rejects it" in text and "certificate" in text and "/etc/hostname" in text, text[-2000:]
    assert [one for one in secrets(host) if one in shown.stdout] == []
    assert host.check_output("sha256sum /etc/haproxy/selfheal/_status-page.cfg") == before


def test_the_page_of_a_healthy_app(host: Any, prometheus: Prometheus, well: None, look: Look, repository: Path) -> None:
    with look() as shown:
        assert shown.state == "up", shown.page.inner_text("main")
        assert shown.page.title() == f"{APP}: All is well"
        for figure, expression, rounded in (
            ("budget_left", f"app:error_budget:left{{{LABELS}}}", 0.2),
            ("host_memory", f'host:memory:ratio{{host="{HOST}"}}', 0.6),
        ):
            least, most = prometheus.lately(expression)
            assert least * 100 - rounded <= number(shown.figure(figure)) <= most * 100 + rounded
        assert shown.figure("serving") == "2"
        assert shown.page.locator('[data-figure="instance"]').all_inner_texts() == [
            f"{APP}-backend-1",
            f"{APP}-backend-2",
        ]
        release = json.loads(host.check_output(f"cat /opt/{APP}/releases/last-good/release.json"))
        assert release["time"][:16].replace("T", " ") == shown.page.locator("[data-figure=release] time").get_attribute(
            "title"
        )
        assert shown.figure("backup") == shown.figure("drift") == "not set up"
        photograph(shown, "status-page", repository)


def test_the_bars_of_the_week(settled: None, look: Look, prometheus: Prometheus) -> None:
    with look() as shown:
        bars = shown.page.locator(".days > span")
        # The measured days: the week, and today.
        assert bars.count() in DAYS
        kinds = [str(bars.nth(at).get_attribute("class")) for at in range(7)]
        assert kinds == ["up", "down", "up", "degraded", "up", "up", "up"]
        assert str(bars.nth(1).get_attribute("title")).endswith(": down 12 min")
        assert str(bars.nth(3).get_attribute("title")).endswith(": degraded 40 min")
        first = str(bars.nth(0).get_attribute("title")).partition(":")[0]
        assert shown.figure("measured") == f"measured since {first}"
        spans = shown.page.locator("[data-figure^=uptime_]")
        assert [one.get_attribute("data-figure") for one in spans.all()] == ["uptime_day", "uptime_7", "uptime_all"]
        # All measured minutes, and those that were down, counted by Prometheus.
        samples = f"app:state:now{{{LABELS}}}"
        looked = prometheus.value(f"count_over_time({samples}[9d])") or 0.0
        down = prometheus.value(f"count_over_time(({samples} == 0)[9d:1m])") or 0.0
        assert number(shown.figure("uptime_all")) == pytest.approx(100 * (1 - down / looked), abs=0.02)


def test_it_is_small_loads_from_its_host_only_and_logs_nothing(settled: None, look: Look) -> None:
    with look() as shown:
        shown.page.wait_for_selector(".drawn canvas")
        assert shown.said == []
        assert {urllib.parse.urlsplit(one).netloc for one in shown.asked} == {urllib.parse.urlsplit(ADDRESS).netloc}
        assert 10_000 < shown.transferred <= PAGE_BYTES
        first = "performance.getEntriesByName('first-contentful-paint')"
        until(lambda: shown.page.evaluate(f"{first}.length > 0"))
        paint = shown.page.evaluate(f"{first}[0].startTime")
        print(f"transferred {shown.transferred} bytes, first content after {paint:.0f} ms")


def test_it_refreshes_itself(settled: None, look: Look) -> None:
    """The page does so every half minute, and draws the charts again."""
    with look() as shown:
        before = shown.page.inner_text("#asked")
        until(lambda: shown.page.evaluate("refresh()") is None and shown.page.inner_text("#asked") != before, 20.0)
        # Each chart has a canvas for its lines, and one for the pointer.
        assert shown.page.locator(".chart canvas").count() == 2 * len(shown.data["charts"]) > 0
        assert shown.said == []


def test_without_javascript_all_figures_are_there(well: None, look: Look) -> None:
    with look(script=False) as shown:
        assert shown.state == "up"
        assert "Charts need JavaScript" in shown.page.inner_text("main")
        assert shown.figure("budget_left").endswith(" %")
        assert shown.page.locator(".days > span").count() in DAYS


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_it_is_accessible(
    settled: None, look: Look, language: str, scheme: str, size: tuple[int, int], repository: Path
) -> None:
    with look(language=language, scheme=scheme, size=size) as shown:
        assert shown.page.locator("html").get_attribute("lang") == language
        shown.page.wait_for_selector(".drawn canvas")
        assert unreadable(shown) == []
        if (language, scheme, size) == ("ko", "light", DESK):
            photograph(shown, "status-page.ko", repository)


@pytest.fixture(scope="module")
def outage(host: Any, prometheus: Prometheus, settled: None) -> Iterator[None]:
    """The host cannot reach Supabase: an incident that no remedy can end."""
    route(host, "-I")
    try:
        until(
            lambda: (
                prometheus.query(f"selfheal_incident_open{{{LABELS}}} == 1")
                and (prometheus.value(f"app:state:now{{{LABELS}}}") or 0.0) < 1
            ),
            SETTLED,
            lambda: incidents(host)[:1],
        )
        yield
    finally:
        route(host, "-D")


def test_during_an_incident(host: Any, outage: None, look: Look, repository: Path) -> None:
    record = incidents(host)[0]
    assert (record["cause"], record["healthy"]) == ("upstream_down", False)
    with look(scheme="dark", size=PHONE, scale=2) as shown:
        assert shown.state == "down"
        assert "Upstream supabase is down" in shown.page.inner_text(".headline")
        assert shown.figure("next") == "Next: Look at the status page of the upstream."
        assert shown.page.locator("[data-incident]").first.get_attribute("data-incident") == record["id"]
        assert shown.page.locator('[data-figure="took"]').first.inner_text() == "goes on"
        assert shown.said == []
        assert unreadable(shown) == []
        photograph(shown, "status-page-incident", repository)
    with look(language="ko") as shown:
        assert "외부 서비스 supabase 장애" in shown.page.inner_text(".headline")
        assert shown.figure("next") == "다음 할 일: 외부 서비스의 상태 페이지를 확인하세요."
        assert unreadable(shown) == []


def test_after_an_incident(host: Any, prometheus: Prometheus, outage: None, look: Look) -> None:
    route(host, "-D")
    until(lambda: incidents(host)[0]["healthy"], SETTLED)
    # And an incident that the watcher ends.
    before = len(incidents(host))
    host.check_output(f"docker stop -t 0 {APP}-backend-1 {APP}-backend-2")
    until(lambda: len(incidents(host)) > before and all(one["healthy"] for one in incidents(host)), SETTLED)
    for name in ("selfheal_healthy", "app:state:now"):
        until(functools.partial(prometheus.query, f"{name}{{{LABELS}}} == 1"), SETTLED, functools.partial(str, name))
    records = incidents(host)
    mean = sum(one["seconds"] for one in records) / len(records)
    with look() as shown:
        assert shown.state == "up"
        # Older incidents are behind a click.
        for summary in shown.page.locator("summary").all():
            summary.click()
        rows = shown.page.locator("tr:has([data-incident])")
        assert rows.count() == len(records)
        for at, record in enumerate(records):
            row = rows.nth(at)
            assert row.locator("[data-incident]").get_attribute("data-incident") == record["id"]
            took = row.locator('[data-figure="took"]').inner_text()
            if took.endswith(" s") and "min" not in took:
                assert float(took.split()[0]) == pytest.approx(record["seconds"], abs=0.06)
            assert "not needed" in row.inner_text()
        assert "Container started" in rows.nth(0).inner_text()
        month = shown.figure("month")
        assert month.startswith(f"30 days: {len(records)} · ")
        assert "100 % without a person" in month
        print(f"mean time to recover {mean:.1f} s; the page says: {month}")


def test_without_prometheus(host: Any, settled: None, look: Look) -> None:
    """Incidents and releases are still shown, and unknown values are not shown as good."""
    host.check_output("systemctl stop prometheus")
    try:
        # Longer than a page is cached.
        time.sleep(6)
        with look() as shown:
            assert shown.state == "unknown"
            assert "Prometheus does not answer" in shown.page.inner_text(".headline")
            assert shown.page.locator("[data-incident]").count() > 0
            assert shown.said == []
    finally:
        host.check_output("systemctl start prometheus")


def test_password_guesses_are_limited(host: Any) -> None:
    """The limit is 60 in a minute for one address."""
    clear = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/haproxy/admin.sock')"
    clear += "; s.sendall(b'clear table selfheal-status-page\\n')"
    host.check_output(f'python3 -c "{clear}"')
    with ThreadPoolExecutor(4) as guesses:
        statuses = list(guesses.map(lambda at: ask(password=f"guess{at}")[0], range(90)))
    assert statuses[:40] == [401] * 40
    assert statuses[-1] == 429
    # Clear HAProxy's table, so that later tests need not wait until its entries expire. An entry stays while a
    # connection uses it.
    until(lambda: host.check_output(f'python3 -c "{clear}"') == "" and ask()[0] == 200)


def test_the_server_sees_little(host: Any) -> None:
    """It is not root, and cannot read the env."""
    assert ask()[0] == 200
    pid = host.check_output("systemctl show --property MainPID --value selfheal-page.service")
    assert pid != "0"
    assert host.check_output(f"stat -c %u /proc/{pid}") != "0"
    within = f"nsenter --target {pid} --mount ls"
    assert host.check_output(f"{within} /opt/{APP}").split() == ["releases"]
    assert host.check_output(f"{within} /var/lib/selfheal/{APP}").split() == ["incidents"]
    assert host.check_output(f"{within} /etc").split() == ["localtime", "selfheal-page"]
    assert host.check_output(f"{within} /root") == ""
    memory = int(host.check_output(f"awk '/VmRSS/ {{print $2}}' /proc/{pid}/status"))
    print(f"the server takes {memory / 1024:.0f} MB while somebody looks")
    host.check_output(f"kill -9 {pid}")
    assert ask()[0] == 200, "a killed server was not started again"


@slow
def test_the_server_exits_without_requests(host: Any) -> None:
    assert ask()[0] == 200
    state = "systemctl is-active selfheal-page.service"
    until(
        lambda: host.run(state).stdout.strip() == "inactive",
        90.0,
        lambda: host.run("systemctl status selfheal-page").stdout,
    )
    begun = time.monotonic()
    assert ask()[0] == 200
    print(f"the first answer took {time.monotonic() - begun:.2f} s, the server's start included")
