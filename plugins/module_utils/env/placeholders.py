# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell a placeholder from a secret, by shape and words first, by entropy last.

Entropy alone fails: ``your_supabase_service_key_here`` has 3.61 bits a character, a real key of 64 hex digits 3.43.
Each function returns the reason as a clause that a person understands, or None; no reason holds the text.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

# Longer texts are not looked at word by word: a placeholder is never of this length, and the cost grows with it.
LONGEST_PLACEHOLDER = 200

# What a random text must reach, in bits a character; a short one cannot have many different characters, so less.
ENTROPY_BITS = 3.0
ENTROPY_SHARE = 0.65

# Words that placeholders are made of. A text is one when nothing else is in it, so a passphrase that happens to
# hold "test" is not, nor is "test" inside base64.
_WORD_LIST = """
a abc access account admin administrator all an and anon any anything api apikey app asdf asdfgh at auth azerty b64
backend bar base baz be bearer bits blah bot by bytes certificate change changed changeit changeme changethis char
character characters chars client code config configure connection credential credentials data database db default
defaults demo dev develop development do docs does dummy edit email empty encrypt encryption enter env environment
example examples fake field file fill fix fixme foo for from frontend generate generated get github go google hash
here hex hidden host id in insecure insert into invalid is it its jwt key keys least len length letmein live local
long longer lorem me min minimum missing mock must my name need needs never new nil no none not nothing null of on
one only openai or our overwrite pass passphrase passwd password paste pat pending permission pk placeholder please
private prod production project provide provided provider public publishable put pw pwd qwerty qwertz random real
really redacted redis ref reference release removed replace replaced replaceme required role root sample secret
secrets secure security select sendgrid server service session set setme should signing sk slack smtp some something
staging string stripe strong stub sub supabase super tbd telegram temp temporary test tester testing text that the
then there this tmp to todo token tokens type undefined unknown unset update updated url use user username valid
value values var variable very void want webhook welcome will with word words write yes you your yours zxcvbn
"""
_WORDS = frozenset(_WORD_LIST.split())
_LONGEST_WORD = max(map(len, _WORDS))

# Hangul is glued to particles, so a part is enough: enter, change, here, example, put in, temporary.
_KOREAN = re.compile("입력|변경하|변경필|여기에|여기 에|예시|넣으세요|넣어|바꾸세요|교체|임시|비밀번호|샘플|테스트")

# An imperative: text of plain words around one of these is a placeholder, whatever the other words are.
_ORDERS = re.compile(
    r"(?:^|[^a-z])(?:change[-_ .]?(?:me|it|this|that)|replace[-_ .]?(?:me|it|this|with)|your|insert|place[-_ ]?holder"
    r"|to[-_]?do|fix[-_]?me|fill[-_ ]?(?:me|in|this|it)|enter[-_ ]|put[-_ ]|paste[-_ ]|set[-_ ]?(?:me|this)|dummy"
    r"|example|sample|not[-_ ]?set|do[-_ ]?not[-_ ]?use|tbd)(?:[^a-z]|$)|[-_ ]here$"
)
# Of these, the ones that cannot be a default password.
_FILL_IN = re.compile(
    r"(?:^|[^a-z])(?:change[-_ .]?(?:me|it|this|that)|replace[-_ .]?(?:me|it|this|with)|your|insert|place[-_ ]?holder"
    r"|to[-_]?do|fix[-_]?me|fill[-_ ]?(?:me|in|this|it)|enter[-_ ]|put[-_ ]|paste[-_ ]|set[-_ ]?(?:me|this)"
    r"|not[-_ ]?set|tbd)(?:[^a-z]|$)|[-_ ]here$"
)
# In any variable, whatever its name: nothing else can be in the value.
_FORGOTTEN = re.compile(
    r"(?i:change[-_ ]?(?:me|this)!*|replace[-_ ]?(?:me|this)!*|your[-_][a-z_-]+|insert[-_][a-z]+[-_]here)"
    r"|<[A-Za-z][A-Za-z _-]+>|\{\{ *[A-Za-z_][A-Za-z0-9_.]* *\}\}"
)
_YOUR_HOST = re.compile(r"://(?:[^@/\s]*@)?your[-_.]?[a-z_-]*\.", re.I)
_PLAIN_WORDS = re.compile(r"[A-Za-z]+(?:[-_ .:/]+(?:[A-Za-z]+|\d{1,4}))*\d{0,4}[-_ .!?]*")
_ONE_CASE = re.compile(r"[a-z]+|[A-Z]+|[A-Z][a-z]+(?:[A-Z][a-z]+)*|[a-z]+(?:[A-Z][a-z]+)+")

