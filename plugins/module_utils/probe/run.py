# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask an app over HTTP whether it works: run the checks, judge the answers, report what was seen.

`check_spec.py` parses the checks, `web.py` sends one request.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypedDict
from urllib.parse import urlencode

from ..core.check import Capture, Check, Expectation, Form
from ..core.present import present
from ..core.redact import redact
from .check_spec import REFERENCE, STEP, CheckError, parse_checks
from .health_request import HealthRequest, through_balancer, with_host
from .web import BODY_LIMIT, CONTROL, Answer, Fault, Request, address, duration, fetch

__all__ = ["KINDS", "Check", "CheckError", "parse_checks", "run_checks"]

# Every `kind` that a failed check may have. `skipped` was never sent; `answer` is an answer that is not HTTP.
KINDS = (
    *("refused", "unreachable", "timeout", "reset", "dns", "tls", "answer"),
    *("status", "header", "body", "latency", "skipped"),
)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_BODY_SHOWN, _VALUE_SHOWN, _FAILURES_SHOWN = 120, 60, 3
_LONGEST_CAPTURE = 16384
_DEPENDENCIES = ("dependencies", "components", "checks", "entries")
_UP = ("up", "ok", "pass", "passed", "healthy", "warn")
_DAY = 86400.0
# Secrets that are not in the env (a fresh token in an answer) have a shape, or are under a telling name.
_TOKEN_SHAPED = re.compile(r"eyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?|sb_(?:secret|publishable)_[\w-]+")
_TELLING_NAME = re.compile(r"token|secret|passw|key|auth|cookie|session|credential|jwt", re.IGNORECASE)


class Down(TypedDict):
    """Something that an answer says the app cannot reach."""

    name: str
    reason: str


class CheckResult(TypedDict):
    """How one check went. `kind` is None when it passed, `status` without an answer; `port` is 0 when nothing was sent.

    `down` lists what a failing answer says of the app's dependencies; `retry_after` is for how many seconds it asks for
    patience, None when it does not.
    """

    name: str
    ok: bool
    proves: str
    kind: str | None
    status: int | None
    seconds: float
    reason: str
    attempts: int
    port: int
    down: list[Down]
    retry_after: float | None


class Latency(TypedDict):
    """Seconds of all answered requests; None when nothing answered."""

    min: float | None
    median: float | None
    p95: float | None


class HowAsked(TypedDict, total=False):
    """How a watcher asked. `confirmed`: more than once. `brief`: with little time, as a service is stopped."""

    confirmed: bool
    brief: bool


class ProbeResult(HowAsked):
    """How all checks went; no text holds a value of the env, or a captured one."""

    ok: bool
    passed: int
    total: int
    summary: str
    seconds: float
    latency: Latency
    results: list[CheckResult]


class NotAsked(TypedDict):
    """{}, in the place of a probe's result: the app was not asked."""


Ask = Callable[[Request, Callable[[], float]], Answer]


def run_checks(
    checks: Sequence[Check],
    values: Mapping[str, str],
    deadline: float = 0.0,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    *,
    wall: Callable[[], float] = time.time,
    ask: Ask = fetch,
    shown: Collection[str] = (),
) -> ProbeResult:
    """Run the checks until every check passes or ``deadline`` (seconds; 0: one attempt) is over.

    No attempt begins after the deadline, and one that has begun ends within the sum of its checks' timeouts. A retry
    begins at the first check that failed, or at the one that captured a value which the failed one used: a token from
    before a restart may be void.

    :arg values: the app's env. A check that names a value it does not hold is ``skipped`` and not ok.
    :arg shown: the names whose values are no secret. No other value is shown, nor one of a name that sounds secret.
    """
    begun, pause, first = now(), _FIRST_PAUSE, 0
    hidden = {name: value for name, value in values.items() if name not in shown or _TELLING_NAME.search(name)}
    captured: dict[str, str] = {}
    results: list[CheckResult] = []
    latencies: list[float] = []
    attempts = [0] * len(checks)
    while True:
        del results[first:]
        for check in checks[first:]:
            for capture in check.capture:
                captured.pop(capture.name, None)
        for check in checks[first:]:
            attempts[len(results)] += 1
            results.append(_attempt(check, checks, values, captured, hidden, ask, now, wall))
            if results[-1]["status"] is not None:
                latencies.append(results[-1]["seconds"])
        failed = next((index for index, result in enumerate(results) if not result["ok"]), None)
        left = deadline - (now() - begun)
        if failed is None or left <= 0:
            break
        sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
        first = _restart(checks, failed)
    for result, count in zip(results, attempts):
        result["attempts"] = count
    return _report(results, latencies, now() - begun)


