# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Supabase stand-in judges keys as Supabase does. The results of the lab depend on this."""

from __future__ import annotations

import base64
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

LAB = Path(__file__).resolve().parents[3] / "lab"
sys.path[:0] = [str(LAB), str(LAB / "supabase")]
try:
    import faults
    import free_subnet
    import judge
    import keys as lab_keys
finally:
    del sys.path[:2]

NOW = 1_780_000_000
SECRETS = lab_keys.lab_secrets(NOW)
KEYRING = judge.Keyring(
    SECRETS["vault_supabase_jwt_secret"],
    SECRETS["vault_supabase_publishable_key"],
    SECRETS["vault_supabase_secret_key"],
)
ANON = SECRETS["vault_supabase_anon_key"]
SERVICE = SECRETS["vault_supabase_service_key"]


def jwt(secret: str = KEYRING.jwt_secret, **claims: Any) -> str:
    return judge.mint_jwt({"iss": "supabase", "role": "service_role", "exp": NOW + 60, **claims}, secret)


def unsigned(token: str) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return ".".join([header, token.split(".")[1], ""])


def other_tail(token: str) -> str:
    """The same signature bytes with other unused bits: a lenient decoder accepts them."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


def other_char(key: str, position: int) -> str:
    return key[:position] + ("A" if key[position] != "A" else "B") + key[position + 1 :]


@pytest.mark.parametrize(
    ("key", "role"),
    [
        pytest.param(ANON, "anon", id="legacy anon"),
        pytest.param(SERVICE, "service_role", id="legacy service"),
        pytest.param(KEYRING.publishable_key, "anon", id="publishable"),
        pytest.param(KEYRING.secret_key, "service_role", id="secret"),
        pytest.param(None, None, id="no key"),
        pytest.param("", None, id="empty"),
        pytest.param("your-supabase-service-role-key", None, id="placeholder"),
        pytest.param(SERVICE[:-5], None, id="truncated"),
        pytest.param(f'"{SERVICE}"', None, id="quoted"),
        pytest.param(other_tail(SERVICE), None, id="other spelling of the signature"),
        pytest.param(jwt(secret="another project's secret"), None, id="another project"),
        pytest.param(jwt(exp=NOW), None, id="expired this second"),
        pytest.param(jwt(exp=NOW + 1), "service_role", id="expires the next second"),
        pytest.param(jwt(exp=None), None, id="never expires"),
        pytest.param(jwt(role="authenticated"), None, id="a user's token"),
        pytest.param(jwt(role=["service_role"]), None, id="role is a list"),
        pytest.param(unsigned(SERVICE), None, id="alg none"),
        pytest.param("a.b.c", None, id="not base64"),
        pytest.param("…." * 2, None, id="not ASCII"),
        pytest.param(lab_keys.new_key("secret"), None, id="another project's secret key"),
        pytest.param(other_char(KEYRING.secret_key, 15), None, id="typing error in a secret key"),
        pytest.param(other_char(KEYRING.secret_key, -1), None, id="typing error in its checksum"),
        pytest.param(KEYRING.secret_key[:-1], None, id="truncated secret key"),
        pytest.param(KEYRING.secret_key + "\n", None, id="newline after a secret key"),
    ],
)
def test_apikey(key: str | None, role: str | None) -> None:
    verdict = judge.judge_apikey(key, KEYRING, NOW)
    assert verdict.role == role
    if role is None:
        assert verdict.reason
        assert not key or key not in verdict.reason


USER = jwt(role="authenticated", sub="1")


@pytest.mark.parametrize(
    ("apikey", "authorization", "role"),
    [
        pytest.param(ANON, None, "anon", id="no Bearer"),
        pytest.param(ANON, f"Bearer {USER}", "authenticated", id="a user's token behind the anon key"),
        pytest.param(SERVICE, f"Bearer {SERVICE}", "service_role", id="legacy key in both places"),
        pytest.param(SERVICE, f"Bearer {ANON}", "anon", id="the Bearer decides"),
        pytest.param(KEYRING.secret_key, f"Bearer {KEYRING.secret_key}", None, id="secret key as Bearer"),
        pytest.param(KEYRING.publishable_key, f"Bearer {KEYRING.publishable_key}", None, id="publishable as Bearer"),
        pytest.param(None, f"Bearer {SERVICE}", None, id="Bearer alone"),
        pytest.param(SERVICE, "Basic eDp5", None, id="not a Bearer"),
        pytest.param(SERVICE, f"Bearer {jwt(exp=NOW - 1)}", None, id="expired Bearer"),
    ],
)
def test_request(apikey: str | None, authorization: str | None, role: str | None) -> None:
    assert judge.judge_request(apikey, authorization, KEYRING, NOW).role == role


def test_lab_secrets_look_like_the_vendors() -> None:
    for key in (ANON, SERVICE):
        header, payload, signature = key.split(".")
        assert (len(header), len(signature)) == (36, 43)
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        assert claims["exp"] - NOW == lab_keys.TEN_YEARS
        assert "ref" not in claims
    assert len(KEYRING.publishable_key) == len("sb_publishable_") + 22 + 1 + 8
    assert len(KEYRING.secret_key) == len("sb_secret_") + 22 + 1 + 8
    assert len(set(SECRETS.values())) == len(SECRETS)


def test_keyring_shows_nothing() -> None:
    assert not any(value in repr(KEYRING) for value in SECRETS.values())


@pytest.mark.parametrize(
    ("route", "found"),
    [
        pytest.param({"dst": "default", "dev": "eth0"}, False, id="default route"),
        pytest.param({"dst": "128.0.0.0/1", "dev": "tun0"}, False, id="a VPN's half of everything"),
        pytest.param({"dst": "172.30.0.0/16", "dev": "br-1"}, True, id="a larger network"),
        pytest.param({"dst": "172.30.57.9", "dev": "eth0"}, True, id="one address in the network"),
        pytest.param({"dst": "172.30.58.0/24", "dev": "br-1"}, False, id="the next network"),
    ],
)
def test_free_subnet(route: dict[str, str], found: bool) -> None:
    assert bool(free_subnet.overlaps(free_subnet.Network("172.30.57.0/24"), [route])) == found


def test_a_fault_applies_to_one_host_until_it_is_ended() -> None:
    known = faults.Faults()
    assert not known.set("10.0.0.1", "explode")
    assert known.set("10.0.0.1", "hang")
    assert (known.mode("10.0.0.1"), known.mode("10.0.0.2")) == ("hang", "")
    waiting = threading.Thread(target=known.hang, args=("10.0.0.1",), daemon=True)
    waiting.start()
    known.hang("10.0.0.2")
    assert waiting.is_alive()
    assert known.set("10.0.0.1", "")
    waiting.join(timeout=10)
    assert not waiting.is_alive()
