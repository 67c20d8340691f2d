# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The history that a Prometheus of the tests is given."""

from __future__ import annotations

from shared import history
from shared.history import Episode


def test_what_a_minute_belongs_to() -> None:
    outage, unseen = Episode(60, 2, 0.0, 1.0, 8.0), Episode(240, 1, None)
    looked = history.minutes(600, 6, [outage, unseen])
    assert [(at, one.state) for at, one in looked] == [(607, 1.0), (667, 0.0), (727, 0.0), (787, 1.0), (907, 1.0)]


def test_as_promtool_takes_it() -> None:
    text = history.openmetrics({"app": "shop", "host": "web1"}, 600, 2, [Episode(60, 1, 0.5, 0.25, 2.5)])
    assert text.splitlines() == [
        "# TYPE app:state:now gauge",
        'app:state:now{app="shop",host="web1"} 1 607',
        'app:state:now{app="shop",host="web1"} 0.5 667',
        "# TYPE app:errors:minute gauge",
        'app:errors:minute{app="shop",host="web1"} 0 607',
        'app:errors:minute{app="shop",host="web1"} 0.25 667',
        "# TYPE app:response_seconds:avg5m gauge",
        'app:response_seconds:avg5m{app="shop",host="web1"} 0.1 607',
        'app:response_seconds:avg5m{app="shop",host="web1"} 2.5 667',
        "# EOF",
    ]
