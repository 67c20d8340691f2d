# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of this repository: imports, declarations, the hosts that defaults reach, text that no file may hold."""

from __future__ import annotations

import ast
import graphlib
import importlib
import importlib.util
import ipaddress
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.env.variables import KINDS

REPOSITORY = Path(__file__).resolve().parents[3]
COLLECTION = "christmas.selfheal"

LIBRARY = sorted(
    ".".join(path.relative_to(REPOSITORY / "plugins/module_utils").with_suffix("").parts)
    for path in REPOSITORY.glob("plugins/module_utils/**/[!_]*.py")
)
MODULES = sorted(path.stem for path in REPOSITORY.glob("plugins/modules/[!_]*.py"))
ACTIONS = {path.stem for path in REPOSITORY.glob("plugins/action/[!_]*.py")}
ROLES = sorted(path.name for path in REPOSITORY.glob("roles/*") if path.is_dir())

# The library's packages in order: each may import itself and those before it, and no other.
PACKAGES = [
    "core",
    "host",
    "probe",
    "env",
    "docker",
    "compose",
    "releases",
    "records",
    "health",
    "deploy",
    "reporting",
    "recovery",
    "promotion",
    "backup",
    "domain",
    "drift",
    "status_page",
    "monitoring",
    "drills",
    "removal",
    "entry",
]
# Files of pure functions: they import nothing that reads or changes the host.
PURE = [
    "env.key_files",
    "env.placeholders",
    "env.rules",
    "env.supabase_keys",
    "env.token_formats",
    "env.unsafe_text",
    "env.value_rules",
    "env.variables",
    "compose.app_model",
    "compose.backing_services",
    "compose.jobs",
    "compose.known_images",
    "compose.loosening_hints",
    "compose.merged_values",
    "compose.neighbours",
    "compose.overlay",
    "compose.project_parts",
    "compose.services",
    "compose.start_order",
    "health.database_log",
    "health.diagnosis",
    "health.disk_log",
    "reporting.alert_messages",
    "reporting.alert_outbox",
    "reporting.slo_queries",
    "recovery.ladder",
    "promotion.rules",
    "backup.databases",
    "backup.remote_postgres",
    "backup.questions",
    "backup.retention",
    "backup.scratch_model",
    "backup.sets",
    "backup.volumes",
    "drills.judge",
    "drills.placeholders",
    "drift.decisions",
    "drift.findings",
    "drift.policy",
    "removal.belongings",
    "removal.report",
    "status_page.figures",
    "status_page.queries",
]
# Files that may import `App`: they need nearly all of it. Others take its paths, variables, checks or balancer.
WHOLE_APP = [
    *("deploy.compose_files", "deploy.deploy", "deploy.last_good", "deploy.rollback", "deploy.rolling"),
    "entry.app_module",
    *("health.facts", "health.service_watch", "health.wait"),
    *("recovery.config", "recovery.remedies", "recovery.run", "recovery.status"),
    *("removal.run", "removal.switch"),
]
# Standard modules that read or change the host, the clock or the network.
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


def imports(path: str | Path) -> Iterator[str]:
    """The modules that a file imports, inside functions too. The library's own are named "library:package.file"."""
    here = Path(path).parent.name
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)
        elif isinstance(node, ast.ImportFrom):
            parts = [here] * (node.level == 1) + (node.module.split(".") if node.module else [])
            names = [parts] if len(parts) > 1 else [[*parts, alias.name] for alias in node.names]
            yield from (f"library:{'.'.join(name)}" for name in names)


def library_file(name: str) -> str:
    return f"plugins/module_utils/{name.replace('.', '/')}.py"


# --- the library -----------------------------------------------------------------------------------------------------


def test_every_library_file_is_in_a_package() -> None:
    assert {name.split(".")[0] for name in LIBRARY} == set(PACKAGES)
    assert [name for name in LIBRARY if name.count(".") != 1] == []


@pytest.mark.parametrize("name", LIBRARY)
def test_library_is_standard_library_only(name: str) -> None:
    foreign = [
        module
        for module in imports(library_file(name))
        if not module.startswith("library:") and module.split(".")[0] not in sys.stdlib_module_names
    ]
    assert foreign == []


@pytest.mark.parametrize("name", LIBRARY)
def test_packages_import_those_before_them(name: str) -> None:
    package = name.split(".")[0]
    allowed = PACKAGES[: PACKAGES.index(package) + 1]
    ours = [module.removeprefix("library:") for module in imports(library_file(name)) if module.startswith("library:")]
    assert [module for module in ours if module.split(".")[0] not in allowed] == []
    assert [module for module in ours if module not in LIBRARY] == []


