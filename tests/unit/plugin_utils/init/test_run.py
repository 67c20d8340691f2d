# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A run of init: what it writes, that it writes all or nothing, what a second run adds, and that no secret gets out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import adopted_mounts
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import merge, render, vault, write
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.ask import NoTerminal
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import File, InitError, Project
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.report import Command
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.run import Outcome, Request, run
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.vault import Vault
from ansible_collections.christmas.selfheal.tests.unit.corpus.init_stacks import SIGN, STACKS, secret
from ansible_collections.christmas.selfheal.tests.unit.corpus.synthetic import NOW

PASSWORD = "a password that only this test has"
IDENTITY = vault.identity(PASSWORD)
ALL = [
    ".vault-password",
    ".gitignore",
    "group_vars/all/vault.yml",
    "group_vars/all/variables.yml",
    "group_vars/all/checks.yml",
    ".env.example",
    "hosts.yml",
    "ansible.cfg",
    "group_vars/all/app.yml",
]
COMPOSE = "name: shop\nservices: {web: {build: ., ports: ['3000:3000'], environment: {TOKEN: '$TOKEN'}}}\n"
TWO = COMPOSE.replace("}}}", "}}, api: {image: x, ports: ['8000:8000']}}")
ENV = f"TOKEN={secret('one')}\nLEVEL=3\n"

Init = Callable[..., Outcome]


def accept(_project: Project) -> None:
    """A controller without Compose."""


