# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Commands on this host: run without a shell, for so long and no longer."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from typing import NamedTuple


class Result(NamedTuple):
    """What one command did: exit code (124 when it ran out of time, 127 when it is not installed), output, errors."""

    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The line of the command's output that says why it failed. It may quote what Compose read: redact it."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        telling = [line for line in lines if "error" in line.lower() or "fail" in line.lower()]
        return (telling or lines or [f"exit code {self.code} and no message"])[-1]


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"
# They choose the engine and its credentials, and are not read by a compose file.
_PASSED_ON = ("DOCKER_HOST", "DOCKER_CONFIG")


def environment(cwd: str | None = None) -> dict[str, str]:
    """Return the environment of every command: the same for a person, Ansible and the watcher.

    Compose puts any variable of its caller into the model (`${HOME}`, `${USER}`, COMPOSE_FILE), so a recovery would
    merge another model than the deploy, and recreate what is well.
    """
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = "/"
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    fixed = {
        "PATH": _PATH,
        "HOME": home,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "COMPOSE_ANSI": "never",
        "BUILDKIT_PROGRESS": "plain",
    }
    return {**fixed, **passed_on, **({"PWD": cwd} if cwd is not None else {})}


def run(argv: Sequence[str], timeout: float, stdin: str | None = None, cwd: str | None = None) -> Result:
    """Run a command without a shell, for at most `timeout` seconds, and end its whole process group after that."""
    if cwd is not None and not os.path.isdir(cwd):
        return Result(126, "", f"{cwd} is not a directory")
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=environment(cwd),
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError:
        return Result(127, "", f"{argv[0]} is not installed")
    except OSError as error:
        return Result(126, "", f"{argv[0]} cannot be run: {error.strerror}")
    try:
        out, err = process.communicate(stdin, timeout=max(timeout, 0.1))
        return Result(process.returncode, out, err)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # What has left the group, or waits for a dying disk, may hold the pipes for ever.
        try:
            out, err = process.communicate(timeout=2.0)
        except subprocess.TimeoutExpired:
            out, err = "", ""
            for pipe in filter(None, (process.stdout, process.stderr)):
                pipe.close()
            process.poll()
        return Result(124, out, f"{err}\n{' '.join(argv[:4])} … did not end within {timeout:.0f} s".strip())