def test_no_import_cycle() -> None:
    """Python can load a cycle from one of its files and fails from another."""
    graph = {name: [one.removeprefix("library:") for one in imports(library_file(name))] for name in LIBRARY}
    graphlib.TopologicalSorter(graph).prepare()


def test_few_files_take_the_whole_app() -> None:
    whole = [
        name
        for name in LIBRARY
        for node in ast.walk(ast.parse(read(library_file(name))))
        if isinstance(node, ast.ImportFrom) and node.module == "core.app" and "App" in [one.name for one in node.names]
    ]
    assert whole == WHOLE_APP


def signatures(path: str) -> Iterator[tuple[str, str]]:
    """(Name, annotation) of each argument and result of a file's public functions and methods."""
    scopes: list[tuple[str, list[ast.stmt]]] = [("", ast.parse(read(path)).body)]
    while scopes:
        prefix, body = scopes.pop()
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                scopes.append((f"{node.name}.", node.body))
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                annotations = [one.annotation for one in given] + [node.returns]
                yield from ((prefix + node.name, ast.unparse(one)) for one in annotations if one)


ANONYMOUS = re.compile(r"(dict|Mapping)\[str, Any\]")


@pytest.mark.parametrize("name", LIBRARY)
def test_public_signatures_use_named_types(name: str) -> None:
    """A TypedDict or NamedTuple names the content; data that others define has an alias, such as docker's Document."""
    assert [one for one in signatures(library_file(name)) if ANONYMOUS.search(one[1])] == []


@pytest.mark.parametrize(
    "path", sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("plugins/plugin_utils/**/*.py"))
)
def test_public_signatures_on_the_controller_use_named_types(path: str) -> None:
    assert [one for one in signatures(path) if ANONYMOUS.search(one[1])] == []


def test_programs_on_the_host_find_the_library() -> None:
    """Scripts of roles, and programs in their YAML, import the library as `selfheal` from /usr/local/lib."""
    imported = {
        f"{package}.{name.strip()}"
        for path in sorted(REPOSITORY.glob("roles/**/*"))
        if path.is_file()
        for package, names in re.findall(
            r"^ *from selfheal\.?(\S*) import (.+)$", path.read_text("utf-8"), re.MULTILINE
        )
        for name in names.split(",")
    }
    assert {"entry.cli", "monitoring.exporter", "status_page.server"} <= imported
    assert sorted(imported - set(LIBRARY)) == []


@pytest.mark.parametrize("name", PURE)
def test_decisions_are_pure(name: str) -> None:
    used = set(imports(library_file(name)))
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
    """The arguments of an action; empty when the module validates them."""
    action = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.action.{name}")
    return dict(getattr(action, "SPEC", {}))


