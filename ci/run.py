# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run one playbook in a CI job: github.yml and gitlab.yml in this folder start it, and docs/guides/ci.md describes it.

Settings and secrets are environment variables. A secret is in no argument and not in the playbook's environment. The
vault's password is in a file of this run, the ssh key in an agent of this run; both are gone when the run ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

COLLECTION = "christmas.selfheal"
PLAYBOOKS = ("backup", "deploy", "drift", "promote", "recover", "rollback", "site", "status", "validate")
SECRETS = ("VAULT_PASSWORD", "SSH_KEY", "KNOWN_HOSTS")
PROGRAMS = {
    "ansible-playbook": "pip install --require-hashes -r requirements.txt",
    "ssh-agent": "apt-get install openssh-client",
    "rsync": "apt-get install rsync",
}
"""What this machine needs, each with the command that installs it."""
INVALID = 2
"""Exit code for settings that do not fit. Else it is that of ansible-playbook."""

_AGENT_SECONDS = 10.0


class InvalidSettings(Exception):
    """Nothing was run; each argument is a problem and its fix."""


class Job(NamedTuple):
    """What to run, and who asked for it. `limit` is "" for every host, `soak_minutes` "" for the inventory's value."""

    playbook: str
    inventory: str
    limit: str
    check: bool
    soak_minutes: str
    by: str


class Secrets(NamedTuple):
    """What opens the vault and the hosts."""

    vault_password: str
    ssh_key: str
    known_hosts: str


def read_job(given: Mapping[str, str]) -> tuple[Job, list[str]]:
    """What the variables ask for, and what is wrong with them."""
    job = Job(
        given.get("PLAYBOOK", ""),
        given.get("INVENTORY", ""),
        given.get("LIMIT", ""),
        given.get("CHECK", "") == "true",
        given.get("SOAK_MINUTES", ""),
        given.get("GITHUB_ACTOR") or given.get("GITLAB_USER_LOGIN", ""),
    )
    problems = []
    if job.playbook not in PLAYBOOKS:
        problems.append(f"PLAYBOOK: invalid value {job.playbook!r}. Use one of {', '.join(PLAYBOOKS)}")
    if not job.inventory or not Path(job.inventory).exists():
        problems.append(f"INVENTORY: {job.inventory!r} does not exist. Use a path in this repository")
    if given.get("CHECK", "") not in ("", "true", "false"):
        problems.append(f"CHECK: invalid value {given['CHECK']!r}. Use true or false")
    if job.soak_minutes and not (job.soak_minutes.isascii() and job.soak_minutes.isdigit()):
        problems.append(f"SOAK_MINUTES: invalid value {job.soak_minutes!r}. Use a number of minutes")
    return job, problems


def take_secrets(given: dict[str, str]) -> tuple[Secrets, list[str]]:
    """The secrets, which are then no longer in `given`, and which of them are missing.

    `NAME_FILE` is the path of a file with the value, as GitLab's variables of the type File are.
    """
    found, problems = {}, []
    for name in SECRETS:
        value, path = given.pop(name, ""), given.pop(f"{name}_FILE", "")
        try:
            found[name] = (value or (Path(path).read_text(encoding="utf-8") if path else "")).strip()
        except (OSError, UnicodeDecodeError):
            problems.append(f"{name}_FILE: cannot be read. Use a variable of the type File")
            continue
        if not found[name]:
            problems.append(f"{name}: has no value. Set it as a secret of this job's environment (docs/guides/ci.md)")
    return Secrets(*(found.get(name, "") for name in SECRETS)), problems


def command(job: Job) -> list[str]:
    """The command that runs the playbook."""
    words = ["ansible-playbook", f"{COLLECTION}.{job.playbook}", f"--inventory={job.inventory}"]
    if job.limit:
        words.append(f"--limit={job.limit}")
    if job.check:
        words += ["--check", "--diff"]
    variables: dict[str, str | int] = {}
    if job.by:
        variables["compose_app_by"] = job.by
    if job.playbook == "promote" and job.soak_minutes:
        variables["promote_soak_minutes"] = int(job.soak_minutes)
    return [*words, f"--extra-vars={json.dumps(variables)}"] if variables else words


