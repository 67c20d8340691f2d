# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of a staged project goes into the app's directory: the whole release or nothing, and nothing over data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import project_files, project_parts
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.project_parts import EnvFile, Mount, Parts
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import data_owners, staged_project
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.data_owners import Owner, Owners, User
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.staged_project import Change, Verdict, Writers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project_layout


class Host:
    """A controller's project in ``top`` and an app's directory."""

    def __init__(self, folder: Path) -> None:
        self.top, self.app = folder / "incoming/project", folder / "app"
        self.copied = str(folder / "copied.json")
        self.top.mkdir(parents=True)
        self.app.mkdir()
        self.parts = Parts((), (), {}, (), ())
        self.configuration: list[str] = []
        self.exclude: list[str] = []
        self.now = 1000
        self.writers = Writers()
        self.write("compose.yaml", "services: {}\n")

    def write(self, name: str, text: str, mode: int = 0o644, top: Path | None = None) -> None:
        path = (top or self.top) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def has(self, name: str, text: str, mode: int = 0o644) -> None:
        """The host has such a file."""
        self.write(name, text, mode, self.app)

    def mounts(self, name: str, writable: bool = False, service: str = "web") -> None:
        self.parts = self.parts._replace(mounts=(*self.parts.mounts, Mount(service, name, "/x", writable)))

    def judge(self) -> Verdict:
        content = staged_project.read(str(self.top), "", self.parts, False)
        return staged_project.judge(
            str(self.top),
            str(self.app),
            content,
            self.parts,
            ["compose.yaml"],
            [],
            self.configuration,
            project_layout.recorded(str(self.app)),
            lambda name: project_layout.is_left_out(name, self.exclude),
            self.now,
            staged_project.read_copied(self.copied),
            self.writers,
        )

    def deploy(self) -> Verdict:
        verdict = self.judge()
        assert verdict.conflicts == []
        text = project_layout.first_line(verdict.layout).encode()
        texts = {project_layout.HARDENED_FILE: text}
        staged_project.record_copied(self.copied, str(self.app), verdict)
        staged_project.replace(str(self.app), verdict.changes, texts, verdict.removed, verdict.folders)
        return verdict

    def there(self) -> dict[str, tuple[str, int]]:
        names = project_files.below(str(self.app), frozenset({project_layout.HARDENED_FILE}))
        return {name: ((self.app / name).read_text(), (self.app / name).stat().st_mode & 0o777) for name in names}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


# --- data ------------------------------------------------------------------------------------------------------------


# id, files of the project, files of the host below data/, refused names
DATA: list[tuple[str, dict[str, str], dict[str, str], list[str]]] = [
    ("a keeper of an empty folder", {"data/.gitkeep": ""}, {"data/app.db": "prod"}, []),
    ("an empty file", {"data/app.db": ""}, {"data/app.db": "prod"}, []),
    ("the same file", {"data/app.db": "prod"}, {"data/app.db": "prod"}, []),
    ("another file", {"data/app.db": "dev"}, {"data/app.db": "prod"}, ["data/app.db"]),
    ("a file that the host does not have", {"data/b": "dev"}, {"data/app.db": "prod"}, ["data/b"]),
    ("the host has no folder", {"data/seed.sql": "x"}, {}, []),
]


@pytest.mark.parametrize(("project", "on_host", "refused"), [row[1:] for row in DATA], ids=[row[0] for row in DATA])
def test_data_is_never_copied_over(
    host: Host, project: dict[str, str], on_host: dict[str, str], refused: list[str]
) -> None:
    host.mounts("data", writable=True, service="db")
    for name, text in project.items():
        host.write(name, text)
    for name, text in on_host.items():
        host.has(name, text, 0o600)
    if on_host:
        (host.app / "data").chmod(0o700)
    verdict = host.judge()
    assert [(one.service, one.folder, one.names) for one in verdict.conflicts] == (
        [("db", "data", refused)] if refused else []
    )
    if not refused:
        host.deploy()
        assert {name: text for name, (text, _unused) in host.there().items() if name.startswith("data/")} == (
            on_host or project
        )
        assert all(not name.startswith("data/") for name in verdict.layout.named)
        assert bool(on_host) == (not any("is copied now" in note for note in verdict.notes))
    if on_host:
        assert (host.app / "data").stat().st_mode & 0o777 == 0o700


