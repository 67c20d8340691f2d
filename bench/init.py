# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a compose file and `.env` to a healthy app on a bare host: how long do `init.yml` and `site.yml` take?

Each stack of tests/unit/corpus/init_stacks.py gets a new lab host without Docker, and nothing is written by hand.
Stacks with images that this machine's engine does not have are left out; the lab has those of PostgreSQL, Redis and
nginx. The host loads the images from archives, in place of a registry.

Prints a table, writes `results/init.json`. The exit code is 1 when a stack is not healthy, something was left to do by
hand, or a second run changed something; 2 when it could not be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ansible_collections.christmas.selfheal.bench.recover import REPOSITORY, RESULTS
from ansible_collections.christmas.selfheal.bench.recovery import hosts
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Host, Trouble
from ansible_collections.christmas.selfheal.plugins.module_utils.core import files
from ansible_collections.christmas.selfheal.tests.unit.corpus.init_stacks import STACKS, Stack

HOST = Host("bench-init", 90, {"lab_official": True})
ARCHIVES = hosts.LAB / "images"
LABEL = '{{index .Config.Labels "christmas.selfheal.context"}}'


class Run(NamedTuple):
    """One stack: its services, seconds of both commands, tasks that second runs changed, and what was wrong."""

    stack: str
    services: int
    init: float
    site: float
    again: int
    problems: list[str]


class Ended(NamedTuple):
    """A playbook that ended."""

    seconds: float
    code: int
    said: str

    @property
    def changed(self) -> int:
        """How many tasks changed something."""
        return sum(map(int, re.findall(r"changed=(\d+)", self.said)))


def images(stack: Stack) -> list[str]:
    """The images that the stack's services are not built from."""
    found: dict[str, None] = {}
    for name, text in stack.files.items():
        content = yaml.safe_load(text) if name.endswith((".yaml", ".yml")) else {}
        for spec in (content.get("services") or {}).values():
            if spec.get("image") and not spec.get("build") and not spec.get("profiles"):
                found[spec["image"]] = None
    return list(found)


def official() -> dict[str, str]:
    """The lab's images by their official names."""
    lab = yaml.safe_load((REPOSITORY / "lab/vars/lab.yml").read_text(encoding="utf-8"))
    return {one["official_name"]: one["name"] for one in lab["lab_extra_images"] if "official_name" in one}


def context(image: str) -> str:
    """What tells the image's versions apart for a lab host; "" when the engine does not have it."""
    asked = subprocess.run(
        ["docker", "image", "inspect", "--format", LABEL, image], text=True, capture_output=True, check=False
    )
    return "" if asked.returncode else asked.stdout.strip() or "none"


@contextlib.contextmanager
def offered(wanted: Sequence[str]) -> Iterator[None]:
    """Put the images where lab hosts load them from when their engine starts."""
    known, archives = official(), []
    try:
        for image in wanted:
            archives.append(ARCHIVES / f"{image.replace('/', '+')}@{context(known.get(image, image))}.tar")
            if image in known:
                subprocess.run(["docker", "tag", known[image], image], check=True)
            subprocess.run(["docker", "save", "--output", str(archives[-1]), image], check=True)
        yield
    finally:
        for archive in archives:
            archive.unlink(missing_ok=True)


def play(*words: str) -> Ended:
    """Run a playbook as a user does, with the lab's key."""
    ssh = f"-o UserKnownHostsFile={hosts.LAB}/host_keys/%h"
    argv = ["ansible-playbook", *words, f"--private-key={hosts.LAB}/id_ed25519", f"--ssh-common-args={ssh}"]
    begun = time.monotonic()
    ended = subprocess.run(argv, cwd=REPOSITORY, text=True, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return Ended(time.monotonic() - begun, ended.returncode, ended.stdout + ended.stderr)


def measure(name: str, stack: Stack, folder: Path) -> Run:
    """Set up the stack's app on a new host by two commands, and ask for its state."""
    for path, text in stack.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode())
    given = [str(folder / path) for path in stack.given]
    init = ["playbooks/init.yml", "-e", json.dumps({"from": given, "host": HOST.address, "to": str(folder / "deploy")})]
    inventory = ["-i", str(folder / "deploy/hosts.yml"), f"--vault-password-file={folder}/deploy/.vault-password"]
    first = play(*init)
    if first.code:
        raise Trouble(f"{name}: init.yml failed:\n{first.said[-3000:]}")
    site = play("playbooks/site.yml", *inventory)
    problems = [] if "To do first:" not in first.said else ["init.yml left something to do"]
    services = len(set(stack_services(stack)))
    if site.code:
        print(site.said[-3000:], file=sys.stderr)
        return Run(name, services, first.seconds, site.seconds, 0, [*problems, "site.yml failed"])
    status = play("playbooks/status.yml", *inventory)
    problems += ["status.yml: not healthy"] if status.code or ": healthy" not in status.said else []
    again = [play(*init), play("playbooks/site.yml", *inventory)]
    changed = sum(one.changed for one in again)
    problems += ["a second run failed"] if any(one.code for one in again) else []
    problems += [f"second runs changed {changed} tasks"] if changed else []
    return Run(name, services, first.seconds, site.seconds, changed, problems)


def stack_services(stack: Stack) -> Iterator[str]:
    """The names of the services, of all profiles."""
    for name, text in stack.files.items():
        if name.endswith((".yaml", ".yml")):
            yield from yaml.safe_load(text).get("services") or {}


def table(runs: Sequence[Run]) -> str:
    """The runs as a Markdown table."""
    lines = [
        "| stack | services | init.yml, s | site.yml, s | second runs changed | wrong |",
        "|---|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {one.stack} | {one.services} | {one.init:.1f} | {one.site:.1f} | {one.again} | {'; '.join(one.problems)} |"
        for one in runs
    ]
    return "\n".join(lines)


def work(chosen: Sequence[str], path: Path) -> int:
    """Measure the stacks, one after the other; the exit code."""
    runs: list[Run] = []
    for name in chosen:
        stack = STACKS[name]
        with offered(images(stack)), tempfile.TemporaryDirectory(prefix="bench-init-") as folder:
            hosts.remove([HOST])
            hosts.create([HOST], "bare")
            runs.append(measure(name, stack, Path(folder)))
        print(f"{name}: {runs[-1].init:.1f} s + {runs[-1].site:.1f} s {'; '.join(runs[-1].problems)}", flush=True)
    print(f"\n{table(runs)}")
    result: dict[str, Any] = {"machine": hosts.machine(), "stacks": [one._asdict() for one in runs]}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.atomic_write(str(path), json.dumps(result, indent=1).encode() + b"\n", 0o644)
    return 1 if any(one.problems for one in runs) else 0


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="stacks whose name holds this text; the figures go to .lab")
    only = parser.parse_args().only
    path = hosts.LAB / "bench-init/init.json" if only else RESULTS / "init.json"
    known, chosen = official(), []
    hosts.announce([HOST])
    try:
        # Creates the lab's images, too.
        hosts.create([HOST], "bare")
        for name, stack in STACKS.items():
            absent = [one for one in images(stack) if not context(known.get(one, one))]
            if absent:
                print(f"left out: {name} (this engine has no {', '.join(absent)})")
            elif only in name:
                chosen.append(name)
        return work(chosen, path)
    except Trouble as trouble:
        print(f"bench-init: {trouble}", file=sys.stderr)
        return 2
    finally:
        hosts.remove([HOST])


if __name__ == "__main__":
    sys.exit(main())
