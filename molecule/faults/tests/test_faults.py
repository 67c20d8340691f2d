# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host heals itself: drills, kills and pauses, without a person. SELFHEAL_FAULTS=all drills every fault."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from shared.acting import incidents, until

APP = "christmas-backend"
CONTAINER = f"{APP}-backend-1"
STATE = f"/var/lib/selfheal/{APP}"
UNIT = f"selfheal@{APP}"


def state(host: Any) -> dict[str, Any]:
    """The watcher's state file; it is valid at any moment, since it is replaced atomically."""
    found: dict[str, Any] = json.loads(host.check_output(f"cat {STATE}/state.json"))
    return found


def pid(host: Any, killed: int = 0) -> int:
    """The pid of the watcher, as soon as it runs and is not the killed one."""
    show = f"systemctl show --property MainPID --value {UNIT}"
    found = 0

    def there() -> bool:
        nonlocal found
        found = int(host.check_output(show))
        return found not in (0, killed)

    until(there)
    return found


def healthy(host: Any) -> bool:
    return bool(host.run("selfheal probe").rc == 0)


def test_the_watcher_runs_hardened_and_asks_the_engine_nothing(host: Any) -> None:
    assert host.service(f"{UNIT}.timer").is_enabled
    status = json.loads(host.check_output("selfheal status --json"))
    assert (status["healthy"], status["watcher"]["alive"], status["problems"]) == (True, True, [])
    exposure = host.check_output(f"systemd-analyze security --no-pager {UNIT}.service | tail -1")
    assert float(exposure.split(":")[1].split()[0]) <= 4.0
    # While the app is healthy the watcher runs no command, not even docker: its child processes have used no time. It
    # runs systemctl for the timers every two minutes.
    before = pid(host)
    host.check_output(f"kill -9 {before}")
    watcher = pid(host, killed=before)
    until(lambda: float(host.check_output(f"ps -o etimes= -p {watcher}")) >= 40)
    assert host.check_output(f"cut -d ' ' -f 16,17 /proc/{watcher}/stat") == "0 0"


def test_drills(
    host: Any, play: Callable[..., Any], drilled: Callable[[], Any], leaks: Callable[[str], list[str]]
) -> None:
    assert healthy(host)
    ended = play("drill.yml", extra={"drill_faults": os.environ.get("SELFHEAL_FAULTS", "fast")})
    assert leaks(ended.stdout) == []
    # The tests assert the result and the remedy of each drill. Times are measured in bench/, and not asserted.
    report, wrong = drilled()
    assert wrong == {}, ended.stdout[-4000:]
    assert len(report["runs"]) >= 6
    assert report["troubles"] == []


def test_no_record_contains_a_secret(host: Any, leaks: Callable[[str], list[str]]) -> None:
    assert incidents(host)
    assert leaks(host.check_output(f"cat {STATE}/incidents/*/* {STATE}/*.json /etc/selfheal/*.json")) == []
    assert leaks(host.check_output("journalctl --no-pager")) == []


def test_a_watcher_killed_during_a_recovery_continues_it(host: Any) -> None:
    before = len(incidents(host))
    for wait in (0.4, 1.1, 3.3, 3.6):
        host.check_output("selfheal resume")
        hang = f"docker top {CONTAINER} -eo pid | tail -n +2 | xargs kill -STOP"
        host.check_output(f"{hang}; sleep {wait}; kill -9 {pid(host)}")
        before += 1
        until(lambda: healthy(host) and not state(host)["incident"])
    assert len(incidents(host)) <= before, "a kill made a second incident"


def test_a_paused_watcher_leaves_a_stopped_app_alone(host: Any) -> None:
    host.check_output("selfheal pause --for 1h --reason 'a new disk'")
    host.check_output(f"docker stop -t 0 {CONTAINER}")
    until(lambda: "a new disk" in host.run("selfheal status").stdout)
    first = pid(host)
    host.check_output(f"kill -9 {first}")
    pid(host, killed=first)
    assert host.check_output(f"docker inspect --format '{{{{.State.Running}}}}' {CONTAINER}") == "false"
    host.check_output("selfheal resume")
    until(lambda: healthy(host))


def test_a_broken_state_or_config_touches_nothing(host: Any) -> None:
    until(lambda: not state(host)["incident"])
    made = host.check_output(f"docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}' {CONTAINER}")
    config = f"/etc/selfheal/{APP}.json"
    kept = host.check_output(f"cat {config}")
    first = pid(host)
    host.check_output(f": >{STATE}/state.json; kill -9 {first}")
    until(lambda: host.file(f"{STATE}/state.json.damaged").exists)
    host.check_output(f"echo '{{' >{config}; kill -9 {pid(host, killed=first)}")
    until(lambda: "is not valid JSON" in host.run("selfheal status").stdout + host.run("selfheal status").stderr)
    host.run(f"cat >{config} <<'END'\n{kept}\nEND")
    until(lambda: host.run("selfheal status").rc == 0)
    assert host.check_output(f"docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}' {CONTAINER}") == made
