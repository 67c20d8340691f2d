# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keys whose vendor or framework gives them a shape: what a whole one looks like, and which other key a wrong one is.

Sources, each the vendor's own pages unless named: Stripe "API keys" and "Webhook signatures"; SendGrid "API keys";
AWS IAM "Unique identifiers" and "Manage access keys"; OpenAI "API keys"; GitHub "About authentication: token formats";
Slack "Tokens" and "Incoming webhooks"; Telegram "Bot API: authorizing your bot"; cryptography "Fernet"; Rails guides
"Securing Rails applications: custom credentials"; Laravel "Encryption". Lengths that a vendor does not state are those
that the rules of the scanners gitleaks and detect-secrets have, at their most generous.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

from .placeholders import is_sample, low_entropy, placeholder
from .supabase_keys import Problem
from .variables import Variable, copy_again, own_words, place, source_hint


class Format(NamedTuple):
    """The shape of one kind of key.

    `begins` is how it begins, a group of it or nothing; `tail` is what follows; `shortest` counts the tail.
    """

    noun: str
    begins: str
    tail: str
    shortest: int
    form: str


_ALNUM, _URL64 = "[A-Za-z0-9]", "[A-Za-z0-9_-]"

FORMATS = {
    "stripe_key": Format("a Stripe secret key", "(?:sk|rk)_(?:test|live)_", f"{_ALNUM}{{24,247}}", 24, "sk_live_…"),
    "stripe_publishable_key": Format(
        "a Stripe publishable key", "pk_(?:test|live)_", f"{_ALNUM}{{24,247}}", 24, "pk_live_…"
    ),
    "stripe_webhook_secret": Format("a Stripe webhook secret", "whsec_", "[A-Za-z0-9+/=_-]{24,247}", 24, "whsec_…"),
    "sendgrid_key": Format("a SendGrid key", r"SG\.", rf"{_URL64}{{22}}\.{_URL64}{{43}}", 66, "SG.… with two dots"),
    "aws_access_key_id": Format("an AWS access key id", "(?:AKIA|ASIA)", "[A-Z0-9]{16}", 16, "AKIA… or ASIA…"),
    "aws_secret_access_key": Format(
        "an AWS secret access key", "", "[A-Za-z0-9/+]{40}", 40, "40 letters, digits, / and +"
    ),
    "openai_key": Format("an OpenAI-style key", "sk-", f"{_URL64}{{20,247}}", 20, "sk-…"),
    "github_token": Format(
        "a GitHub token",
        "(?:gh[pousr]_|github_pat_|(?=[0-9a-f]))",
        f"(?:(?<=pat_){_ALNUM}{{22}}_{_ALNUM}{{59}}|(?<=gh[pousr]_){_ALNUM}{{36,251}}|(?<!_)[0-9a-f]{{40}})",
        36,
        "ghp_… or github_pat_…",
    ),
    "slack_token": Format(
        "a Slack token",
        r"(?:xox[a-z](?:\.xox[bp])?|xapp)-",
        "(?:[A-Za-z0-9]{1,20}-){1,5}[A-Za-z0-9]{20,146}",
        40,
        "xoxb-… or xapp-…",
    ),
    "slack_webhook": Format(
        "a Slack webhook",
        r"https://hooks\.slack(?:-gov)?\.com/",
        r"(?:services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}|(?:workflows|triggers)/[A-Za-z0-9/]{20,})",
        48,
        "https://hooks.slack.com/services/T…/B…/…",
    ),
    "telegram_token": Format("a Telegram bot token", "[0-9]{5,16}:", f"{_URL64}{{35}}", 35, "<number>:<35 characters>"),
    "fernet_key": Format("a Fernet key", "", f"{_URL64}{{43}}=", 44, "44 characters with = at the end"),
    "rails_master_key": Format("a Rails master key", "", "[0-9a-f]{32}", 32, "32 hex digits"),
    "laravel_app_key": Format(
        "a Laravel app key",
        "base64:",
        "(?:[A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{22}==)",
        44,
        "base64:… (artisan key:generate)",
    ),
}

# What a webhook's path consists of, other than the secret.
_PATHS = frozenset({"services", "workflows", "triggers"})
# Of the kinds that begin in a way of their own: what a value in the wrong slot is.
_KNOWN = tuple(
    (re.compile(one.begins), one.noun, kind) for kind, one in FORMATS.items() if re.match("[A-Za-z(]", one.begins)
)
_SAMPLES_OF_WORDS = ("sk", "pk", "rk", "live", "test", "sg", "xoxb", "xapp", "services", "akia", "base64", "secret")


def validate_format(variable: Variable, text: str) -> list[Problem]:
    """What is wrong with ``text`` as a value of this kind; never raises."""
    kind = variable.kind
    shape = FORMATS[kind]
    if is_sample(text):
        return [Problem("sample", "it is the example of the vendor's documentation", copy_again(variable))]
    begins = re.match(shape.begins, text)
    tail = text[begins.end() :] if begins else text
    reason = _gap(variable, text, tail)
    if reason:
        return [Problem("placeholder", reason, f"Put the real value in {place(variable)}.{source_hint(variable)}")]
    if begins is None:
        return [_other(variable, shape, text)]
    if re.fullmatch(shape.begins + shape.tail, text):
        return _inside(variable, kind, tail)
    if re.fullmatch("[!-~]+", tail) and len(tail) < shape.shortest:
        return [Problem("truncated", f"a part is missing: {shape.noun} looks like {shape.form}", copy_again(variable))]
    return [Problem("bad_format", f"{shape.noun} looks like {shape.form}, and this is not whole", copy_again(variable))]


def stripe_mode(text: str) -> str:
    """``test`` or ``live``, as a Stripe key says it."""
    found = re.match("[a-z]{2}_(test|live)_", text)
    return found.group(1) if found else ""


def _gap(variable: Variable, text: str, tail: str) -> str | None:
    """Why it is a placeholder: as a whole, behind its beginning, or in one of its parts."""
    words = (*own_words(variable), *_SAMPLES_OF_WORDS)
    parts = [part for part in re.split("[./:]", tail) if len(part) >= 8 and part not in _PATHS]
    return next((reason for part in (text, tail, *parts) if (reason := placeholder(part, words))), None)


def _other(variable: Variable, shape: Format, text: str) -> Problem:
    noun = next((noun for pattern, noun, kind in _KNOWN if kind != variable.kind and pattern.match(text)), None)
    what = f"it is {noun}" if noun else f"it is not {shape.noun}: one looks like {shape.form}"
    return Problem("wrong_kind", what, copy_again(variable))


def _inside(variable: Variable, kind: str, tail: str) -> list[Problem]:
    """A whole one: not of another kind that fits by chance, decodable, and random."""
    if kind in ("fernet_key", "laravel_app_key"):
        raw = _decoded(tail)
        if raw is None:
            return [Problem("bad_format", "a character in it was changed: it does not decode", copy_again(variable))]
        return [Problem("low_entropy", "its bytes are all alike", "Make a random one.")] if len(set(raw)) < 6 else []
    reason = low_entropy(tail)
    return [Problem("low_entropy", reason, copy_again(variable))] if reason else []


def _decoded(text: str) -> bytes | None:
    plain = text.replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(plain, validate=True)
    except (ValueError, binascii.Error):
        return None
    return raw if base64.b64encode(raw).decode() == plain else None
