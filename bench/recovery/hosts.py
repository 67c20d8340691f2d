# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The benchmark's own lab hosts, and commands on them."""

from __future__ import annotations

import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ansible_collections.christmas.selfheal.bench.recover import APP, REPOSITORY

LAB = REPOSITORY / ".lab"
# Two folders deep, like inventory/lab: its variables have paths relative to the inventory.
INVENTORY = LAB / "bench-recovery" / "hosts.yml"
PREFIX = yaml.safe_load((REPOSITORY / "lab/vars/lab.yml").read_text(encoding="utf-8"))["lab_prefix"]
DIRECTORY = f"/opt/{APP}"
COMMAND = 60
"""Seconds that a command on a host may take."""

Item = TypeVar("Item")


class Trouble(Exception):
    """Something could not be measured; the text says what and why."""


def play(path: str, *words: str, stopping: threading.Event | None = None, root: Path = REPOSITORY) -> tuple[int, str]:
    """Run a playbook of the collection in `root` on the benchmark's hosts; (exit code, the end of what it printed)."""
    command = ["ansible-playbook", path, "-i", "inventory/lab", "-i", str(INVENTORY), *words]
    with subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            while True:
                try:
                    out, _unused = process.communicate(timeout=1)
                    return process.returncode, out[-3000:]
                except subprocess.TimeoutExpired:
                    if stopping and stopping.is_set():
                        raise Trouble(f"{path} was ended") from None
        except BaseException:
            process.terminate()
            raise


class Host:
    """A lab host. `root`: where the collection is that sets it up."""

    def __init__(self, name: str, number: int, extra: Mapping[str, Any] | None = None, root: Path = REPOSITORY) -> None:
        self.name, self.address, self.extra, self.root = name, f"{PREFIX}.{number}", dict(extra or {}), root

    def command(self, text: str) -> list[str]:
        """The command that runs a shell text there."""
        options = {
            "IdentityFile": LAB / "id_ed25519",
            "UserKnownHostsFile": LAB / "host_keys" / "%h",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ServerAliveInterval": "5",
            "ConnectTimeout": "10",
            # A new connection for each command would cost more than most commands.
            "ControlMaster": "auto",
            "ControlPath": LAB / "%h.ssh",
            "ControlPersist": "60",
        }
        return ["ssh", *(f"-o{name}={value}" for name, value in options.items()), f"root@{self.address}", text]

    def shell(self, text: str, seconds: float = COMMAND, stdin: str = "") -> tuple[int, str, str]:
        """Run a shell text; (exit code, stdout, stderr). Raises Trouble when it takes too long."""
        command = self.command(text)
        try:
            ended = subprocess.run(command, input=stdin, text=True, capture_output=True, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Trouble(f"{self.name}: {text[:80]}: not done within {seconds:.0f} s") from None
        return ended.returncode, ended.stdout, ended.stderr

    def ask(self, text: str, seconds: float = COMMAND, stdin: str = "") -> str:
        """Run a shell text that must succeed; its stdout. Raises Trouble with what it said."""
        code, out, err = self.shell(text, seconds, stdin)
        if code:
            raise Trouble(f"{self.name}: {text[:80]}: {(err or out).strip()[-300:] or f'exit code {code}'}")
        return out

    def put(self, path: str, content: str, mode: str = "0644") -> None:
        """Write a file."""
        self.ask(f"cat >{shlex.quote(path)} && chmod {mode} {shlex.quote(path)}", stdin=content)


def measured(program: str, hosts: Sequence[Host], work: Callable[[], int], keep: bool = False, then: str = "") -> int:
    """Create the hosts, do the work, and remove the hosts even after an error, unless they are to be kept.

    The exit code is the work's, 2 after trouble, 130 when it was interrupted. `then` says how to go on after that.
    """
    # So that the hosts are removed also when the program gets SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        print(f"{program}: making {', '.join(host.name for host in hosts)}", flush=True)
        make(hosts)
        return work()
    except Trouble as trouble:
        print(f"{program}: {trouble}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted{then}", file=sys.stderr)
        return 130
    finally:
        if not keep:
            print(f"{program}: removing {', '.join(host.name for host in hosts)}", flush=True)
            remove(hosts)


def at_once(work: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Do the work for all items at the same time. An interrupt ends the waiting, and the program the work."""
    threads = [threading.Thread(target=work, args=(item,), daemon=True) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)


def played(path: str, *words: str, root: Path = REPOSITORY) -> None:
    """Run a playbook that must succeed. Raises Trouble with the end of what it printed."""
    code, out = play(path, *words, root=root)
    if code:
        raise Trouble(f"{path} failed:\n{out}")


def make(hosts: Sequence[Host]) -> None:
    """Recreate the hosts, with the app on each of them."""
    announce(hosts)
    remove(hosts)
    create(hosts)
    for root in dict.fromkeys(host.root for host in hosts):
        mine = [host.name for host in hosts if host.root == root]
        played("playbooks/site.yml", "-l", ",".join(["localhost", *mine]), root=root)


def announce(hosts: Sequence[Host]) -> None:
    """Write the inventory: these hosts, with their variables."""
    INVENTORY.parent.mkdir(parents=True, exist_ok=True)
    variables = {host.name: {"ansible_host": host.address, **host.extra} for host in hosts}
    INVENTORY.write_text(json.dumps({"backends": {"hosts": variables}}) + "\n", encoding="utf-8")


def create(hosts: Sequence[Host], variant: str = "prepared") -> None:
    """Start the hosts, with nothing deployed to them."""
    wanted = [
        {
            "name": host.name,
            "address": host.address,
            "variant": variant,
            "backing": "lab_backing" in host.extra,
            "official": "lab_official" in host.extra,
        }
        for host in hosts
    ]
    played("lab/create.yml", "-e", json.dumps({"lab_hosts": wanted}))


def remove(hosts: Sequence[Host]) -> None:
    """Remove the hosts, and no other."""
    doomed = [{"name": host.name, "address": host.address} for host in hosts]
    played("lab/destroy.yml", "-e", json.dumps({"lab_hosts": doomed}))


def machine() -> dict[str, Any]:
    """The machine of the measurement."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = {line.partition(":")[2].strip() for line in file if line.startswith("model name")}
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(file.readline().split()[1])
    return {
        "processors": os.cpu_count(),
        "model": ", ".join(sorted(models)),
        "memory_gib": round(memory / 2**20, 1),
        "kernel": platform.release(),
    }


def versions(host: Host) -> dict[str, str]:
    """The versions of the measured programs, and of those that measured."""
    from ansible.release import __version__ as ansible

    galaxy = yaml.safe_load((REPOSITORY / "galaxy.yml").read_text(encoding="utf-8"))
    lines = host.ask(
        ". /etc/os-release; echo $PRETTY_NAME; docker version --format '{{.Server.Version}}'; "
        "docker compose version --short; python3 --version"
    ).splitlines()
    return {
        "christmas.selfheal": str(galaxy["version"]),
        "ansible-core": ansible,
        **dict(zip(("system", "docker", "compose", "python"), lines)),
    }
