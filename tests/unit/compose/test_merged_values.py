# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The values of the containers: overridden validated values, placeholders, and values that are accepted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import merged_values
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.merged_values import EnvFile, Files
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.module_utils.env.rules import parse_table
from ansible_collections.christmas.selfheal.tests.unit.corpus.synthetic import HEX, NOW, noise

KEY = noise("the key", 40, HEX)
OTHER = noise("another key", 40, HEX)
VARIABLES = parse_table(
    [
        {"name": "API_KEY", "kind": "token"},
        {"name": "PORT", "kind": "port"},
        {"name": "SITE_URL", "kind": "url", "required": False},
        {"name": "SMTP_PASSWORD", "kind": "token", "required": False},
    ]
)
ENV = {"API_KEY": KEY, "PORT": "8000"}


def judge(
    merged: dict[str, Any], written: dict[str, Any] | None = None, files: Files | None = None, **env: str
) -> merged_values.Verdict:
    return merged_values.judge(VARIABLES, {**ENV, **env}, merged, written or {}, files or Files(), NOW)


def web(**environment: Any) -> dict[str, Any]:
    return {"web": {"environment": environment}}


# id, what `environment:` of service web holds, parts of the one problem
REFUSED = [
    (
        "a secret by a placeholder",
        web(API_KEY="your-api-key-here"),
        ("`environment:` of service web: API_KEY", "placeholder instead of the validated value"),
    ),
    ("a secret by another one", web(API_KEY=OTHER), ("service web", "${API_KEY}")),
    ("a secret by nothing", web(API_KEY=""), ("API_KEY", "an empty value instead")),
    ("an optional secret that the env does not have", web(SMTP_PASSWORD="changeme"), ("SMTP_PASSWORD", "placeholder")),
    ("a plain value that is not of its kind", web(PORT="eighty"), ("PORT", "not_a_number")),
    ("a plain value by nothing", web(PORT=""), ("PORT", "empty")),
    ("an optional address", web(SITE_URL="https://your-site.com"), ("SITE_URL", "placeholder")),
    ("not in the table", web(STRIPE_KEY="your-stripe-key-here"), ("STRIPE_KEY", "placeholder", "app_env_variables")),
    ("an order", web(SESSION_SECRET="CHANGE_ME"), ("SESSION_SECRET", "placeholder")),
    ("an order in a sentence", web(SECRET_KEY="please-change-this-key"), ("SECRET_KEY", "placeholder")),
    ("a bracketed name", web(TOKEN="<token>"), ("TOKEN", "placeholder")),
    (
        "a variable that reached the container",
        web(ADMIN_PASSWORD="$${ADMIN_PASSWORD}"),
        ("ADMIN_PASSWORD", "name of a"),
    ),
    ("a template", web(DB_PASS="{{ db_pass }}"), ("DB_PASS", "placeholder")),
    ("a mask", web(API_TOKEN="****************"), ("API_TOKEN", "masked")),
    ("an abbreviation", web(PRIVATE_KEY="sk_live_51H..."), ("PRIVATE_KEY", "abbreviated")),
    ("a password in an address", web(DATABASE="postgres://app:[YOUR-PASSWORD]@db/app"), ("DATABASE", "brackets")),
    ("an innocent name", web(REGION="changeme"), ("REGION", "placeholder")),
    ("an innocent name with a template", web(REGION="{{ region }}"), ("REGION", "placeholder")),
    ("a host", web(CORS="https://your-domain.com"), ("CORS", "placeholder")),
    ("still encrypted", web(SECRET="$$ANSIBLE_VAULT;1.1;AES256"), ("SECRET", "encrypted")),
]