def _restart(checks: Sequence[Check], failed: int) -> int:
    """The check to go back to when ``failed`` did not pass: the first whose captures it used, or it itself."""
    first = failed
    for index in range(failed - 1, -1, -1):
        if checks[first].needs.intersection(capture.name for capture in checks[index].capture):
            first = index
    return first


def _attempt(
    check: Check,
    checks: Sequence[Check],
    values: Mapping[str, str],
    captured: dict[str, str],
    hidden: Mapping[str, str],
    ask: Ask,
    now: Callable[[], float],
    wall: Callable[[], float],
) -> CheckResult:
    """Send one check once and judge the answer; captured values are added to ``captured``."""
    result: CheckResult = {
        "name": check.name,
        "ok": False,
        "proves": check.proves,
        "kind": None,
        "status": None,
        "seconds": 0.0,
        "reason": "",
        "attempts": 0,
        "port": 0,
        "down": [],
        "retry_after": None,
    }
    begun = now()
    secrets = {**hidden, **captured}
    answer = None
    try:
        request = expand(check, _lookup(check, checks, values, captured))
        where = address(request.url)
        result["port"] = where.port if where else 0
        answer = ask(request, now)
        result["status"], result["seconds"] = answer.status, round(answer.seconds, 4)
        captured.update(judge(check, answer, wall(), secrets))
        seen = f"got {answer.status} in {duration(answer.seconds)}"
        # A slow login still gives its token: what comes after it is to be judged by itself.
        if answer.seconds > check.max_latency:
            raise Fault("latency", f"{seen}: expected {duration(check.max_latency)} or less")
        result["ok"], result["reason"] = True, seen
    except Fault as fault:
        if answer is None:
            result["seconds"] = round(now() - begun, 4)
        else:
            result["down"] = dependencies_down(answer.body, secrets)
            result["retry_after"] = retry_after(answer, wall())
        result["kind"], result["reason"] = fault.kind, str(fault)
    return result


def retry_after(answer: Answer, today: float) -> float | None:
    """Seconds that an answer asks to wait for (RFC 9110, Retry-After: seconds or a date); None when it does not."""
    header = next((value.strip() for name, value in answer.headers if name.lower() == "retry-after"), "")
    if header.isdigit():
        return float(header[:9])
    from email.utils import parsedate_to_datetime  # not needed by a watcher, whose memory it would take

    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - today) if header else None
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _lookup(
    check: Check, checks: Sequence[Check], values: Mapping[str, str], captured: Mapping[str, str]
) -> dict[str, str]:
    """The values that the check needs, by name. Raises Fault (skipped) when one is missing."""
    found = {}
    for name in sorted(check.needs):
        source = next((item.name for item in checks if name in (capture.name for capture in item.capture)), None)
        if name in captured:
            found[name] = captured[name]
        elif source is not None:
            raise Fault("skipped", f"skipped: needs `{name}` from `{source}`")
        elif name in values:
            found[name] = str(values[name])
        else:
            raise Fault("skipped", f"skipped: needs `{name}`, which the env does not hold")
    return found


def _report(results: list[CheckResult], latencies: list[float], seconds: float) -> ProbeResult:
    total, passed = len(results), sum(result["ok"] for result in results)
    attempts = max((result["attempts"] for result in results), default=0)
    often = f" after {attempts} attempts" if attempts > 1 else ""
    summary = f"{passed} of {total} checks passed{often}"
    if not total:
        summary = "no check asks it, so the states of its services decide"
    elif passed == total:
        summary += f" in {seconds:.2f} s"
    else:
        failed = [result for result in results if not result["ok"]]
        # What was skipped follows from another failure, unless nothing else failed.
        shown = [result for result in failed if result["kind"] != "skipped"] or failed
        summary += "; " + "; ".join(f"`{result['name']}` {result['reason']}" for result in shown[:_FAILURES_SHOWN])
        if len(shown) > _FAILURES_SHOWN:
            summary += f"; and {len(shown) - _FAILURES_SHOWN} more"
    return {
        "ok": passed == total,
        "passed": passed,
        "total": total,
        "summary": summary,
        "seconds": round(seconds, 4),
        "latency": {
            "min": min(latencies, default=None),
            "median": quantile(latencies, 0.5),
            "p95": quantile(latencies, 0.95),
        },
        "results": results,
    }


