# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`./selfheal recover production` on the controller: runs the playbook, and prints the command that does it.

It imports nothing of Ansible, so that it starts at once. Commands and their texts are the playbooks' first comments.
"""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

COLLECTION = "christmas.selfheal"
WRONG, MISSING = 2, 127
"""Exit codes: no such command or inventory; ansible-playbook is not installed. Else it is the playbook's own."""

# The inventory of a project of its own, from its folder or from the one above: what init writes, and common names.
_OWN_INVENTORIES = ("hosts.yml", "deploy/hosts.yml", "hosts", "hosts.ini", "inventory.yml", "inventory.ini")
_OPTIONS = "--check --diff --limit --tags --extra-vars --ask-vault-pass --vault-password-file --verbose"


class Refused(Exception):
    """There is no such command or inventory; the message lists what there is."""


class Place(NamedTuple):
    """The folder of this collection, and the one that the person is in."""

    root: Path
    here: Path

    @property
    def is_clone(self) -> bool:
        """Whether this is a clone of the repository: a collection is built without its ansible.cfg."""
        return (self.root / "ansible.cfg").is_file()


def commands(root: Path) -> dict[str, str]:
    """{command: what it does}, of the playbooks that people run: their first comment has a line that runs them."""
    found = {}
    for path in sorted(root.glob("playbooks/*.yml")):
        lines = path.read_text(encoding="utf-8").removeprefix("---\n").splitlines()
        about = [
            line.lstrip("# ") for line in lines[: next((n for n, s in enumerate(lines) if not s.startswith("#")), 0)]
        ]
        if any(f"playbooks/{path.name}" in line for line in about):
            found[path.stem] = about[0].rstrip(":")
    return found


def inventories(place: Place) -> dict[str, Path]:
    """{name: path} of the inventories in the folders `inventory` here and in the clone; what is here comes first."""
    folders = [place.here / "inventory", *([place.root / "inventory"] if place.is_clone else [])]
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            found.setdefault(path.stem if path.is_file() else path.name, path)
    return found


def command_line(words: Sequence[str], place: Place) -> list[str]:
    """The command that runs a playbook: COMMAND [INVENTORY] [options of ansible-playbook]. Raises Refused.

    An app that is adopted has no inventory yet, so `adopt` takes its place on the server instead: [USER@]HOST:/FOLDER.
    """
    known = commands(place.root)
    name, rest = words[0], list(words[1:])
    if name not in known:
        raise Refused(f"no command {name!r}.{_like(name, known)} There are: {', '.join(known)}")
    playbook = _shown(place.root / "playbooks" / f"{name}.yml", place) if place.is_clone else f"{COLLECTION}.{name}"
    chosen = []
    if name == "adopt" and rest and _is_target(rest[0], place):
        chosen = ["--extra-vars", f"adopt={rest.pop(0)}"]
    elif rest and not rest[0].startswith("-"):
        chosen = ["--inventory", _inventory(rest.pop(0), place, name)]
    return ["ansible-playbook", playbook, *chosen, *rest]


def _is_target(word: str, place: Place) -> bool:
    """Whether a word names an app on a server, and not an inventory that is there."""
    is_there = word in inventories(place) or (place.here / word).exists()
    return not is_there and not word.startswith("-") and (":" in word or "@" in word)


def _inventory(name: str, place: Place, command: str) -> str:
    there = inventories(place)
    if name in there:
        return _shown(there[name], place)
    if (place.here / name).exists():
        return name
    have = f"There are: {', '.join(there) or 'none'}; or give the path of one"
    adopts = f". To adopt an app: selfheal adopt {name}:/FOLDER" if command == "adopt" else ""
    raise Refused(f"no inventory {name!r}.{_like(name, there)} {have}{adopts}")


def _like(name: str, known: Iterable[str]) -> str:
    """Ask for the known name that is most like it; "" when none is like it."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


def _shown(path: Path, place: Place) -> str:
    """A path as a person here would write it."""
    return str(path.relative_to(place.here)) if path.is_relative_to(place.here) else str(path)


def environment(place: Place, given: Mapping[str, str], inventory: str = "") -> dict[str, str]:
    """What the command needs besides: settings that Ansible does not find by itself.

    Those next to the inventory, which name the password of its vault; else, from another folder, those of the clone.

    :arg inventory: the path that the command has, "" without one.
    """
    if "ANSIBLE_CONFIG" in given or (place.here / "ansible.cfg").is_file():
        return {}
    own = (place.here / inventory).parent / "ansible.cfg"
    if inventory and own.is_file():
        return {"ANSIBLE_CONFIG": str(own)}
    if not place.is_clone:
        return {}
    settings = {
        "ANSIBLE_CONFIG": str(place.root / "ansible.cfg"),
        # Ansible takes this path of the settings from the folder that it runs in.
        "ANSIBLE_VAULT_IDENTITY_LIST": f"lab@{place.root / 'inventory/lab/vault-password.txt'}",
    }
    return {name: value for name, value in settings.items() if name not in given}


def table(root: Path) -> str:
    """The commands, a line each."""
    known = commands(root)
    width = max(map(len, known))
    lines = [f"  {name:<{width}}  {text}" for name, text in known.items()]
    usage = "Usage: selfheal COMMAND [INVENTORY] [options of ansible-playbook]"
    adopts = "       selfheal adopt [USER@]HOST:/FOLDER [options of ansible-playbook]"
    return "\n".join([usage, adopts, "", *lines, "", "Completion for bash: source <(./selfheal completion)"])


def completion(place: Place) -> str:
    """A script for bash that completes commands, inventories and options."""
    folder = shlex.quote(str(place.root / "inventory"))
    return f"""_selfheal_playbooks() {{
    local words="{_OPTIONS}"
    case $COMP_CWORD in
        1) words="{" ".join(commands(place.root))}" ;;
        2)
            case ${{COMP_WORDS[1]}} in adopt|init) ;; *)
            words+=" $(ls inventory {folder} 2>/dev/null | grep -v : | sort -u)"
            words+=" $(ls -d {" ".join(_OWN_INVENTORIES)} 2>/dev/null)"
            words+=" $(sed -n 's/^inventory *= *//p' ansible.cfg 2>/dev/null)"
            ;; esac
            ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}")
}}
complete -o default -F _selfheal_playbooks selfheal ./selfheal"""


def main(words: Sequence[str], root: Path) -> int:
    """Run a command; its exit code is the playbook's."""
    # The table may be piped into a program that does not read all of it.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    place = Place(root, Path.cwd())
    if not words or words[0] in ("-h", "--help"):
        print(table(root))
        return 0
    if words[0] == "completion":
        print(completion(place))
        return 0
    try:
        argv = command_line(words, place)
    except Refused as problem:
        print(f"selfheal: {problem}", file=sys.stderr)
        return WRONG
    inventory = argv[argv.index("--inventory") + 1] if "--inventory" in argv else ""
    more = environment(place, os.environ, inventory)
    prefix = [f"{name}={shlex.quote(value)}" for name, value in more.items()]
    print(" ".join([*prefix, shlex.join(argv)]), file=sys.stderr, flush=True)
    program = shutil.which(argv[0]) or shutil.which(argv[0], path=str(root / ".venv/bin"))
    if program is None:
        print("selfheal: ansible-playbook is not installed. Fix: make setup, or pip install ansible", file=sys.stderr)
        return MISSING
    return os.execve(program, argv, {**os.environ, **more})
