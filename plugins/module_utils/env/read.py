# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the app's `.env` and validate it; changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from ..core.app_paths import AppPaths
from ..core.files import NoFile, explain, read_small
from ..core.fingerprint import fingerprint
from ..core.variable import Variable
from . import dotenv
from . import history as env_history
from . import rules as secret_rules
from .rules import Finding

WHOLE = ".env"
"""In place of a variable, in a finding about the whole file."""


class EnvState(TypedDict):
    """The `.env` on the host. `values` must not be shown; `fingerprint` is "" when it cannot be read."""

    exists: bool
    values: dict[str, str]
    findings: list[Finding]
    fingerprint: str


def read(paths: AppPaths, variables: Sequence[Variable], now: float) -> EnvState:
    """Read the `.env` on the host, and validate it."""
    content: bytes | None = b""
    try:
        content = read_small(paths.env)
        if content is None and not variables:
            return {"exists": False, "values": {}, "findings": [], "fingerprint": ""}
        if content is None:
            finding = _env_finding("missing", f"{paths.env} does not exist")
            return {"exists": False, "values": {}, "findings": [finding], "fingerprint": ""}
        values = dotenv.parse(content.decode("utf-8"))
    except NoFile as problem:
        finding = _env_finding("unreadable", str(problem))
        return {"exists": True, "values": {}, "findings": [finding], "fingerprint": ""}
    except OSError as error:
        finding = _env_finding("unreadable", explain(error))
        return {"exists": True, "values": {}, "findings": [finding], "fingerprint": ""}
    except UnicodeDecodeError:
        finding = _env_finding("unreadable", f"{paths.env} is not UTF-8 text")
        return {"exists": True, "values": {}, "findings": [finding], "fingerprint": fingerprint(content or b"")}
    except dotenv.DotenvError as error:
        finding = _env_finding("unreadable", f"{paths.env}: {error}")
        return {"exists": True, "values": {}, "findings": [finding], "fingerprint": fingerprint(content or b"")}
    findings = secret_rules.validate(variables, values, now)
    if findings and env_history.just_written(paths.history, fingerprint(content), now):
        # Its table of variables reaches this host after it, so what is found by an older one does not count yet.
        findings = []
    return {"exists": True, "values": values, "findings": list(findings), "fingerprint": fingerprint(content)}


def _env_finding(rule: str, reason: str) -> Finding:
    return {"variable": WHOLE, "rule": rule, "reason": reason, "fix": "write it again from the vault"}