def quantile(samples: Collection[float], q: float) -> float | None:
    """The nearest-rank quantile: a value that was really measured. None without samples."""
    ordered = sorted(samples)
    return ordered[max(math.ceil(q * len(ordered)) - 1, 0)] if ordered else None


def expand(check: Check, known: Mapping[str, str]) -> Request:
    """Put ``known`` values in place of names. Raises Fault (skipped) when the result cannot be sent."""
    url = _replace(check.url, known)
    if address(url) is None:
        raise Fault("skipped", f"skipped: with its values put in, {check.url} is not an http(s) URL")
    headers = []
    for name, template in check.headers:
        value = _replace(template, known)
        if CONTROL.search(value):
            raise Fault(
                "skipped", f"skipped: with its values put in, header `{name}` has a line break or control character"
            )
        headers.append((name, value))
    body = None
    if isinstance(check.body, Form):
        body = urlencode([(field, _replace(text, known)) for field, text in check.body.fields]).encode()
        _default_type(headers, "application/x-www-form-urlencoded")
    elif isinstance(check.body, tuple):
        body = json.dumps(_replace_deep(check.body[0], known), separators=(",", ":")).encode()
        _default_type(headers, "application/json")
    elif check.body is not None:
        body = _replace(check.body, known).encode("utf-8", "surrogateescape")
    return Request(url, check.method, tuple(headers), body, check.timeout, check.verify_tls)


def _default_type(headers: list[tuple[str, str]], form: str) -> None:
    if not any(name.lower() == "content-type" for name, _value in headers):
        headers.append(("Content-Type", form))


def health_request(check: Check, values: Mapping[str, str], balanced: bool) -> HealthRequest | None:
    """The request of a check, as HAProxy and a healthcheck can send it; None for one with a body.

    :arg values: the values of the names in the check.
    :arg balanced: whether the load balancer is in front of the app, and adds its headers.
    :raises CheckError: the check names a value that is not given, or cannot be sent with it.
    """
    if check.body is not None:
        return None
    missing = sorted(name for name in check.needs if name not in values)
    if missing:
        reason = f"uses ${{{missing[0]}}}, which is not known here"
        raise CheckError(
            f"`{check.name}`",
            "url or headers",
            reason,
            f"give {missing[0]} in app_env_plain if it is not secret; "
            "else give `proves: health` to a check that needs no secret",
        )
    try:
        request = expand(check, values)
    except Fault as fault:
        raise CheckError(f"`{check.name}`", "url or headers", str(fault), "correct it") from None
    where = present(address(request.url))
    shape = through_balancer if balanced else with_host
    headers = shape(where.scheme, where.host, where.port, request.headers)
    tls = where.scheme == "https" and not balanced
    return HealthRequest(request.method, where.target, headers, check.status, where.port, tls)


def asked_ports(checks: Sequence[Check], values: Mapping[str, str]) -> set[int]:
    """The ports that checks ask. A check whose port is not known is left out.

    :arg values: the env's values.
    """
    found = set()
    for check in checks:
        url = _replace(check.url, {**dict.fromkeys(check.needs, ""), **values})
        where = address(url)
        if where:
            found.add(where.port)
    return found


def _replace(text: str, known: Mapping[str, str]) -> str:
    return REFERENCE.sub(lambda found: "${" if found.group(1) is None else known[found.group(1)], text)


