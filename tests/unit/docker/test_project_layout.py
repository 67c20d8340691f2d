# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files, the folder and the environment of Compose are the same for every caller."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project_layout
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.project import Project
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.project_layout import Layout
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands

# id, files in the folder, those that Compose uses
DISCOVERED = [
    ("none", ["app.py"], []),
    ("one", ["docker-compose.yml"], ["docker-compose.yml"]),
    ("first of several", ["docker-compose.yml", "compose.yaml"], ["compose.yaml"]),
    ("override", ["compose.yaml", "compose.override.yaml"], ["compose.yaml", "compose.override.yaml"]),
    ("override of the other name", ["compose.yml", "docker-compose.override.yml"], None),
    ("override alone", ["compose.override.yaml"], []),
]


@pytest.mark.parametrize(("names", "used"), [row[1:] for row in DISCOVERED], ids=[row[0] for row in DISCOVERED])
def test_files_are_found_as_compose_finds_them(tmp_path: Path, names: list[str], used: list[str] | None) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert project_layout.discover(str(tmp_path)) == (names if used is None else used)


def test_a_layout_survives_its_overlay() -> None:
    layout = Layout(("docker/compose.yaml", "docker/new\nline.yaml"), {"conf/nginx.conf": "sha256:0 0644"}, ("data",))
    line = project_layout.first_line(layout)
    assert line.count("\n") == 1
    assert project_layout.parse(line) == layout
    assert layout.folder == "docker"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "services: [",
        "# selfheal: {",
        "# selfheal: []",
        '# selfheal: {"files": []}',
        '# selfheal: {"files": "compose.yaml"}',
        '# selfheal: {"files": ["/etc/passwd"]}',
        '# selfheal: {"files": ["a.yaml"], "named": {"../other/.env": ""}}',
        '# selfheal: {"files": ["a/../../b"]}',
        '# selfheal: {"files": ["a.yaml"], "data": [1]}',
    ],
)
def test_a_damaged_line_gives_no_layout(line: str) -> None:
    assert project_layout.parse(line) is None


def test_which_list_counts(tmp_path: Path) -> None:
    """The overlay's list; without it that of the last good release; else the files in the folder."""
    (tmp_path / "docker-compose.yml").touch()
    assert project_layout.read(str(tmp_path)).files == ("docker-compose.yml",)
    kept = tmp_path / "releases/last-good/files"
    kept.mkdir(parents=True)
    (kept / "compose.hardened.yaml").write_text(project_layout.first_line(Layout(("good.yaml",))))
    assert project_layout.read(str(tmp_path)).files == ("good.yaml",)
    (tmp_path / "compose.hardened.yaml").write_text(project_layout.first_line(Layout(("deploy/mine.yaml",))))
    assert project_layout.read(str(tmp_path)).files == ("deploy/mine.yaml",)


def test_compose_is_called_from_the_folder_of_the_first_file(tmp_path: Path) -> None:
    (tmp_path / ".env").touch()
    layout = Layout(("docker/compose.yaml", "docker/prod.yaml"))
    (tmp_path / "compose.hardened.yaml").write_text(project_layout.first_line(layout))
    project = Project("shop", str(tmp_path))
    assert project.folder == f"{tmp_path}/docker"
    assert project.command("up")[2:] == [
        *("--project-name", "shop", "--project-directory", f"{tmp_path}/docker", "--env-file", f"{tmp_path}/.env"),
        *("--file", f"{tmp_path}/docker/compose.yaml", "--file", f"{tmp_path}/docker/prod.yaml"),
        *("--file", f"{tmp_path}/compose.hardened.yaml", "up"),
    ]


def test_the_callers_variables_do_not_reach_the_compose_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recovery by the watcher, over ssh or by sudo has to merge the same model."""
    for name in ("COMPOSE_FILE", "COMPOSE_PROFILES", "TAG", "SUDO_USER", "HOME", "PWD", "PATH"):
        monkeypatch.setenv(name, "/nowhere")
    given = dict(line.partition("=")[::2] for line in commands.run(["env"], 5.0, cwd=str(tmp_path)).out.splitlines())
    assert set(given) <= {
        *("PATH", "HOME", "PWD", "LANG", "LC_ALL", "COMPOSE_ANSI", "BUILDKIT_PROGRESS", "DOCKER_HOST"),
        *("DOCKER_CONFIG", "_"),
    }
    assert given["PWD"] == str(tmp_path)
    assert given["HOME"] == pwd.getpwuid(os.geteuid()).pw_dir
    assert given["PATH"].startswith("/usr/local/sbin:")
