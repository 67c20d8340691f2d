# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A text in parts and secrets → the text without the secrets, wherever it is cut."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.core.redact import redact
from ansible_collections.christmas.selfheal.plugins.module_utils.core.redact_stream import Forms, Stream

SECRETS = {
    "TOKEN": "a.b*c(d[e^f$g|h",
    "PEM": "-----BEGIN KEY-----\nMIIBVgIBADANBgkqhkiG9w0BAQEF\nq8Zz+/1c==\n-----END KEY-----\n",
    "DSN": "postgres://shop:aaaaab@db/shop",
    "OVERLAP": "aaaaab",
}
ENCODED = [*SECRETS.values(), base64.b64encode(SECRETS["TOKEN"].encode()).decode(), SECRETS["PEM"].replace("\n", "\\n")]


def parts(text: str, cuts: list[int]) -> Iterator[str]:
    at = 0
    for cut in sorted(cut % (len(text) + 1) for cut in cuts):
        yield text[at:cut]
        at = cut
    yield text[at:]


def shown(text: str, cuts: list[int]) -> str:
    stream = Stream(Forms(SECRETS))
    out = ""
    for part in parts(text, cuts):
        out += part if part and stream.passes(part) else stream.feed(part)
    return out + stream.end()


@given(
    st.lists(
        st.sampled_from([*ENCODED, "a", "aaaa", " ", "\n", "GET /", "postgres://shop:", "-----BEGIN"]), max_size=12
    ),
    st.lists(st.integers(0, 2000), max_size=12),
)
def test_it_does_not_matter_where_a_text_is_cut(words: list[str], cuts: list[int]) -> None:
    text = "begin " + "".join(words) + " end"
    assert shown(text, cuts) == redact(text, SECRETS)


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_value_is_hidden_whose_beginning_or_end_is_not_there(first: int, last: int) -> None:
    for value in SECRETS.values():
        text = shown(value[first % len(value) :] + " and " + value[: last % len(value)], [])
        for at in range(len(value) - 16):
            assert value[at : at + 16] not in text


def test_what_may_become_a_value_is_held_back_and_the_rest_is_not() -> None:
    stream = Stream(Forms(SECRETS))
    assert stream.feed("x a.b*") == "x "
    assert stream.feed("c(d[e^f$g|") == ""
    assert stream.feed("i\n") == "a.b*c(d[e^f$g|i\n"
    assert stream.feed("a line\n") == "a line\n"


@pytest.mark.parametrize("text", ["plain\n", "postgres is up\n"])
def test_a_plain_part_passes(text: str) -> None:
    stream = Stream(Forms(SECRETS))
    assert not stream.passes(text), "its beginning may be the end of a value"
    stream.feed("first\n")
    assert stream.passes(text)
    stream.feed("-----BEGIN KEY-----\n")
    assert not stream.passes(text)


def test_values_that_come_later_are_hidden_as_well() -> None:
    stream = Stream(Forms({"OLD": "the-old-secret"}))
    stream.forms = Forms({"NEW": "the-new-secret"}, stream.forms)
    text = stream.feed("the-old-secret the-new-secret.\n") + stream.end()
    assert "secret" not in text.replace("sha256", "")
    assert "<OLD" in text
    assert "<NEW" in text
