# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A CI job on this machine: a repository with an inventory, secrets, and programs that record how they were called."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLLECTION = Path(__file__).resolve().parents[3]

# It records its arguments and environment. As ansible-playbook it also reads the secrets, as ansible-galaxy it installs
# the collection, and as another program it is that program.
PROGRAM = """#!{python} -S
import json, os, signal, stat, subprocess, sys, time
name, folder = os.path.basename(sys.argv[0]), {folder!r}
seen = {{"argv": sys.argv, "environment": dict(os.environ)}}
if name == "ansible-playbook":
    path = os.environ["ANSIBLE_VAULT_PASSWORD_FILE"]
    seen["vault_password"] = open(path).read().rstrip()
    seen["vault_mode"] = stat.S_IMODE(os.stat(path).st_mode)
    seen["keys"] = subprocess.run([{add!r}, "-l"], capture_output=True, text=True).stdout
if name == "ansible-galaxy":
    target = sys.argv[sys.argv.index("--collections-path") + 1] + "/ansible_collections/christmas"
    os.makedirs(target)
    os.symlink({collection!r}, target + "/selfheal")
def end(number, _frame):
    open(folder + "/ended", "w").write(json.dumps(number))
    sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, end)
with open(folder + "/calls", "a") as stream:
    stream.write(json.dumps(seen) + "\\n")
real = {{"ssh-add": {add!r}, "ssh-agent": {agent!r}, "python": {python!r}}}.get(name)
if real and sys.argv[1:3] != ["-m", "pip"]:
    os.execv(real, [real, *sys.argv[1:]])
if name == "ansible-playbook":
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
    sys.exit(int(os.environ.get("FAKE_CODE", "0")))
"""
PROGRAMS = ("ansible-galaxy", "ansible-playbook", "apt-get", "python", "rsync", "ssh-add", "ssh-agent")


class Place:
    """A folder of a job. `secrets` are the variables of a deploy that works."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository, self.home, self.temporary = (folder / name for name in ("repository", "home", "temporary"))
        for path in (self.repository / "deploy", self.home, self.temporary, folder / "bin"):
            path.mkdir(parents=True)
        (self.repository / "deploy/hosts.yml").touch()
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        shown = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], check=True, capture_output=True, text=True)
        self.fingerprint = shown.stdout.split()[1]
        self.secrets = {
            "PLAYBOOK": "deploy",
            "INVENTORY": "deploy/hosts.yml",
            "VAULT_PASSWORD": secrets.token_hex(16),
            "SSH_KEY": key.read_text(encoding="utf-8"),
            "KNOWN_HOSTS": "192.0.2.1 ssh-ed25519 AAAA",
        }
        real = {name: shutil.which(name) for name in ("ssh-add", "ssh-agent")}
        text = PROGRAM.format(
            python=sys.executable,
            folder=str(folder),
            collection=str(COLLECTION),
            add=real["ssh-add"],
            agent=real["ssh-agent"],
        )
        for name in PROGRAMS:
            (folder / "bin" / name).write_text(text, encoding="utf-8")
            (folder / "bin" / name).chmod(0o755)

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """The environment of a job with these variables, and nothing of this machine's but a PATH."""
        own = {"HOME": str(self.home), "TMPDIR": str(self.temporary), "PATH": f"{self.folder}/bin:/usr/bin:/bin"}
        return {**own, "RUNNER_TEMP": str(self.temporary), **given}

    def run(self, words: list[str], given: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command of the job; its output is in `stdout`."""
        return subprocess.run(
            words,
            cwd=self.repository,
            env=self.environment(given),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    def calls(self) -> list[dict[str, Any]]:
        """Every call of a program, in order."""
        file = self.folder / "calls"
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []

    def seen(self, program: str) -> list[dict[str, Any]]:
        """The calls of one program."""
        return [call for call in self.calls() if os.path.basename(call["argv"][0]) == program]

    def exposed(self, output: str) -> list[str]:
        """Where a secret can be read by others: the output, an argument, or the playbook's environment."""
        values = [self.secrets["VAULT_PASSWORD"], *self.secrets["SSH_KEY"].splitlines()[1:-1]]
        places = {"output": output}
        for call in self.calls():
            places[f"arguments of {call['argv'][0]}"] = " ".join(call["argv"])
        for call in (*self.seen("ansible-playbook"), *self.seen("ssh-agent"), *self.seen("ssh-add")):
            places[f"environment of {call['argv'][0]}"] = " ".join(call["environment"].values())
        return [place for place, text in places.items() if any(value in text for value in values)]

    def remaining(self) -> list[str]:
        """What of the secrets is still there: files of the run, or a file of the job that has one."""
        values = [self.secrets["VAULT_PASSWORD"], self.secrets["SSH_KEY"].splitlines()[1]]
        files = [path for top in (self.temporary, self.home) for path in top.rglob("*") if path.is_file()]
        held = [str(path) for path in files if any(v in path.read_text(errors="replace") for v in values)]
        return held + [str(path) for path in self.temporary.glob("selfheal-*")]
