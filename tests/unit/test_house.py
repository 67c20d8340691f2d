# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of the house: who imports whom, what is declared where, whom the defaults reach, what stands nowhere."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import ipaddress
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.variable_table import KINDS

REPOSITORY = Path(__file__).resolve().parents[2]
COLLECTION = "christmas.selfheal"

LIBRARY = sorted(path.stem for path in REPOSITORY.glob("plugins/module_utils/[!_]*.py"))
MODULES = sorted(path.stem for path in REPOSITORY.glob("plugins/modules/[!_]*.py"))
ACTIONS = {path.stem for path in REPOSITORY.glob("plugins/action/[!_]*.py")}
ROLES = sorted(path.name for path in REPOSITORY.glob("roles/*") if path.is_dir())

# The library's files by layer, and what a layer may import beside its own files.
LAYERS: dict[str, set[str]] = {
    layer: set(names.split())
    for layer, names in {
        "formats": "app dotenv files health_request image_names page_words project_files project_layout redact",
        "read": """
            balancer checks commands containers docker_facts engine firewall host kernel probe prober prometheus relay
            supabase timers web
        """,
        "decide": """
            app_model backing backup database_log databases diagnosis disk_log drift drift_policy hints key_files
            known_images ladder merged_values neighbours overlay page_figures page_queries placeholders project_parts
            promotion remote_postgres secret_rules services_table slo start_order supabase_keys token_formats
            unsafe_text value_rules variable_table
        """,
        "act": """
            before_first bring_up env_store exchange host_files lock_holder release remedies restic sqlite_files
            staged_project
        """,
        "record": """
            alerts drift_log drift_memory drift_report drills failure_logs incident metrics page_html report slo_report
            state
        """,
        "loop": """
            agent_config backup_config backup_run compose_project deployment drift_host image_archive monthly observe
            recovery restore rollout service_watch staging watcher
        """,
        # The agent's command, and what modules share.
        "door": "agent ansible_door app_door env_door exporter page_server",
    }.items()
}
MAY_IMPORT: dict[str, set[str]] = {
    "formats": set(),
    "read": {"formats"},
    "decide": {"formats"},
    "act": {"formats", "read"},
    "record": {"formats"},
    "loop": {"formats", "read", "decide", "act", "record"},
    "door": {"formats", "read", "decide", "act", "record", "loop"},
}
# Imports against the table, each with its reason. `decide` is pure, so what is borrowed from it brings no I/O along.
EXCEPTIONS = {
    ("bring_up", "start_order"): "containers start in the order that is decided there",
    ("remedies", "start_order"): "a remedy does not run a job again",
    ("staged_project", "project_parts"): "what is put in place is what the model names",
    ("supabase", "secret_rules"): "online findings have the shape of the offline ones",
    ("supabase", "variable_table"): "and name the same sources",
    ("env_store", "secret_rules"): "nothing is written that was not proved",
    ("page_html", "page_figures"): "the page shows the figures, and knows their names",
    ("page_html", "page_queries"): "and how far back they go",
    ("page_html", "slo"): "what a day and an unattended recovery are is defined once",
    ("report", "secret_rules"): "a report lists findings in the words of the module that made them",
    ("slo_report", "slo"): "a report counts days and incidents as the status page does",
    ("remedies", "secret_rules"): "the proved env is made of the proved values",
    ("remedies", "ladder"): "remedies are registered under the names that the ladder uses",
}
# What could let the world into a decision.
IMPURE = {
    *("asyncio", "fcntl", "glob", "http", "io", "multiprocessing", "os", "pathlib", "random", "secrets", "select"),
    *("shutil", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "time", "urllib.request"),
}


def read(path: str | Path) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


def load(path: str | Path) -> Any:
    return yaml.safe_load(read(path))


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this Python's environment as a user would, from the root and with the repository's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment = {**kept, "ANSIBLE_NOCOLOR": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        argv, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def imports(path: str | Path) -> Iterator[tuple[str, bool]]:
    """What a file imports, as (name, is one of the library's own files); imports inside functions count."""
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module), False
        elif isinstance(node, ast.ImportFrom):
            yield from ((name, True) for name in ([node.module] if node.module else [a.name for a in node.names]))


# --- the library -----------------------------------------------------------------------------------------------------


def test_every_library_file_has_its_layer() -> None:
    placed = [name for names in LAYERS.values() for name in names]
    assert sorted(placed) == LIBRARY


