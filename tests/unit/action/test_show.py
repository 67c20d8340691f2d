# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A text is shown line by line, whatever the callback makes of results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def test_without_the_settings_of_this_repository_a_table_is_readable(tmp_path: Path) -> None:
    module = "christmas.selfheal.show"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    shown = subprocess.run(
        [
            sys.executable,
            "-m",
            "ansible",
            "adhoc",
            "localhost",
            "-m",
            module,
            "-a",
            '{"text": "NAME   STATE\\napp-1  up\\n"}',
        ],
        cwd=tmp_path,
        env={**kept, "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".venv/collections")},
        text=True,
        capture_output=True,
        check=True,
    )
    lines = shown.stdout.splitlines()
    assert lines[lines.index("NAME   STATE") + 1] == "app-1  up"