@pytest.mark.parametrize(("merged", "parts"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(merged: dict[str, Any], parts: tuple[str, ...]) -> None:
    verdict = judge(merged)
    with pytest.raises(merged_values.ValuesError) as refused:
        merged_values.require(verdict)
    said = str(refused.value)
    assert len(verdict.problems) == 1
    assert "Fix: " in said
    assert all(part in said for part in parts), said
    for value in merged["web"]["environment"].values():
        assert not value or value not in said


INNOCENT: dict[str, Any] = {
    "NODE_ENV": "test",
    "POSTGRES_DB": "example",
    "POSTGRES_USER": "postgres",
    "LOG_LEVEL": "debug",
    "LOG_FORMAT": "%(asctime)s {{ .Message }}",
    "DEFAULT_LIST": "todo",
    "NOTHING": "null",
    "EMPTY": "",
    "EMPTY_KEY": "",
    "PASSED_THROUGH": None,
    "DOMAIN": "example.com",
    "MAIL_FROM": "Shop <shop@example.com>",
    "BASE_URL": "https://example.com/path",
    "TEMPLATE": "Hello {{ name }}, welcome",
    "HOSTNAME_OF_GRAFANA": "$${HOSTNAME}",
    "POSTGRES_PASSWORD_FILE": "/run/secrets/db_password",
    "TOKEN_EXPIRES_IN": "3600",
    "KEY_PREFIX": "shop:",
    "API_KEY_HEADER": "X-API-Key",
    "SSH_KEY_PATH": "~/.ssh/id_ed25519",
    "AWS_SECRET_ACCESS_KEY": "test",
    "POSTGRES_PASSWORD": "postgres",
    "REDIS_PASSWORD": "example",
    "DATABASE_URL": "postgresql://postgres:postgres@db:5432/app",
    "SECRET_KEY": noise("secret", 50),
    "HASHED_PASSWORD": "$$2b$$12$$" + noise("bcrypt", 53),
    "ALLOWED_HOSTS": "*",
    "JAVA_OPTS": "-Xmx512m -Dkey=<none>",
    "TIMES": "xxx",
    "MONKEY": "banana",
}


@pytest.mark.parametrize("name", INNOCENT)
def test_innocent(name: str) -> None:
    assert judge(web(**{name: INNOCENT[name]})).problems == []


def test_the_validated_value_is_not_a_difference() -> None:
    dollars = "pa$$word$5" + noise("dollar", 20)
    merged = web(API_KEY=dollars.replace("$", "$$"), PORT="8000", SMTP_PASSWORD="")
    assert judge(merged, API_KEY=dollars) == merged_values.Verdict([], [], [])


def test_an_override_of_a_plain_value_is_noted() -> None:
    verdict = judge({"web": {"environment": {"PORT": "8000"}}, "admin": {"environment": {"PORT": "9000"}}})
    assert verdict == merged_values.Verdict([], ["the compose file overrides .env for: PORT (admin)"], [])


def test_the_source_of_a_problem_is_named() -> None:
    env_files = {"/opt/shop/side.env": EnvFile("side.env", {"API_KEY": OTHER}), "/opt/shop/b.env": EnvFile("b.env", {})}
    listed = [{"path": "/opt/shop/side.env", "required": True}, {"path": "/opt/shop/b.env"}]
    written: dict[str, Any] = {
        "web": {"env_file": listed},
        "job": {"env_file": listed, "environment": [f"API_KEY={KEY}"]},
    }
    merged = {"web": {"environment": {"API_KEY": OTHER}}, "job": {"environment": {"API_KEY": "later"}}}
    verdict = judge(merged, written, Files(env_files))
    assert [problem.where for problem in verdict.problems] == [
        "`environment:` of service job: API_KEY",
        "env_file side.env: API_KEY",
    ]
    assert merged_values.env_file_paths(written) == ["/opt/shop/side.env", "/opt/shop/b.env"]


def test_a_placeholder_in_an_env_file_that_another_one_overrides_today() -> None:
    files = Files({"/opt/shop/side.env": EnvFile("side.env", {"MAIL_KEY": "your-mail-key", "MODE": "test"})})
    (problem,) = judge(web(MAIL_KEY=OTHER), {"web": {"env_file": ["/opt/shop/side.env"]}}, files).problems
    assert problem.where == "env_file side.env: MAIL_KEY"


def test_a_secret_file() -> None:
    (problem,) = judge({}, files=Files(secrets={"pw": "changeme\n", "good": OTHER, "default": "postgres\n"})).problems
    assert problem.where == "secrets: pw"


def test_notes_say_once_what_is_not_validated_and_what_is_a_default() -> None:
    merged = {name: {"environment": {"DB_PASSWORD": "postgres", "A_KEY": OTHER}} for name in "abcd"}
    assert judge(merged).notes == [
        "well-known defaults are the value of: DB_PASSWORD (a), DB_PASSWORD (b), DB_PASSWORD (c), DB_PASSWORD (d)",
        "not in app_env_variables, so only looked at for placeholders: "
        "A_KEY (a), DB_PASSWORD (a), A_KEY (b), DB_PASSWORD (b), A_KEY (c) and 3 more",
    ]


# id, the value as the compose file has it and as it is merged, whether it is only looked at for placeholders
DERIVED = [
    ("an address with a validated password", "postgres://a:${API_KEY}@db/a", f"postgres://a:{KEY}@db/a", False),
    ("a validated secret under another name", "${API_KEY:?required}", KEY, False),
    ("another password", "postgres://a:${MORE}@db/${API_KEY}", f"postgres://a:{OTHER}@db/{KEY}", True),
    ("a variable that the table does not list", "${MORE}", OTHER, True),
    ("a password in the file", f"postgres://a:{OTHER}@db/a", f"postgres://a:{OTHER}@db/a", True),
]


@pytest.mark.parametrize(("text", "value", "noted"), [row[1:] for row in DERIVED], ids=[row[0] for row in DERIVED])
def test_a_value_made_of_a_validated_secret_is_validated(text: str, value: str, noted: bool) -> None:
    notes = judge(web(DATABASE_PASSWORD=value), web(DATABASE_PASSWORD=text)).notes
    assert bool(notes) is noted, notes


# --- real Compose ----------------------------------------------------------------------------------------------------

IMAGE = "selfheal-lab/host:prepared"


def run_compose(directory: Path, script: str) -> None:
    """Run a script with Compose v2: this machine's, or that of the lab's host image. Without either, skip."""
    clean = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/")}
    marks = ["--network=none", "--label=christmas.selfheal.lab=1", "--workdir=/work", "--entrypoint=sh"]
    inside = ["docker", "run", "--rm", *marks, f"--volume={directory}:/work", IMAGE, "-c", script]
    for question, command in (
        (["docker", "compose", "version"], ["sh", "-c", script]),
        (["docker", "image", "inspect", IMAGE], inside),
    ):
        found = (
            shutil.which("docker")
            and not subprocess.run(question, env=clean, capture_output=True, check=False).returncode
        )
        if found:
            subprocess.run(command, cwd=directory, env=clean, check=True, capture_output=True, timeout=120)
            return
    if "CI" in os.environ:
        pytest.fail(f"no Compose v2 here, and no image {IMAGE} (make lab)")
    pytest.skip("no Compose v2 here")


PROJECT = {
    "compose.yaml": """
services:
  web:
    image: x
    env_file: [.env, {path: side.env}]
    environment: {PORT: "9000", SMTP_PASSWORD: "$${SMTP_PASSWORD}"}
  worker: {image: x, env_file: .env, environment: ["API_KEY=${API_KEY}", "PORT=${PORT}"]}
  job: {image: x, environment: {API_KEY: your-api-key-here}}
""",
    ".env": dotenv.encode({"API_KEY": "q8Zr2kV$w7#Tn'Xp\"4Ls", "PORT": "8000"}),
    "side.env": "MAIL_KEY=changeme\nMODE=test\n",
}
SCRIPT = """
docker compose config --format json >merged.json && docker compose config --no-interpolate --format json >written.json
"""


@pytest.mark.compose
def test_what_real_compose_merges_is_judged(tmp_path: Path) -> None:
    """A value with dollars, quotes and a hash arrives unchanged, so no difference is reported."""
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    run_compose(tmp_path, SCRIPT)
    merged, written = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("merged", "written"))
    paths = merged_values.env_file_paths(written["services"])
    assert [Path(path).name for path in paths] == [".env", "side.env"]
    files = Files({paths[1]: EnvFile("side.env", dotenv.parse(PROJECT["side.env"]))})
    env = dotenv.parse(PROJECT[".env"])
    verdict = merged_values.judge(VARIABLES, env, merged["services"], written["services"], files, NOW)
    assert [problem.where for problem in verdict.problems] == [
        "`environment:` of service job: API_KEY",
        "`environment:` of service web: SMTP_PASSWORD",
        "env_file side.env: MAIL_KEY",
    ]
    assert verdict.notes[0] == "the compose file overrides .env for: API_KEY (job), PORT (web)"
