# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge one run of a drill: what users noticed, what the agent recorded, and whether the goals were met."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, TypedDict

from ..probe.continuous import Sample
from ..records.incidents import IncidentRecord
from .fault import Fault

BREAKER = 5
"""How many attempts the default policy allows in half an hour, which is longer than any drill."""
# Seconds. Behind the load balancer, no request may fail that is sent later than this after a fault of one instance.
EJECTED = 2.0
# Seconds. A request that was sent during an outage may be answered after it: late, and no failure.
LATE = 0.5


Segment = tuple[float, float, str]
"""A time in which all requests had one state: (begin, end, state). Seconds after the fault; good, late or failed.

A NamedTuple would say more, but Ansible warns of one in a result: "unsupported in variable storage".
"""


class Seen(NamedTuple):
    """The observations of one drill. Times are epoch s by the prober's clock; the host's clock is `ahead` of it.

    `since` is from when the recovery counts. `recovered` and `whole` (all instances serve again) are None for never.
    `well`: the app answers at the end. `incidents` began during this drill, newest first; `held` is the newest as it
    was while the fault lasted, {} for none. `files` name the evidence, `restarted` the containers that were started in
    the meantime. `afterwards` is the error of the command of that name, "" for none. `balanced`: there are several
    instances.
    """

    round: int
    injected: float
    since: float
    recovered: float | None
    well: bool
    ahead: float
    samples: Sequence[Sample]
    incidents: Sequence[IncidentRecord]
    held: IncidentRecord
    files: Sequence[str]
    restarted: Sequence[str]
    afterwards: str
    balanced: bool
    whole: float | None


class _Measured(TypedDict):
    fault: str
    round: int
    injected: float
    mttd: float | None
    mttr: float | None
    noticed: float | None
    failed: int
    requests: int
    incident: str
    cause: str
    remedies: list[str]
    evidence: bool | None
    services: list[str]
    unasked: bool
    files: list[str]
    restarted: list[str]
    segments: list[Segment]
    balanced: bool
    whole: float | None


class Run(_Measured):
    """One drill, with its errors as sentences in `problems`.

    In seconds, None for never: `noticed` and `whole` from the fault, `mttd` from the first failed request (without one
    from the fault), `mttr` from where the recovery counts. `unasked`: all checks passed in the meantime. `evidence` is
    None without an incident.
    """

    problems: list[str]


# --- one drill -------------------------------------------------------------------------------------------------------


def injected_at(begun: float, ended: float, samples: Sequence[Sample]) -> float:
    """When the fault took effect at the earliest: when the last request was sent that was answered before it.

    :arg begun: when the command of the fault was started; `ended`: when it had ended.
    """
    last_good = begun
    for sent, answered, ok, _reason in samples:
        if sent >= begun:
            if not ok or answered > ended:
                break
            last_good = sent
    return last_good


def segments(samples: Sequence[Sample], zero: float) -> list[Segment]:
    """Merge requests with one state into segments, counted from `zero`."""
    merged: list[Segment] = []
    for sent, answered, ok, _reason in samples:
        at, state = round(sent - zero, 3), "failed" if not ok else "late" if answered - sent > LATE else "good"
        if merged:
            merged[-1] = (merged[-1][0], at, merged[-1][2])
        if not merged or merged[-1][2] != state:
            merged.append((at, at, state))
    return merged


