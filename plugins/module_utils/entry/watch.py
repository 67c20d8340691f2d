# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command `selfheal watch` of the unit selfheal@APP.service. It loads no parser: the memory would stay in use."""

from __future__ import annotations

import os
import socket
import sys

from ..core.clock import Clock
from ..core.files import NoFile, explain, read_small
from ..core.locks import LockHeld
from ..recovery import config as agent_config
from ..recovery import watcher
from ..recovery.config import ConfigError
from .outcome import GOOD, carry_out

# A config that cannot be used is read again this often, instead of ending: the timer would only start us again.
BROKEN_SECONDS = 2.0


def notify(text: str) -> None:
    """Notify systemd, when it listens (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall(text.encode())
        except OSError as error:
            print(f"selfheal: systemd cannot be notified: {error}", file=sys.stderr)


def main(name: str, root: str = "/") -> int:
    """Watch the app until the watcher ends, or while its config is invalid; the exit code."""
    return carry_out(lambda: _watch(name, root))


def _watch(name: str, root: str) -> int:
    path = agent_config.path_of(name, root)
    stamp = _stamp(path)
    clock = Clock()
    try:
        config, of_config = agent_config.in_force(name, root)
    except ConfigError as problem:
        # Ending would have the timer start us once a second; the app is left alone until the config is corrected.
        print(f"selfheal: {problem}", file=sys.stderr, flush=True)
        notify(f"READY=1\nSTATUS={problem}")
        while _stamp(path) == stamp:
            notify("WATCHDOG=1")
            clock.sleep(BROKEN_SECONDS)
        return GOOD
    renewed = _Renewed(name, root, stamp, of_config)
    while True:
        try:
            with watcher.only_one(config):
                why = watcher.watch(config, clock, notify, renewed)
            # A new start would put an invalid config in force, where the good one is not kept.
            if renewed.is_kept or not renewed.problem:
                break
        except LockHeld as held:
            # Another one watches, by hand perhaps. Ending would have the timer start us once a second.
            notify(f"READY=1\nWATCHDOG=1\nSTATUS=waiting: {held}")
            clock.sleep(BROKEN_SECONDS)
    if why:
        print(f"selfheal: {name}: starts again: {why}", flush=True)
    # At once and in the same process: the timer would leave the app alone for a second.
    return os.execv(sys.argv[0], sys.argv)


class _Renewed:
    """Whether there is a new config that is good: (True, ""), or why a new one is not used.

    The one in force is kept, as long as there is room for it: `is_kept`. Where the config and what was kept are both
    gone, the app was taken out on purpose, and nothing is in force any more: (True, ""), too.
    """

    def __init__(self, name: str, root: str, stamp: tuple[int, int] | None, problem: str = "") -> None:
        self.name, self.root, self.stamp, self.problem = name, root, stamp, problem
        self.path, self.copy = agent_config.path_of(name, root), agent_config.copy_of(name, root)
        self.is_kept = bool(problem) or self._keep()

    def _keep(self) -> bool:
        try:
            content = read_small(self.path)
            # What was written since it was checked may be invalid.
            if content is None or _stamp(self.path) != self.stamp:
                return False
            agent_config.keep(self.name, content, self.root)
        except (OSError, NoFile) as error:
            text = explain(error) if isinstance(error, OSError) else error
            print(f"selfheal: {self.name}: the config cannot be kept: {text}", flush=True)
            return False
        return True

    def __call__(self) -> tuple[bool, str]:
        stamp = _stamp(self.path)
        if stamp is None and self.is_kept and not os.path.exists(self.copy):
            self.problem = ""
            return True, ""
        if stamp != self.stamp:
            self.stamp = stamp
            try:
                agent_config.of_app(self.name, self.path, self.root)
                self.problem = ""
                return True, ""
            except ConfigError as problem:
                self.problem = f"{agent_config.STAYS}: {problem}"
        return False, self.problem


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
