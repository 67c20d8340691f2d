# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of a project that go to the controller, and those that do not."""

from __future__ import annotations

import base64
import io
import tarfile
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.compose.project_parts import find
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import adoption_files, adoption_record
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption_choice import AdoptError


def write(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text, encoding="utf-8")


def test_compose_files_bring_what_they_include_and_extend(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "compose.yaml": "include: [db/compose.yml]\n# old.yaml\nservices: {a: {extends: {file: base.yaml}}}",
            "db/compose.yml": "services: {db: {env_file: db.env}}",
            "db/.env": "A=1",
            "db/db.env": "B=1",
            "base.yaml": "services: {}",
            "old.yaml": "services: {}",
        },
    )
    found = adoption_files.compose_files([str(tmp_path / "compose.yaml")])
    assert sorted(str(Path(path).relative_to(tmp_path)) for path in found) == [
        *("base.yaml", "compose.yaml", "db/.env", "db/compose.yml", "db/db.env")
    ]


def test_variables_that_compose_files_name_are_found(tmp_path: Path) -> None:
    text = "include: [b.yaml]\n# ${OLD}\nservices: {a: {image: 'x:$TAG', command: 'echo $$HOME $${USER} ${PWD:-/x}'}}"
    write(tmp_path, {"compose.yaml": text, "b.yaml": "services: {b: {image: '${OTHER}'}}"})
    found = adoption_files.named_variables([str(tmp_path / "compose.yaml")])
    assert found == {
        "TAG": f"{tmp_path}/compose.yaml",
        "PWD": f"{tmp_path}/compose.yaml",
        "OTHER": f"{tmp_path}/b.yaml",
    }


def test_the_top_folder_holds_what_is_named_above(tmp_path: Path) -> None:
    write(tmp_path, {"shop/compose.yaml": "services: {a: {build: ../lib}}", "lib/Dockerfile": ""})
    folder = str(tmp_path / "shop")
    assert adoption_files.top_of(folder, [f"{folder}/compose.yaml"]) == str(tmp_path)
    (tmp_path / "shop/compose.yaml").write_text("services: {a: {build: .}}", encoding="utf-8")
    assert adoption_files.top_of(folder, [f"{folder}/compose.yaml"]) == folder


def test_a_build_context_comes_without_data_secrets_of_the_env_and_what_is_ignored(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "compose.yaml": "",
            "Dockerfile": "",
            ".dockerignore": "big\n",
            "app.py": "",
            ".env": "A=1",
            "big/x": "",
            "data/rows": "",
            "node_modules/x": "",
            ".git/HEAD": "",
            "conf/a.conf": "",
            adoption_record.NOTICE: "",
        },
    )
    top = str(tmp_path)
    mounts = [
        {"type": "bind", "source": f"{top}/data", "target": "/data"},
        {"type": "bind", "source": f"{top}/conf", "target": "/conf", "read_only": True},
    ]
    model = {"services": {"a": {"build": {"context": top}, "volumes": mounts}}}
    parts = find(model, {}, top, {})
    found = adoption_files.chosen(top, [f"{top}/compose.yaml"], parts, model, {"data"})
    assert found == [".dockerignore", "Dockerfile", "app.py", "compose.yaml", "conf/a.conf"]


def test_an_archive_keeps_modes_and_links_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    write(tmp_path, {"run.sh": "x", "sub/a": "a"})
    (tmp_path / "run.sh").chmod(0o750)
    (tmp_path / "here").symlink_to("sub/a")
    (tmp_path / "out").symlink_to("/etc/passwd")
    text, left = adoption_files.pack(str(tmp_path), ["run.sh", "here", "out"], {".env": b"A=1\n"})
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(text))) as archive:
        modes = {item.name: (item.mode, item.linkname) for item in archive}
    assert modes == {"run.sh": (0o750, ""), "here": (0o777, "sub/a"), ".env": (0o600, "")}
    assert left == ["out"]


def test_a_project_that_is_too_large_names_its_largest_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption_files, "LARGEST_BYTES", 10)
    write(tmp_path, {"a/x": "12345678", "b": "123"})
    with pytest.raises(AdoptError, match=r"write a into \.dockerignore"):
        adoption_files.pack(str(tmp_path), ["a/x", "b"], {})


def test_the_record_and_the_notice_say_where_the_app_is(tmp_path: Path) -> None:
    paths = app_paths("shop", root=str(tmp_path / "root"))
    origin = adoption_record.Origin(str(tmp_path), [str(tmp_path / "compose.yaml")], [])
    assert adoption_record.read(paths) is None
    adoption_record.write(paths, origin, is_done=False)
    assert adoption_record.read(paths) == adoption_record.Record("shop", origin, False)
    notice = Path(adoption_record.mark(paths, origin)).read_text(encoding="utf-8")
    assert paths.directory in notice
    assert "docker compose up" in notice
    assert adoption_record.mark(paths, origin._replace(folder="/nowhere")) == ""
