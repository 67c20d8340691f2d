# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compose reads the env files that we write byte for byte, and our parser reads files as Compose does.

Needs Compose v2 of this machine or of the lab's host image. Without one the tests are skipped; where CI is set, they
fail.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv

pytestmark = pytest.mark.compose

IMAGE = "selfheal-lab/host:prepared"
ROUND_TRIPS = 10_000
PER_FILE = 2_500
FOREIGN_FILES = 80

# Runs in a directory with files 0.env, 1.env …: leaves 0.json, 1.json … or, when Compose refuses, 0.refused …
SCRIPT = """
set -u
for env in *.env; do
    n=${env%.env}
    printf '{"name": "x", "services": {"s": {"image": "x", "env_file": "%s"}}}' "$env" > "$n.yaml"
    docker compose --env-file /dev/null -f "$n.yaml" config --format json > "$n.json" 2> "$n.refused" && rm "$n.refused"
done
exit 0
"""

Compose = Callable[[Path], None]


def _answers(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="module")
def compose() -> Compose:
    """Run SCRIPT in a directory, with the Compose v2 that was found."""
    clean = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/")}
    if shutil.which("docker") and _answers(["docker", "compose", "version"]):
        return lambda directory: _run(["sh", "-c", SCRIPT], directory, clean)
    if shutil.which("docker") and _answers(["docker", "image", "inspect", IMAGE]):
        options = ["--network=none", "--label=christmas.selfheal.lab=1", "--workdir=/work", "--entrypoint=sh"]
        return lambda directory: _run(
            ["docker", "run", "--rm", *options, f"--volume={directory}:/work", IMAGE, "-c", SCRIPT], directory, clean
        )
    reason = f"no Compose v2 here: install the plugin, or make the lab's image {IMAGE} (make lab)"
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


def _run(command: list[str], directory: Path, environment: dict[str, str]) -> None:
    subprocess.run(command, cwd=directory, env=environment, check=True, timeout=300)


def read_back(directory: Path, number: int) -> dict[str, str] | None:
    """The variables that the container would get; None when Compose refused the file."""
    if (directory / f"{number}.refused").exists():
        return None
    service = json.loads((directory / f"{number}.json").read_text(encoding="utf-8"))["services"]["s"]
    # `config` prints a Compose file, in which a dollar is written twice; a name without a value is null there.
    found = service.get("environment") or {}
    return {name: text.replace("$$", "$") for name, text in found.items() if name and text is not None}


def random_value(chooser: random.Random) -> str:
    """Text in one of several styles: difficult to quote, like a password, any characters."""
    alphabets = (
        "'\"\\$\n\r\t #={}`ab1",
        "".join(map(chr, range(32, 127))),
        "".join(map(chr, range(1, 256))),
        "연말🎄\u200b\ufeff\u2028é'\"\\$ \n",
    )
    alphabet = chooser.choice(alphabets)
    length = chooser.choice((0, 1, 2, 3, 5, 8, 13, 40, 120))
    if chooser.random() < 0.1:
        # All but NUL and the surrogates.
        codes = (
            chooser.choice((chooser.randint(1, 0xD7FF), chooser.randint(0xE000, 0x10FFFF))) for _unused in range(length)
        )
        return "".join(map(chr, codes))
    return "".join(chooser.choice(alphabet) for _unused in range(length))


def test_compose_reads_ten_thousand_values_byte_for_byte(compose: Compose, tmp_path: Path) -> None:
    chooser = random.Random(20250527)
    written = []
    for number in range(ROUND_TRIPS // PER_FILE):
        values = {f"V{index}": random_value(chooser) for index in range(PER_FILE)}
        (tmp_path / f"{number}.env").write_bytes(dotenv.encode(values).encode("utf-8"))
        written.append(values)
    compose(tmp_path)
    for number, values in enumerate(written):
        got = read_back(tmp_path, number)
        assert got is not None, (tmp_path / f"{number}.refused").read_text()[:200]
        assert {name for name, value in values.items() if got.get(name) != value} == set()
        assert got.keys() == values.keys()
    assert sum(map(len, written)) == ROUND_TRIPS


def foreign_file(chooser: random.Random) -> str:
    """A file that someone else may have written or damaged."""
    pieces = [
        *"ab AB_=:#'\"\\\n\n",
        "$A",
        "${A}",
        "${B:-c}",
        "${Z}",
        "$$",
        "\\$",
        "\\n",
        " #",
        "K=",
        "K='",
        'K="',
        "export ",
    ]
    return "A=va\nB='v b'\nK=" + "".join(chooser.choice(pieces) for _unused in range(chooser.randint(1, 20)))


def test_our_parser_reads_what_compose_reads(compose: Compose, tmp_path: Path) -> None:
    chooser = random.Random(31)
    texts = [foreign_file(chooser) for _unused in range(FOREIGN_FILES)]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.env").write_bytes(text.encode("utf-8"))
    compose(tmp_path)
    accepted = 0
    for number, text in enumerate(texts):
        theirs = read_back(tmp_path, number)
        try:
            ours: dict[str, str] | None = dotenv.parse(text)
        except dotenv.DotenvError as error:
            if "a name is missing" in error.reason:
                continue  # Compose lets an entry without a name pass; we say that the file is damaged
            ours = None
        assert ours == theirs, repr(text)
        accepted += ours is not None
    assert accepted > FOREIGN_FILES // 4