_LEET = str.maketrans("@013457$!", "aoleastsi")

_NUMBERED = re.compile(r"^\d{1,20}:(?=.)")
_MASKS = re.compile("[*•●▪∙◦⬤\uff0a\xd7]{4,}")
_ABBREVIATED = re.compile(r"[A-Za-z0-9_.+/=-]*[A-Za-z0-9_](?:\.{3,}|…)[A-Za-z0-9_.+/=-]*|(?:\.{3,}|…)[A-Za-z0-9_-]*")

# Orders in which fingers walk; each is also walked backwards.
_WALKS = (
    "0123456789abcdefghijklmnopqrstuvwxyz0123456789",
    "1234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
)
_SHORTEST_WALK = 4
_WALKED_SHARE = 0.75

_REFERENCES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.S), "it is a template that was not filled in"),
    (re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_.]*(?:[:?+-][^}]*)?\}"), "it is the name of a variable, not its value"),
    (
        re.compile(r"\$\$?[A-Z]+(?:_[A-Z0-9]+)*[0-9]?|\$\([^)]*\)|`[a-z][^`]* [^`]*`"),
        "it is a shell expression, not a value",
    ),
    (
        re.compile(r"%[A-Za-z_][A-Za-z0-9_]*%|@[A-Z][A-Z0-9_]*@|__[A-Z][A-Z0-9_]*__|%\([a-z_]+\)s|#\{[^}]*\}"),
        "it is the name of a variable, not its value",
    ),
    (
        re.compile(
            r"(?:op|vault|bao|awssm|gcpsm|keyvault|secretref|ssm|doppler)://\S+|arn:aws:(?:secretsmanager|ssm):\S+"
            r"|vault:(?:secret|kv)/\S+|secretref:\S+|(?:process\.env|os\.environ|ENV)[.\[(]\S+"
        ),
        "it is the address of a secret in some store, not the secret",
    ),
)
# Of these, the ones that no app resolves by itself.
_NAMES_AND_TEMPLATES = 2
# These may also be in the middle: narrower, so that no random text holds one by chance.
_REFERENCES_INSIDE = (
    (re.compile(r"\{\{\s*[A-Za-z_][\w.| ]{2,}\}\}"), "it holds a template that was not filled in"),
    (
        re.compile(r"\$\{(?:[A-Z_][A-Z0-9_]{2,}|[a-z_][a-z0-9_.]{2,})(?::?[?+-][^}$]{0,200})?\}"),
        "it holds the name of a variable",
    ),
)

_ENCRYPTED = re.compile(
    r"\$ANSIBLE_VAULT;|!vault\b|ENC\[[A-Za-z0-9_]+,|vault:v\d+:|-----BEGIN (?:PGP MESSAGE|AGE ENCRYPTED FILE)-----"
    r"|age-encryption\.org/"
)