def _replace_deep(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _replace(value, known)
    if isinstance(value, Mapping):
        return {key: _replace_deep(item, known) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replace_deep(item, known) for item in value]
    return value


class _Missing:
    """The absence of a value (None is a value in JSON)."""


_MISSING = _Missing()
_FEW_STATUSES = 3


def _expected(status: int, expected: Sequence[int]) -> str:
    """What a status should have been. Of a long list, nothing that a server error makes plain by itself."""
    if len(expected) <= _FEW_STATUSES:
        return f": expected {' or '.join(map(str, expected))}"
    if status >= 500 > max(expected):
        return ""
    return f": expected one of {len(expected)} statuses, {min(expected)} to {max(expected)}"


def judge(check: Check, answer: Answer, today: float, secrets: Mapping[str, str]) -> dict[str, str]:
    """Compare an answer with what the check expects, and return the values that it captures (name → text).

    :arg today: epoch seconds, for the days that a certificate has left.
    :arg secrets: name → value; none of these values is shown in a reason.
    :raises Fault: for the first of status, certificate, headers and body that is not as expected.
    """
    seen = f"got {answer.status} in {duration(answer.seconds)}"
    if answer.status not in check.status:
        # A good answer may hold what was asked for, a token or a person's data; an error says what is wrong.
        said = _shown(answer.body, secrets) if answer.status >= 400 else ""
        raise Fault("status", seen + _expected(answer.status, check.status) + (f"; it said: {said}" if said else ""))
    if check.tls_days_left is not None:
        if answer.expires is None:
            raise Fault("tls", f"{seen}, but without TLS, so there is no certificate to check")
        days = (answer.expires - today) / _DAY
        if days < check.tls_days_left:
            left = f"{days:.1f} days left" if days > 0 else "expired"
            raise Fault("tls", f"{seen}, but the certificate has {left}: expected {check.tls_days_left} days or more")
    for name, expected_header in check.header:
        values = [value for key, value in answer.headers if key.lower() == name.lower()]
        wrong = _mismatch(", ".join(values) if values else _MISSING, name, expected_header, secrets)
        if wrong:
            raise Fault("header", f"{seen}, but header `{name}` {wrong}")
    return _judge_body(check, answer, seen, secrets)


def _judge_body(check: Check, answer: Answer, seen: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """The part of `judge` that looks at the body, and takes the values that are captured."""
    if check.contains and check.contains not in answer.body.decode("utf-8", "replace"):
        raise Fault("body", f"{seen}, but the body does not contain {_brief(check.contains)}")
    document: Any = None
    if check.json_path or any(capture.source == "json" for capture in check.capture):
        document = _document(answer, seen, secrets)
    for path, expected in check.json_path:
        wrong = _mismatch(_dig(document, path), path, expected, secrets)
        if wrong:
            raise Fault("body", f"{seen}, but `{path}` {wrong}")
    return {capture.name: _take(capture, answer, document, seen) for capture in check.capture}


def _document(answer: Answer, seen: str, secrets: Mapping[str, str]) -> Any:
    """The body as JSON. Raises Fault (body) when it is something else."""
    if answer.cut:
        raise Fault("body", f"{seen}, but the body is larger than {BODY_LIMIT >> 20} MiB")
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        form = next((value for key, value in answer.headers if key.lower() == "content-type"), "no type given")
        size = (
            f"{len(answer.body)} bytes, {_cut(_clean(form, secrets), _VALUE_SHOWN)}" if answer.body else "it is empty"
        )
        raise Fault("body", f"{seen}, but the body is not JSON ({size})") from None


def _take(capture: Capture, answer: Answer, document: Any, seen: str) -> str:
    """The text that is captured. Raises Fault (body or header), without it, when later checks could not send it."""
    value = _captured(capture, answer, document)
    text = value if isinstance(value, str) else json.dumps(value) if isinstance(value, (int, float)) else ""
    if text and len(text) <= _LONGEST_CAPTURE and not CONTROL.search(text):
        return text
    problem = "does not fit into a header or URL"
    if not text:
        problem = "is missing" if isinstance(value, _Missing) else "is empty or not a single value"
    what = f"{capture.source} " if capture.source in ("cookie", "header") else ""
    where = "the body" if capture.source == "body" else f"{what}`{capture.where}`"
    said = f"{seen}, but {where}, from which `{capture.name}` is taken, {problem}"
    if capture.source == "body" and isinstance(value, _Missing):
        said = f"{seen}, but the body does not match the pattern from which `{capture.name}` is taken"
    raise Fault("header" if what else "body", said)


def _captured(capture: Capture, answer: Answer, document: Any) -> Any:
    """The value that is captured, `_MISSING` without one."""
    if capture.source == "json":
        return _dig(document, capture.where)
    if capture.source == "body":
        found = re.search(capture.where, answer.body.decode("utf-8", "replace"))
        return found.group(1) if found else _MISSING
    if capture.source == "cookie":
        return _cookie(capture.where, answer)
    values = [value for name, value in answer.headers if name.lower() == capture.where.lower()]
    return values[0] if values else _MISSING


def _cookie(name: str, answer: Answer) -> Any:
    """What the answer sets a cookie to: the last one of that name counts (RFC 6265, 5.3), and Max-Age=0 removes it.

    As it is in the header, because it goes back like that. Where it is sent is said by the check that uses it, so what
    a browser would do about Path, Secure or HttpOnly does not matter.
    """
    found: Any = _MISSING
    for key, header in answer.headers:
        pair, *attributes = header.split(";")
        if key.lower() == "set-cookie" and pair.partition("=")[0].strip() == name:
            gone = any(re.fullmatch(r"max-age=(0|-\d+)", one.strip(), re.IGNORECASE) for one in attributes)
            found = _MISSING if gone else pair.partition("=")[2].strip()
    return found


def dependencies_down(body: bytes, secrets: Mapping[str, str]) -> list[Down]:
    """What a health answer says is down.

    Read are the two common shapes: {"dependencies"|"components"|"checks"|"entries": {NAME: {"status": "down", …}}}
    (Spring Boot's actuator calls them components, ASP.NET Core entries), a status being up, ok, pass, healthy or not.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return []
    found: list[Down] = []
    for key in _DEPENDENCIES if isinstance(document, dict) else ():
        named = document.get(key)
        for name, state in named.items() if isinstance(named, dict) else ():
            status = str(state.get("status", "")) if isinstance(state, dict) else ""
            if status and status.lower() not in _UP:
                detail = next(
                    (str(state[word]) for word in ("detail", "error", "output", "description") if word in state), ""
                )
                said = _cut(_clean(f"{status} {detail}".strip(), secrets), _VALUE_SHOWN)
                found.append({"name": _cut(_clean(str(name), secrets), _VALUE_SHOWN), "reason": said})
    return found


def _mismatch(found: Any, where: str, expected: Expectation, secrets: Mapping[str, str]) -> str:
    """Why ``found`` is not as expected, "" when it is. ``where`` is its path or name."""
    how, want = expected
    missing = isinstance(found, _Missing)
    if how == "exists":
        if missing != want:
            return ""
        return "is missing" if missing else "is there: expected none"
    wanted = _brief(want) if how == "equals" else f"a match of {want}"
    if missing:
        return f"is missing: expected {wanted}"
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    if _same(found, want) if how == "equals" else re.search(want, text):
        return ""
    is_ = "is not as expected" if _TELLING_NAME.search(where) else f"is {_brief(found, secrets)}"
    return f"{is_}: expected {wanted}"


def _same(found: Any, want: Any) -> bool:
    """Equality as JSON has it: true is not 1 (in Python it is), 1 is 1.0."""
    if isinstance(found, bool) or isinstance(want, bool):
        return found is want
    if isinstance(found, list) and isinstance(want, list):
        return len(found) == len(want) and all(map(_same, found, want))
    if isinstance(found, dict) and isinstance(want, dict):
        return found.keys() == want.keys() and all(_same(found[key], want[key]) for key in found)
    return bool(found == want)


def _dig(document: Any, path: str) -> Any:
    """The value at a path like ``$.items[0]['a key']``, ``_MISSING`` without one."""
    for name, index, single, double in STEP.findall(path[1:]):
        if index:
            if not isinstance(document, list) or int(index) >= len(document):
                return _MISSING
            document = document[int(index)]
        else:
            key = name or single or double
            if not isinstance(document, dict) or key not in document:
                return _MISSING
            document = document[key]
    return document


def _brief(value: Any, secrets: Mapping[str, str] | None = None) -> str:
    """A JSON value in a few words, without secrets."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(_clean(value, secrets or {}) if isinstance(value, str) else value, ensure_ascii=False)
    return _cut(_clean(text, secrets or {}), _VALUE_SHOWN)


def _shown(body: bytes, secrets: Mapping[str, str]) -> str:
    """The beginning of a body in one line, without secrets. They go before the cut, which could halve one."""
    text = body[: 64 * _BODY_SHOWN].decode("utf-8", "replace")
    return _cut(" ".join(_clean(text, secrets).split()), _BODY_SHOWN)


def _clean(text: str, secrets: Mapping[str, str]) -> str:
    text = _TOKEN_SHAPED.sub("<token>", redact(text, secrets))
    return "".join(character if character.isprintable() else " " for character in text)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
