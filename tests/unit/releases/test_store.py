# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release holds every file that its compose files name, and comes back with them, byte for byte, mode for mode."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import project_files
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project_layout
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.project_layout import HARDENED_FILE, Layout
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store
from ansible_collections.christmas.selfheal.plugins.module_utils.releases.store import Release

KNOWN: Release = {"images": {}, "names": {}, "services": {}, "contexts": {}, "env": "", "source": ""}
FILES = {
    "docker/compose.yaml": (b"services: {}\n", 0o644),
    "docker/web.yaml": (b"included\n", 0o644),
    "conf/nginx.conf": (b"good\n", 0o644),
    "conf.d/a.conf": (b"\xffa\r\n", 0o755),
    "side.env": (b"A=2\n", 0o600),
}


def write(top: Path, files: dict[str, tuple[bytes, int]], data: tuple[str, ...] = ()) -> None:
    """Put files in place, and the overlay that names them."""
    for name, (content, mode) in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    marks = {name: project_files.mark(str(top / name)) for name in files if name != "docker/compose.yaml"}
    marks["docker/compose.yaml"] = project_files.mark(str(top / "docker/compose.yaml"))
    overlay = project_layout.first_line(Layout(("docker/compose.yaml",), marks, data)) + "services: {}\n"
    (top / HARDENED_FILE).write_text(overlay)
    (top / HARDENED_FILE).chmod(0o644)


def deploy(top: Path, name: str) -> None:
    """Record what is there as the last good release."""
    release_store.record(str(top), {**KNOWN, "id": name, "files": release_store.files(str(top))})
    release_store.mark_last_good(str(top), name)


