# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of variables: its errors, its example, and which values are texts and secrets."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.env import rules as secret_rules
from ansible_collections.christmas.selfheal.plugins.module_utils.env.variables import is_secret
from ansible_collections.christmas.selfheal.tests.unit.corpus.synthetic import GOOD, TABLE

BAD_TABLES = [
    ("not a list", {}, "app_env_variables", "not a list"),
    ("an entry that is text", ["PORT"], "app_env_variables[0]", "not a mapping"),
    ("no name", [{"kind": "port"}], "app_env_variables[0]: name", "missing"),
    ("a bad name", [{"name": "MY-PORT", "kind": "port"}], "app_env_variables[0] (MY-PORT): name", "not a name"),
    (
        "a name that begins with a digit",
        [{"name": "1A", "kind": "port"}],
        "app_env_variables[0] (1A): name",
        "not a name",
    ),
    ("a name that is a number", [{"name": 1, "kind": "port"}], "app_env_variables[0]: name", "not a name"),
    ("no kind", [{"name": "A"}], "app_env_variables[0] (A): kind", "missing"),
    (
        "an unknown kind",
        [{"name": "A", "kind": "supabase_anon"}],
        "app_env_variables[0] (A): kind",
        "supabase_anon_key?",
    ),
    (
        "an unknown key",
        [{"name": "A", "kind": "text", "requird": True}],
        "app_env_variables[0] (A): requird",
        "required?",
    ),
    (
        "a duplicate name",
        [{"name": "A", "kind": "text"}, {"name": "A", "kind": "port"}],
        "app_env_variables[1] (A): name",
        "entry 0",
    ),
    (
        "required as text",
        [{"name": "A", "kind": "text", "required": "yes"}],
        "app_env_variables[0] (A): required",
        "true or false",
    ),
    (
        "secret as text",
        [{"name": "A", "kind": "text", "secret": "no"}],
        "app_env_variables[0] (A): secret",
        "true or false",
    ),
    (
        "an invalid regex",
        [{"name": "A", "kind": "pattern", "pattern": "("}],
        "app_env_variables[0] (A): pattern",
        "regular expression",
    ),
    ("no regex", [{"name": "A", "kind": "pattern"}], "app_env_variables[0] (A): pattern", "needs one"),
    (
        "a regex for a port",
        [{"name": "A", "kind": "port", "pattern": "8.*"}],
        "app_env_variables[0] (A): pattern",
        "set kind to pattern",
    ),
    ("no choices", [{"name": "A", "kind": "enum"}], "app_env_variables[0] (A): choices", "list of texts"),
    (
        "choices that YAML converted",
        [{"name": "A", "kind": "enum", "choices": [True]}],
        "app_env_variables[0] (A): choices",
        "quoted",
    ),
    (
        "choices as text",
        [{"name": "A", "kind": "enum", "choices": "a,b"}],
        "app_env_variables[0] (A): choices",
        "list of texts",
    ),
    (
        "min above max",
        [{"name": "A", "kind": "integer", "min": 2, "max": 1}],
        "app_env_variables[0] (A): min",
        "above max",
    ),
    ("min as text", [{"name": "A", "kind": "integer", "min": "2"}], "app_env_variables[0] (A): min", "whole number"),
    ("an invalid port", [{"name": "A", "kind": "port", "max": 70000}], "app_env_variables[0] (A): max", "65535"),
    (
        "min_length for a port",
        [{"name": "A", "kind": "port", "min_length": 2}],
        "app_env_variables[0] (A): min_length",
        "has no such key",
    ),
    (
        "min_length below zero",
        [{"name": "A", "kind": "text", "min_length": -1}],
        "app_env_variables[0] (A): min_length",
        "below zero",
    ),
    (
        "a default for a secret",
        [{"name": "A", "kind": "token", "default": "x"}],
        "app_env_variables[0] (A): default",
        "vault",
    ),
    (
        "an invalid default",
        [{"name": "A", "kind": "port", "default": 0}],
        "app_env_variables[0] (A): default",
        "65535",
    ),
    (
        "a default that YAML converted",
        [{"name": "A", "kind": "boolean", "default": True}],
        "app_env_variables[0] (A): default",
        "quote it",
    ),
    (
        "a default with quotes",
        [{"name": "A", "kind": "port", "default": "'80'"}],
        "app_env_variables[0] (A): default",
        "quotes",
    ),
    (
        "the same as an unknown variable",
        [{"name": "A", "kind": "text", "same_as": "B"}],
        "app_env_variables[0] (A): same_as",
        "no other",
    ),
    (
        "the same as itself",
        [{"name": "A", "kind": "text", "same_as": "A"}],
        "app_env_variables[0] (A): same_as",
        "no other",
    ),
    (
        "a source of two lines",
        [{"name": "A", "kind": "text", "source": "a\nb"}],
        "app_env_variables[0] (A): source",
        "one line",
    ),
    (
        "signs_keys for a token",
        [{"name": "A", "kind": "token", "signs_keys": True}],
        "app_env_variables[0] (A): signs_keys",
        "jwt_secret",
    ),
]


