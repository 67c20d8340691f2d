# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which lines of logs are left out: requests of our own checks that were answered well, and repetitions."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry.log_lines import Line, Reading
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import parse_checks

CHECKS = parse_checks(
    [{"name": "home", "url": "http://127.0.0.1:${PORT}/"}, {"name": "api", "url": "http://127.0.0.1/health?deep=1"}]
)
NGINX = '172.18.0.1 - - [30/Nov/2026:12:06:{:02} +0000] "GET {} HTTP/1.1" {} 29 "-" "{}"'
UVICORN = 'INFO:     172.18.0.1:{} - "GET /health HTTP/1.1" 200 OK'
CADDY = '{{"ts":1764504395.{},"request":{{"uri":"/","headers":{{"User-Agent":["selfheal-probe"]}}}},"status":{}}}'


def shown(*texts: str, label: str = "web") -> tuple[list[str], Reading]:
    reading = Reading(CHECKS)
    lines = [Line(f"{second:02}", label, text) for second, text in enumerate(texts)]
    return [line.text for line in (*reading.shorten(lines), *reading.rest(label))], reading


@pytest.mark.parametrize(
    ("text", "is_own"),
    [
        (NGINX.format(1, "/", 200, "selfheal-probe"), True),
        (NGINX.format(1, "/health?deep=1", 204, "selfheal-probe"), False),
        (NGINX.format(1, "/health", 302, "selfheal-probe"), True),
        (NGINX.format(1, "/", 502, "selfheal-probe"), False),
        (NGINX.format(1, "/", 200, "curl/8.1"), False),
        (NGINX.format(1, "/admin", 200, "selfheal-probe"), False),
        (CADDY.format(1, 200), True),
        (CADDY.format(1, 500), False),
        ('who is selfheal-probe? " 200', False),
    ],
)
def test_requests_of_our_own_checks_are_left_out_when_they_were_answered_well(text: str, is_own: bool) -> None:
    lines, reading = shown(text)
    assert (lines, reading.own) == (([], 1) if is_own else ([text], 0))


def test_repetitions_are_one_line_and_what_differs_is_shown() -> None:
    same = [UVICORN.format(50000 + number) for number in range(5)]
    other = UVICORN.format(50000).replace("200 OK", "500 Internal Server Error")
    lines, reading = shown(*same, other, *same[:2], "order 17 was paid", "order 18 was paid")
    assert lines == [
        same[0],
        "… 4 more lines like this, but for the time",
        other,
        *same[:2],
        "order 17 was paid",
        "order 18 was paid",
    ]
    assert reading.left_out() == "left out: 4 repetitions; --all shows them"
    assert shown("a")[1].left_out() == ""


def test_another_container_does_not_end_a_repetition() -> None:
    reading = Reading([])
    lines = [Line(str(number), "ab"[number % 2], "x") for number in range(8)]
    assert [line.label for line in reading.shorten(lines)] == ["a", "b"]
    assert [line.text for line in reading.rest("a")] == ["… 3 more lines like this, but for the time"]