def settings(given: Mapping[str, str], inventory: str, collections: Path | None) -> dict[str, str]:
    """Ansible's settings: init writes an ansible.cfg next to the inventory; the collection may be in any folder."""
    found = {}
    written = Path(inventory).parent / "ansible.cfg"
    if "ANSIBLE_CONFIG" not in given and not Path("ansible.cfg").exists() and written.exists():
        found["ANSIBLE_CONFIG"] = str(written)
    if collections:
        others = given.get("ANSIBLE_COLLECTIONS_PATH", "")
        found["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join(filter(None, (str(collections), others)))
    return found


def own_collections(file: Path) -> Path | None:
    """The folder of collections that this file is in: COLLECTIONS/ansible_collections/christmas/selfheal/ci/run.py."""
    above = file.absolute().parents
    return above[4] if len(above) > 4 and above[3].name == "ansible_collections" else None


def add_known_hosts(lines: str, file: Path) -> None:
    """Add the lines that the file does not have."""
    there = file.read_text(encoding="utf-8") if file.exists() else ""
    new = [line for line in lines.splitlines() if line not in there.splitlines()]
    if not new:
        return
    file.parent.mkdir(mode=0o700, exist_ok=True)
    end = "" if not there or there.endswith("\n") else "\n"
    with file.open("a", encoding="utf-8") as stream:
        stream.write(end + "\n".join(new) + "\n")


@contextmanager
def _ssh_agent(key: str, socket: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """An agent that has the key, until the end."""
    words = ["ssh-agent", "-D", "-a", str(socket)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as agent:
        try:
            deadline = time.monotonic() + _AGENT_SECONDS
            while not socket.exists() and agent.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            # Nothing may ask a person for a passphrase.
            asked = {**environment, "SSH_AUTH_SOCK": str(socket), "SSH_ASKPASS_REQUIRE": "never"}
            added = subprocess.run(
                ["ssh-add", "-q", "-"], input=key + "\n", env=asked, capture_output=True, text=True, check=False
            )
            if added.returncode:
                raise InvalidSettings("SSH_KEY: ssh-add refuses it. Use a whole private key without a passphrase")
            yield
        finally:
            agent.terminate()


@contextmanager
def _at_hand(secrets: Secrets, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Where Ansible and ssh find the secrets, until the end."""
    folder = Path(tempfile.mkdtemp(prefix="selfheal-", dir=environment.get("RUNNER_TEMP")))
    try:
        password = folder / "vault-password"
        with open(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(secrets.vault_password + "\n")
        socket = folder / "agent"
        with _ssh_agent(secrets.ssh_key, socket, environment):
            yield {"ANSIBLE_VAULT_PASSWORD_FILE": str(password), "SSH_AUTH_SOCK": str(socket)}
    finally:
        shutil.rmtree(folder)


def _run(words: list[str], environment: Mapping[str, str]) -> int:
    """Run the command; a signal that ends this job ends the command first."""
    with subprocess.Popen(words, env=environment) as process:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: process.send_signal(received))
        code = process.wait()
    return code if code >= 0 else 128 - code


def main() -> int:
    """Read the variables, run the playbook, forget the secrets."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    environment = dict(os.environ)
    try:
        job, wrong = read_job(environment)
        secrets, missing = take_secrets(environment)
        absent = [f"{name}: is not installed. Run: {fix}" for name, fix in PROGRAMS.items() if not shutil.which(name)]
        if wrong or missing or absent:
            raise InvalidSettings(*wrong, *missing, *absent)
        environment |= settings(environment, job.inventory, own_collections(Path(__file__)))
        add_known_hosts(secrets.known_hosts, Path.home() / ".ssh" / "known_hosts")
        with _at_hand(secrets, environment) as found:
            return _run(command(job), {**environment, **found})
    except InvalidSettings as error:
        for problem in error.args:
            print(f"ci: {problem}", file=sys.stderr)
        return INVALID


if __name__ == "__main__":
    sys.exit(main())