@pytest.mark.parametrize("name", LIBRARY)
def test_library_is_standard_library_only(name: str) -> None:
    foreign = [
        module
        for module, ours in imports(f"plugins/module_utils/{name}.py")
        if not ours and module.split(".")[0] not in sys.stdlib_module_names
    ]
    assert foreign == []


@pytest.mark.parametrize("layer", LAYERS)
def test_layers(layer: str) -> None:
    allowed = set().union(LAYERS[layer], *(LAYERS[other] for other in MAY_IMPORT[layer]))
    crossing = {
        (name, module)
        for name in LAYERS[layer]
        for module, ours in imports(f"plugins/module_utils/{name}.py")
        if ours and module not in allowed
    }
    excused = {pair for pair in EXCEPTIONS if pair[0] in LAYERS[layer]}
    assert crossing == excused, "an import against the table, or an exception that nobody needs any more"


@pytest.mark.parametrize("name", sorted(LAYERS["decide"]))
def test_decisions_are_pure(name: str) -> None:
    used = {module for module, ours in imports(f"plugins/module_utils/{name}.py") if not ours}
    assert {module for module in used if module in IMPURE or module.split(".")[0] in IMPURE} == set()


# --- the modules -----------------------------------------------------------------------------------------------------


def documentation(name: str) -> dict[str, Any]:
    """A module's DOCUMENTATION with its fragments merged in."""
    texts = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(read(f"plugins/modules/{name}.py")).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    }
    document: dict[str, Any] = yaml.safe_load(texts["DOCUMENTATION"])
    for key in ("EXAMPLES", "RETURN"):
        document[key] = yaml.safe_load(texts[key])
    for fragment in document.get("extends_documentation_fragment", []):
        shared = importlib.import_module(
            f"ansible_collections.{COLLECTION}.plugins.doc_fragments.{fragment.rsplit('.', 1)[-1]}"
        )
        merged = yaml.safe_load(shared.ModuleDocFragment.DOCUMENTATION)
        for part in ("options", "attributes"):
            own = document.setdefault(part, {})
            for key, value in merged.get(part, {}).items():
                own[key] = {**value, **own.get(key, {})}
    return document


def comparable(options: dict[str, Any]) -> dict[str, Any]:
    """What a module's arguments and its documented options must have in common."""
    return {
        key: {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "required": bool(option.get("required", False)),
            "default": option.get("default"),
            "choices": sorted(option.get("choices") or []),
            "below": comparable(option.get("options") or option.get("suboptions") or {}),
        }
        for key, option in options.items()
    }


def action_spec(name: str) -> dict[str, Any]:
    """What an action takes, on the controller; nothing when it leaves that to the module."""
    action = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.action.{name}")
    return dict(getattr(action, "SPEC", {}))