# SHA-256 of values that vendors print in their documentation: everybody has them. Hashes, so that no secret
# scanner stops at this file. Sources: supabase/supabase docker/.env.example and the Supabase CLI's local defaults,
# jwt.io, docs.stripe.com, docs.aws.amazon.com, core.telegram.org, xkcd.com/936.
_SAMPLE_LIST = """
0a53c0992edae8ceb04c7a32ee47b49ad0b229c17b073e8c24683111c843d45e
0b5dd075ccdd03c42f4edda8e299e6838e2a75d3486a2a8d86940ed1541e9178
1453cea2dc3799e9026e42b3e465e455256d5a149582e4c5b92d4c8d604731a2
1a5d44a2dca19669d72edf4c4f1c27c4c1ca4b4408fbb17f6ce4ad452d78ddb3
2359b281e1fa0ec38bb10316e2b0e3a7b960fe5d271ee75a4735ff1b313a222c
2cafc0970149a84f3b9e62eaf169f36f59907a3b3e31f7b82e68c69cd27f7326
390d4757bf1b75e305984c99cdedfb1e7c201a2d143a53cfbc35075fa5f9a56f
465d9ad5d5528ebe287b5dce4fb51620833d09b290e49ddcc70ca6c4a0aea01b
48486e1514e842346ff405b1e45f44059ae82619f2306f99d0940dcb386e91f7
52f004438faf780274c9c95f79d1cf39d2355fbcf035899fc0242b1437f30df3
53d3eb3d9500cdcdbbe39c030eb2959438bcc459d5de9380db2a3c85b5de5360
70541e07fd4f900b66e289f5be55c85f9bef1def4924a5b0c518c45ea1688c12
731fa294d036e54f19df879bfcd4fe72d967dc6327800c5f74a48414a3f258c9
78314b11be2e581549ac1c4f616563fad3fdf0c3b71678f6e2299182080e0598
7f59edafa4d502ca0156b8fddf28394634d77b1843838b5783a7c9c95fcbd32f
7f75367e7881255134e1375e723d1dea8ad5f6a4fdb79d938df1f1754a830606
80d1c192cf2210c5282179cc9989f4be2e9b24605daabe1bc7da10fd9ed842ed
87cbebfeebc05f7c54ac9336c4b4bbec831227a641951a4bde7edd56020f8590
9705102db0d5f99ee08daa19a73e510d9877a2a9add9369da247cbbe6c2a0140
97663138e66699214db9caac00d9d29a9496b38ecf076e4c09284166a238a315
a064b502e61d27e94b8717290e5e1b32e36720e9fbdf952ec81a84c07128cb37
b0f3a96ded759f6c5f13d27881ffcbfd7821fd6bb5858b0ab819e7a187e46452
bf1725a8f98bea37e88618702e725ba84bd8acdb2647c5e0ed638bfd685791cf
c4bbcb1fbec99d65bf59d85c8cb62ee2db963f0fe106f483d9afa73bd4e39a8a
c794fa6d20c64efb9adf980ae93af472a1679775862d421ffe55d4a57fad5b3e
c85debb55f2f204d868cc1552c42faa143b4c675f61363ab040dd50b5b5304cd
cbe6beb26479b568e5f15b50217c6c83c0ee051dc4e522b9840d8e291d6aaf46
f2d6ca16515033e5dce14eba840b979d27b5cbae24bb3e5bf484339667f86397
f7d838701b86c5dfb57bf95fbc5ce6df204cfc9f15ad6cdb39fd22f8776e47b6
fc6a5e9ae75f9160dacd38844789d90a04c85c29c3c95c8c8c6e9da3f58c2365
"""
_SAMPLES = frozenset(_SAMPLE_LIST.split())


