# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The project on the controller: its compose files, what they include, and what leaves the project."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils import project_source
from ansible_collections.christmas.selfheal.plugins.plugin_utils.project_source import ProjectError

ONE = "services: {a: {image: x}}\n"


def write(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)


# id, files, compose_app_files, those that are merged, those that they name
FOUND: list[tuple[str, dict[str, str], list[str], list[str], list[str]]] = [
    ("one", {"docker-compose.yml": ONE}, [], ["docker-compose.yml"], []),
    (
        "an override",
        {"compose.yaml": ONE, "compose.override.yaml": ONE},
        [],
        ["compose.yaml", "compose.override.yaml"],
        [],
    ),
    ("a list", {"compose.yaml": ONE, "compose.override.yaml": ONE}, ["./compose.yaml"], ["compose.yaml"], []),
    (
        "include as a text",
        {"compose.yaml": "include: [web.yaml]\n", "web.yaml": ONE},
        [],
        ["compose.yaml"],
        ["web.yaml"],
    ),
    (
        "include of an include, each from its own folder",
        {
            "docker/compose.yaml": "include: [../web/compose.yaml]\n",
            "web/compose.yaml": "include: [{path: [more.yaml, ../last.yaml]}]\n",
            "web/more.yaml": ONE,
            "last.yaml": ONE,
            "web/.env": "A=1\n",
        },
        ["docker/compose.yaml"],
        ["docker/compose.yaml"],
        ["web/.env", "web/compose.yaml", "web/more.yaml", "last.yaml"],
    ),
    (
        "include with a project directory and an env file",
        {
            "compose.yaml": "include: [{path: sub/web.yaml, project_directory: ., env_file: [x.env]}]\n",
            "sub/web.yaml": "include: [other.yaml]\n",
            "other.yaml": ONE,
            "x.env": "A=1\n",
        },
        [],
        ["compose.yaml"],
        ["x.env", "sub/web.yaml", "other.yaml"],
    ),
    (
        "extends",
        {
            "compose.yaml": "services: {a: {extends: {file: base/b.yaml, service: a}}, b: {extends: {service: a}}}\n",
            "base/b.yaml": "services: {a: {extends: {file: c.yaml, service: a}}}\n",
            "base/c.yaml": ONE,
        },
        [],
        ["compose.yaml"],
        ["base/b.yaml", "base/c.yaml"],
    ),
    (
        "two that include each other",
        {"compose.yaml": "include: [b.yaml]\n", "b.yaml": "include: [compose.yaml]\n"},
        [],
        ["compose.yaml"],
        ["b.yaml"],
    ),
    (
        "Compose's own tags",
        {"compose.yaml": "services: {a: {ports: !reset [], env_file: !override [a.env], user: !reset null}}\n"},
        [],
        ["compose.yaml"],
        [],
    ),
    (
        "from elsewhere",
        {
            "compose.yaml": "include: ['oci://x/y', 'https://github.com/x/y.git']\nservices: {a: {build: 'https://x/y'}}\n"
        },
        [],
        ["compose.yaml"],
        [],
    ),
    (
        "a default in a variable",
        {"compose.yaml": "include: ['${WEB:-web.yaml}']\n", "web.yaml": ONE},
        [],
        ["compose.yaml"],
        ["web.yaml"],
    ),
    (
        "the host's own paths",
        {"compose.yaml": "services: {a: {volumes: [/var/run/docker.sock:/x, ~/d:/d, named:/n], build: /srv/x}}\n"},
        ["compose.yaml"],
        ["compose.yaml"],
        [],
    ),
]


@pytest.mark.parametrize(
    ("files", "given", "merged", "more"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND]
)
def test_files_of_a_project(
    tmp_path: Path, files: dict[str, str], given: list[str], merged: list[str], more: list[str]
) -> None:
    write(tmp_path, files)
    found = project_source.read(str(tmp_path), given)
    assert found.files == merged
    assert sorted(found.more) == sorted(more)


