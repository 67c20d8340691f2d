# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Query the Prometheus of this host."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import urlencode

from . import web

# A month of minutes, on a machine that is busy.
QUERY_SECONDS = 30.0


class PrometheusError(Exception):
    """Prometheus does not answer, or refuses; the message says what to look at."""


def ask(port: int, path: str) -> Any:
    """Return the `data` of an answer of its API; `path` is what follows /api/v1/.

    :raises PrometheusError: it does not answer, or refuses.
    """
    try:
        answer = web.fetch(web.Request(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=QUERY_SECONDS))
    except web.Fault as fault:
        raise PrometheusError(
            f"Prometheus does not answer: {fault}. Is monitoring_enabled true for this host, and has site.yml run"
            " since? On the host: systemctl status prometheus"
        ) from None
    try:
        document = json.loads(answer.body)
        if document["status"] == "success":
            return document["data"]
        why = str(document["error"])
    except (ValueError, KeyError, TypeError):
        why = f"status {answer.status}"
    raise PrometheusError(f"Prometheus on port {port} refuses a query: {why}. On the host: journalctl -u prometheus")


def value(port: int, expression: str, at: float) -> float | None:
    """What one expression was at a time (epoch s), None when it had no value. Raises PrometheusError."""
    data = ask(port, f"query?{urlencode({'query': expression, 'time': f'{at:.0f}'})}")
    number = float(data["result"][0]["value"][1]) if data["result"] else math.nan
    return number if math.isfinite(number) else None