def is_sample(text: str) -> bool:
    """Whether ``text`` is a value that a vendor prints in its documentation."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() in _SAMPLES


def encrypted(text: str) -> str | None:
    """Why ``text`` is still the cipher text."""
    return "it is still encrypted" if _ENCRYPTED.match(text.lstrip()) else None


def unresolved(text: str, inside: bool = True) -> str | None:
    """Why ``text`` is a name or template that should have become a value; ``inside``: also when it only holds one."""
    for pattern, reason in _REFERENCES:
        if pattern.fullmatch(text):
            return reason
    for pattern, reason in _REFERENCES_INSIDE if inside else ():
        if pattern.search(text):
            return reason
    return None


def obvious(text: str) -> str | None:
    """Why ``text`` is a placeholder in any variable, secret or not; errs on the side of letting it pass."""
    bare = text.strip().lower()
    if re.fullmatch(r"<[\w .:/-]+>", bare):
        return "it is a name in brackets, to be replaced"
    if re.fullmatch(
        r"change[-_ ]?(?:me|this)!*|replace[-_ ]?(?:me|this)!*|to[-_]do|todo|tbd|fixme|placeholder|x{3,}"
        r"|your[-_][a-z_-]+|insert[-_][a-z_-]+",
        bare,
    ):
        return "it is the text in the place of the real value"
    return None


def placeholder(text: str, own_words: Iterable[str] = ()) -> str | None:
    """Why ``text``, which should be a secret, is a placeholder. ``own_words``: words of the variable's own name."""
    if not text or len(text) > LONGEST_PLACEHOLDER:
        return None
    if _MASKS.search(text):
        return "it is masked: dots or stars, copied from a page that hides the real one"
    if _ABBREVIATED.fullmatch(text):
        return "it is abbreviated with dots"
    if _bracketed(text):
        return "it is a name in brackets, to be replaced"
    if _repeats(text):
        return "it is the same few characters again and again"
    if _walks(text):
        return "it is a sequence of neighbouring characters"
    # A bot's token: whose it is, and then the secret.
    secret = _NUMBERED.sub("", text)
    if _orders(secret) or _only_words(secret, frozenset(own_words)):
        return "it looks like a placeholder: it is made of words, not of random characters"
    return None


def unfilled(text: str, secret: bool) -> str | None:
    """Why ``text`` was never filled in, when nothing is known of its kind.

    Only shapes that are never a value: a default such as ``postgres`` or ``example`` works, and is not a finding.
    ``secret``: its name says that it is one, so no template and no sentence can be part of it.
    """
    if not text or len(text) > LONGEST_PLACEHOLDER:
        return None
    if _FORGOTTEN.fullmatch(text.strip()) or _YOUR_HOST.search(text):
        return "it is the text in the place of the real value"
    if not secret:
        return None
    if encrypted(text):
        return "it is still encrypted"
    for pattern, reason in _REFERENCES[:_NAMES_AND_TEMPLATES]:
        if pattern.fullmatch(text):
            return reason
    if _MASKS.search(text) or re.fullmatch(r"[xX]{4,}(?:-[xX]{4,})*", text):
        return "it is masked: copied from a page that hides the real one"
    if _ABBREVIATED.fullmatch(text):
        return "it is abbreviated with dots"
    if _bracketed(text):
        return "it is a name in brackets, to be replaced"
    if _KOREAN.search(text) or (_FILL_IN.search(text.lower()) and _orders(text)):
        return "it looks like a placeholder: it is made of words, not of random characters"
    return None


def low_entropy(text: str) -> str | None:
    """Why ``text`` is too regular to be random."""
    if len(text) < 2:
        return None
    wanted = min(ENTROPY_BITS, ENTROPY_SHARE * math.log2(len(text)))
    if text.isdigit():
        # Ten symbols give 3.32 bits at best, and a random text of them less than the limit now and then.
        wanted = min(wanted, 1.6)
    elif re.fullmatch(r"[0-9a-fA-F-]+", text):
        wanted = min(wanted, 2.3)
    return "it is too regular to be random" if entropy(text) < wanted else None