@pytest.mark.parametrize(
    ("entries", "key", "part"), [row[1:] for row in BAD_TABLES], ids=[row[0] for row in BAD_TABLES]
)
def test_an_error_in_a_table_names_entry_key_and_fix(entries: Any, key: str, part: str) -> None:
    with pytest.raises(secret_rules.TableError) as caught:
        secret_rules.parse_table(entries)
    assert caught.value.key == key
    assert part in str(caught.value)
    assert str(caught.value).startswith(f"{key}: ")
    assert " Fix: " in str(caught.value)


def test_the_corpus_has_a_good_table() -> None:
    assert [one.name for one in secret_rules.parse_table(TABLE)] == [entry["name"] for entry in TABLE]
    assert secret_rules.parse_table([{"name": "A", "kind": "text", "default": ""}])[0].default == ""


def test_the_example_has_a_comment_for_each_variable_and_no_value() -> None:
    entries = [
        {"name": "PORT", "kind": "port", "default": 8000, "source": "the container's port.\n"},
        {"name": "LOG_LEVEL", "kind": "enum", "choices": ["info", "debug"], "required": False},
        {"name": "JWT_SECRET", "kind": "jwt_secret"},
    ]
    assert secret_rules.example(secret_rules.parse_table(entries)).split("\n\n", 1)[1] == (
        "# port, default 8000: the container's port\nPORT=\n\n"
        "# enum, optional, one of info, debug: one of the choices\nLOG_LEVEL=\n\n"
        "# jwt_secret, secret: made once with openssl rand -hex 32, the same for every instance of the app\n"
        "JWT_SECRET=\n"
    )


VARIABLES = secret_rules.parse_table(TABLE)


def test_texts_are_in_the_order_of_the_table() -> None:
    entries = [
        {"name": "PORT", "kind": "port", "default": 8000},
        {"name": "A", "kind": "text", "required": False},
        {"name": "B", "kind": "text"},
    ]
    variables = secret_rules.parse_table(entries)
    assert list(secret_rules.texts(variables, {"B": "x", "PORT": None, "C": "y"}).items()) == [
        ("PORT", "8000"),
        ("B", "x"),
    ]
    assert secret_rules.texts(variables, {"PORT": 9000, "A": True, "B": "z"}) == {"PORT": "9000", "B": "z"}


def test_the_kind_decides_what_is_a_secret_unless_the_entry_does() -> None:
    values = {**GOOD, "SMTP_PASSWORD": "Wq7#kd!fPz2", "APP_TITLE": "Shop"}
    assert set(secret_rules.secrets_of(VARIABLES, values)) == {
        "SUPABASE_ANON_KEY",
        "SUPABASE_SERVICE_KEY",
        "JWT_SECRET",
        "SMTP_PASSWORD",
    }
    assert not is_secret({"name": "A", "kind": "token", "secret": False})
