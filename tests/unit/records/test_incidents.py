# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Incidents keep their order when the clock is set, and old ones are removed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from ansible_collections.christmas.selfheal.plugins.module_utils.records import incidents

DAY = 86400.0
NOW = 1_780_000_000.0


class Clocked:
    """A folder of incidents, each written at the time of a clock that may be wrong."""

    def __init__(self, root: Path) -> None:
        self.folder = str(root / "incidents")

    def write(self, at: float, **more: Any) -> str:
        name = incidents.new_id(self.folder, at, "hung")
        record: dict[str, Any] = {
            **{"id": name, "app": "shop", "cause": "hung", "meaning": "it hangs", "seen": "", "seconds": 2.5},
            **{"healthy": True, "evidence": [], "remedies": [], "hold": "", "next_step": "", "timeline": []},
        }
        record = {**record, "files": [], **more}
        path = incidents.write(self.folder, cast(incidents.IncidentRecord, record), {})
        os.utime(path, (at, at))
        return name

    def numbered(self, at: float) -> str:
        return self.write(at, number=incidents.next_number(self.folder))

    def names(self) -> list[str]:
        return [str(one["id"]) for one in incidents.every(self.folder)]


def test_setting_the_clock_does_not_change_the_order(tmp_path: Path) -> None:
    it = Clocked(tmp_path)
    times = [NOW, NOW + 4000 * DAY, NOW + 60.0, NOW - 4000 * DAY, NOW + 120.0]
    written = [it.numbered(at) for at in times]
    assert it.names() == written[::-1]
    newest = incidents.latest(it.folder)
    assert newest is not None
    assert newest["id"] == written[-1]


def test_incidents_without_a_number_are_older_and_ordered_by_name(tmp_path: Path) -> None:
    it = Clocked(tmp_path)
    old = [it.write(at) for at in (NOW + 4000 * DAY, NOW)]
    new = it.numbered(NOW + 60.0)
    Path(it.folder, "20990101T000000Z-hung").mkdir()
    assert it.names() == [new, *old]
    assert it.write(NOW - 1.0, number="7") == it.names()[-1]


def test_the_first_incident_has_the_number_1(tmp_path: Path) -> None:
    assert incidents.next_number(str(tmp_path / "none")) == 1


def test_an_incident_dated_in_the_future_is_removed_with_its_neighbours(tmp_path: Path) -> None:
    it = Clocked(tmp_path)
    old = it.numbered(NOW - 300 * DAY)
    ahead = it.numbered(NOW + 4000 * DAY)
    it.numbered(NOW - 200 * DAY)
    # The newest stay, whatever their dates.
    fresh = [it.numbered(NOW - 50 * DAY) for _unused in range(incidents.KEPT)]
    incidents.forget(it.folder, 250 * DAY, NOW)
    assert old not in it.names()
    assert ahead in it.names()
    incidents.forget(it.folder, 100 * DAY, NOW)
    assert it.names() == fresh[::-1]