def argument_spec(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a module really takes; where it only documents an action, what that takes."""
    module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
    if not hasattr(module, "main"):
        return action_spec(name)

    class Taken(Exception):
        pass

    def take(argument_spec: dict[str, Any], **_: Any) -> None:
        raise Taken(argument_spec)

    monkeypatch.setattr(module, "AnsibleModule", take)
    with pytest.raises(Taken) as taken:
        module.main()
    return dict(taken.value.args[0])


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_documented(name: str) -> None:
    document = documentation(name)
    assert document["module"] == name
    assert document["version_added"]
    assert document["EXAMPLES"], "examples that someone could work from"
    assert document["RETURN"], "what comes back"
    for attribute in ("check_mode", "diff_mode"):
        assert document["attributes"][attribute]["support"] in ("full", "partial", "none", "N/A")


@pytest.mark.parametrize("name", MODULES)
def test_module_takes_what_it_documents(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert comparable(argument_spec(name, monkeypatch)) == comparable(documentation(name)["options"])


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_action_takes_what_its_module_documents(name: str) -> None:
    """An action may insist on what is one of several ways for the module, and may leave a way to the module."""
    assert name in MODULES, "an action is documented by the module of its name"
    documented = comparable(documentation(name)["options"])
    for key, option in comparable(action_spec(name)).items():
        assert {**option, "required": None} == {**documented[key], "required": None}, key


def test_action_group() -> None:
    """Defaults set for the group reach every module in it, and a module refuses an option that it does not know."""
    with_app = [name for name in MODULES if "app" in documentation(name)["options"]]
    assert load("meta/runtime.yml")["action_groups"] == {"app": with_app}


# --- the roles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_role_spec_is_its_defaults(role: str) -> None:
    """Whatever may be set has a default that is documented; what has none is required, or belongs to all roles."""
    defaults = load(f"roles/{role}/defaults/main.yml") or {}
    options: dict[str, Any] = {}
    for spec in load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"].values():
        options.update(spec.get("options", {}))
    own = {key: option for key, option in options.items() if key.startswith(f"{role}_")}
    assert {key for key in options if key not in own and not key.startswith("selfheal_")} == set()
    assert {key: option["default"] for key, option in own.items() if not option.get("required")} == defaults
    assert [key for key, option in options.items() if not option.get("description")] == []


PHASES = ["preflight.yml", "install.yml", "configure.yml", "service.yml"]


def tasks_of(items: Any) -> Iterator[dict[str, Any]]:
    """Every task of a task file, those in blocks too."""
    for item in items or []:
        yield item
        for part in ("block", "rescue", "always"):
            yield from tasks_of(item.get(part))


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_main_file_runs_its_phases_in_order(role: str) -> None:
    main = load(f"roles/{role}/tasks/main.yml")
    included = [
        task.get("ansible.builtin.import_tasks") or task.get("ansible.builtin.include_tasks")
        for task in tasks_of(main)
        if "ansible.builtin.meta" not in task
    ]
    assert None not in included, "the main file only imports and includes"
    there = [phase for phase in PHASES if (REPOSITORY / f"roles/{role}/tasks" / phase).exists()]
    assert [name for name in included if name in PHASES] == there


@pytest.mark.parametrize("role", ROLES)
def test_a_task_name_makes_sense_alone(role: str) -> None:
    """One word, such as `Configuration`, says nothing in the output of a run."""
    files = [*REPOSITORY.glob(f"roles/{role}/tasks/*.yml"), *REPOSITORY.glob(f"roles/{role}/handlers/*.yml")]
    names = [task.get("name", "") for path in files for task in tasks_of(load(path))]
    assert [name for name in names if len(name.split()) < 2] == []


# --- what is declared ------------------------------------------------------------------------------------------------


def versions() -> dict[str, tuple[str, str]]:
    """Collections of requirements.yml, with both ends of the range."""
    found = {}
    for entry in load("requirements.yml")["collections"]:
        low, high = entry["version"].split(",")
        found[entry["name"]] = (low.removeprefix(">="), high.removeprefix("<="))
    return found


def used_collections(*folders: str) -> set[str]:
    pattern = re.compile(r"\b((?:ansible|community)\.\w+)\.\w+")
    files = (path for folder in folders for path in (REPOSITORY / folder).rglob("*.yml"))
    return {name for path in files for name in pattern.findall(read(path))} - {"ansible.builtin"}


def test_requirements_are_what_is_used() -> None:
    assert set(versions()) == used_collections("roles", "playbooks", "lab", "molecule")


def test_dependencies_are_what_a_user_needs() -> None:
    """The lab needs more than the roles and playbooks do; installing the collection brings only what those need."""
    wanted = {name: f">={versions()[name][0]}" for name in sorted(used_collections("roles", "playbooks"))}
    assert load("galaxy.yml")["dependencies"] == wanted


@pytest.mark.skipif(not importlib.util.find_spec("ansible_collections"), reason="ansible-core without collections")
def test_requirements_are_what_the_ansible_package_carries() -> None:
    """The lower end with the oldest Python, the upper end with the newest: both are tested, see tools/other-end."""
    specification = importlib.util.find_spec("ansible_collections")
    assert specification
    assert specification.submodule_search_locations
    installed = Path(next(iter(specification.submodule_search_locations)))
    end = 0 if sys.version_info < (3, 12) else 1
    carried = {}
    for name in versions():
        manifest = installed.joinpath(*name.split("."), "MANIFEST.json")
        carried[name] = json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"]
    assert carried == {name: ends[end] for name, ends in versions().items()}


def test_python_requirements_are_pinned() -> None:
    lines = [
        line
        for path in (REPOSITORY / "requirements").glob("*.txt")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(("#", "-r ", "-c "))
    ]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", line)] == []


def test_make_targets_in_the_documents_exist() -> None:
    makefile = read("Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]:
        named = re.findall(r"`make ([a-z][a-z-]*)|^ *make ([a-z][a-z-]*)", read(path), re.MULTILINE)
        unknown = {a or b for a, b in named} - targets
        assert {target for target in unknown if not target.startswith("molecule-")} == set(), path.name


# --- whom the defaults can reach -------------------------------------------------------------------------------------


def production_addresses() -> set[str]:
    hosts = load("inventory/production/hosts.yml")["backends"]["hosts"]
    return {host["ansible_host"] for host in hosts.values()}


def addresses(*arguments: str) -> dict[str, str]:
    """Hosts of an inventory with the address that a play would connect to; `debug` itself connects to nothing."""
    message = "msg='address of {{ inventory_hostname }}: {{ ansible_host | default(inventory_hostname) }};'"
    shown = run("ansible", "all", *arguments, "-m", "debug", "-a", message)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    found = dict(re.findall(r"address of (\S+): (\S+);", shown.stdout))
    listed = run("ansible", "all", *arguments, "--list-hosts").stdout.splitlines()[1:]
    assert sorted(found) == sorted(name.strip() for name in listed)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="default inventory"),
        pytest.param(["-i", "inventory/lab", "-i", "molecule/shared/inventory.yml"], id="molecule"),
    ],
)
def test_only_lab_hosts(arguments: list[str]) -> None:
    lab = ipaddress.ip_network(f"{load('lab/vars/lab.yml')['lab_prefix']}.0/24")
    found = addresses(*arguments)
    assert found
    for name, address in found.items():
        assert address not in production_addresses()
        assert ipaddress.ip_address(address) in lab or ipaddress.ip_address(address).is_loopback, name


def test_lab_password_encrypts_nothing_else(tmp_path: Path) -> None:
    """`ansible-vault encrypt` without a password of one's own would lock a secret with a published key."""
    secret = tmp_path / "vault.yml"
    secret.write_text("key: value\n", encoding="utf-8")
    answer = run("ansible-vault", "encrypt", str(secret))
    assert answer.returncode != 0
    assert "encrypt-vault-id" in answer.stderr
    assert secret.read_text(encoding="utf-8") == "key: value\n"


# --- what stands nowhere ---------------------------------------------------------------------------------------------


def repository_lines() -> Iterator[tuple[str, int, str]]:
    """Every line of every text file that is, or could be, committed."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    assert listed.returncode == 0, listed.stderr
    for name in filter(None, listed.stdout.split("\0")):
        path = REPOSITORY / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
                yield name, number, line


def test_no_address_or_path_of_a_machine() -> None:
    """Where packages come from, and where a clone lies, is the business of the machine."""
    hosts = r"pypi\.org|pythonhosted\.org|(deb|snapshot)\.debian\.org|registry\.npmjs\.org|proxy\.golang\.org"
    paths = r"/work/(main|steering|\.library)|/fa[r]m/|\.pyenv/versions/3\.\d+\.\d+"
    pattern = re.compile(f"{hosts}|{paths}")
    this = str(Path(__file__).relative_to(REPOSITORY))
    assert [line[:2] for line in repository_lines() if line[0] != this and pattern.search(line[2])] == []


def test_production_stands_in_its_inventory_only() -> None:
    pattern = re.compile("|".join(re.escape(address) for address in production_addresses()))
    found = {Path(name) for name, _, line in repository_lines() if pattern.search(line)}
    assert {path for path in found if path.suffix != ".md" and path.parts[:2] != ("inventory", "production")} == set()


def test_a_watcher_loads_little() -> None:
    """It lives in 25 MB on a server of 1 GB; each of these would take a quarter of a megabyte to two."""
    heavy = ("dataclasses", "difflib", "html", "inspect", "shutil", "tempfile", "unittest", "urllib.request")
    script = f"import sys; from module_utils import agent; print(*set({heavy!r}).intersection(sys.modules))"
    folder = REPOSITORY / "plugins"
    found = subprocess.run([sys.executable, "-c", script], cwd=folder, text=True, capture_output=True, check=True)
    assert found.stdout.split() == []


def test_nothing_generic_names_one_vendors_variables() -> None:
    """Supabase is one set of rules among others: what every app meets names the app's own variables."""
    theirs = ("plugins/", "roles/", "playbooks/", "docs/runbook", "inventory/production/group_vars/all/watcher.yml")
    examples = {"plugins/modules/secrets_validate.py", "plugins/module_utils/supabase.py"}
    found = {
        name
        for name, _number, line in repository_lines()
        if name.startswith(theirs) and name not in examples and "SUPABASE_" in line
    }
    assert found == set()


@pytest.mark.parametrize("path", ["plugins/modules/secrets_validate.py", "roles/app_env/meta/argument_specs.yml"])
def test_every_kind_of_variable_is_documented(path: str) -> None:
    named = set(re.findall(r"V\((\w+)\)", read(path)))
    assert set(KINDS) - named == set()
