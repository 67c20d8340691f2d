# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writing and reading `.env`; test_dotenv_compose.py compares both with Compose."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv

# What an environment variable can hold: any text without NUL and without half a surrogate pair.
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))

ENCODED = [
    ("plain", "abc", "'abc'"),
    ("empty", "", "''"),
    ("a dollar", "a$b", "'a$b'"),
    ("a hash", "a #b", "'a #b'"),
    ("double quotes", 'a"b', "'a\"b'"),
    ("spaces around", " a ", "' a '"),
    ("an equals sign", "a=b", "'a=b'"),
    ("another alphabet", "연말🎄", "'연말🎄'"),
    ("a tab", "a\tb", "'a\tb'"),
    ("a single quote", "a'b", '"a\'b"'),
    ("a backslash", "a\\", '"a\\\\"'),
    ("a variable in braces", "${a}", '"\\${a}"'),
    ("a line end", "a\nb", '"a\\nb"'),
    ("CR LF", "a\r\n", '"a\\r\\n"'),
    ("all of them", "'\"\\$\n", '"\'\\"\\\\\\$\\n"'),
]


@pytest.mark.parametrize(("value", "line"), [row[1:] for row in ENCODED], ids=[row[0] for row in ENCODED])
def test_encode(value: str, line: str) -> None:
    assert dotenv.encode({"KEY": value}) == f"{dotenv.HEADER}KEY={line}\n"
    assert dotenv.parse(f"KEY={line}") == {"KEY": value}


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True), VALUES))
def test_every_value_is_read_as_it_was_written(values: dict[str, str]) -> None:
    text = dotenv.encode(values)
    assert dotenv.parse(text) == values
    assert list(dotenv.parse(text)) == list(values)
    assert len(text.splitlines()) >= 1 + len(values)


@given(VALUES.filter(lambda value: "\n" not in value))
def test_an_encoded_file_has_one_line_for_each_value(value: str) -> None:
    assert dotenv.encode({"A": value, "B": value}).count("\n") == 3


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"A": "hush\0hush"}, "A: its value has a NUL byte"),
        ({"A": "hush\ud800"}, "A: its value has a NUL byte or invalid UTF-8"),
        ({"A-B": "hush"}, "a name is not made of letters"),
        ({"1A": "hush"}, "begins with a digit"),
        ({"": "hush"}, "a name is not"),
    ],
)
def test_a_value_that_no_environment_can_hold_is_refused(values: dict[str, str], part: str) -> None:
    with pytest.raises(dotenv.DotenvError, match=part) as caught:
        dotenv.encode(values)
    assert "hush" not in str(caught.value)


