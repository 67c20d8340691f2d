# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values → findings: for each row of the corpus, and for arbitrary text."""

from __future__ import annotations

import base64
import json
import random
import string
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.env import key_files
from ansible_collections.christmas.selfheal.plugins.module_utils.env import rules as secret_rules
from ansible_collections.christmas.selfheal.plugins.module_utils.env.variables import KINDS, Variable
from ansible_collections.christmas.selfheal.tests.unit.corpus import good, wrong
from ansible_collections.christmas.selfheal.tests.unit.corpus.synthetic import (
    ALNUM,
    GOOD,
    HEX,
    NOW,
    OTHER_REF,
    REF,
    SHAPED,
    SIGNING_SECRET,
    TABLE,
    b64,
    key_pair,
    legacy,
    new_key,
    noise,
    token,
)


def rules(findings: list[secret_rules.Finding]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in findings:
        found.setdefault(finding["variable"], []).append(finding["rule"])
    return found


def table(**entries: dict[str, Any]) -> list[Variable]:
    """The corpus's table with keys added to entries; None removes a key."""
    merged = [{**entry, **entries.get(entry["name"], {})} for entry in TABLE]
    kept = [{key: value for key, value in entry.items() if value is not None} for entry in merged]
    return secret_rules.parse_table(kept)


VARIABLES = table()


@pytest.mark.parametrize(("values", "expected"), [row[1:] for row in wrong.ROWS], ids=[row[0] for row in wrong.ROWS])
def test_wrong_values_are_refused_with_the_right_reason(values: dict[str, Any], expected: dict[str, list[str]]) -> None:
    findings = secret_rules.validate(VARIABLES, {**GOOD, **values}, NOW)
    assert {name: sorted(found) for name, found in rules(findings).items()} == {
        name: sorted(found) for name, found in expected.items()
    }
    assert all(finding["reason"] and finding["fix"].endswith((".", "?")) for finding in findings)


@pytest.mark.parametrize(("values", "entries"), [row[1:] for row in good.ROWS], ids=[row[0] for row in good.ROWS])
def test_good_values_pass(values: dict[str, Any], entries: dict[str, dict[str, Any]]) -> None:
    assert secret_rules.validate(table(**entries), {**GOOD, **values}, NOW) == []


def test_the_corpus_is_large_enough_and_has_no_duplicate_row() -> None:
    assert len(wrong.ROWS) >= 200
    assert len(good.ROWS) >= 60
    for rows in (wrong.ROWS, good.ROWS):
        names = [row[0] for row in rows]
        assert len(set(names)) == len(names)
    assert set(KINDS) == {entry["kind"] for entry in TABLE}


def said(findings: list[secret_rules.Finding]) -> str:
    return " ".join(f"{finding['reason']} {finding['fix']}" for finding in findings)


# The texts of all messages: a value that is a word of a message may occur in it.
MESSAGES = " ".join(
    said([finding])
    for _row, values, _expected in wrong.ROWS
    for finding in secret_rules.validate(VARIABLES, {**GOOD, **{name: noise("w", 9) for name in values}}, NOW)
)


@pytest.mark.parametrize("values", [row[1] for row in wrong.ROWS], ids=[row[0] for row in wrong.ROWS])
def test_no_finding_holds_the_value(values: dict[str, Any]) -> None:
    found = said(secret_rules.validate(VARIABLES, {**GOOD, **values}, NOW))
    for value in {**GOOD, **values}.values():
        text = str(value).strip()
        if len(text) >= 6 and text not in json.dumps(TABLE) and text not in MESSAGES:
            assert text not in found


def test_a_missing_variable_says_where_it_comes_from_and_what_may_be_a_typo() -> None:
    values = {name: value for name, value in GOOD.items() if name != "SUPABASE_SERVICE_KEY"}
    (finding,) = secret_rules.validate(VARIABLES, {**values, "SUPABASE_SERVCE_KEY": "x"}, NOW)
    assert finding["rule"] == "missing"
    assert "Project Settings, API Keys" in finding["fix"]
    assert "SUPABASE_SERVCE_KEY: a typo?" in finding["fix"]


def test_an_expired_key_says_when() -> None:
    (finding,) = secret_rules.validate(VARIABLES, {**GOOD, "SUPABASE_SERVICE_KEY": legacy(exp=1717200000)}, NOW)
    assert finding["reason"] == "it expired on 2024-06-01"


def test_swapped_keys_name_each_other() -> None:
    values = {"SUPABASE_ANON_KEY": GOOD["SUPABASE_SERVICE_KEY"], "SUPABASE_SERVICE_KEY": GOOD["SUPABASE_ANON_KEY"]}
    found = secret_rules.describe(secret_rules.validate(VARIABLES, {**GOOD, **values}, NOW)).splitlines()
    said = "are swapped: each holds the other's value. Fix: Exchange them."
    assert found == [
        f"SUPABASE_ANON_KEY: swapped: it and SUPABASE_SERVICE_KEY {said}",
        f"SUPABASE_SERVICE_KEY: swapped: it and SUPABASE_ANON_KEY {said}",
    ]


def test_a_wrong_project_is_named() -> None:
    values = {"SUPABASE_SERVICE_KEY": legacy(ref=OTHER_REF)}
    (finding,) = secret_rules.validate(VARIABLES, {**GOOD, **values}, NOW)
    assert f"it belongs to project {OTHER_REF}, SUPABASE_URL to " in finding["reason"]


def test_signatures_are_checked_only_when_the_table_says_so() -> None:
    own = {**GOOD, "SUPABASE_URL": "http://10.0.0.5:8000"}
    signed = table(JWT_SECRET={"signs_keys": True})
    assert secret_rules.validate(VARIABLES, own, NOW) == []
    assert rules(secret_rules.validate(signed, own, NOW)) == {
        "SUPABASE_ANON_KEY": ["bad_signature"],
        "SUPABASE_SERVICE_KEY": ["bad_signature"],
    }
    assert secret_rules.validate(signed, {**own, "JWT_SECRET": SIGNING_SECRET}, NOW) == []
    new = {"SUPABASE_ANON_KEY": new_key("publishable"), "SUPABASE_SERVICE_KEY": new_key("secret")}
    assert secret_rules.validate(signed, {**own, **new}, NOW) == []


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_a_key_signed_by_a_key_pair_is_not_checked_with_the_hmac_secret(algorithm: str) -> None:
    """The legacy secret of a Supabase project does not verify its asymmetric signing keys."""
    signed = table(JWT_SECRET={"signs_keys": True})
    lengths = {"ES256": 86, "EdDSA": 86, "RS256": 342}
    header = {"alg": algorithm, "kid": "0b9f1c3d-2a47-4c6e-9d18-7e5f3a2b1c0d", "typ": "JWT"}

    def key(role: str) -> str:
        body = token({"iss": "supabase", "ref": REF, "role": role, "iat": int(NOW) - 60}, header=header)
        head, claims, _unused = body.split(".")
        return f"{head}.{claims}.{b64(random.Random(role).randbytes(lengths[algorithm] * 3 // 4))}"

    keys = {"SUPABASE_ANON_KEY": key("anon"), "SUPABASE_SERVICE_KEY": key("service_role")}
    assert secret_rules.validate(signed, {**GOOD, **keys}, NOW) == []


def test_variables_with_same_as_must_be_equal() -> None:
    linked = table(BOT_TOKEN={"same_as": "PAYMENT_TOKEN"})
    values = {"PAYMENT_TOKEN": noise("p", 30), "BOT_TOKEN": noise("q", 30)}
    assert rules(secret_rules.validate(linked, {**GOOD, **values}, NOW)) == {"BOT_TOKEN": ["differs"]}


def test_a_password_in_a_variable_that_is_not_a_secret() -> None:
    (finding,) = secret_rules.validate(VARIABLES, {**GOOD, "FRONTEND_URL": "https://user:Wq7kdfPz2@shop.de"}, NOW)
    assert "`secret: true`" in finding["fix"]


def test_names_that_the_table_does_not_list() -> None:
    assert secret_rules.unlisted(VARIABLES, {**GOOD, "B": "1", "A": "2"}) == ["A", "B"]


# --- keys with a shape ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_random_keys_of_every_shape_pass(seed: int) -> None:
    """No rule for words, sequences or repetitions refuses a random key."""
    upper = string.ascii_uppercase + "234567"
    values = {
        "STRIPE_KEY": "_".join(["sk", "live", noise(f"{seed} a", 24, ALNUM)]),
        "STRIPE_WEBHOOK": "_".join(["whsec", noise(f"{seed} b", 32, ALNUM)]),
        "SENDGRID_KEY": ".".join(["SG", noise(f"{seed} c", 22), noise(f"{seed} d", 43)]),
        "AWS_ACCESS_KEY_ID": "AKIA" + noise(f"{seed} e", 16, upper),
        "AWS_SECRET_ACCESS_KEY": noise(f"{seed} f", 40, f"{ALNUM}/+"),
        "GITHUB_TOKEN": "_".join(["ghp", noise(f"{seed} g", 36, ALNUM)]),
        "TELEGRAM_TOKEN": noise(f"{seed} h", 10, "123456789") + ":" + noise(f"{seed} i", 35),
        "FERNET_KEY": base64.urlsafe_b64encode(random.Random(seed).randbytes(32)).decode(),
        "RAILS_MASTER_KEY": noise(f"{seed} j", 32, HEX),
        "APP_KEY": "base64:" + base64.b64encode(random.Random(-seed - 1).randbytes(32)).decode(),
    }
    assert secret_rules.validate(VARIABLES, {**GOOD, **values}, NOW) == []


ALGORITHMS = {
    "RSA": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "EC": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "Ed25519": ["-algorithm", "ED25519"],
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keys_and_certificates_of_openssl(algorithm: str, tmp_path: Path) -> None:
    """An Ed25519 private key does not hold its public key, so it is not compared with the certificate."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)

    openssl("genpkey", *ALGORITHMS[algorithm], "-out", "key")
    openssl("genpkey", *ALGORITHMS[algorithm], "-out", "other")
    openssl("req", "-new", "-x509", "-key", "key", "-out", "certificate", "-days", "3", "-subj", "/CN=shop.test")
    key, other, certificate = ((tmp_path / name).read_text() for name in ("key", "other", "certificate"))
    now = time.time()
    variables = [variable for variable in VARIABLES if variable.name.startswith("TLS_")]
    assert secret_rules.validate(variables, {"TLS_KEY": key, "TLS_CERTIFICATE": certificate}, now) == []
    assert key_files.belongs(certificate, key) is (None if algorithm == "Ed25519" else True)
    found = rules(secret_rules.validate(variables, {"TLS_KEY": other, "TLS_CERTIFICATE": certificate}, now))
    assert found == ({} if algorithm == "Ed25519" else {"TLS_CERTIFICATE": ["mismatched"]})
    assert rules(secret_rules.validate(variables, {"TLS_CERTIFICATE": certificate}, now + 4 * 86400)) == {
        "TLS_CERTIFICATE": ["expired"]
    }


# --- arbitrary text -------------------------------------------------------------------------------------------------

_STRUCTURED = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "eyJ",
                ".",
                "sb_secret_",
                "sb_publishable_",
                "https://",
                "postgresql://",
                "@",
                ":",
                "/",
                "[",
                "]",
                "<",
                ">",
                "${",
                "{{",
                "}}",
                "}",
                "%",
                "\n",
                "'",
                '"',
                " ",
                "-----BEGIN ",
                "-----BEGIN CERTIFICATE-----\n",
                "\n-----END CERTIFICATE-----",
                *SHAPED.values(),
                key_pair()[1],
                GOOD["SUPABASE_SERVICE_KEY"],
                GOOD["SUPABASE_URL"],
                "host=",
                "1" * 5000,
                "\ud800",
                "\0",
                "\u200d",
                "SUPABASE_URL=",
                "Bearer ",
            ]
        ),
        st.text(max_size=12),
    ),
    max_size=8,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(name=st.sampled_from([entry["name"] for entry in TABLE]), value=st.one_of(_STRUCTURED, st.text()))
def test_no_text_raises_an_error_or_is_shown(name: str, value: str) -> None:
    findings = secret_rules.validate(VARIABLES, {**GOOD, name: value}, NOW)
    shown = said(findings)
    if len(value) >= 6 and value not in json.dumps(TABLE) and value not in MESSAGES:
        assert value not in shown


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([entry["name"] for entry in TABLE]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(),
            st.lists(st.text()),
            st.sampled_from(list(GOOD.values())),
        ),
    )
)
def test_no_env_raises_an_error(values: dict[str, Any]) -> None:
    for finding in secret_rules.validate(VARIABLES, values, NOW):
        assert set(finding) == {"variable", "rule", "reason", "fix"}
    assert secret_rules.texts(VARIABLES, values).keys() <= values.keys()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**64), st.integers(22, 64))
def test_random_secrets_pass(seed: int, length: int) -> None:
    text = noise(str(seed), length)
    variables = secret_rules.parse_table([{"name": "BOT_TOKEN", "kind": "token"}])
    assert secret_rules.validate(variables, {"BOT_TOKEN": text}, NOW) == []


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=20, max_size=20), st.integers(0, 10**9))
def test_a_new_key_is_valid_for_its_project_only(ref: str, seed: int) -> None:
    entries = [{"name": "URL", "kind": "supabase_url"}, {"name": "KEY", "kind": "supabase_service_key"}]
    variables = secret_rules.parse_table(entries)
    key = new_key("secret", ref, str(seed))
    here = secret_rules.validate(variables, {"URL": f"https://{ref}.supabase.co", "KEY": key}, NOW)
    assert [finding for finding in here if finding["variable"] == "KEY"] == []
    there = secret_rules.validate(variables, {"URL": f"https://{OTHER_REF}.supabase.co", "KEY": key}, NOW)
    assert ref == OTHER_REF or rules(there) == {"KEY": ["bad_checksum"]}