def argument_spec(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that a module accepts; those of the action where the module only documents one."""
    module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
    if not hasattr(module, "main"):
        return action_spec(name)

    class Taken(Exception):
        pass

    def take(argument_spec: dict[str, Any], **_unused: Any) -> None:
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
    assert document["EXAMPLES"], "no examples"
    assert document["RETURN"], "the results are not documented"
    for attribute in ("check_mode", "diff_mode"):
        assert document["attributes"][attribute]["support"] in ("full", "partial", "none", "N/A")


@pytest.mark.parametrize("name", MODULES)
def test_module_takes_what_it_documents(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert comparable(argument_spec(name, monkeypatch)) == comparable(documentation(name)["options"])


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_action_takes_what_its_module_documents(name: str) -> None:
    """An action may require an option that its module does not, and may leave options to the module."""
    assert name in MODULES, "an action is documented by the module of its name"
    documented = comparable(documentation(name)["options"])
    for key, option in comparable(action_spec(name)).items():
        assert {**option, "required": None} == {**documented[key], "required": None}, key


def test_action_group() -> None:
    """Defaults set for the group reach every module in it, and a module refuses an option that it does not know."""
    with_app = [name for name in MODULES if "app" in documentation(name)["options"]]
    assert load("meta/runtime.yml")["action_groups"] == {"app": with_app}


# --- the roles -------------------------------------------------------------------------------------------------------


def takes_text(option: Mapping[str, Any]) -> bool:
    """Whether a template is a valid default of the option before it is rendered."""
    return option.get("type", "str") in ("str", "path", "raw")


@pytest.mark.parametrize("role", ROLES)
def test_role_names_the_version_that_brought_it(role: str) -> None:
    """The changelog lists new roles by it."""
    assert load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["version_added"]


@pytest.mark.parametrize("role", ROLES)
def test_role_spec_is_its_defaults(role: str) -> None:
    """The spec documents every default; an option without a default is required or shared by all roles.

    A default that a template computes is in the description where its type takes no text: tools refuse such a template.
    """
    defaults = load(f"roles/{role}/defaults/main.yml") or {}
    options: dict[str, Any] = {}
    for spec in load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"].values():
        options.update(spec.get("options", {}))
    own = {key: option for key, option in options.items() if key.startswith(f"{role}_")}
    assert {key for key in options if key not in own and not key.startswith("selfheal_")} == set()
    in_words = {key for key, option in own.items() if "default" not in option and not option.get("required")}
    assert {key: option["default"] for key, option in own.items() if "default" in option} == {
        key: value for key, value in defaults.items() if key not in in_words
    }
    assert [key for key in sorted(in_words) if "The default " not in str(own[key]["description"])] == []
    assert [key for key in sorted(in_words) if "{{" not in str(defaults[key])] == []
    assert [key for key, option in own.items() if "{{" in str(option.get("default")) and not takes_text(option)] == []
    assert [key for key, option in options.items() if not option.get("description")] == []


# Expressions that compute. Python does that, in plugins/plugin_utils, called by a filter or a module.
COMPUTING = re.compile(
    r"""{%-?\s*(set|macro|from|import|call|filter)\b       # names and functions of its own
    | {%-?\s*for\b[^%]*?\sif\s                           # a loop with a condition
    | \b(lookup|query|q)\(                               # reads other data
    | \|\s*(combine|dict2items|from_json|from_yaml|groupby|items2dict|map|regex_\w+|reject\w*|select\w*|zip)\b
    """,
    re.VERBOSE,
)


def test_no_daily_job_is_due_in_an_hour_that_summer_time_skips() -> None:
    """A timer of systemd has no run on that day then (findings/systemd-timer-misses-the-dst-day.sh)."""
    hours = {}
    for path in REPOSITORY.glob("roles/*/defaults/main.yml"):
        for name, value in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).items():
            if name.endswith("_schedule") and (hour := re.search(r" (\d\d):\d\d", value)):
                hours[name] = int(hour[1])
    assert {"backup_schedule", "backup_verify_schedule"} <= hours.keys()
    assert {name: hour for name, hour in hours.items() if hour < 3} == {}


@pytest.mark.parametrize("path", sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("roles/**/*.j2")))
def test_templates_render_files(path: str) -> None:
    """A template puts values into a file. It may repeat or leave out a part, and computes neither text nor data."""
    assert [found.group() for found in COMPUTING.finditer(read(path))] == []


EXPRESSING = re.compile(r"{%|[|] *(dict2items|from_json|from_yaml|groupby|regex_\w+|subelements|zip)\b")


@pytest.mark.parametrize("folder", ["playbooks", *(f"roles/{role}" for role in ROLES)])
def test_values_are_not_programs(folder: str) -> None:
    """An expression in YAML names a value, picks from a list or compares. Anything more is a filter or a module."""
    files = [path for path in (REPOSITORY / folder).rglob("*.yml") if path.parent.name != "meta"]
    found = [
        f"{path.name}: {line.strip()}" for path in files for line in read(path).splitlines() if EXPRESSING.search(line)
    ]
    assert found == []


def test_playbooks_have_no_templates() -> None:
    """What a playbook shows is composed in Python and has a unit test."""
    assert [str(path) for path in (REPOSITORY / "playbooks").rglob("*.j2")] == []
    assert not (REPOSITORY / "playbooks/templates").exists()


@pytest.mark.parametrize(
    ("text", "computes"),
    [
        ("{% set name = 'x' %}", True),
        ("{%- macro words(name) %}", True),
        ("{% for one in all if one.wanted %}", True),
        ("{{ all | selectattr('wanted') | list }}", True),
        ("{{ text | regex_replace('a', 'b') }}", True),
        ("{{ lookup('ansible.builtin.file', 'x') }}", True),
        ("{% for one in all %}{{ one.name | to_json }}{% endfor %}", False),
        ("{% if wanted | bool %}port {{ port | int + 1 }}{% endif %}", False),
        ("{% include 'part.j2' %}", False),
        ("http-request set-map(/etc/map) query (q) {{ ports | join(', ') }}", False),
    ],
)
def test_what_computes_in_a_template(text: str, computes: bool) -> None:
    assert bool(COMPUTING.search(text)) == computes


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
    """Installing the collection brings what roles and playbooks need, not what only the lab needs."""
    wanted = {name: f">={versions()[name][0]}" for name in sorted(used_collections("roles", "playbooks"))}
    assert load("galaxy.yml")["dependencies"] == wanted


def test_an_execution_environment_gets_the_versions_that_are_tested() -> None:
    """Python packages of the controller, but those that Ansible brings or only the lab needs."""
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", read("requirements/controller.in"), re.MULTILINE))
    needed = {name: version for name, version in pinned.items() if name not in ("ansible", "docker", "requests")}
    files = load("meta/execution-environment.yml")["dependencies"]
    given = dict(re.findall(r"^([\w-]+)>=([\w.]+),<\d+$", read(files["python"]), re.MULTILINE))
    assert given == needed
    installed = set(re.findall(r"missing\+=\((\S+)\)", read("tools/programs"))) - {"git"}
    assert installed <= {line.split()[0] for line in read(files["system"]).splitlines()}


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("changelogs/fragments/*.yml")), ids=lambda path: path.stem)
def test_a_changelog_fragment_has_the_markup_that_a_changelog_shows(path: Path) -> None:
    """Code is in two backticks. Others, and Ansible's own markup, such as O(name), would be shown as they are."""
    assert re.findall(r"\b[A-Z]{1,2}\([a-z][^)]*\)|(?<!`)`(?!`)[^`]*`(?!`)", path.read_text(encoding="utf-8")) == []


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


def test_make_targets_in_the_documents_exist() -> None:
    makefile = read("Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]:
        named = re.findall(r"`make ([a-z][a-z-]*)|^ *make ([a-z][a-z-]*)", read(path), re.MULTILINE)
        unknown = {a or b for a, b in named} - targets
        assert {target for target in unknown if not target.startswith("molecule-")} == set(), path.name


# --- hosts that the defaults can reach -------------------------------------------------------------------------------


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
    """Without another password, `ansible-vault encrypt` would encrypt a secret with a published key."""
    secret = tmp_path / "vault.yml"
    secret.write_text("key: value\n", encoding="utf-8")
    answer = run("ansible-vault", "encrypt", str(secret))
    assert answer.returncode != 0
    assert "encrypt-vault-id" in answer.stderr
    assert secret.read_text(encoding="utf-8") == "key: value\n"


# --- text that no file may hold --------------------------------------------------------------------------------------


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
    """Sources of packages and paths of a clone are settings of a machine, not of this repository."""
    hosts = r"pypi\.org|pythonhosted\.org|(deb|snapshot)\.debian\.org|registry\.npmjs\.org|proxy\.golang\.org"
    paths = r"/work/(main|steering|\.library)|/fa[r]m/|\.pyenv/versions/3\.\d+\.\d+"
    pattern = re.compile(f"{hosts}|{paths}")
    this = str(Path(__file__).relative_to(REPOSITORY))
    assert [line[:2] for line in repository_lines() if line[0] != this and pattern.search(line[2])] == []


def test_production_addresses_are_only_in_their_inventory() -> None:
    pattern = re.compile("|".join(re.escape(address) for address in production_addresses()))
    found = {Path(name) for name, _unused, line in repository_lines() if pattern.search(line)}
    assert {path for path in found if path.suffix != ".md" and path.parts[:2] != ("inventory", "production")} == set()


def test_a_watcher_loads_little() -> None:
    """A watcher uses 25 MB on a server of 1 GB; each of these modules would add 0.25 to 2 MB."""
    heavy = (
        "argparse",
        "dataclasses",
        "difflib",
        "html",
        "inspect",
        "shutil",
        "tempfile",
        "unittest",
        "urllib.request",
    )
    ours = ("module_utils.compose.overlay", "module_utils.entry.cli", "module_utils.reporting.recovery_report")
    script = (
        f"import sys; from module_utils.entry import watch; print(*{{*{heavy + ours!r}}}.intersection(sys.modules))"
    )
    folder = REPOSITORY / "plugins"
    found = subprocess.run([sys.executable, "-c", script], cwd=folder, text=True, capture_output=True, check=True)
    assert found.stdout.split() == []


def test_only_examples_name_variables_of_supabase() -> None:
    """Supabase is one set of rules among others; an app without it must not meet its variables."""
    theirs = ("plugins/", "roles/", "playbooks/", "docs/runbook", "inventory/production/group_vars/all/watcher.yml")
    examples = {"plugins/modules/secrets_validate.py", "plugins/module_utils/env/supabase_online.py"}
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