def test_data_outlives_the_project(host: Host) -> None:
    """It is copied once, and stays when the project has it no more."""
    host.mounts("data", writable=True)
    host.write("data/app.db", "seed")
    host.deploy()
    host.has("data/app.db", "prod")
    (host.top / "data/app.db").unlink()
    host.deploy()
    assert host.there()["data/app.db"] == ("prod", 0o644)


# id, mounts (name, writable), configuration, file, what it is
KINDS = [
    ("read-only folder", [("conf.d", False)], [], "conf.d/a.conf", "named"),
    ("read-only file", [("nginx.conf", False)], [], "nginx.conf", "named"),
    ("not mounted", [("conf.d", False)], [], "README", "plain"),
    ("a name that begins alike", [("conf", True)], [], "conf.d/a.conf", "plain"),
    ("data in a read-only folder", [("srv", False), ("srv/up", True)], [], "srv/up/x", "data"),
    ("configuration in a data folder", [("srv", True), ("srv/etc", False)], [], "srv/etc/x", "named"),
    ("read by one, written by another", [("static", False), ("static", True)], [], "static/x", "data"),
    ("listed as configuration", [("nginx", True)], ["nginx"], "nginx/x", "named"),
    ("below what is listed", [("nginx/etc", True)], ["nginx"], "nginx/etc/x", "named"),
    ("the whole project, read", [(".", False)], [], "app.py", "named"),
    ("the whole project, written", [(".", True)], [], "app.py", "data"),
    ("the whole project, listed", [(".", True)], ["."], "app.py", "named"),
]


@pytest.mark.parametrize(
    ("mounts", "configuration", "name", "kind"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS]
)
def test_what_a_file_is(
    host: Host, mounts: list[tuple[str, bool]], configuration: list[str], name: str, kind: str
) -> None:
    host.write(name, "x")
    for mounted, writable in mounts:
        host.mounts(mounted, writable)
    host.configuration = configuration
    layout = host.judge().layout
    is_data = any(project_parts.covers(one, name) for one in layout.data) and name not in layout.named
    assert ("named" if name in layout.named else "data" if is_data else "plain") == kind


# id, what the app has written, whether the project's other version is refused
SINGLE = [("as copied", None, False), ("written by the app", "app", True), ("written to the same", "new", False)]


@pytest.mark.parametrize(("written", "refused"), [row[1:] for row in SINGLE], ids=[row[0] for row in SINGLE])
def test_a_single_file_is_configuration_until_the_app_writes_it(host: Host, written: str | None, refused: bool) -> None:
    host.mounts("settings.json", writable=True)
    host.write("settings.json", "old")
    host.deploy()
    if written is not None:
        host.has("settings.json", written)
    host.write("settings.json", "new")
    assert [one.names for one in host.judge().conflicts] == ([["settings.json"]] if refused else [])


# --- what is put in place --------------------------------------------------------------------------------------------


def test_a_file_that_the_project_has_no_more_is_removed_unless_it_was_changed(host: Host) -> None:
    host.mounts("conf.d")
    for name in ("a", "b", "c", "d"):
        host.write(f"conf.d/{name}.conf", name)
    host.deploy()
    host.has("conf.d/b.conf", "edited on the host")
    host.has("conf.d/host.conf", "never copied")
    for name in ("a", "b", "c"):
        (host.top / f"conf.d/{name}.conf").unlink()
    host.exclude = ["c.conf"]
    verdict = host.deploy()
    assert verdict.removed == ["conf.d/a.conf"]
    assert {name for name in host.there() if name.startswith("conf.d/")} == {
        *("conf.d/b.conf", "conf.d/c.conf", "conf.d/d.conf", "conf.d/host.conf"),
    }
    assert [note for note in verdict.notes if "conf.d/b.conf" in note and "it stays" in note]


def test_a_source_of_an_image_that_the_project_has_no_more_is_removed_unless_it_was_changed(host: Host) -> None:
    for name in ("a", "b", "c", "d"):
        host.write(f"migrations/{name}.sql", name)
    host.deploy()
    host.has("migrations/b.sql", "edited on the host")
    host.has("migrations/host.sql", "never copied")
    for name in ("a", "b", "c"):
        (host.top / f"migrations/{name}.sql").unlink()
    host.exclude = ["c.sql"]
    verdict = host.deploy()
    assert verdict.removed == ["migrations/a.sql"]
    assert "migrations/a.sql" not in host.there()
    assert [note for note in verdict.notes if "migrations/b.sql" in note and "it stays" in note]
    assert host.judge().removed == []