def put(top: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(text.encode())


def texts(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


@pytest.fixture
def init(tmp_path: Path) -> Init:
    """Run init on the project in tmp_path."""

    def call(**changes: Any) -> Outcome:
        check, ask = changes.pop("check", False), changes.pop("ask", None)
        given = changes.pop("given", ["compose.yaml"])
        request = Request(given, "", "", "", str(tmp_path), Command("playbooks/init.yml", []))
        return run(request._replace(**changes), check, NOW, accept, ask)

    return call


def values(text: bytes, password: str) -> dict[str, Any]:
    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML carries no types
        pass

    Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
    plain = Vault(vault.identity(password), []).decrypt(text.decode())
    found: dict[str, Any] = yaml.load(plain, Loader=Loader)["app_env_values"]
    return found


def password_of(top: Path) -> str:
    return (top / "deploy/.vault-password").read_text().strip()


# --- the first run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(STACKS))
def test_a_stack(tmp_path: Path, init: Init, name: str) -> None:
    stack = STACKS[name]
    put(tmp_path, stack.files)
    before = texts(tmp_path)
    done = init(given=list(stack.given), host="10.0.0.5", to="deploy")
    assert (done.changed, done.files, done.missing) == (True, ALL, [])
    there = texts(tmp_path)
    assert {path: there[path] for path in before} == before
    assert sorted(set(there) - set(before)) == sorted(f"deploy/{path}" for path in ALL)
    assert values(there["deploy/group_vars/all/vault.yml"], password_of(tmp_path)) == (dict(stack.secrets) or {})
    again = init(given=list(stack.given), host="10.0.0.5", to="deploy")
    assert (again.changed, again.files, texts(tmp_path)) == (False, [], there)


@pytest.mark.parametrize("name", list(STACKS))
def test_no_secret_gets_out(tmp_path: Path, init: Init, name: str) -> None:
    """Neither into a file that is not encrypted, nor into what the run says."""
    stack = STACKS[name]
    put(tmp_path, stack.files)
    done = init(given=list(stack.given), to="deploy")
    written = b"".join(text for path, text in texts(tmp_path / "deploy").items())
    for value in (SIGN, *filter(None, stack.secrets.values())):
        assert value.encode() not in written
        assert value not in str(done)
    assert password_of(tmp_path) not in str(done)


def test_modes(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    init()
    modes = {path: (tmp_path / "deploy" / path).stat().st_mode & 0o777 for path in ALL}
    assert modes == {path: 0o600 if path == ".vault-password" else 0o644 for path in ALL}
    assert (tmp_path / "deploy").stat().st_mode & 0o777 == 0o755


def test_the_files(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    init(host="deploy@10.0.0.5")
    app = yaml.safe_load((tmp_path / "deploy/group_vars/all/app.yml").read_text())
    assert app == {
        "selfheal_app": "shop",
        "compose_app_source": "{{ inventory_dir }}/..",
        "compose_app_exclude": [".git", "__pycache__", "node_modules", ".vault-password", "/deploy"],
        "compose_app_services": {"web": {"port": 3000}},
    }
    hosts = yaml.safe_load((tmp_path / "deploy/hosts.yml").read_text())
    variables = {"ansible_python_interpreter": "auto_silent", "ansible_user": "deploy", "ansible_become": True}
    assert hosts == {"backends": {"hosts": {"shop1": {"ansible_host": "10.0.0.5"}}, "vars": variables}}
    example = (tmp_path / "deploy/.env.example").read_text()
    assert [line for line in example.splitlines() if line and line[0] != "#"] == ["TOKEN=", "LEVEL="]
    assert "3" not in example
    assert "/.vault-password\n" in (tmp_path / "deploy/.gitignore").read_text()
    assert "vault_password_file = .vault-password\n" in (tmp_path / "deploy/ansible.cfg").read_text()


@pytest.mark.parametrize(
    ("host", "app", "name"),
    [
        ("10.0.0.5", "shop", "shop1"),
        ("10.0.0.5", "shop2", "shop2-1"),
        ("fe80::1", "shop", "shop1"),
        ("", "shop", "shop1"),
        ("joe@web.example", "shop", "web.example"),
        ("web1", "shop2", "web1"),
        ("localhost", "shop", "shop1"),
    ],
)
def test_the_inventory_calls_the_host_as_ssh_does(tmp_path: Path, init: Init, host: str, app: str, name: str) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    init(host=host, app=app)
    hosts = yaml.safe_load((tmp_path / "deploy/hosts.yml").read_text())
    assert list(hosts["backends"]["hosts"]) == [name]


def test_a_secret_that_is_moved_into_the_env_gets_into_the_vault(tmp_path: Path, init: Init) -> None:
    compose = "services: {web: {image: x, environment: {A_TOKEN: %s}}}\n"
    put(tmp_path, {"compose.yaml": compose % "kD8#vq2Zx"})
    init()
    variables = (tmp_path / "deploy/group_vars/all/variables.yml").read_text()
    put(tmp_path, {"compose.yaml": compose % '"${A_TOKEN}"', ".env": "A_TOKEN='kD8#vq2Zx'\n"})
    done = init()
    assert done.files == ["group_vars/all/vault.yml"]
    assert (tmp_path / "deploy/group_vars/all/variables.yml").read_text() == variables
    assert "A_TOKEN" in str(done.diff)
    assert not init().changed


def test_lines_are_short(tmp_path: Path, init: Init) -> None:
    """As yamllint wants them, and as they fit on a screen; a long value stays on its line."""
    for number, stack in enumerate(STACKS.values()):
        put(tmp_path / str(number), stack.files)
        init(given=[str(tmp_path / str(number) / stack.given[0])])
        for path, text in texts(tmp_path / str(number)).items():
            if path.endswith(("variables.yml", "checks.yml", "app.yml", "hosts.yml")):
                assert [line for line in text.decode().splitlines() if len(line) > 140] == []


def test_several_files_are_named(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"a.yaml": COMPOSE, "b.yaml": COMPOSE})
    init(given=["a.yaml", "b.yaml"])
    assert "compose_app_files: [a.yaml, b.yaml]" in (tmp_path / "deploy/group_vars/all/app.yml").read_text()


def test_another_folder_outside_the_project(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"shop/compose.yaml": COMPOSE})
    init(given=["shop"], to="inventory/shop")
    app = yaml.safe_load((tmp_path / "inventory/shop/group_vars/all/app.yml").read_text())
    assert app["compose_app_source"] == "{{ inventory_dir }}/../../shop"
    assert "compose_app_exclude" not in app


def test_the_configured_password(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    done = init(identities=[IDENTITY], command=Command("christmas.selfheal.init", ["--vault-password-file", "p"]))
    assert done.files == ALL[1:]
    assert values((tmp_path / "deploy/group_vars/all/vault.yml").read_bytes(), PASSWORD) == {"TOKEN": secret("one")}
    assert "# vault_password_file" in (tmp_path / "deploy/ansible.cfg").read_text()
    assert done.report.text.splitlines()[-1] == (
        "  ansible-playbook christmas.selfheal.site -i deploy/hosts.yml --vault-password-file p"
    )


def test_a_published_password_encrypts_nothing(tmp_path: Path, init: Init) -> None:
    """The repository's own configuration has the lab's, and says that `default` encrypts."""
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    lab = IDENTITY._replace(name="lab")
    assert init(identities=[lab], encrypt_identity="default").files == ALL
    with pytest.raises(InitError):
        Vault(lab, []).decrypt((tmp_path / "deploy/group_vars/all/vault.yml").read_text())


def test_the_report(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE.replace("build: .", "build: ., command: $MORE"), ".env": "TOKEN=changeme\n"})
    done = init()
    assert done.missing == ["TOKEN", "MORE"]
    assert (
        done.report.text
        == """\
Written to deploy:
  .vault-password, .gitignore, group_vars/all/vault.yml, group_vars/all/variables.yml,
  group_vars/all/checks.yml, .env.example, hosts.yml, ansible.cfg, group_vars/all/app.yml
App shop: 1 service, 2 variables (1 in the vault), 1 check.

To know:
  - Public, past the host's firewall: port 3000 (web). To close one, put an address \
in front of it in the compose file: "127.0.0.1:…"

To do first:
  - deploy/hosts.yml: replace the example 192.0.2.10 by your server's address
  - TOKEN (.env line 1): placeholder: it is the text in the place of the real value. \
Fix: put the real value into vault.yml
  - MORE (compose.yaml line 2): it has no value. Fix: write it as `default:` in its row of variables.yml
  - The vault: ansible-vault edit --vault-password-file deploy/.vault-password deploy/group_vars/all/vault.yml

Keep a copy of deploy/.vault-password elsewhere: without it, no one can read the vault.

Next, to validate all of it, and then to set up the server:
  ansible-playbook playbooks/validate.yml -i deploy/hosts.yml --vault-password-file deploy/.vault-password
  ansible-playbook playbooks/site.yml -i deploy/hosts.yml --vault-password-file deploy/.vault-password"""
    )


def test_a_later_run_counts_the_checks_of_the_inventory(tmp_path: Path, init: Init) -> None:
    """A server's compose file may publish a port by a value that only the server had."""
    compose = "services: {web: {image: 'nginx:1', ports: ['8080:80']}}\n"
    put(tmp_path, {"compose.yaml": compose})
    assert "1 check." in init().report.text
    put(tmp_path, {"compose.yaml": "services: {web: {image: 'nginx:1'}}\n"})
    assert "1 check." in init().report.text
    checks = tmp_path / "deploy/group_vars/all/checks.yml"
    checks.write_text("selfheal_checks: [{name: a}, {name: b}]\n")
    assert "2 checks." in init().report.text


def test_data_that_adopt_has_left_on_the_server_is_not_called_missing(tmp_path: Path, init: Init) -> None:
    compose = "services: {web: {image: 'nginx:1', volumes: ['./photos:/photos', './other:/other']}}\n"
    adopted = f'{adopted_mounts.MARK}.\nservices: {{web: {{volumes: ["/root/apiary/photos:/photos"]}}}}\n'
    put(tmp_path, {"compose.yaml": compose, adopted_mounts.FILE: adopted})
    said = init().report.text
    assert ("photos is data" in said, "other is data" in said) == (False, True)
    # A file of the same name that adopt did not write is not read: Compose does not read it either.
    put(tmp_path, {adopted_mounts.FILE: adopted.partition("\n")[2]})
    assert "photos is data" in init().report.text


def test_check_mode_writes_nothing(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    before = sorted(tmp_path.rglob("*"))
    done = init(check=True)
    assert (done.changed, done.files, sorted(tmp_path.rglob("*"))) == (True, ALL, before)
    assert done.report.text.startswith("Would write to deploy:\n  .vault-password, ")
    assert [one["before"] for one in done.diff] == [""] * len(ALL)


BAD_TARGETS: list[tuple[str, dict[str, Any], dict[str, str], str]] = [
    ("a folder that is a file", {"to": "here"}, {"here": "x"}, "it is a file, and the inventory needs a folder"),
    ("the default folder is a file", {}, {"deploy": "x"}, "-e to=DIR"),
    ("the project itself", {"to": "."}, {}, "it holds the project"),
    ("above the project", {"to": ".."}, {}, "it holds the project"),
    ("a host with a space", {"host": "my server"}, {}, "'my server' is not an address"),
    ("a host with a template", {"host": "{{ x }}"}, {}, "is not an address"),
    ("an invalid name", {"app": "My Shop"}, {}, "-e app=NAME"),
]


@pytest.mark.parametrize(
    ("given", "files", "said"), [row[1:] for row in BAD_TARGETS], ids=[row[0] for row in BAD_TARGETS]
)
def test_a_bad_target(tmp_path: Path, init: Init, given: dict[str, str], files: dict[str, str], said: str) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, **files})
    before = texts(tmp_path)
    with pytest.raises(InitError) as raised:
        init(**given)
    assert said in str(raised.value)
    assert texts(tmp_path) == before


# --- questions -------------------------------------------------------------------------------------------------------


class Person:
    """Answers each question whose first words are known, and takes the default of every other one."""

    def __init__(self, answers: Mapping[str, Sequence[str]]) -> None:
        self.answers = {words: list(given) for words, given in answers.items()}
        self.asked: list[tuple[str, bool]] = []

    def __call__(self, question: str, hidden: bool) -> str:
        self.asked.append((question, hidden))
        found = next((given for words, given in self.answers.items() if words in question), [])
        return found.pop(0) if found else ""


ASKED = {
    "compose.yaml": COMPOSE.replace("build: .", "build: ., command: $MORE").replace(
        "}}}", "}}, api: {image: x, ports: ['8000:8000']}}"
    ),
    ".env": "TOKEN=changeme\nLEVEL=3\n",
}


def test_answers_are_written(tmp_path: Path, init: Init) -> None:
    put(tmp_path, ASKED)
    person = Person(
        {
            "The server": ["my server", "deploy@10.0.0.5"],
            "TOKEN": ["your-token-here", secret("typed")],
            "MORE": ["fast"],
            "Check of web": ["health", "/health"],
            "Check of api": ["-"],
        }
    )
    done = init(ask=person)
    assert done.missing == []
    assert [question.partition(" ")[0] for question, hidden in person.asked if hidden] == ["TOKEN", "Not"]
    assert secret("typed") not in str(person.asked) + str(done)
    there = texts(tmp_path / "deploy")
    assert b"ansible_host: 10.0.0.5" in there["hosts.yml"]
    assert values(there["group_vars/all/vault.yml"], password_of(tmp_path)) == {"TOKEN": secret("typed")}
    rows = yaml.safe_load(there["group_vars/all/variables.yml"])["app_env_variables"]
    assert [row.get("default") for row in rows] == [None, 3, "fast"]
    checks = yaml.safe_load(there["group_vars/all/checks.yml"])["selfheal_checks"]
    assert checks == [{"name": "web", "url": "http://127.0.0.1:3000/health", "proves": "health"}]
    again = Person({})
    assert (init(ask=again).changed, again.asked) == (False, [])


def test_an_invalid_answer_is_explained_and_after_three_the_default_is_taken(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": "TOKEN=changeme\n"})
    person = Person({"TOKEN": ["changeme", "<token>", "xxxx", secret("late")]})
    assert init(ask=person).missing == ["TOKEN"]
    questions = [question for question, _unused in person.asked if "TOKEN" in question]
    assert [question.startswith("Not taken: placeholder: ") for question in questions] == [False, True, True]


def test_an_answer_is_of_the_kind_that_the_name_says(tmp_path: Path, init: Init) -> None:
    """Where it is of another kind by its form, the guess was wrong."""
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": "STRIPE_KEY=changeme\nDATABASE_URL=changeme\n"})
    person = Person({"STRIPE_KEY": ["sk_live_short"], "DATABASE_URL": ["mysql://shop:kD8vq2Z@db/shop"]})
    assert init(ask=person).missing == ["STRIPE_KEY", "TOKEN"]
    assert any(question.startswith("Not taken: ") and "STRIPE_KEY" in question for question, _unused in person.asked)
    rows = yaml.safe_load((tmp_path / "deploy/group_vars/all/variables.yml").read_text())["app_env_variables"]
    assert [row["kind"] for row in rows] == ["stripe_key", "mysql_dsn", "token"]


def test_without_answers_or_a_terminal_the_defaults_are_taken(tmp_path: Path, init: Init) -> None:
    def refuse(_question: str, _hidden: bool) -> str:
        raise NoTerminal

    found = []
    for name, ask in {"a": None, "b": Person({}), "c": refuse}.items():
        put(tmp_path / name, ASKED)
        init(given=[f"{name}/compose.yaml"], ask=ask, identities=[IDENTITY])
        found.append({path: text for path, text in texts(tmp_path / name / "deploy").items() if "vault" not in path})
    assert found[0] == found[1] == found[2]


# --- files that exist -------------------------------------------------------------------------------------------------


def test_a_file_of_the_user_is_not_touched(tmp_path: Path, init: Init) -> None:
    own = {"deploy/hosts.yml": "backends: {hosts: {a: }}\n", "deploy/.gitignore": "*.log\n"}
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV, **own})
    done = init()
    assert sorted(done.files) == sorted({*ALL} - {"hosts.yml", ".gitignore"})
    assert {path: (tmp_path / path).read_text() for path in own} == own
    assert "Not touched, because init did not write it:\n  .gitignore, hosts.yml" in done.report.text
    assert "add the line /.vault-password" in done.report.text
    assert not init().changed


