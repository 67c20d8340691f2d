# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a command on the host ends: its exit codes, and the line that says why it could not be carried out."""

from __future__ import annotations

import sys
from typing import Callable

from ..core.files import explain
from ..core.locks import LockHeld
from ..recovery.config import ConfigError

GOOD, SICK, WRONG = 0, 1, 2
"""Exit codes: all is well; the app is not healthy (or a config is not good); the command could not be carried out."""


class Refused(Exception):
    """The command cannot be carried out; the message says why and what to do."""


def carry_out(act: Callable[[], int]) -> int:
    """Carry out a command and return its exit code; what stops it is said in one line."""
    try:
        return act()
    except (Refused, ConfigError, LockHeld) as problem:
        print(f"selfheal: {problem}", file=sys.stderr)
    except OSError as error:
        print(f"selfheal: {explain(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("selfheal: interrupted", file=sys.stderr)
    return WRONG