def test_a_source_that_came_with_a_release_that_was_rolled_back_is_removed(host: Host) -> None:
    host.deploy()
    good = (host.app / project_layout.HARDENED_FILE).read_text()
    host.write("migrations/002.sql", "bad")
    host.deploy()
    host.has(project_layout.HARDENED_FILE, good)
    (host.top / "migrations/002.sql").unlink()
    assert host.deploy().removed == ["migrations/002.sql"]


def test_a_source_that_became_data_is_not_removed(host: Host) -> None:
    host.write("uploads/a.png", "a")
    host.deploy()
    (host.top / "uploads/a.png").unlink()
    host.mounts("uploads", writable=True)
    assert host.deploy().removed == []
    assert "uploads/a.png" in host.there()


# id, mode on the controller, named as, mode on the host
MODES = [
    ("env file", 0o600, "env", 0o600),
    ("env file that all could read", 0o644, "env", 0o600),
    ("env file that an image is built from", 0o644, "env of a build", 0o644),
    ("group-readable secret", 0o640, "read", 0o640),
    ("mounted script", 0o700, "mount", 0o700),
    ("writable by all", 0o666, "mount", 0o644),
    ("seed of a data folder", 0o600, "data", 0o600),
    ("env file of an include", 0o600, ".env", 0o600),
    ("source of an image, umask 077", 0o600, "", 0o644),
    ("script of an image, umask 077", 0o700, "", 0o755),
]


@pytest.mark.parametrize(("mode", "named", "wanted"), [row[1:] for row in MODES], ids=[row[0] for row in MODES])
def test_narrow_modes_stay_narrow(host: Host, mode: int, named: str, wanted: int) -> None:
    it = {"data": "data/it", ".env": "sub/.env"}.get(named, "it")
    host.write(it, "x", mode)
    if named == "mount":
        host.mounts("it")
    if named == "data":
        host.mounts("data", writable=True)
    if named.startswith("env"):
        host.parts = host.parts._replace(env_files=(EnvFile("web", "env_file", "it", True),))
    if named == "env of a build":
        host.parts = host.parts._replace(contexts=(".",))
    if named == "read":
        host.parts = host.parts._replace(read={"web": ["it"]})
    host.deploy()
    assert host.there()[it] == ("x", wanted)
    assert host.judge().changes == []


def test_whose_container_a_change_concerns(host: Host) -> None:
    host.mounts("conf.d", service="web")
    host.mounts("data", writable=True, service="db")
    host.write("conf.d/a.conf", "a")
    host.write("data/x", "x")
    host.write("pw", "x", 0o600)
    host.parts = host.parts._replace(read={"db": ["pw"]})
    assert host.judge().readers == {"web": ["conf.d/a.conf"], "db": ["pw"]}


def test_an_env_file_of_the_host_belongs_to_the_release_and_is_never_removed(host: Host) -> None:
    host.has("side.env", "A=1\n", 0o600)
    host.parts = host.parts._replace(env_files=(EnvFile("web", "env_file", "side.env", True),))
    verdict = host.deploy()
    assert verdict.layout.local == ("side.env",)
    assert "side.env" in verdict.layout.named
    host.parts = host.parts._replace(env_files=())
    assert host.deploy().removed == []
    assert "side.env" in host.there()


def test_a_bind_source_that_does_not_exist_is_named(host: Host) -> None:
    host.mounts("nowhere", service="web")
    assert host.judge().notes == [
        "service web mounts nowhere, which does not exist: Docker creates an empty folder there, owned by root"
    ]


@pytest.mark.parametrize(("source", "target"), [("flags.json", "/x"), ("flags", "/srv/flags.json")])
def test_a_file_that_does_not_exist_is_not_a_folder(host: Host, source: str, target: str) -> None:
    host.parts = host.parts._replace(mounts=(Mount("web", source, target, False),))
    assert [one.name for one in host.judge().absent] == [source]
    host.write(source, "{}")
    assert host.judge().absent == []


