# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The owners of a project's data are read where services write, and only where they differ."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.christmas.selfheal.plugins.plugin_utils import project_owners, project_source

COMPOSE = """\
services:
  web:
    image: x
    volumes: [./combs:/c, ./conf:/conf:ro, named:/n, /srv:/s, ./photos:/p]
  two:
    image: x
    volumes: [{type: bind, source: ./long, target: /l}, ./none:/none]
volumes: {named: }
"""


def test_only_writable_mounts_are_read_and_only_differences_are_listed(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    for name, mode in (("combs", 0o750), ("combs/same", 0o750), ("combs/other", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    for name in ("conf", "photos", "long"):
        (tmp_path / name).mkdir(mode=0o755)
    (tmp_path / "combs/file").write_text("1")
    (tmp_path / "combs/link").symlink_to("/nowhere")
    documents = project_source.read(str(tmp_path)).documents
    found = project_owners.read(str(tmp_path), documents, ["/photos"], 1200)
    assert found["user"] == 1200
    assert {name: oct(ids[2]) for name, ids in found["paths"].items()} == {
        "combs": "0o750",
        "combs/other": "0o700",
        "long": "0o755",
    }
    there = (tmp_path / "combs").stat()
    assert found["paths"]["combs"] == [there.st_uid, there.st_gid, 0o750]