# id, files, compose_app_files, what the message says
BAD: list[tuple[str, dict[str, str], list[str], str]] = [
    ("no compose file", {"app.py": ""}, [], r"holds no compose file \(compose\.yaml, .*compose_app_files"),
    ("a name that is wrong", {"compose.yaml": ONE}, ["x.yaml"], "compose_app_files names the file x.yaml, and"),
    ("a file outside", {"compose.yaml": ONE}, ["../x.yaml"], "compose_app_files: ../x.yaml is outside"),
    ("not YAML", {"compose.yaml": "services: [\n"}, [], "compose.yaml on this machine is not a compose file: .*line 2"),
    ("a text", {"compose.yaml": "hello\n"}, [], "it has no services"),
    ("empty", {"compose.yaml": "\n"}, [], "compose.yaml on this machine is empty"),
    (
        "a missing include",
        {"compose.yaml": "include: [web.yaml]\n"},
        [],
        "compose.yaml: include names the file web.yaml, and",
    ),
    (
        "a missing file to extend",
        {"compose.yaml": "services: {a: {extends: {file: b.yaml, service: a}}}\n"},
        [],
        "compose.yaml: services.a.extends names the file b.yaml, and",
    ),
    (
        "include from above",
        {"compose.yaml": "include: [../web.yaml]\n"},
        [],
        "include names ../web.yaml, which is outside",
    ),
    (
        "a context above",
        {"compose.yaml": "services: {a: {build: {context: ..}}}\n"},
        [],
        r"services\.a\.build names \.\., which is outside .*compose_app_source to a folder that holds both",
    ),
    (
        "a context above a folder's parent",
        {"docker/compose.yaml": "services: {a: {build: ../..}}\n"},
        ["docker/compose.yaml"],
        r"docker/compose\.yaml: services\.a\.build names \.\./\.\.",
    ),
    (
        "a mount",
        {"compose.yaml": "services: {a: {volumes: ['../conf:/c']}}\n"},
        [],
        r"services\.a\.volumes names \.\./conf",
    ),
    (
        "a mount in the long form",
        {"compose.yaml": "services: {a: {volumes: [{type: bind, source: ./../conf, target: /c}]}}\n"},
        [],
        r"services\.a\.volumes names \./\.\./conf",
    ),
    (
        "an env file",
        {"compose.yaml": "services: {a: {env_file: ../x.env}}\n"},
        [],
        r"services\.a\.env_file names \.\./x",
    ),
    ("a secret", {"compose.yaml": "secrets: {pw: {file: ../pw}}\n"}, [], r"secrets\.pw\.file names \.\./pw"),
]


@pytest.mark.parametrize(("files", "given", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_cannot_be_deployed_is_named(tmp_path: Path, files: dict[str, str], given: list[str], said: str) -> None:
    write(tmp_path, files)
    with pytest.raises(ProjectError, match=said):
        project_source.read(str(tmp_path), given)


def test_a_folder_of_this_machine_is_no_context(tmp_path: Path) -> None:
    write(tmp_path, {"app/Dockerfile": "", "compose.yaml": f"services: {{a: {{build: {tmp_path}/app}}}}\n"})
    with pytest.raises(ProjectError, match="a folder of this machine"):
        project_source.read(str(tmp_path))


def test_a_path_may_leave_its_folder_within_the_project(tmp_path: Path) -> None:
    text = "services: {a: {build: {context: ..}, volumes: ['../conf:/c:ro'], env_file: [../a.env]}}\n"
    write(tmp_path, {"docker/compose.yaml": text})
    assert project_source.read(str(tmp_path), ["docker/compose.yaml"]).files == ["docker/compose.yaml"]


def test_a_project_folder_that_is_a_link(tmp_path: Path) -> None:
    write(tmp_path, {"real/compose.yaml": ONE})
    (tmp_path / "link").symlink_to("real")
    assert project_source.read(str(tmp_path / "link")).files == ["compose.yaml"]


def test_documents_with_their_folders(tmp_path: Path) -> None:
    """The merged model has neither included files nor paths as they are written; who reads them needs both."""
    files = {
        "compose.yaml": "include: [sub/web.yaml]\nservices: {a: {extends: {file: base.yaml, service: a}}}\n",
        "sub/web.yaml": ONE,
        "sub/.env": "A=1\n",
        "base.yaml": ONE,
    }
    write(tmp_path, files)
    found = project_source.read(str(tmp_path))
    assert [(one.name, one.base, one.extended) for one in found.documents] == [
        ("compose.yaml", "", False),
        ("sub/web.yaml", "sub", False),
        ("base.yaml", "", True),
    ]
    assert found.documents[1].content == {"services": {"a": {"image": "x"}}}
    assert list(found.env) == ["sub/.env"]


def test_a_megabyte_is_read_in_time(tmp_path: Path) -> None:
    services = "".join(f"  s{number}:\n    image: x\n    environment: {{A: '{'x' * 900}'}}\n" for number in range(1100))
    write(tmp_path, {"compose.yaml": f"services:\n{services}"})
    begun = monotonic()
    assert project_source.read(str(tmp_path)).files == ["compose.yaml"]
    assert monotonic() - begun < 10