def test_variables_of_the_user_are_not_overridden(tmp_path: Path, init: Init) -> None:
    put(
        tmp_path,
        {"compose.yaml": COMPOSE, "deploy/group_vars/all/mine.yml": "app_env_variables: []\nselfheal_app: old\n"},
    )
    done = init()
    assert not {"group_vars/all/variables.yml", "group_vars/all/app.yml"} & set(done.files)
    assert "variables.yml is not written: group_vars/all/mine.yml sets app_env_variables" in done.report.text


def test_a_second_run_adds_what_is_new(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    init(host="10.0.0.5")
    folder = tmp_path / "deploy"
    rows = folder / "group_vars/all/variables.yml"
    rows.write_text(rows.read_text().replace("kind: integer", "kind: text") + "# the end\napp_env_keep: 3\n")
    before = texts(folder)
    put(tmp_path, {"compose.yaml": TWO, ".env": f"{ENV}NEW=x\nNEW_TOKEN={secret('two')}\n"})
    done = init()
    added = ["group_vars/all/vault.yml", "group_vars/all/variables.yml", "group_vars/all/checks.yml"]
    added += [".env.example", "group_vars/all/app.yml"]
    assert done.files == added
    after = texts(folder)
    assert {path for path in after if after[path] != before[path]} == set(added)
    assert set(after) == set(before)
    table = yaml.safe_load(after["group_vars/all/variables.yml"])
    assert [row["name"] for row in table["app_env_variables"]] == ["TOKEN", "LEVEL", "NEW", "NEW_TOKEN"]
    assert (table["app_env_variables"][1]["kind"], table["app_env_keep"]) == ("text", 3)
    assert values(after["group_vars/all/vault.yml"], password_of(tmp_path)) == {
        "TOKEN": secret("one"),
        "NEW_TOKEN": secret("two"),
    }
    assert [check["name"] for check in yaml.safe_load(after["group_vars/all/checks.yml"])["selfheal_checks"]] == [
        "web",
        "api",
    ]
    assert yaml.safe_load(after["group_vars/all/app.yml"])["compose_app_services"] == {
        "web": {"port": 3000},
        "api": {"port": 8000},
    }
    assert {one["before_header"]: (SIGN in str(one), "kind" in one["after"]) for one in done.diff} == {
        f"deploy/{path}": (False, path.endswith("variables.yml")) for path in added
    }
    assert done.diff[0]["after"] == "TOKEN: (encrypted)\nNEW_TOKEN: (encrypted)\n"
    for path in set(added) - {"group_vars/all/vault.yml"}:
        lines = after[path].decode().splitlines()
        assert [
            line for line in before[path].decode().splitlines() if line not in lines and render.SEEN not in line
        ] == []
    assert not init().changed


def test_what_the_user_removed_stays_removed(tmp_path: Path, init: Init) -> None:
    """A service that was looked at gets no check and no row again."""
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    init()
    checks = tmp_path / "deploy/group_vars/all/checks.yml"
    checks.write_text(f"{render.BY_INIT}\nselfheal_checks:\n  - {{name: front, url: 'http://127.0.0.1:3000/x'}}\n")
    assert not init().changed
    put(tmp_path, {"compose.yaml": TWO})
    assert init().files == ["group_vars/all/checks.yml", "group_vars/all/app.yml"]
    assert [one["name"] for one in yaml.safe_load(checks.read_text())["selfheal_checks"]] == ["front", "api"]


def test_a_value_of_the_inventory_counts_and_not_the_placeholder(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": "TOKEN=changeme\n"})
    assert init().missing == ["TOKEN"]
    path = tmp_path / "deploy/group_vars/all/vault.yml"
    cipher = Vault(vault.identity(password_of(tmp_path)), [])
    path.write_text(cipher.encrypt(cipher.decrypt(path.read_text()).replace("''", "kD8#vq2Z")))
    done = init()
    assert (done.changed, done.missing) == (False, [])


def test_a_vault_that_the_run_cannot_read_stops_it(tmp_path: Path, init: Init) -> None:
    """Also where nothing is new: the commands that it would print have the wrong password."""
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    init(identities=[IDENTITY])
    before = texts(tmp_path)
    with pytest.raises(InitError, match=r"it cannot be decrypted .* Fix: set ANSIBLE_VAULT_PASSWORD_FILE"):
        init(identities=[vault.identity("another password")])
    assert texts(tmp_path) == before


def test_a_clone_without_the_password_gets_no_new_one(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    init()
    (tmp_path / "deploy/.vault-password").unlink()
    with pytest.raises(InitError, match="it cannot be decrypted"):
        init()
    assert not (tmp_path / "deploy/.vault-password").exists()


def test_a_vault_in_plain_text_is_refused(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    init()
    path = tmp_path / "deploy/group_vars/all/vault.yml"
    path.write_text(Vault(vault.identity(password_of(tmp_path)), []).decrypt(path.read_text()))
    with pytest.raises(InitError, match=r"it is not encrypted.* Fix: encrypt it again: ansible-vault encrypt"):
        init()


def test_the_configuration_has_the_settings_of_ours(tmp_path: Path, init: Init) -> None:
    """Those about the inventory, the vault and the collection are the folder's own."""
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    init()
    ours, written = ConfigParser(interpolation=None), ConfigParser(interpolation=None)
    ours.read(Path(__file__).resolve().parents[4] / "ansible.cfg")
    written.read(tmp_path / "deploy/ansible.cfg")
    own = {"inventory", "collections_path", "vault_identity_list", "vault_encrypt_identity"}
    for section in ours.sections():
        assert {key: value for key, value in ours[section].items() if key not in own}.items() <= dict(
            written[section]
        ).items()


def test_a_link_to_another_folder(tmp_path: Path, init: Init) -> None:
    """Paths start from where the link leads, as the system resolves them."""
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    (tmp_path / "elsewhere/inventory").mkdir(parents=True)
    (tmp_path / "deploy").symlink_to("elsewhere/inventory")
    init()
    app = yaml.safe_load((tmp_path / "deploy/group_vars/all/app.yml").read_text())
    source = app["compose_app_source"].replace("{{ inventory_dir }}", str(tmp_path / "deploy"))
    assert Path(source).resolve() == tmp_path.resolve()


def test_another_name_of_the_app_is_reported(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    init()
    assert "its selfheal_app is shop, not other" in init(app="other").report.text


def test_a_dollar_sign_in_a_value_is_no_difference(tmp_path: Path, init: Init) -> None:
    value = f"{secret('three')}$$x$1"
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": f"TOKEN='{value}'\n"})
    assert init().missing == []


# --- all or nothing ---------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What stops a run at once, as SIGKILL does: nothing is put back."""


@pytest.mark.parametrize("number", range(len(ALL)))
def test_a_new_folder_appears_whole(tmp_path: Path, init: Init, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".env": ENV})
    staged: list[str] = []
    stage = write._stage

    def stop(scratch: str, folder: str, file: File) -> None:
        if len(staged) == number:
            raise OSError(28, "No space left on device", file.path)
        staged.append(file.path)
        stage(scratch, folder, file)

    monkeypatch.setattr(write, "_stage", stop)
    with pytest.raises(InitError, match="cannot be written: No space left on device"):
        init()
    assert sorted(os.listdir(tmp_path)) == [".env", "compose.yaml"]


def second(top: Path, init: Init) -> dict[str, bytes]:
    put(top, {"compose.yaml": COMPOSE, ".env": ENV})
    init()
    put(top, {"compose.yaml": TWO, ".env": f"{ENV}NEW_TOKEN={secret('two')}\n"})
    return texts(top / "deploy")


def stop_replacing(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Fail once, after so many files."""
    replaced: list[str] = []
    replace = os.replace

    def stop(source: str, target: str) -> None:
        replaced.append(target)
        if len(replaced) == number + 1:
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)


@pytest.mark.parametrize("number", range(5))
def test_an_error_between_files_puts_everything_back(
    tmp_path: Path, init: Init, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = second(tmp_path, init)
    with monkeypatch.context() as patch:
        stop_replacing(patch, number, OSError(5, "Input/output error"))
        with pytest.raises(InitError):
            init()
    assert texts(tmp_path / "deploy") == before


@pytest.mark.parametrize("number", range(5))
def test_a_killed_run_is_completed_by_the_next(
    tmp_path: Path, init: Init, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whatever was in place when the process ended: nothing is lost, nothing is there twice."""
    second(tmp_path, init)
    with monkeypatch.context() as patch:
        stop_replacing(patch, number, Killed())
        patch.setattr(shutil, "rmtree", lambda *_arguments, **_keys: None)
        with pytest.raises(Killed):
            init()
    init()
    folder = tmp_path / "deploy"
    table = merge.names((folder / "group_vars/all/variables.yml").read_text(), "app_env_variables")
    assert table == ["TOKEN", "LEVEL", "NEW_TOKEN"]
    found = values((folder / "group_vars/all/vault.yml").read_bytes(), password_of(tmp_path))
    assert found == {"TOKEN": secret("one"), "NEW_TOKEN": secret("two")}
    assert merge.names((folder / "group_vars/all/checks.yml").read_text(), "selfheal_checks") == ["web", "api"]
    assert merge.names((folder / "group_vars/all/app.yml").read_text(), "compose_app_services") == ["web", "api"]
    assert [line for line in (folder / ".env.example").read_text().splitlines() if line.endswith("=")] == [
        f"{name}=" for name in table
    ]
    assert not init().changed


def test_what_a_killed_run_left_is_removed_later(tmp_path: Path, init: Init) -> None:
    put(tmp_path, {"compose.yaml": COMPOSE, ".deploy.selfheal-old/x": "", ".deploy.selfheal-young/x": ""})
    os.utime(tmp_path / ".deploy.selfheal-old", (NOW, NOW))
    init()
    assert sorted(os.listdir(tmp_path)) == [".deploy.selfheal-young", "compose.yaml", "deploy"]


# --- adding to a text -------------------------------------------------------------------------------------------------

ROW = "  - {name: b}\n"
APPENDED: list[tuple[str, str, str | None]] = [
    ("a flow row", "k:\n  - {name: a}\n", "k:\n  - {name: a}\n  - {name: b}\n"),
    (
        "a comment behind the last",
        "k:\n  - {name: a}  # why\n\n# end\nm: 1\n",
        "k:\n  - {name: a}  # why\n  - {name: b}\n\n# end\nm: 1\n",
    ),
    (
        "a block row",
        "k:\n  - name: a\n    x: [1,\n      2]\nm: 1\n",
        "k:\n  - name: a\n    x: [1,\n      2]\n  - {name: b}\nm: 1\n",
    ),
    ("a row without indentation", "k:\n- name: a\nm: 1\n", "k:\n- name: a\n- {name: b}\nm: 1\n"),
    (
        "a text of several lines",
        "k:\n  - name: a\n    x: |\n      1\n      2\nm: 1\n",
        "k:\n  - name: a\n    x: |\n      1\n      2\n  - {name: b}\nm: 1\n",
    ),
    ("no line end", "k:\n  - {name: a}", "k:\n  - {name: a}\n  - {name: b}\n"),
    ("an empty list", "k: []  # none\nm: 1\n", "k:\n  - {name: b}\nm: 1\n"),
    ("no such key", "m: 1\n", "m: 1\n\nk:\n  - {name: b}\n"),
    ("a flow list", "k: [{name: a}]\n", None),
    ("a template", 'k: "{{ x }}"\n', None),
    ("nothing under the key", "k:\nm: 1\n", None),
    ("no YAML", "k: [\n", None),
]


@pytest.mark.parametrize(("text", "wanted"), [row[1:] for row in APPENDED], ids=[row[0] for row in APPENDED])
def test_adding_to_a_list(text: str, wanted: str | None) -> None:
    found = merge.append(text, "k", [ROW])
    assert found == (merge.Merged(text, True) if wanted is None else merge.Merged(wanted))


def test_adding_to_a_mapping() -> None:
    text = "v:\n    A: 'x'\n    B: !unsafe '{{'\n# end\n"
    assert merge.append(text, "v", ["  C: y\n"]).text == "v:\n    A: 'x'\n    B: !unsafe '{{'\n    C: y\n# end\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("007", "'007'"),
        ("yes", "'yes'"),
        ("", "''"),
        ("a\nb", '"a\\nb"'),
        ("{{ x }}", "!unsafe '{{ x }}'"),
        ("it's {% x", "!unsafe 'it''s {% x'"),
        ("{#\n", '!unsafe "{#\\n"'),
        ("a: b #c", "'a: b #c'"),
        ({"a": 1, "b": ["x", "y,z"]}, "{a: 1, b: [x, 'y,z']}"),
        ("é한\x07", '"é한\\a"'),
        ("x" * 300, "x" * 300),
    ],
)
def test_values_in_yaml(value: object, text: str) -> None:
    assert render.flow(value) == text
