# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which services of a model are jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import jobs

LIBRARY = Path(__file__).resolve().parents[3] / "plugins" / "module_utils"
AWAITED = {"depends_on": {"migrate": {"condition": "service_completed_successfully"}}}


@pytest.mark.parametrize(
    ("services", "found"),
    [
        ({}, []),
        ({"web": AWAITED, "migrate": {}}, ["migrate"]),
        ({"web": {"depends_on": {"migrate": {"condition": "service_healthy"}}}, "migrate": {}}, []),
        ({"web": AWAITED}, []),
        ({"a": {"deploy": {"mode": "replicated-job"}}, "b": {"deploy": {"mode": "global-job"}}, "c": {}}, ["a", "b"]),
        ({"a": {"labels": {"christmas.selfheal.job": "true"}}, "b": {"labels": {"x": "y"}}}, ["a"]),
        ({"a": {"restart": "no"}, "b": {"deploy": {"mode": "replicated", "replicas": 0}}}, []),
    ],
)
def test_jobs_of_a_model(services: dict[str, Any], found: list[str]) -> None:
    assert jobs.jobs({"services": services}) == set(found)
