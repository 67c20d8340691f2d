# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run the guide of the first ten minutes on a lab host, and write what the commands print into it.

The guide has the files of an example app, each in a block that begins with a comment with its name, and commands in
`console` blocks. What a block shows below its command is replaced by the command's output: all of it, or the last lines
(`console tail=8`). README.md shows the blocks of `console readme`.

The guide says ../shop and 10.0.0.5; the recording has a temporary folder and a lab host in their places.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ansible_collections.christmas.selfheal.bench import init as bench
from ansible_collections.christmas.selfheal.bench.recover import REPOSITORY
from ansible_collections.christmas.selfheal.bench.recovery import hosts
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Host, Trouble

GUIDE = REPOSITORY / "docs/guides/first-ten-minutes.md"
README = REPOSITORY / "README.md"
HOST = Host("recording", 95, {"lab_official": True})
FOLDER, ADDRESS = "../shop", "10.0.0.5"
# What the app's Dockerfile names, and the lab's image that has the same programs.
BASE, LAB_BASE = "python:3.13-slim", "selfheal-lab/python:latest"
IMAGES = [BASE, "nginx:1", "redis:8"]
SECONDS = 600

CONSOLE = re.compile(r"^```console(?P<options>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^```(?!console)\w+\n# (?P<name>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"(?<=<!-- recording -->\n).*?(?=<!-- end of recording -->)", re.DOTALL)


def files(guide: str) -> dict[str, str]:
    """The files of the example app."""
    return {found["name"]: found["text"] for found in FILE.finditer(guide)}


def recorded(guide: str, run: Callable[[str], str]) -> str:
    """The guide with the output of its commands, run one after the other."""

    def block(found: re.Match[str]) -> str:
        options = found["options"].split()
        tail = next((int(one.partition("=")[2]) for one in options if one.startswith("tail=")), 0)
        shown = []
        for command in commands(found["text"]):
            lines = [line.rstrip() for line in run(command).strip().splitlines()]
            shown += [f"$ {command}", *(["…", *lines[-tail:]] if tail and len(lines) > tail else lines)]
        return f"```console{found['options']}\n" + "\n".join(shown) + "\n```"

    return CONSOLE.sub(block, guide)


def commands(text: str) -> list[str]:
    """The commands of a block."""
    return [line[2:] for line in text.splitlines() if line.startswith("$ ")]


def excerpt(guide: str) -> str:
    """What README.md shows of the guide."""
    blocks = [found["text"].strip() for found in CONSOLE.finditer(guide) if "readme" in found["options"].split()]
    return "```console\n" + "\n".join(blocks) + "\n```\n"


def renewed(readme: str, guide: str) -> str:
    """README.md with the guide's recording."""
    return SHOWN.sub(lambda _: excerpt(guide), readme)


class Session:
    """Runs the guide's commands, in the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ssh = f"-o UserKnownHostsFile={hosts.LAB}/host_keys/%h -o BatchMode=yes"
        self.ssh = f"ssh -i {hosts.LAB}/id_ed25519 {ssh} "
        self.environment = {
            **os.environ,
            "ANSIBLE_PRIVATE_KEY_FILE": f"{hosts.LAB}/id_ed25519",
            "ANSIBLE_SSH_COMMON_ARGS": ssh,
            "ANSIBLE_NOCOLOR": "1",
        }

    def run(self, command: str) -> str:
        """What a command prints. Raises Trouble when it fails."""
        print(f"$ {command}", flush=True)
        real = command.replace(FOLDER, str(self.folder)).replace(ADDRESS, HOST.address)
        if real.startswith("export "):
            name, _unused, value = real[len("export ") :].partition("=")
            self.environment[name] = value
            return ""
        ended = subprocess.run(
            ["bash", "-c", re.sub(r"^ssh ", self.ssh, real)],
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        print(ended.stdout, flush=True)
        if ended.returncode:
            raise Trouble(f"exit code {ended.returncode}: {command}")
        relative = os.path.relpath(self.folder, REPOSITORY)
        said = ended.stdout.replace(str(self.folder), FOLDER).replace(relative, FOLDER)
        return said.replace(HOST.address, ADDRESS)


def record() -> None:
    """Record the guide, and renew README.md."""
    guide = GUIDE.read_text(encoding="utf-8")
    hosts.announce([HOST])
    try:
        # Creates the lab's images, too.
        hosts.create([HOST], "bare")
        hosts.remove([HOST])
        subprocess.run(["docker", "tag", LAB_BASE, BASE], check=True)
        with bench.offered(IMAGES), tempfile.TemporaryDirectory(prefix="recording-") as folder:
            hosts.create([HOST], "bare")
            app = Path(folder) / "shop"
            app.mkdir()
            for name, text in files(guide).items():
                (app / name).write_text(text, encoding="utf-8")
            guide = recorded(guide, Session(app).run)
    finally:
        hosts.remove([HOST])
    GUIDE.write_text(guide, encoding="utf-8")
    README.write_text(renewed(README.read_text(encoding="utf-8"), guide), encoding="utf-8")


if __name__ == "__main__":
    try:
        record()
    except Trouble as trouble:
        print(f"record: {trouble}", file=sys.stderr)
        sys.exit(1)