def epoch(time: str) -> float | None:
    """ISO 8601 in UTC as in an incident's record → seconds since the epoch; None for no time."""
    try:
        return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def judge(fault: Fault, seen: Seen) -> Run:
    """Judge one drill."""
    injected, samples = seen.injected, seen.samples
    failed = [sample for sample in samples if sample.sent >= injected and not sample.ok]
    record = seen.incidents[0] if seen.incidents else IncidentRecord()
    held = seen.held or record
    noticed = epoch(record.get("confirmed") or "")
    if noticed is not None:
        noticed -= seen.ahead
    mttd = None if noticed is None else max(noticed - (failed[0].sent if failed else injected), 0.0)
    mttr = None if seen.recovered is None else max(seen.recovered - seen.since, 0.0)
    run: _Measured = {
        "fault": fault.name,
        "round": seen.round,
        "injected": injected,
        "mttd": None if mttd is None else round(mttd, 2),
        "mttr": None if mttr is None else round(mttr, 2),
        "noticed": None if noticed is None else round(noticed - injected, 2),
        "failed": len(failed),
        "requests": len([sample for sample in samples if sample.sent >= injected]),
        "incident": record.get("id", ""),
        "cause": record.get("cause", ""),
        "remedies": [item["name"] for item in record.get("remedies", [])],
        "evidence": bool(seen.files) if record else None,
        "services": list(record.get("services", [])),
        "unasked": bool(record.get("unasked")),
        "files": list(seen.files),
        "restarted": list(seen.restarted),
        "segments": segments(samples, injected),
        "balanced": seen.balanced,
        "whole": None if seen.whole is None else round(seen.whole - injected, 2),
    }
    return {**run, "problems": list(_problems(fault, seen, run, held))}


def _problems(fault: Fault, seen: Seen, run: _Measured, held: IncidentRecord) -> Iterable[str]:
    """The errors, a sentence each."""
    yield from _of_users(fault, seen, run)
    if run["incident"]:
        yield from _of_incident(fault, seen, run, held)
    elif fault.incident:
        yield "the host opened no incident"
    yield from _of_restraint(fault, seen, held)
    if seen.afterwards:
        yield f"afterwards: {seen.afterwards}"


def _of_users(fault: Fault, seen: Seen, run: _Measured) -> Iterable[str]:
    """What users noticed, and should not have."""
    one_of_several = fault.instance and seen.balanced
    if fault.expect == "recovered" and run["mttr"] is None:
        yield f"not recovered within {fault.timeout:g} s"
    if fault.served or one_of_several:
        since = seen.injected + (0.0 if fault.served else EJECTED)
        late = [sample for sample in seen.samples if sample.sent > since and not sample.ok]
        if late:
            yield f"{len(late)} requests failed, the last one {late[-1].sent - seen.injected:.1f} s after the fault"
    if one_of_several and run["whole"] is None:
        yield "not all instances serve again"
    if not seen.well:
        yield "the app has not answered since"


def _of_incident(fault: Fault, seen: Seen, run: _Measured, held: IncidentRecord) -> Iterable[str]:
    """The errors in the record of the incident."""
    if run["cause"] not in fault.causes:
        yield f"cause {run['cause']}, expected {' or '.join(fault.causes)}"
    if fault.service and run["services"] and fault.service not in run["services"]:
        yield f"the incident names {', '.join(run['services'])}"
    if not run["evidence"]:
        yield "no evidence was kept"
    if len(seen.incidents) > 1:
        yield f"{len(seen.incidents)} incidents instead of one"
    if fault.names and not re.search(fault.names, " ".join(map(str, held.get("evidence", [])))):
        yield f"the evidence does not name {fault.names}"
    if not seen.incidents[0].get("healthy"):
        yield "the incident was not closed"


def _of_restraint(fault: Fault, seen: Seen, held: IncidentRecord) -> Iterable[str]:
    """Remedies too many, and whether a person was notified."""
    remedies = [item["name"] for item in held.get("remedies", [])]
    if fault.expect == "given_up" and len(remedies) > BREAKER:
        yield f"{len(remedies)} remedies, more than the breaker allows"
    if fault.expect in ("held", "escalated") and (remedies or seen.restarted):
        started = [f"{name} started" for name in seen.restarted]
        yield f"touched the app ({', '.join([*remedies, *started])})"
    if fault.expect in ("escalated", "given_up") and held and not held.get("escalated"):
        yield "no person was notified"


# --- the report ------------------------------------------------------------------------------------------------------


def p95(seconds: Sequence[float]) -> float:
    """The 95th percentile by nearest rank, which is one of the measured values."""
    return sorted(seconds)[max(math.ceil(0.95 * len(seconds)) - 1, 0)]


def median(seconds: Sequence[float]) -> float:
    """The median; of an even number the mean of the middle two."""
    ordered, half = sorted(seconds), len(seconds) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
