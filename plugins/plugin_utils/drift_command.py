# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command `selfheal-drift` of a controller: check as the timer does, read the event log, verify it."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
from collections.abc import Sequence
from typing import TypedDict

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import audit_log
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import report as drift_report
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import store as drift_store
from ansible_collections.christmas.selfheal.plugins.plugin_utils import drift_control

CONFIG = "/etc/selfheal-drift/config.json"
FOLDER = "/var/lib/selfheal-drift"
BROKEN = 1
"""Exit code of `verify` for a log that was changed."""


class _Config(TypedDict):
    """What the role `drift_control` writes into CONFIG; `%d` in it is the folder of the service's credentials."""

    options: list[str]
    playbooks: str
    metrics: str
    textfiles: str
    correct: bool
    seconds: int
    environment: dict[str, str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="selfheal-drift", description="Drift of the hosts that this machine checks.")
    parser.add_argument("--folder", default=FOLDER, help=f"where state and log are kept ({FOLDER})")
    parser.add_argument("--config", default=CONFIG, help=f"how to check ({CONFIG})")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "run", help="what the service runs; use systemctl start. Exit code 0: no drift, 2: drift, else unknown"
    )
    log = commands.add_parser("log", help="who changed what, and when")
    log.add_argument("--host", default="", help="only this host")
    log.add_argument("--event", default="", help="found, corrected, accepted, ...")
    log.add_argument("--lines", type=int, default=50, help="the newest (50); 0 for all")
    log.add_argument("--json", action="store_true", help="the lines of the log")
    commands.add_parser("verify", help="whether the log was changed")
    given = parser.parse_args(argv)
    return {"run": _run, "log": _log, "verify": _verify}[given.command](given)


def _run(given: argparse.Namespace) -> int:
    try:
        report = drift_control.check(_how(given))
    except drift_control.DriftError as error:
        print(error, file=sys.stderr)
        return drift_report.UNKNOWN
    print(drift_report.screen(report, report["path"]))
    return int(report["exit"])


def _how(given: argparse.Namespace) -> drift_control.How:
    """What the role `drift_control` wrote. Raises DriftError."""
    try:
        with open(given.config, encoding="utf-8") as stream:
            found: _Config = json.load(stream)
        credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
        if not credentials and "%d" in json.dumps(found):
            # Run by another user, it would leave files that the service cannot write.
            raise drift_control.DriftError(
                "do not run this by hand: only the systemd service gets the vault's password and the ssh key. Fix: run "
                "systemctl start selfheal-drift, then journalctl -u selfheal-drift, which shows the table"
            )
        return drift_control.How(
            options=[str(word).replace("%d", credentials) for word in found["options"]],
            hosts=[],
            folder=given.folder,
            reports=os.path.join(given.folder, "reports"),
            playbooks=str(found["playbooks"]),
            metrics=str(found["metrics"]),
            tell=not os.path.isdir(found["textfiles"]),
            correct=bool(found["correct"]),
            by=pwd.getpwuid(os.getuid()).pw_name,
            seconds=int(found["seconds"]),
            environment={name: str(value).replace("%d", credentials) for name, value in found["environment"].items()},
            say=print,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise drift_control.DriftError(
            f"{given.config} cannot be used ({type(error).__name__}: {error}). Run christmas.selfheal.drift_control"
        ) from None


def _log(given: argparse.Namespace) -> int:
    path = os.path.join(given.folder, drift_control.LOG)
    entries = [
        one
        for one in audit_log.read(path)
        if given.host in ("", one.get("host")) and given.event in ("", one.get("event"))
    ]
    for one in entries[-given.lines :]:
        time, by, event, host, what = (str(one.get(key, "?")) for key in ("time", "by", "event", "host", "what"))
        line = f"{time[:19]}  {by:12}  {event:13}  {host:20}  {what}"
        print(json.dumps(one, ensure_ascii=False) if given.json else line)
    return 0


def _verify(given: argparse.Namespace) -> int:
    try:
        reported = drift_store.load(given.folder)["head"]
    except drift_store.StateError as error:
        print(error, file=sys.stderr)
        return BROKEN
    found = audit_log.verify(os.path.join(given.folder, drift_control.LOG), reported)
    if found.problem:
        print(f"{found.lines} entries are intact; then: {found.problem}", file=sys.stderr)
        return BROKEN
    print(f"{found.lines} entries, all intact; head {found.head}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