def there(top: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of the app but what is below `releases`."""
    names = project_files.below(str(top), frozenset({"releases"}))
    return {name: ((top / name).read_bytes(), (top / name).stat().st_mode & 0o7777) for name in names}


# id, {file: (content, mode) or None for removed}, those that are named
CHANGES: list[tuple[str, dict[str, tuple[bytes, int] | None], list[str]]] = [
    ("mounted file", {"conf/nginx.conf": (b"bad\n", 0o644)}, ["conf/nginx.conf"]),
    ("included file", {"docker/web.yaml": (b"bad\n", 0o644)}, ["docker/web.yaml"]),
    ("env file", {"side.env": (b"A=3\n", 0o600)}, ["side.env"]),
    ("mode alone", {"conf.d/a.conf": (b"\xffa\r\n", 0o644)}, ["conf.d/a.conf"]),
    ("new file", {"conf.d/b.conf": (b"b\n", 0o644)}, ["conf.d/b.conf"]),
    ("file removed", {"conf.d/a.conf": None}, ["conf.d/a.conf"]),
    ("file becomes a folder", {"conf/nginx.conf": None, "conf/nginx.conf/x": (b"x\n", 0o644)}, ["conf/nginx.conf"]),
    ("folder becomes a file", {"conf/nginx.conf": None, "conf": (b"x\n", 0o644)}, ["conf", "conf/nginx.conf"]),
]


@pytest.mark.parametrize(("changes", "named"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_another_release_is_named_and_put_back(
    tmp_path: Path, changes: dict[str, tuple[bytes, int] | None], named: list[str]
) -> None:
    write(tmp_path, FILES)
    deploy(tmp_path, "r1")
    good, before = release_store.last_good(str(tmp_path)), there(tmp_path)
    assert good
    assert release_store.changed(str(tmp_path), good) == []
    files = {**FILES, **changes}
    for name in (name for name, given in changes.items() if given is None):
        project_files.remove(str(tmp_path), name)
    write(tmp_path, {name: given for name, given in files.items() if given is not None})
    found = release_store.changed(str(tmp_path), good)
    assert set(named) <= set(found) <= {*named, HARDENED_FILE, "conf/nginx.conf/x"}
    release_store.put_back_files(str(tmp_path), "r1")
    assert {name: one for name, one in there(tmp_path).items() if ".replaced" not in name} == before
    assert release_store.changed(str(tmp_path), good) == []


def test_what_was_changed_since_is_not_removed(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    deploy(tmp_path, "r1")
    write(tmp_path, {**FILES, "conf.d/b.conf": (b"b\n", 0o644)})
    (tmp_path / "conf.d/b.conf").write_bytes(b"edited on the host\n")
    (tmp_path / "conf.d/mine.conf").write_bytes(b"never copied\n")
    release_store.put_back_files(str(tmp_path), "r1")
    assert (tmp_path / "conf.d/b.conf").read_bytes() == b"edited on the host\n"
    assert (tmp_path / "conf.d/mine.conf").exists()


def test_a_file_that_a_service_has_written_stays(tmp_path: Path) -> None:
    write(tmp_path, FILES, data=("side.env",))
    deploy(tmp_path, "r1")
    (tmp_path / "side.env").write_bytes(b"the app's\n")
    good = release_store.last_good(str(tmp_path))
    assert good
    assert release_store.changed(str(tmp_path), good) == []
    release_store.put_back_files(str(tmp_path), "r1")
    assert (tmp_path / "side.env").read_bytes() == b"the app's\n"


def test_a_damaged_overlay_hides_no_file(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    deploy(tmp_path, "r1")
    before = there(tmp_path)
    (tmp_path / HARDENED_FILE).write_text("services: [")
    (tmp_path / "conf/nginx.conf").write_text("bad")
    good = release_store.last_good(str(tmp_path))
    assert good
    assert set(release_store.changed(str(tmp_path), good)) == {HARDENED_FILE, "conf/nginx.conf"}
    assert release_store.set_aside_files(str(tmp_path), good) == [
        "releases/replaced/conf/nginx.conf",
        f"{HARDENED_FILE}.replaced",
    ]
    assert [one["id"] for one in release_store.known(str(tmp_path))] == ["r1"]
    release_store.put_back_files(str(tmp_path), "r1")
    assert {name: one for name, one in there(tmp_path).items() if ".replaced" not in name} == before


def test_ten_releases_cost_an_unchanged_file_once(tmp_path: Path) -> None:
    files = {**FILES, "site/big": (b"x" * 4096, 0o644)}
    for number in range(3):
        write(tmp_path, {**files, "conf/nginx.conf": (b"%d\n" % number, 0o644)})
        deploy(tmp_path, f"r{number}")
    kept = [tmp_path / f"releases/r{number}/files/site/big" for number in range(3)]
    assert len({path.stat().st_ino for path in kept}) == 1
    # Never a second name of the live file, which is written to in place by an editor.
    assert kept[0].stat().st_ino != (tmp_path / "site/big").stat().st_ino
    assert len({(path.parents[1] / "conf/nginx.conf").stat().st_ino for path in kept}) == 3


def test_links_are_kept_as_links(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "conf/current").symlink_to("nginx.conf")
    layout = Layout(("docker/compose.yaml",), {"conf/current": project_files.mark(str(tmp_path / "conf/current"))})
    (tmp_path / HARDENED_FILE).write_text(project_layout.first_line(layout))
    deploy(tmp_path, "r1")
    (tmp_path / "conf/current").unlink()
    (tmp_path / "conf/current").symlink_to("../side.env")
    release_store.put_back_files(str(tmp_path), "r1")
    assert os.readlink(tmp_path / "conf/current") == "nginx.conf"


def test_what_services_write_is_no_source(tmp_path: Path) -> None:
    """A database in the build context would make each deploy another release."""
    write(tmp_path, {**FILES, "data/app.db": (b"1", 0o600), "web/compose.yaml": (b"1", 0o644)}, data=("data",))
    contexts, top = {"app": str(tmp_path)}, str(tmp_path)
    before = release_store.source_fingerprint(contexts, top)
    (tmp_path / "data/app.db").write_bytes(b"22")
    (tmp_path / "docker/compose.yaml").write_bytes(b"22")
    assert release_store.source_fingerprint(contexts, top) == before
    (tmp_path / "web/compose.yaml").write_bytes(b"22")
    assert release_store.source_fingerprint(contexts, top) != before


def test_a_release_of_two_files_is_put_back(tmp_path: Path) -> None:
    """One that was recorded before a release held every file."""
    kept = tmp_path / "releases/r1"
    kept.mkdir(parents=True)
    for name in ("compose.yaml", HARDENED_FILE):
        (kept / name).write_text(name)
    marks = {"compose.yaml": "sha256:0", HARDENED_FILE: "sha256:0"}
    (kept / "release.json").write_text(json.dumps({**KNOWN, "id": "r1", "files": marks}))
    (tmp_path / "compose.yaml").write_text("bad")
    release_store.put_back_files(str(tmp_path), "r1")
    assert (tmp_path / "compose.yaml").read_text() == "compose.yaml"


def test_what_was_there_before_the_first_release_comes_back(tmp_path: Path) -> None:
    """A first release that fails has replaced files of an app that ran there."""
    (tmp_path / "docker-compose.yml").write_text("theirs")
    (tmp_path / "nginx.conf").write_text("theirs")
    (tmp_path / "nginx.conf").chmod(0o600)
    before = there(tmp_path)
    release_store.remember_before(str(tmp_path), [*FILES, "nginx.conf"])
    write(tmp_path, {**FILES, "nginx.conf": (b"new", 0o644)})
    release_store.remember_before(str(tmp_path), [*FILES, "nginx.conf"])
    assert release_store.known(str(tmp_path)) == []
    release_store.put_back_files(str(tmp_path), release_store.BEFORE)
    assert there(tmp_path) == before
    assert project_layout.read(str(tmp_path)).files == ("docker-compose.yml",)
    write(tmp_path, FILES)
    deploy(tmp_path, "r1")
    assert not (tmp_path / "releases/before").exists()