PARSED = [
    ("an empty file", "", {}),
    ("comments and space", "\n  # a=b\n\t\n#", {}),
    ("plain", "A=b", {"A": "b"}),
    ("spaces", "  A = b c  \n", {"A": "b c"}),
    ("a colon, as in YAML", "A: b", {"A": "b"}),
    ("export", "export A=b\nexport\tB=c", {"A": "b", "B": "c"}),
    ("empty", "A=\nB= \nC=''\nD=\"\"", {"A": "", "B": "", "C": "", "D": ""}),
    ("a comment after a value", "A=b # c\nB=b#c\nC='b' # c\nD=\"b\" # c", {"A": "b", "B": "b#c", "C": "b", "D": "b"}),
    ("a hash at the start", "A=#b", {"A": "#b"}),
    ("quotes inside", "A=b'c'\nB=b\"c\"", {"A": "b'c'", "B": 'b"c"'}),
    ("single quotes", "A='b $c \\n \"d\" # e'", {"A": 'b $c \\n "d" # e'}),
    ("a quoted quote", "A='b\\'c'\nB=\"b\\\"c\"", {"A": "b'c", "B": 'b"c'}),
    ("escapes", 'A="\\n\\r\\t\\\\\\$B\\a"', {"A": "\n\r\t\\$B\a"}),
    ("unknown escapes", 'A="\\c\\q\\x41"', {"A": "\\c\\q\\x41"}),
    ("octal", 'A="\\0101\\0777\\01"', {"A": "A\\777\\1"}),
    ("no escapes without quotes", "A=b\\nc", {"A": "b\\nc"}),
    ("several lines", "A=\"b\nc\"\nB='d\ne'", {"A": "b\nc", "B": "d\ne"}),
    ("a variable", "A=b\nB=$A-${A}\nC='$A'", {"A": "b", "B": "b-b", "C": "$A"}),
    ("a variable that is not set", "A=${B}c$B", {"A": "c"}),
    ("a variable that is set later", "A=$B\nB=c", {"A": "", "B": "c"}),
    ("a dollar", 'A=$$B\nB="\\$A$$"\nC=5$\nD=$5', {"A": "$B", "B": "$A$", "C": "5$", "D": "$5"}),
    ("defaults", "A=\nB=${A:-x}${A-y}${Z-z}${Z:-$A}", {"A": "", "B": "xz"}),
    ("alternatives", "A=b\nE=\nB=${A:+x}${A+y}${E:+n}${E+e}${Z+n}", {"A": "b", "E": "", "B": "xye"}),
    ("a default in braces", "A=${B:-${C:-d}}e", {"A": "de"}),
    ("required, and set", "A=b\nB=${A:?c}", {"A": "b", "B": "b"}),
    ("twice", "A=b\nA=c", {"A": "c"}),
    ("only a name", "A\nB=c\nC", {"B": "c"}),
    ("a BOM", "\ufeffA=b", {"A": "b"}),
    ("CR LF", "A=b\r\nB='c'\r\n", {"A": "b", "B": "c"}),
    ("two values on a line", "A='b'B='c'", {"A": "b", "B": "c"}),
]


@pytest.mark.parametrize(("text", "values"), [row[1:] for row in PARSED], ids=[row[0] for row in PARSED])
def test_parse(text: str, values: dict[str, str]) -> None:
    assert dotenv.parse(text) == values


BROKEN = [
    ("a quote that is not closed", "A=b\nB='hush\nC=d", 2, "never closed"),
    ("a double quote that is not closed", 'A="hush\\"', 1, "never closed"),
    ("a space in a name", "A=b\nhush hush=c", 2, "a name holds a space"),
    ("a character in a name", "A=b\n\nhush!=c", 3, "a name holds `!`"),
    ("an invisible character", "A=b\nhu\u200bsh=c", 2, r"a name holds U\+200B"),
    ("the rest of a broken value", "A=b\nhush+hush==", 2, "is a quote or `=` missing, here or above"),
    ("no name", "=hush", 1, "a name is missing before"),
    ("only export", "A=b\nexport ", 2, "a name is missing after `export`"),
    ("a brace that is not closed", "A=b\nB=${hush", 2, "literal one is written"),
    ("braces without a name", "A=${}", 1, "holds no name"),
    ("required, and not set", "A=${B:?hush}", 1, "required"),
    ("NUL", "A=b\n\0\0\0", 2, "NUL"),
]