def test_a_file_takes_the_place_of_a_folder_and_the_other_way_round(host: Host) -> None:
    host.mounts("conf")
    host.has("conf/old", "kept")
    host.has("etc", "kept")
    host.write("conf", "file")
    host.write("etc/x", "folder")
    host.deploy()
    there = {name: text for name, (text, _unused) in host.there().items()}
    assert (there["conf"], there["etc/x"]) == ("file", "folder")
    assert (there["conf.replaced/old"], there["etc.replaced"]) == ("kept", "kept")


@pytest.mark.parametrize("failing", range(4))
def test_all_of_it_or_nothing(host: Host, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    """Whichever file cannot be replaced."""
    host.mounts("conf.d")
    for name in ("a", "b"):
        host.write(f"conf.d/{name}", name)
    host.deploy()
    before = host.there()
    for name in ("a", "c"):
        host.write(f"conf.d/{name}", f"new {name}")
    (host.top / "conf.d/b").unlink()
    calls = 0
    real = os.replace

    def replace(source: str, target: str) -> None:
        nonlocal calls
        if not source.endswith(".before"):
            calls += 1
            if calls == failing + 1:
                raise OSError(28, "No space left on device", target)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    verdict = host.judge()
    texts = {"compose.hardened.yaml": b"new", "z": b"z"}
    with pytest.raises(OSError, match="No space"):
        staged_project.replace(str(host.app), verdict.changes, texts, verdict.removed)
    assert host.there() == before


def test_a_full_disk_replaces_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.write("app.py", "x")

    def full(*_unused: Any) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    verdict = host.judge()
    with pytest.raises(OSError, match="No space"):
        staged_project.replace(str(host.app), verdict.changes, {}, [])
    assert list(host.app.iterdir()) == []


def test_what_a_killed_run_left_is_removed(host: Host) -> None:
    host.has(".selfheal-0123456789ab/0", "it may be a secret")
    host.deploy()
    assert set(host.there()) == {"compose.yaml"}


def test_what_changed_since_it_was_judged_is_not_put_in_place(host: Host) -> None:
    verdict = host.judge()
    host.write("compose.yaml", "services: {other: {}}\n")
    with pytest.raises(staged_project.Moved, match=r"compose\.yaml changed while it was read"):
        staged_project.replace(str(host.app), verdict.changes, {}, [])
    assert list(host.app.iterdir()) == []


def test_what_vanished_since_it_was_judged_changes_nothing(host: Host) -> None:
    verdict = host.judge()
    (host.top / "compose.yaml").unlink()
    with pytest.raises(OSError, match=r"compose\.yaml"):
        staged_project.replace(str(host.app), [*verdict.changes], {}, [])
    assert list(host.app.iterdir()) == []


def test_links_and_an_app_directory_that_is_a_link(host: Host, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    host.app.rmdir()
    host.app.symlink_to(tmp_path / "real")
    host.mounts("current.conf")
    host.write("v1.conf", "1")
    (host.top / "current.conf").symlink_to("v1.conf")
    verdict = host.deploy()
    assert os.readlink(host.app / "current.conf") == "v1.conf"
    assert {"current.conf", "v1.conf"} <= set(verdict.layout.named)
    assert host.app.is_symlink()
    assert host.judge().changes == []


def test_the_env_of_a_project_directory_is_the_apps(host: Host) -> None:
    assert staged_project.link_env(str(host.app), "") == ""
    host.has("docker/.env", "old")
    assert staged_project.link_env(str(host.app), "docker") == f"{host.app}/docker/.env.replaced"
    assert os.readlink(host.app / "docker/.env") == "../.env"
    assert staged_project.link_env(str(host.app), "docker") == ""


def test_a_change_to_a_file_of_the_release_before_is_put_right(host: Host) -> None:
    host.mounts("nginx.conf")
    host.write("nginx.conf", "good")
    host.deploy()
    host.has("nginx.conf", "edited by hand")
    assert host.judge().changes == [
        Change("nginx.conf", f"{host.top}/nginx.conf", 0o644, host.judge().layout.named["nginx.conf"])
    ]


def test_a_container_that_may_have_read_it_is_recreated_once(host: Host) -> None:
    """It keeps the file that it was started with, and the label of its overlay is that of the right file."""
    host.mounts("nginx.conf")
    host.mounts("other.conf", service="other")
    host.write("nginx.conf", "good")
    host.write("other.conf", "good")
    host.deploy()
    host.has("nginx.conf", "edited by hand")
    assert host.deploy().layout.renewed == {"web": 1000}
    host.now = 2000
    assert host.deploy().layout.renewed == {"web": 1000}
    host.write("nginx.conf", "new")
    assert host.deploy().layout.renewed == {"web": 1000}


# --- what the model names --------------------------------------------------------------------------------------------


def bind(source: str, **more: Any) -> dict[str, Any]:
    return {"type": "bind", "source": source, "target": "/x", **more}


TOP = "/var/lib/selfheal/shop/incoming/project"
# id, model, written, what is outside
OUTSIDE: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("the host's own folder", {"services": {"a": {"volumes": [bind("/srv/data")]}}}, {}, ""),
    ("the engine's socket", {"services": {"a": {"volumes": [bind("/var/run/docker.sock")]}}}, {}, ""),
    (
        "a mount",
        {"services": {"a": {"volumes": [bind("/var/lib/selfheal/shop/incoming/conf")]}}},
        {},
        "services.a.volumes mounts ../conf",
    ),
    (
        "a context",
        {"services": {"a": {"build": {"context": "/var/lib/selfheal/shop/incoming"}}}},
        {},
        "services.a.build.context names ..",
    ),
    (
        "a secret",
        {"secrets": {"pw": {"file": "/var/lib/selfheal/shop/incoming/pw"}}},
        {},
        "secrets.pw names ../pw",
    ),
    (
        "an env file",
        {},
        {"services": {"a": {"env_file": "/var/lib/selfheal/shop/incoming/x.env"}}},
        "services.a.env_file names ../x.env",
    ),
]


@pytest.mark.parametrize(("model", "written", "outside"), [row[1:] for row in OUTSIDE], ids=[row[0] for row in OUTSIDE])
def test_what_leaves_the_project(model: dict[str, Any], written: dict[str, Any], outside: str) -> None:
    found = project_parts.find(model, written, TOP, {})
    assert found.outside[:1] == ((outside,) if outside else ())


def test_what_a_model_names() -> None:
    model = {
        "services": {
            "web": {
                "build": {"context": TOP, "dockerfile": "docker/Dockerfile"},
                "volumes": [bind(f"{TOP}/conf", read_only=True), bind(TOP), {"type": "volume", "source": "v"}],
                "configs": [{"source": "c"}],
                "secrets": ["s"],
            }
        },
        "configs": {"c": {"file": f"{TOP}/c.txt"}, "inline": {"content": "x"}},
        "secrets": {"s": {"file": "/etc/pw"}},
    }
    written = {
        "services": {"web": {"env_file": [{"path": f"{TOP}/${{STAGE:-dev}}.env", "required": False}, f"{TOP}/a.env"]}}
    }
    found = project_parts.find(model, written, TOP, {"STAGE": "prod"})
    assert found.mounts == (Mount("web", "conf", "/x", False), Mount("web", ".", "/x", True))
    assert found.env_files == (
        EnvFile("web", "env_file", "prod.env", False),
        EnvFile("web", "env_file", "a.env", True),
    )
    assert found.read == {"web": ["c.txt"]}
    assert found.dockerfiles == ("docker/Dockerfile",)


def test_a_layout_is_what_a_release_records(host: Host) -> None:
    host.mounts("nginx.conf")
    host.write("nginx.conf", "x")
    verdict = host.deploy()
    assert project_layout.recorded(str(host.app)) == verdict.layout


# --- whom data belongs to ---------------------------------------------------------------------------------------------

ME = os.geteuid()


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """{path or "file": UID:GID} that the kernel was asked to give."""
    found: dict[str, str] = {}

    def chown(path: Any, uid: int, gid: int) -> None:
        found[path if isinstance(path, str) else os.readlink(f"/proc/self/fd/{path}").rpartition("/")[2]] = (
            f"{uid}:{gid}"
        )

    monkeypatch.setattr(os, "chown", chown)
    return found


def owned(host: Host, **paths: tuple[int, int, int]) -> None:
    host.writers = Writers(Owners(ME, {name: Owner(*ids) for name, ids in paths.items()}))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_data_keeps_its_owner_and_mode_and_sources_do_not(host: Host, given: dict[str, str]) -> None:
    host.mounts("combs", writable=True)
    host.write("combs/a/b.txt", "honey", 0o660)
    host.write("app/main.py", "")
    (host.top / "combs/empty").mkdir(mode=0o700)
    owned(host, combs=(1200, 1201, 0o750))
    verdict = host.deploy()
    ours = {os.path.relpath(name, host.app): ids for name, ids in given.items() if name.startswith("/")}
    assert ours == dict.fromkeys(("combs", "combs/a", "combs/empty"), "1200:1201")
    assert [one.owner for one in verdict.changes if one.target == "combs/a/b.txt"] == [Owner(1200, 1201, 0o750)]
    assert [one.owner for one in verdict.changes if not one.target.startswith("combs/")] == [None, None]
    # One file and three folders, and no more.
    assert len(given) == 4
    assert [mode(host.app / name) for name in ("combs", "combs/a", "combs/a/b.txt")] == [0o750, 0o750, 0o660]
    assert any("combs is data: it is copied now, for 1200:1201 with mode 0750" in note for note in verdict.notes)


def test_an_empty_folder_gets_there_with_its_mode_once(host: Host, given: dict[str, str]) -> None:
    host.mounts("combs", writable=True)
    (host.top / "combs").mkdir()
    owned(host, combs=(1200, 1200, 0o750))
    assert any("combs is data, and empty" in note for note in host.deploy().notes)
    assert (mode(host.app / "combs"), list(given.values())) == (0o750, ["1200:1200"])
    # The app may have changed it since.
    (host.app / "combs").chmod(0o700)
    assert host.judge().folders == []


def test_the_host_keeps_a_folder_that_a_person_made(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.mounts("combs", writable=True)
    (host.top / "combs").mkdir()
    (host.app / "combs").mkdir()
    owned(host, combs=(1200, 1200, 0o750))
    assert [one.name for one in host.judge().folders] == ["combs"]
    monkeypatch.setattr(os, "geteuid", lambda: ME + 1)
    assert host.judge().folders == []


# id, owner on the controller, the service's user, owner on the host, what is said
USERS: list[tuple[str, tuple[int, int, int], User | None, str, str]] = [
    ("it is the deployer's", (ME, 5, 0o755), User(1200, 1300), "1200:1300", ""),
    ("it is the deployer's, group unknown", (ME, 5, 0o755), User(1200, None), "1200:5", ""),
    ("another one was chosen", (77, 77, 0o755), User(1200, 1200), "77:77", "chown -R 1200:1200 "),
    ("its group may write", (77, 1200, 0o775), User(1200, 1200), "77:1200", ""),
    ("all may write", (77, 77, 0o777), User(1200, 1200), "77:77", ""),
    ("the image knows the user", (77, 77, 0o755), None, "77:77", ""),
    ("root's, and the image knows the user", (0, 0, 0o755), None, "0:0", "chown -R UID:GID "),
]


@pytest.mark.parametrize(("local", "user", "ids", "said"), [row[1:] for row in USERS], ids=[row[0] for row in USERS])
def test_the_user_of_the_service(
    host: Host, local: tuple[int, int, int], user: User | None, ids: str, said: str
) -> None:
    host.mounts("combs", writable=True)
    host.write("combs/a", "1")
    host.writers = Writers(Owners(ME, {"combs": Owner(*local)}), {"web": user} if user else {})
    verdict = host.judge()
    assert {one.owner.ids for one in verdict.folders} == {ids}
    assert ("chown -R" in verdict.notes[0], said in verdict.notes[0]) == (bool(said), True)


def test_a_file_system_that_knows_no_owners_is_named_with_the_command(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: object) -> None:
        raise PermissionError

    host.mounts("combs", writable=True)
    host.write("combs/a", "1")
    owned(host, combs=(1200, 1200, 0o750))
    verdict = host.judge()
    monkeypatch.setattr(os, "chown", refuse)
    notes = staged_project.replace(str(host.app), verdict.changes, {}, [], verdict.folders)
    assert [note for note in notes if f"chown -R 1200:1200 {host.app}/combs" in note] == notes != []


def test_a_missing_folder_names_the_user_and_the_command(host: Host) -> None:
    host.mounts("combs", writable=True)
    host.writers = Writers(None, data_owners.users({"web": {"user": "1200"}}, {}))
    assert [note for note in host.judge().notes if f"chown 1200 {host.app}/combs" in note]
