# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Taking an app out of our care: what is refused, what is removed, what of another app stays."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import adopted_mounts
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import App
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppPaths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.core.locks import LockHeld, hold_lock
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import adoption_record
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import volumes as docker_volumes
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.project import Project
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import desired_files
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.continuous import Sample
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import haproxy
from ansible_collections.christmas.selfheal.plugins.module_utils.removal import own_files, report, run, switch


def container(service: str, ours: bool, mounts: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    files = "/opt/shop/compose.yaml" + (",/opt/shop/compose.hardened.yaml" if ours else "")
    labels = {"com.docker.compose.service": service, "com.docker.compose.project.config_files": files}
    return {
        "Id": service,
        "Name": f"/shop-{service}-1",
        "State": {"Status": "running"},
        "Config": {"Labels": labels},
        "HostConfig": {},
        "Mounts": list(mounts),
    }


class Host:
    """A host with two apps in a folder, shop and blog. What is run on it is kept."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.ran = root, list[Sequence[str]]()
        self.documents: list[dict[str, Any]] = [container("web", ours=True)]
        self.model: dict[str, Any] = {"services": {"web": {"restart": "always"}}}
        for app in ("shop", "blog"):
            for name in (
                f"etc/selfheal/{app}.json",
                f"etc/haproxy/selfheal/{app}.cfg",
                f"var/lib/selfheal/{app}/incidents/1/incident.json",
                f"etc/systemd/system/selfheal@{app}.service.d/app.conf",
                f"opt/{app}/compose.yaml",
                f"opt/{app}/compose.hardened.yaml",
                f"opt/{app}/releases/1/release.json",
                f"opt/{app}/.env",
            ):
                self.write(name)
        for name in ("usr/local/bin/selfheal", "usr/local/lib/selfheal/x.py", "etc/systemd/system/selfheal@.service"):
            self.write(name)
        self.switched: list[str] = []
        self.images: list[str] = []
        monkeypatch.setattr(docker_containers, "documents", lambda _app: self.documents)
        monkeypatch.setattr(docker_volumes, "compose_volumes", list)
        self.models: dict[str, dict[str, Any]] = {}
        monkeypatch.setattr(Project, "config", lambda project: self.models.get(project.folder, self.model))
        monkeypatch.setattr(commands, "run", self.command)
        monkeypatch.setattr(haproxy, "leave", lambda paths: self.write("left").write_text(paths.name))
        monkeypatch.setattr(switch, "to_own_files", self.switch)

    def write(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x", encoding="utf-8")
        return path

    def command(self, argv: Sequence[str], *_unused: Any, **__: Any) -> commands.Result:
        self.ran.append(argv)
        return commands.Result(0, "\n".join(self.images) if "images" in argv else "", "")

    def switch(self, app: App, *_unused: Any) -> None:
        # The watcher still takes care of the app: killed here, the app is as it was.
        assert (self.root / "etc/selfheal" / f"{app.name}.json").exists()
        assert not [argv for argv in self.ran if "disable" in argv]
        self.switched.append(app.name)
        self.documents = [container("web", ours=False)]

    def options(self, app: str = "shop", confirm: str = "shop", stop: bool = False) -> run.Options:
        paths = AppPaths(app, str(self.root / "opt" / app), str(self.root))
        return run.Options(App(paths, [], []), "web1", [], confirm, stop)

    def remove(self, check: bool = False, **options: Any) -> report.Removed:
        return run.remove(self.options(**options), check, Clock(), lambda _text: None)

    def paths(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_of_two_apps_one_is_removed_and_the_other_stays(host: Host) -> None:
    before = host.paths()
    done = host.remove()
    assert host.switched == ["shop"]
    gone = before - host.paths()
    assert {path for path in before if "blog" in path or "usr/" in path} <= host.paths()
    # HAProxy's part goes with a reload, which is not in this test.
    left = {path for path in host.paths() if "shop" in path}
    assert left == {"opt/shop/compose.yaml", "opt/shop/.env", "etc/haproxy/selfheal/shop.cfg"} - gone
    assert "opt/shop/.env" in host.paths()
    assert done["changed"]
    assert str(host.root / "opt/shop") in [one["what"] for one in done["remains"]]
    again = host.remove()
    assert (again["changed"], again["files"]) == (False, [])
    assert host.switched == ["shop"]


def test_the_last_app_takes_what_all_share_with_it(host: Host) -> None:
    host.remove()
    host.documents = [container("web", ours=True)]
    host.remove(app="blog", confirm="blog")
    left = {path for path in host.paths() if not path.startswith("opt/")}
    assert left == {"left"}
    assert not (host.root / "etc/selfheal").exists()
    assert not (host.root / "var/lib/selfheal").exists()


@pytest.mark.parametrize("confirm", ["", "blog", "yes"])
def test_it_is_refused_without_the_name_of_the_app(host: Host, confirm: str) -> None:
    before = host.paths()
    with pytest.raises(run.RemovalError, match="-e remove_confirm=shop"):
        host.remove(confirm=confirm)
    assert host.paths() == before
    planned = host.remove(check=True, confirm=confirm)
    assert planned["changed"]
    assert host.paths() == before


@pytest.mark.parametrize("marker", ["rollout.json", "restore.json", "writes-paused"])
def test_it_waits_for_a_deploy_a_restore_and_a_backup_that_were_killed(host: Host, marker: str) -> None:
    host.write(f"var/lib/selfheal/shop/{marker}")
    with pytest.raises((run.RemovalError, LockHeld)):
        host.remove()
    assert host.switched == []


def test_it_does_not_run_next_to_a_backup(host: Host) -> None:
    lock = host.options().app.paths.backup_lock
    with hold_lock(lock, 0.0, "back up shop"), pytest.raises(LockHeld, match="back up shop"):
        host.remove()
    assert host.switched == []


def test_an_app_that_does_not_run_from_its_own_files_stays_as_it_is(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_unused: Any) -> None:
        raise switch.SwitchError("web exited with 1")

    monkeypatch.setattr(switch, "to_own_files", fails)
    before = host.paths()
    with pytest.raises(switch.SwitchError):
        host.remove()
    assert host.paths() - {"run/selfheal/shop.lock", "run/selfheal/shop.backup.lock"} == before
    assert not [argv for argv in host.ran if "disable" in argv]


def test_an_app_that_is_not_healthy_stays_in_our_care(host: Host) -> None:
    host.documents[0]["State"] = {"Status": "exited", "ExitCode": 3}
    for check in (True, False):
        with pytest.raises(run.RemovalError, match=r"not healthy.*web exited with 3.*selfheal recover --app shop"):
            host.remove(check=check)
    assert host.switched == []
    # A run that was killed has replaced one of them.
    host.documents.append(container("db", ours=False))
    host.model["services"]["db"] = {}
    host.remove()
    assert host.switched == ["shop"]


def test_data_that_would_not_be_found_any_more_is_a_reason_to_refuse(host: Host) -> None:
    moved = {"Type": "bind", "Source": "/root/shop/data", "Destination": "/data"}
    host.documents = [container("web", ours=True, mounts=[moved])]
    host.model = {"services": {"web": {"volumes": [{"type": "bind", "source": "/opt/shop/data", "target": "/data"}]}}}
    with pytest.raises(run.RemovalError, match="/data is /root/shop/data now, and /opt/shop/data would be there"):
        host.remove()


@pytest.mark.parametrize(
    ("mount", "service", "is_moved"),
    [
        (
            {"Type": "volume", "Name": "shop_db", "Destination": "/db"},
            {"volumes": [{"type": "volume", "source": "db", "target": "/db"}]},
            False,
        ),
        (
            {"Type": "volume", "Name": "old_db", "Destination": "/db"},
            {"volumes": [{"type": "volume", "source": "db", "target": "/db"}]},
            True,
        ),
        ({"Type": "volume", "Name": "shop_db", "Destination": "/db"}, {}, True),
        ({"Type": "volume", "Name": "0" * 64, "Destination": "/db"}, {}, False),
        ({"Type": "tmpfs", "Destination": "/tmp"}, {}, False),
        (
            {"Type": "bind", "Source": "/opt/shop/s", "Destination": "/run/secrets/s"},
            {"secrets": [{"source": "s"}]},
            False,
        ),
    ],
    ids=["the same volume", "another volume", "a volume of the overlay", "without a name", "in memory", "a secret"],
)
def test_where_data_is_before_and_after(mount: dict[str, str], service: dict[str, Any], is_moved: bool) -> None:
    model = {"services": {"web": service}, "volumes": {"db": {"name": "shop_db"}}}
    own = own_files.OwnFiles(Project("shop", "/opt/shop"), model)
    assert bool(own_files.moved(own, [container("web", ours=True, mounts=[mount])])) is is_moved


def test_a_cache_of_the_overlay_is_a_reason_to_refuse(host: Host) -> None:
    host.documents = [container("web", ours=True), container("cache", ours=True)]
    with pytest.raises(run.RemovalError, match="cache: only the overlay has these services"):
        host.remove()


@pytest.fixture
def adopted(host: Host) -> Host:
    """The app was adopted from /root/shop. It mounts a copy of a file there, and its data there."""
    old, new = (host.write(f"{folder}/shop/site.conf").parent for folder in ("root", "opt"))
    host.write("root/shop/compose.yaml")
    host.write("opt/shop/.env.example")
    state = host.root / "var/lib/selfheal/shop"
    (state / "copied.json").write_text('{"compose.yaml": ""}', encoding="utf-8")
    record = {"folder": str(old), "files": [str(old / "compose.yaml")], "env_files": [], "is_done": True}
    (state / "adopted.json").write_text(json.dumps(record), encoding="utf-8")
    adoption_record.mark(host.options().app.paths, adoption_record.Origin(str(old), [], []))
    for folder in (old, new):
        binds = {"/conf": f"{folder}/site.conf", "/data": f"{old}/data"}
        volumes = [{"type": "bind", "source": source, "target": target} for target, source in binds.items()]
        host.models[str(folder)] = {"services": {"web": {"volumes": volumes, "build": {"context": str(folder)}}}}
        mounts = [{"Type": "bind", "Destination": target, "Source": source} for target, source in binds.items()]
    host.documents = [container("web", ours=True, mounts=mounts)]
    return host


def test_an_adopted_app_runs_from_its_old_folder_again(adopted: Host) -> None:
    planned = adopted.remove(check=True)
    done = adopted.remove()
    assert planned["files"] == done["files"]
    assert done["runs_from"].split()[5] == str(adopted.root / "root/shop")
    assert {path for path in adopted.paths() if "/shop/" in path} == {"root/shop/compose.yaml", "root/shop/site.conf"}
    assert not (adopted.root / "opt/shop").exists()
    assert str(adopted.root / "opt/shop") not in [one["what"] for one in done["remains"]]


def test_a_dry_run_leaves_the_notice_as_it_is(adopted: Host) -> None:
    (adopted.root / "root/shop/site.conf").write_text("other", encoding="utf-8")
    notice = adopted.root / "root/shop/ADOPTED-BY-SELFHEAL.md"
    before = notice.read_text(encoding="utf-8")
    adopted.remove(check=True)
    assert notice.read_text(encoding="utf-8") == before


def test_the_notice_of_a_stopped_app_says_so(adopted: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Project, "down", lambda _project: commands.Result(0, "", ""))
    (adopted.root / "root/shop/site.conf").write_text("other", encoding="utf-8")
    adopted.remove(stop=True)
    notice = adopted.root / "root/shop/ADOPTED-BY-SELFHEAL.md"
    assert "It was stopped. Its files are in" in notice.read_text(encoding="utf-8")


@pytest.mark.parametrize("runs_there", [True, False])
def test_a_notice_that_somebody_has_changed_stays_and_is_named(adopted: Host, runs_there: bool) -> None:
    notice = adopted.root / "root/shop/ADOPTED-BY-SELFHEAL.md"
    notice.write_text("call Kim before you touch this", encoding="utf-8")
    if not runs_there:
        (adopted.root / "root/shop/site.conf").write_text("other", encoding="utf-8")
    done = adopted.remove()
    assert notice.read_text(encoding="utf-8") == "call Kim before you touch this"
    (detail,) = (one["detail"] for one in done["remains"] if one["what"] == str(notice))
    assert "changed since" in detail


@pytest.mark.parametrize("check", [True, False])
def test_services_that_do_not_handle_their_stop_signal_are_named(host: Host, check: bool) -> None:
    # It was started with SIGTERM at its default, as every child; without a handler.
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.DEVNULL) as deaf:
        host.documents = [container("web", ours=True), container("worker", ours=False)]
        for one in host.documents:
            one["State"]["Pid"] = deaf.pid
            one["Config"]["StopTimeout"] = 7
        done = host.remove(check=check)
        deaf.kill()
    said = "web (7 s) does not handle SIGTERM, and is killed after its stop_grace_period. That adds to the time"
    assert said in report.text("shop", done, check)


def below_top(adopted: Host) -> Path:
    """Lay the copy out with a subfolder, as the app mounts `../shared assets`; return the subfolder."""
    old, new = adopted.root / "root/shop", adopted.root / "opt/shop/shop"
    new.mkdir()
    for name in ("compose.yaml", "site.conf"):
        (adopted.root / "opt/shop" / name).rename(new / name)
    for top in (old.parent, new.parent):
        adopted.write(f"{top.relative_to(adopted.root)}/shared assets/logo.svg")
    (adopted.root / "opt/shop/compose.hardened.yaml").write_text(
        '# selfheal: {"files": ["shop/compose.yaml"]}\n', encoding="utf-8"
    )
    copied = '{"shop/compose.yaml": "", "shared assets/logo.svg": ""}'
    (adopted.root / "var/lib/selfheal/shop/copied.json").write_text(copied, encoding="utf-8")
    for folder in (old, new):
        shared, data = f"{folder.parent}/shared assets", f"{old.parent}/data of it"
        sources = {"/conf": f"{folder}/site.conf", "/shared": shared, "/data": data}
        volumes = [
            {"type": "bind", "source": source, "target": target, **({"read_only": True} if target != "/data" else {})}
            for target, source in sources.items()
        ]
        adopted.models[str(folder)] = {"services": {"web": {"volumes": volumes}}}
        mounts = [{"Type": "bind", "Destination": target, "Source": source} for target, source in sources.items()]
    adopted.documents = [container("web", ours=True, mounts=mounts)]
    return new


def remaining(done: report.Removed) -> dict[str, str]:
    return {one["what"]: one["detail"] for one in done["remains"]}


def test_the_project_in_a_subfolder_of_the_directory_is_not_what_is_left_of_a_copy(adopted: Host) -> None:
    new = below_top(adopted)
    (adopted.root / "root/shop/compose.yaml").unlink()
    remains = remaining(adopted.remove())
    assert remains[str(new.parent)] == f"the app's folder; its project is in {new}"
    assert not [detail for detail in remains.values() if "left of the copy" in detail]
    assert {"opt/shop/shop/compose.yaml", "opt/shop/.env"} <= adopted.paths()


@pytest.mark.parametrize("stop", [True, False], ids=["stopped", "running on"])
def test_an_app_with_files_above_its_folder_runs_from_there_again(
    adopted: Host, monkeypatch: pytest.MonkeyPatch, stop: bool
) -> None:
    monkeypatch.setattr(Project, "down", lambda _project: commands.Result(0, "", ""))
    below_top(adopted)
    adopted.write("root/data of it/letter")
    done = adopted.remove(stop=stop)
    assert done["runs_from"].split()[5:6] == ([] if stop else [str(adopted.root / "root/shop")])
    assert remaining(done)[str(adopted.root / "root/shop")] == "the app's folder"
    assert not [note for note in done["notes"] if "adopted from" in note]
    assert not (adopted.root / "opt/shop").exists()
    assert {"root/shared assets/logo.svg", "root/data of it/letter"} <= adopted.paths()


@pytest.mark.parametrize("stop", [True, False], ids=["stopped", "running on"])
@pytest.mark.parametrize("where", ["a copy with other content", "an equal copy", "an equal copy of one service"])
def test_an_app_is_not_given_back_onto_other_data(
    adopted: Host, monkeypatch: pytest.MonkeyPatch, where: str, stop: bool
) -> None:
    monkeypatch.setattr(Project, "down", lambda _project: commands.Result(0, "", ""))
    new = below_top(adopted)
    here, there = (adopted.models[str(folder)]["services"] for folder in (new, adopted.root / "root/shop"))
    adopted.write("root/data of it/letter")
    copy = adopted.write("opt/shop/data of it/letter")
    if where == "a copy with other content":
        (new.parent / "shared assets/logo.svg").write_text("other", encoding="utf-8")
    else:
        if where == "an equal copy of one service":
            here["worker"], there["worker"] = (json.loads(json.dumps(one["web"])) for one in (here, there))
        here["web"]["volumes"][2]["source"] = str(copy.parent)
        adopted.documents[0]["Mounts"][2]["Source"] = str(copy.parent)
    done = adopted.remove(stop=stop)
    (note,) = (note for note in done["notes"] if "adopted from" in note)
    assert ("shared assets differs" if "other" in where else "data of it is data, which is in") in note
    assert done["runs_from"].split()[5:6] == ([] if stop else [str(new)])
    assert remaining(done)[str(new.parent)] == f"the app's folder; its project is in {new}"
    assert "opt/shop/data of it/letter" in adopted.paths()


@pytest.mark.parametrize("has_containers", [True, False])
@pytest.mark.parametrize("stop", [True, False])
def test_data_in_the_old_folder_is_named_after_an_earlier_removal(
    adopted: Host, monkeypatch: pytest.MonkeyPatch, stop: bool, has_containers: bool
) -> None:
    monkeypatch.setattr(Project, "down", lambda _project: commands.Result(0, "", ""))
    new, old = below_top(adopted), adopted.root / "root/shop"
    adopted.models[str(new)]["services"]["web"]["volumes"] += [
        {"type": "bind", "source": f"{old}/data", "target": "/more"},
        {"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock"},
    ]
    (adopted.root / "var/lib/selfheal/shop/adopted.json").unlink()
    text = adopted_mounts.render("shop", str(old), [], [adopted_mounts.Held("secrets", "key", str(old / "key"))])
    (new / adopted_mounts.FILE).write_text(text, encoding="utf-8")
    (adopted.root / "opt/shop/compose.hardened.yaml").write_text(
        f'# selfheal: {{"files": ["shop/compose.yaml", "shop/{adopted_mounts.FILE}"]}}\n', encoding="utf-8"
    )
    adopted.documents[0]["Mounts"] = []
    if not has_containers:
        adopted.documents = []
    remains = remaining(adopted.remove(stop=stop))
    assert remains[str(old)] == f"DO NOT DELETE IT: the app still has its data there: {old}/data"
    assert remains[f"{old.parent}/data of it"] == "DO NOT DELETE IT: the app still has its data there"
    assert "/var/run/docker.sock" not in remains
    notice = (old / "ADOPTED-BY-SELFHEAL.md").read_text(encoding="utf-8")
    assert ("It was stopped. Its files are in" if stop else "It runs from its own compose files in") in notice


def test_files_that_were_set_aside_and_volumes_without_a_name_remain(adopted: Host) -> None:
    new = below_top(adopted)
    volume = {"Type": "volume", "Name": "0" * 64, "Source": "/var/lib/docker/volumes/0/_data", "Destination": "/cache"}
    adopted.documents[0]["Mounts"].append(volume)
    names = [
        "opt/shop/compose.yaml.replaced",
        "opt/shop/.env.replaced",
        "opt/shop/shop/.env.replaced",
        "opt/shop/shop/a.replaced-2",
    ]
    for name in names:
        adopted.write(name)
    remains = remaining(adopted.remove())
    assert {remains[str(adopted.root / name)] for name in names} == {"a file that was changed by hand, and set aside"}
    assert remains[f"volume {'0' * 64}"] == "size unknown, without a name: of web at /cache"
    assert (new / ".env.replaced").exists()


def test_what_somebody_has_put_next_to_the_copy_stays(adopted: Host) -> None:
    adopted.write("opt/shop/notes.txt")
    done = adopted.remove()
    assert str(adopted.root / "opt/shop") in [one["what"] for one in done["remains"]]
    assert {path for path in adopted.paths() if path.startswith("opt/shop")} == {"opt/shop/notes.txt"}


@pytest.mark.parametrize("change", ["a mounted file", "a setting", "a service", "gone"])
def test_an_adopted_app_whose_old_folder_has_changed_runs_from_its_directory(adopted: Host, change: str) -> None:
    model = adopted.models[str(adopted.root / "root/shop")]
    if change == "a mounted file":
        (adopted.root / "root/shop/site.conf").write_text("other", encoding="utf-8")
    elif change == "a setting":
        model["services"]["web"]["environment"] = {"KEY": "a secret"}
    elif change == "a service":
        model["services"]["worker"] = {}
    else:
        (adopted.root / "root/shop/compose.yaml").unlink()
    done = adopted.remove()
    (note,) = (line for line in done["notes"] if "adopted from" in line)
    assert "a secret" not in note
    assert done["runs_from"].split()[5] == str(adopted.root / "opt/shop")
    assert {"opt/shop/compose.yaml", "opt/shop/.env"} <= adopted.paths()
    notice = (adopted.root / "root/shop/ADOPTED-BY-SELFHEAL.md").read_text(encoding="utf-8")
    assert f"It runs from its own compose files in `{adopted.root}/opt/shop`. Nothing hardens or watches it" in notice
    assert "hardened and watched" not in notice
    old = str(adopted.root / "root/shop")
    (detail,) = (one["detail"] for one in done["remains"] if one["what"] == old)
    assert detail == f"DO NOT DELETE IT: the app still has its data there: {old}/data"


def test_an_app_that_was_adopted_where_it_is_keeps_its_files(adopted: Host) -> None:
    record = adopted.root / "var/lib/selfheal/shop/adopted.json"
    record.write_text(record.read_text(encoding="utf-8").replace("/root/", "/opt/"), encoding="utf-8")
    adopted.remove()
    assert {"opt/shop/compose.yaml", "opt/shop/.env", "opt/shop/site.conf"} <= adopted.paths()


def test_images_of_an_app_whose_name_begins_alike_stay(host: Host) -> None:
    host.write("etc/selfheal/shop-blog.json")
    host.images = ["selfheal/shop-web:last-good", "selfheal/shop-blog-web:last-good"]
    assert host.remove()["images"] == ["selfheal/shop-web:last-good"]


def test_services_come_after_those_that_they_need() -> None:
    services: dict[str, Any] = {
        "web": {"depends_on": {"db": {}, "cache": {}}},
        "db": {},
        "cache": {"depends_on": {"db": {}}},
    }
    assert switch.order({"services": services}, list(services)) == ["db", "cache", "web"]


def test_the_gap_is_the_time_without_an_answer() -> None:
    samples = [Sample(at / 10, at / 10 + 0.01, not 3 <= at < 8, "") for at in range(20)]
    assert switch.gap(samples) == pytest.approx(0.5)
    assert switch.gap([]) == 0.0


def test_the_engines_settings_stay_and_the_report_says_which_are_ours(host: Host) -> None:
    path = host.write("etc/docker/daemon.json")
    path.write_text('{"live-restore": true, "dns": ["10.0.0.1"], "log-opts": {}}', encoding="utf-8")
    (detail,) = (one["detail"] for one in host.remove()["remains"] if one["what"] == "/etc/docker/daemon.json")
    assert "live-restore, log-opts are from here" in detail
    assert "dns" not in detail
    assert path.exists()


def test_the_images_are_one_line_and_a_diff_is_not_repeated(host: Host) -> None:
    host.images = ["selfheal/shop-web:1", "selfheal/shop-web:2", "selfheal/shop-db:2"]
    done = host.remove(check=True)
    line = "3 image names of releases: selfheal/shop-db, selfheal/shop-web"
    assert f"  {line}" in report.text("shop", done, check=True).splitlines()
    shown = report.present(done).splitlines()
    assert shown[-1] == line
    text = report.text("shop", done, check=True, is_shown=True)
    assert f"Would be removed: the {len(shown)} lines of the diff above" in text
    assert line not in text


def test_the_report_says_that_the_container_of_a_job_goes(host: Host) -> None:
    host.documents.append(container("migrate", ours=True))
    host.documents[1]["State"] = {"Status": "exited", "ExitCode": 0}
    needs = {"depends_on": {"migrate": {"condition": "service_completed_successfully"}}}
    host.model["services"] |= {"web": {"restart": "always", **needs}, "migrate": {}}
    (note,) = (line for line in host.remove(check=True)["notes"] if "One-shot" in line)
    assert "the ended containers of migrate are removed" in note


def test_the_report_says_what_runs_and_what_remains(host: Host) -> None:
    done = host.remove()
    text = report.text("shop", {**done, "gap": 1.5}, check=False)
    assert "up --detach" in text
    assert "not answered for 1.5 s" in text
    assert "What remains:" in text
    assert report.text("shop", host.remove(), check=False).startswith("shop: nothing of ours is on this host.")


def test_what_is_removed_is_not_reported_by_the_watcher_of_another_app(host: Host) -> None:
    names = [f"/etc/selfheal/{app}.json" for app in ("shop", "blog")]
    root = str(host.root)
    with desired_files.writing([desired_files.Wanted(name, b"x", 0o644) for name in names], root):
        pass
    host.remove()
    record = desired_files.read(root)
    assert record is not None
    assert list(record.files) == ["/etc/selfheal/blog.json"]
    host.documents = [container("web", ours=True)]
    host.remove(app="blog", confirm="blog")
    assert not (host.root / "var/lib/selfheal").exists()