@pytest.mark.parametrize(("text", "line", "part"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_an_error_has_the_line_and_no_value(text: str, line: int, part: str) -> None:
    with pytest.raises(dotenv.DotenvError, match=part) as caught:
        dotenv.parse(text)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"line {line}: ")
    assert "hush" not in str(caught.value)


@given(st.text() | st.text("AB=$ {}:-'\"\\#\n"))
def test_any_text_is_parsed_or_raises_a_dotenv_error(text: str) -> None:
    try:
        assert all(isinstance(value, str) for value in dotenv.parse(text).values())
    except dotenv.DotenvError as error:
        assert error.line >= 1


def test_duplicates_are_named_with_their_lines() -> None:
    assert dotenv.duplicates("A=1\nB='x\ny'\nA=2\n\nexport B=3\nA=3\nC=$Z") == {"A": [1, 4, 7], "B": [2, 6]}
    assert dotenv.duplicates("A=1\nB=2") == {}


def test_entries_have_their_lines() -> None:
    text = "# x\nA=1\nexport B='x\ny'\nC=${A}$K\nD\nE=${Z:-z}\n"
    assert dotenv.entries(text, {"K": "k"}) == [
        dotenv.Entry(2, "A", "1"),
        dotenv.Entry(3, "B", "x\ny"),
        dotenv.Entry(5, "C", "1k"),
        dotenv.Entry(6, "D", None),
        dotenv.Entry(7, "E", "z"),
    ]


@pytest.mark.parametrize("value", ["pa$hush", "${hush}", '"x$hush"', "${A:-$hush}"])
def test_a_name_that_no_line_above_sets(value: str) -> None:
    """Compose puts nothing in its place: usually the rest of a password that has a dollar in it."""
    with pytest.raises(dotenv.DotenvError, match="no line above sets") as caught:
        dotenv.entries(f"X=1\nB={value}\nhush=1\n")
    assert caught.value.line == 2
    assert "hush" not in str(caught.value)


REFERENCES: list[tuple[str, list[tuple[str, str, str]], str]] = [
    ("nothing", [], "nothing"),
    ("$A and ${B}", [("A", "", ""), ("B", "", "")], "a and "),
    ("$$A costs 5$", [], "$A costs 5$"),
    ("${A:-x}${B-y}", [("A", ":-", "x"), ("B", "-", "y")], "ay"),
    ("${B:-${C:-z}}", [("B", ":-", "${C:-z}"), ("C", ":-", "z")], "z"),
    ("${A:+set}${A?needed}", [("A", ":+", "set"), ("A", "?", "needed")], "seta"),
]


@pytest.mark.parametrize(("text", "named", "value"), REFERENCES, ids=[row[0] for row in REFERENCES])
def test_variables_in_a_text(text: str, named: list[tuple[str, str, str]], value: str) -> None:
    assert [tuple(one) for one in dotenv.references(text)] == named
    assert dotenv.resolve(text, {"A": "a"}) == value


@pytest.mark.parametrize("text", ["${A", "${}", "${A B}"])
def test_an_invalid_reference(text: str) -> None:
    with pytest.raises(dotenv.DotenvError, match="not closed, or holds no name"):
        dotenv.references(text)
    with pytest.raises(dotenv.DotenvError):
        dotenv.resolve(text, {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A.env", "1.env"),
        ("${B:-x}", "x"),
        ("${B-x}", ""),
        ("${C-x}", "x"),
        ("${A:+y}", "y"),
        ("${C:+y}", ""),
        ("$$A.env", "$A.env"),
        ("${C:-${B:-x}/${A}}", "x/1"),
        ("${C:?no}", ""),
        ("${C", ""),
    ],
)
def test_a_text_that_compose_refuses_has_no_value(text: str, value: str) -> None:
    assert dotenv.resolved(text, {"A": "1", "B": ""}) == value


def test_a_shell_reads_the_same_values(tmp_path: Path) -> None:
    """Values are in single quotes so that a user can source the file."""
    values = {"URL": "https://a.b/?c=d&e", "HASH": "a #b", "QUOTE": 'say "hi"', "DOLLAR": "$2b$12$x", "SPACE": " a "}
    (tmp_path / "env").write_text(dotenv.encode(values))
    shell = shutil.which("sh") or "/bin/sh"
    script = '. "$0"; for name in URL HASH QUOTE DOLLAR SPACE; do eval "printf \'%s\\\\0\' \\"\\$$name\\""; done'
    out = subprocess.run([shell, "-c", script, f"{tmp_path}/env"], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert out.split("\0")[:-1] == list(values.values())