def entropy(text: str) -> float:
    """Shannon entropy of the characters of ``text``, in bits a character."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def _bracketed(text: str) -> bool:
    """``<anything>``, ``[words]``, or a ``<word>`` inside (``sb_secret_<random>``)."""
    if re.fullmatch(r"<[\w .:/-]{2,}>|\[[A-Za-z][A-Za-z0-9 _-]*\]|\{[A-Za-z][A-Za-z0-9 _-]*\}", text):
        return True
    inside = re.findall(r"<([A-Za-z][A-Za-z _-]+)>|\[([A-Za-z][A-Za-z _-]+)\]", text)
    return any(_only_words(angle + square, frozenset()) for angle, square in inside)


def _orders(text: str) -> bool:
    if _KOREAN.search(text):
        return True
    if not (_ORDERS.search(text.lower()) and _PLAIN_WORDS.fullmatch(text)):
        return False
    return all(_ONE_CASE.fullmatch(run) for run in re.findall(r"[A-Za-z]+", text))


def _only_words(text: str, own_words: frozenset[str]) -> bool:
    """Whether the letters of ``text`` are placeholder words and nothing else but a few digits and marks is in it."""
    lower = text.lower()
    # Of a text that is mostly digits, a few digits read as letters make words by chance.
    mostly_letters = sum(map(str.isalpha, text)) * 2 > len(text)
    forms = (lower, lower.rstrip("0123456789!?.").translate(_LEET)) if mostly_letters else (lower,)
    for form in forms:
        runs = re.findall(r"[^\W\d_]+", form)
        digits = sum(map(str.isdigit, form))
        letters = sum(map(len, runs))
        marks = len(form) - digits - letters
        if letters > 2 and digits <= 8 and marks < letters and all(_splits(run, own_words) for run in runs):
            return True
    return False


@lru_cache(maxsize=512)
def _splits(run: str, own_words: frozenset[str]) -> bool:
    """Whether ``run`` can be cut into known words, or is one letter three times or more."""
    if len(set(run)) == 1 and len(run) >= 3:
        return True
    longest = max([_LONGEST_WORD, *map(len, own_words)])
    reachable = [True] + [False] * len(run)
    for end in range(1, len(run) + 1):
        reachable[end] = any(
            reachable[start] and (run[start:end] in _WORDS or run[start:end] in own_words)
            for start in range(max(0, end - longest), end)
        )
    return reachable[-1]


def _repeats(text: str) -> bool:
    """One or two different letters and digits, or a block three times over (twice for a short block)."""
    signs = {sign for sign in text if sign.isalnum()} if sum(map(str.isalnum, text)) * 2 > len(text) else set(text)
    if (len(signs) == 1 and len(text) > 1) or (len(signs) == 2 and len(text) >= 8):
        return True
    period = (text + text).find(text, 1)
    if period == len(text):
        period = _period(text)
    return len(text) >= 6 and (len(text) >= 3 * period or len(text) == 2 * period <= 16)


def _period(text: str) -> int:
    """Length of the shortest block whose repetition begins with ``text``; the last one may be cut."""
    for period in range(1, len(text) // 3 + 1):
        if all(text[index] == text[index - period] for index in range(period, len(text))):
            return period
    return len(text)


def _walks(text: str) -> bool:
    """Whether three quarters of the characters are steps through the alphabet, the digits or the keyboard."""
    lower = text.lower()
    walked = position = 0
    while position < len(lower):
        length = max(_walk_length(lower, position, walk) for walk in _BOTH_WAYS)
        if length >= _SHORTEST_WALK:
            walked += length
            position += length
        else:
            position += 1
    signs = sum(map(str.isalnum, lower))
    return walked >= max(_SHORTEST_WALK, _WALKED_SHARE * signs) and len(lower) - walked <= len(lower) * 0.5


_BOTH_WAYS = tuple(walk for line in _WALKS for walk in (line, line[::-1]))


def _walk_length(text: str, start: int, walk: str) -> int:
    best = 0
    at = walk.find(text[start])
    while at != -1:
        length = 1
        while text[start + length : start + length + 1] and walk[at + length : at + length + 1] == text[start + length]:
            length += 1
        best = max(best, length)
        at = walk.find(text[start], at + 1)
    return best
