# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the commands of `selfheal` share: which app a command is about, and how durations are written."""

from __future__ import annotations

import argparse
import os
import re
import sys

from ..core.locks import is_locked
from ..recovery import config as agent_config
from ..recovery import watcher
from ..recovery.config import Config
from .outcome import Refused

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def names_of(given: argparse.Namespace, root: str) -> list[str]:
    """The apps that a command is about: `--app`, or all of this host. Raises Refused."""
    known = sorted({*agent_config.apps(root), *_without_config(root)})
    return known if len(known) > 1 and not given.app else [name_of(given, root)]


def name_of(given: argparse.Namespace, root: str) -> str:
    """The app that a command is about: `--app`, or the only one of this host. Raises Refused."""
    known = sorted({*agent_config.apps(root), *_without_config(root)})
    if given.app:
        if given.app not in (*known, *agent_config.kept(root)):
            have = f"known: {', '.join(known)}" if known else "there are no configs: run christmas.selfheal.site"
            raise Refused(f"no app {given.app!r} has a config in {os.path.join(root, agent_config.FOLDER)}; {have}")
        return str(given.app)
    if len(known) != 1:
        have = f"{', '.join(known)}: say which with --app" if known else "none: run christmas.selfheal.site"
        raise Refused(f"apps with a config in {os.path.join(root, agent_config.FOLDER)}: {have}")
    return known[0]


def _without_config(root: str) -> list[str]:
    """The apps that are watched by a config that is gone. One that is not watched was taken out on purpose."""
    gone = set(agent_config.kept(root)) - set(agent_config.apps(root))
    return sorted(name for name in gone if is_locked(watcher.lock_path(root, name)))


def config_of(given: argparse.Namespace, root: str) -> Config:
    """The config of that app; why it is not the one in /etc/selfheal is printed. Raises Refused, ConfigError."""
    return config_named(name_of(given, root), root)


def config_named(name: str, root: str) -> Config:
    """The config of an app; why it is not the one in /etc/selfheal is printed. Raises ConfigError."""
    config, problem = agent_config.in_force(name, root)
    if problem:
        print(f"selfheal: {problem}", file=sys.stderr)
    return config


def seconds(option: str, text: str, longest: int) -> int:
    """The seconds of a duration, as 90s, 30m, 2h or 1d. Raises Refused, naming the option."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    amount = int(found.group(1)) * _UNITS[found.group(2)] if found else 0
    if not 1 <= amount <= longest:
        raise Refused(f"{option}: {text!r} is not a duration from 1s to {longest // 86400}d: write 90s, 30m, 2h or 1d")
    return amount
