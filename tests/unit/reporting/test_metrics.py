# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The metrics in the text format. The scenario `alerting` has Prometheus's own promtool judge them."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import metrics


def facts(**more: Any) -> metrics.WatcherFacts:
    found = {
        "healthy": True,
        "served": True,
        "probe_seconds": 0.004,
        "probes": 12,
        "failed_probes": 1,
        "incident": None,
        "breaker_open": False,
        "paused": None,
        "now": 1748311203.25,
        "problems": 0,
        "alerts_waiting": 0,
        "counts": {},
        "certificate": None,
        **more,
    }
    return cast(metrics.WatcherFacts, found)


CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    (
        "healthy",
        {},
        [
            'selfheal_healthy{app="shop"} 1',
            'selfheal_users_served{app="shop"} 1',
            'selfheal_probe_seconds{app="shop"} 0.004',
            'selfheal_probe_failures_total{app="shop"} 1',
            'selfheal_incident_open{app="shop",cause="none"} 0',
            'selfheal_watcher_turn_timestamp_seconds{app="shop"} 1748311203.25',
            'selfheal_alerts_dropped_total{app="shop"} 0',
        ],
        ["selfheal_incidents_total", "selfheal_remedies_total", "selfheal_last_recovery_seconds"],
    ),
    (
        "an incident, on hold",
        {
            **{"healthy": False, "served": False, "incident": {"cause": "hung"}},
            **{"breaker_open": True, "paused": {"reason": "work"}},
        },
        [
            'selfheal_healthy{app="shop"} 0',
            'selfheal_users_served{app="shop"} 0',
            'selfheal_incident_open{app="shop",cause="hung"} 1',
            'selfheal_breaker_open{app="shop"} 1',
            'selfheal_paused{app="shop"} 1',
        ],
        [],
    ),
    (
        "after a bad night",
        {
            "alerts_waiting": 2,
            "counts": {
                "incident hung": 3,
                "remedy restart done": 2,
                "remedy restart failed": 1,
                "last recovery ms": 4210,
                "alerts dropped": 7,
                "escalated": 1,
            },
        },
        [
            'selfheal_incidents_total{app="shop",cause="hung"} 3',
            'selfheal_remedies_total{app="shop",remedy="restart",result="done"} 2',
            'selfheal_remedies_total{app="shop",remedy="restart",result="failed"} 1',
            'selfheal_last_recovery_seconds{app="shop"} 4.21',
            'selfheal_alerts_waiting{app="shop"} 2',
            'selfheal_alerts_dropped_total{app="shop"} 7',
        ],
        [],
    ),
    (
        "a domain",
        {"certificate": {"ends": 1756000000.0, "problem": {"text": "no"}}},
        [
            'selfheal_certificate_end_timestamp_seconds{app="shop"} 1756000000',
            'selfheal_certificate_renewal_failing{app="shop"} 1',
        ],
        [],
    ),
    ("no domain", {}, [], ["selfheal_certificate"]),
    ("nothing probed yet", {"probe_seconds": None}, [], ["selfheal_probe_seconds"]),
]


@pytest.mark.parametrize(("more", "wanted", "absent"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_render(more: dict[str, Any], wanted: list[str], absent: list[str]) -> None:
    text = metrics.render("shop", facts(**more))
    assert [line for line in wanted if line not in text.splitlines()] == []
    assert [name for name in absent if name in text] == []


def test_every_metric_is_explained_once_and_before_its_samples() -> None:
    text = metrics.render("shop", facts(counts={"incident hung": 1, "incident crashed": 2}))
    assert text.endswith("\n")
    explained: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            explained.append(line.split()[2])
        elif line.startswith("# TYPE "):
            assert line.split()[2] == explained[-1]
            assert line.split()[3] == ("counter" if explained[-1].endswith("_total") else "gauge")
        else:
            assert line.startswith(explained[-1] + "{")
    assert len(explained) == len(set(explained))


def test_label_values_are_escaped() -> None:
    text = metrics.render("shop", facts(incident={"cause": 'a "b"\\c\nd'}))
    assert re.search(r'cause="a \\"b\\"\\\\c\\nd"\} 1$', text, re.MULTILINE)
