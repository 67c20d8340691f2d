# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A take-over on the controller: the target, the files that come, the plan, and the run of site.yml."""

from __future__ import annotations

import base64
import io
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.core.files import atomic_write
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption import Adoption
from ansible_collections.christmas.selfheal.plugins.plugin_utils import command_line
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt import (
    front,
    messages,
    receive,
    run,
    stops,
    take_over,
)
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt.target import adopt_target
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import run as init
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.report import Command
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.run import Request

PASSWORD = "m4Zr7Qw9Lx2Vb8Nc5Kt1"
FILES = {
    "compose.yaml": "services: {web: {image: 'nginx:1', ports: ['8080:80'], environment: {PASSWORD: '${PASSWORD}'}}}\n",
    ".env": f"PASSWORD={PASSWORD}\n",
    "compose.adopted.yaml": "# Written by adopt: data\nservices: {}\n",
}


def archive(files: dict[str, str], links: dict[str, str] | None = None) -> str:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as made:
        for name, leads_to in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, leads_to
            made.addfile(link)
        for name, text in files.items():
            item = tarfile.TarInfo(name)
            item.size, item.mode = len(text.encode()), 0o644
            made.addfile(item, io.BytesIO(text.encode()))
    return base64.b64encode(stream.getvalue()).decode()


def adoption(files: dict[str, str] = FILES, stage: str = "", why_not: str = "") -> Adoption:
    state = {"service": "web", "name": "shop-web-1", "state": "running", "image": "nginx:1", "image_id": "sha256:1"}
    return Adoption(
        app="shop",
        directory="/opt/shop",
        folder="/root/shop",
        stage=stage,
        top="/root/shop",
        files=["compose.yaml"],
        instances=[{**state, "exit_code": 0, "stop_seconds": 10.0, "depends_on": []}],  # type: ignore[typeddict-item]
        volumes=[{"name": "shop_db", "size": 3 << 20, "shared_with": ["other"]}],
        data=[{"path": "/root/shop/data", "services": ["web"], "size": None}],
        networks=["shop_default"],
        ports=["0.0.0.0:8080 -> web:80"],
        notes=["web gets other values than it runs with: MODE"],
        front={"service": "web", "port": 8080, "container_port": 80, "address": "*", "why_not": why_not},
        foreign=[],
        archive=archive(files),
    )


@pytest.fixture
def where(tmp_path: Path) -> run.Place:
    return run.place("", "shop", "10.0.0.5", str(tmp_path))


def prepare(found: Adoption, where: run.Place, check: bool = False, in_front: bool = False) -> run.Prepared:
    here = str(Path(where.to).parent)
    request = Request([], "", "", "", here, Command("christmas.selfheal.init", []))
    return run.prepare(found, where, request, 0.0, lambda _project: None, check, in_front)


@pytest.mark.parametrize(
    ("to", "shown"),
    [("", "./shop"), ("a/./b", "./a/b"), ("../x", "../x"), (".", "."), ("/srv/../opt/x", "/opt/x")],
)
def test_a_folder_is_shown_without_a_detour(to: str, shown: str) -> None:
    assert run.place(to, "shop", "10.0.0.5", "/root/work/here").shown == shown


# --- the target -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "folder", "inventory_host", "variables"),
    [
        ("10.0.0.5:/root/shop/", "10.0.0.5", "/root/shop", "10.0.0.5", {"ansible_host": "10.0.0.5"}),
        ("shop.lan", "shop.lan", "", "shop.lan", {"ansible_host": "shop.lan"}),
        (
            *("joe@10.0.0.5:~/shop", "10.0.0.5", "~/shop", "joe@10.0.0.5"),
            {"ansible_host": "10.0.0.5", "ansible_user": "joe", "ansible_become": True},
        ),
        ("[fe80::1]:/x", "fe80::1", "/x", "[fe80::1]", {"ansible_host": "fe80::1"}),
        ("web1:/x", "web1", "/x", "joe@10.0.0.9", {}),
    ],
)
def test_the_target_is_read(
    text: str, name: str, folder: str, inventory_host: str, variables: dict[str, object]
) -> None:
    known = {"web1": {"ansible_host": "10.0.0.9", "ansible_user": "joe"}}
    found = adopt_target(text, known)
    assert found == {
        "problem": "",
        "name": name,
        "folder": folder,
        "inventory_host": inventory_host,
        "variables": variables,
    }


@pytest.mark.parametrize(
    "text", ["", "10.0.0.5:shop", "joe@", "-oProxyCommand=x:/y", "a b:/x", "/root/shop", "ssh://root@10.0.0.5/x"]
)
def test_what_is_no_target_is_a_problem(text: str) -> None:
    assert "write -e adopt=HOST:/root/myapp" in adopt_target(text, {})["problem"]


# --- the files and the inventory --------------------------------------------------------------------------------------


def test_files_and_inventory_are_written_and_the_env_goes_to_the_vault(where: run.Place) -> None:
    done = prepare(adoption(), where)
    assert (done.changed, list(done.to_do)) == (True, [])
    there = {str(path.relative_to(where.to)) for path in Path(where.to).rglob("*") if path.is_file()}
    assert {"compose.yaml", "deploy/hosts.yml", "deploy/group_vars/all/vault.yml", receive.RECORD} <= there
    assert ".env" not in there
    assert "selfheal_app: shop" in Path(where.inventory, "group_vars/all/app.yml").read_text(encoding="utf-8")
    texts = [path.read_bytes() for path in Path(where.to).rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in text for text in texts)
    assert PASSWORD not in done.plan
    assert run.is_known(where, adoption())


def test_a_second_run_changes_nothing(where: run.Place) -> None:
    prepare(adoption(), where)
    done = prepare(adoption(), where)
    assert done.changed is False
    assert "project    ./shop: nothing is new" in done.plan


def test_a_dry_run_writes_nothing(where: run.Place) -> None:
    done = prepare(adoption(), where, check=True)
    assert done.changed
    assert "shop_db (3.0 MiB, used by other, too)" in done.plan
    assert not Path(where.to).exists()


def test_the_plan_says_what_stays_what_changes_and_for_how_long(where: run.Place) -> None:
    said = prepare(adoption(), where, check=True).plan
    for line in (
        "  data       /root/shop/data (size not counted; web)",
        "  port       0.0.0.0:8080 -> web:80",
        "  note       web gets other values than it runs with: MODE",
        "  and 10 s more: web (10 s) does not handle SIGTERM, and is killed after its stop_grace_period\n"
        "  With -e adopt_load_balancer=true, HAProxy",
        "put back as it runs now, from /root/shop.",
    ):
        assert line in said


def test_a_load_balancer_is_put_into_the_plan_and_the_inventory(where: run.Place) -> None:
    done = prepare(adoption(), where, in_front=True)
    for line in (
        "  HAProxy, which has port 8080 from then on, and forwards to web:80",
        "  no request: while the containers are recreated, requests wait, at most 20 s",
        "with the next number. Use `docker compose -p shop exec web`",
    ):
        assert line in done.plan
    for line in ("some seconds, and the app's own start", "under the same names"):
        assert line not in done.plan
    written = Path(where.inventory, front.FILE)
    assert yaml.safe_load(written.read_text(encoding="utf-8")) == {
        "compose_app_service": "web",
        "compose_app_instances": 1,
        "load_balancer_port": 8080,
        "load_balancer_queue_seconds": 20,
    }
    app = yaml.safe_load(Path(where.inventory, "group_vars/all/app.yml").read_text(encoding="utf-8"))
    # init leaves the row out: it knows the image.
    assert app["compose_app_services"] == {"web": {"port": 80}}
    before = {path: path.read_bytes() for path in Path(where.to).rglob("*") if path.is_file()}
    again = prepare(adoption(), where)
    assert "forwards to web:80" in again.plan
    assert {path: path.read_bytes() for path in Path(where.to).rglob("*") if path.is_file()} == before


def test_an_address_of_the_host_goes_into_the_inventory() -> None:
    text = front.render({**adoption()["front"], "address": "127.0.0.1"}, 10)
    assert yaml.safe_load(text)["load_balancer_address"] == "127.0.0.1"


def test_where_no_load_balancer_can_be_put_nothing_is_written(where: run.Place) -> None:
    with pytest.raises(InitError, match="db publishes 5432/tcp, too"):
        prepare(adoption(why_not="db publishes 5432/tcp, too"), where, in_front=True)
    assert not Path(where.to).exists()
    assert "With -e adopt_load_balancer=true" not in prepare(adoption(why_not="x"), where, check=True).plan
    assert "With -e adopt_load_balancer=true" in prepare(adoption(), where, check=True).plan


def test_the_plan_names_what_is_written_on_the_host(where: run.Place) -> None:
    said = prepare(adoption(), where, check=True).plan
    for name in (
        *("/opt/shop (project, overlay, releases, .env)", "/var/lib/selfheal/shop", "/etc/selfheal/shop.json"),
        *("/usr/local/lib/selfheal", "/usr/local/bin/selfheal", "/usr/share/bash-completion/completions/selfheal"),
        *("/etc/logrotate.d/selfheal-shop", "/etc/systemd/journald.conf.d/60-selfheal.conf"),
        *("/etc/docker/daemon.json", "a reload of the engine", "rsync"),
    ):
        assert name in said
    # Of other roles, and of options that the new inventory does not have.
    for name in ("prometheus", "/etc/apt", "domain", "haproxy", "/run/"):
        assert name not in said
    said = prepare(adoption(), where, check=True, in_front=True).plan
    assert "  haproxy    /etc/haproxy/selfheal/shop.cfg, " in said
    assert "rsync, logrotate, haproxy" in said


def chained(*rows: tuple[str, float, list[str]]) -> Adoption:
    """An adoption with a container for each (service, seconds of its stop, services that it depends on)."""
    found = adoption()
    one = found["instances"][0]
    instances = [
        {**one, "service": service, "stop_seconds": seconds, "depends_on": needs} for service, seconds, needs in rows
    ]
    return {**found, "instances": instances}  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("rows", "seconds", "queue"),
    [
        ([("web", 10.0, ["api"]), ("api", 10.0, ["db"]), ("worker", 10.0, ["api"]), ("db", 0.0, [])], 20.0, 30),
        ([("web", 10.0, []), ("api", 10.0, []), ("worker", 5.0, [])], 10.0, 30),
        ([("web", 10.0, []), ("edge", 10.0, ["web"])], 20.0, 20),
        ([("web", 0.0, ["api"]), ("api", 0.5, ["worker"]), ("worker", 60.0, ["api"])], 60.5, 30),
        ([], 0.0, 20),
    ],
    ids=["in a chain", "at once", "those after the balanced one stop when it serves", "in a circle", "none"],
)
def test_requests_may_wait_as_long_as_the_stops_take(
    rows: list[tuple[str, float, list[str]]], seconds: float, queue: int
) -> None:
    found = chained(*rows)
    assert (stops.seconds(found["instances"]), stops.queue_seconds(found)) == (seconds, queue)


def test_the_plan_says_how_long_requests_wait_for_services_that_are_killed(where: run.Place) -> None:
    found = chained(("web", 0.0, ["api"]), ("api", 10.0, []), ("worker", 10.0, ["api"]))
    text = prepare(found, where, in_front=True).plan
    assert (
        "requests wait, at most 30 s (load_balancer_queue_seconds)\n  they wait 20 s and the app's own start: " in text
    )
    assert "api (10 s), worker (10 s) do not handle SIGTERM" in text
    written = Path(where.inventory, front.FILE)
    assert yaml.safe_load(written.read_text(encoding="utf-8"))["load_balancer_queue_seconds"] == 30
    written.write_text("load_balancer_queue_seconds: 12\n", encoding="utf-8")
    assert "requests that wait longer than 12 s fail" in prepare(found, where).plan


def test_a_placeholder_stops_the_take_over_and_the_next_run_goes_on(where: run.Place) -> None:
    bad = {**FILES, ".env": "PASSWORD=changeme\n"}
    done = prepare(adoption(bad), where)
    assert "PASSWORD (.env line 1): placeholder" in done.to_do[0]
    # A person has put the value into the inventory: what `.env` still says does not matter.
    Path(where.inventory, "group_vars/all/vault.yml").unlink()
    prepare(adoption(), where)
    assert list(prepare(adoption(bad), where).to_do) == []


def test_changes_of_the_user_stay_and_are_named(where: run.Place) -> None:
    prepare(adoption(), where)
    mine = FILES["compose.yaml"].replace("8080", "8081")
    Path(where.to, "compose.yaml").write_text(mine, encoding="utf-8")
    newer = {**FILES, "compose.adopted.yaml": "# Written by adopt: other data\nservices: {}\n"}
    done = prepare(adoption(newer), where)
    assert "kept       compose.yaml: other than on the host" in done.plan
    assert Path(where.to, "compose.yaml").read_text(encoding="utf-8") == mine
    assert "other data" in Path(where.to, "compose.adopted.yaml").read_text(encoding="utf-8")


class Killed(BaseException):
    """The run ends here, and cleans nothing up."""


@pytest.mark.parametrize("written", range(5))
def test_a_run_that_was_killed_is_completed(written: int, where: run.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter(range(written))

    def write(path: str, *given: Any, **named: Any) -> None:
        if next(left, None) is None:
            raise Killed
        atomic_write(path, *given, **named)

    def run_init(*_unused: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(run, "_require_accepted", lambda *_: None)
        patched.setattr(receive, "atomic_write", write)
        patched.setattr(os, "unlink", lambda _path: None)
        patched.setattr(init, "run", run_init)
        with pytest.raises(Killed):
            prepare(adoption(), where)
    assert list(prepare(adoption(), where).to_do) == []
    assert not Path(where.to, ".env").exists()
    assert prepare(adoption(), where).changed is False


def test_an_env_of_the_user_stays(where: run.Place) -> None:
    prepare(adoption(), where)
    Path(where.to, ".env").write_text(FILES[".env"], encoding="utf-8")
    prepare(adoption(), where)
    assert Path(where.to, ".env").exists()


def test_a_folder_with_something_else_is_refused(where: run.Place) -> None:
    Path(where.to).mkdir()
    Path(where.to, "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InitError, match="it is not empty, and holds no copy of this project"):
        prepare(adoption(), where)
    Path(where.to, "compose.yaml").write_text("services: {}", encoding="utf-8")
    with pytest.raises(InitError, match=r"it has other files than the host: compose\.yaml"):
        prepare(adoption(), where)
    assert sorted(os.listdir(where.to)) == ["compose.yaml", "notes.txt"]


def test_an_inventory_from_before_there_was_data_is_refused(where: run.Place) -> None:
    prepare(adoption(), where)
    found = adoption()
    found["files"] = ["compose.yaml", "compose.adopted.yaml"]
    with pytest.raises(InitError, match=r"write there: compose_app_files: \[compose\.yaml, compose\.adopted\.yaml\]"):
        prepare(found, where)


def test_what_init_refuses_leaves_nothing_here(where: run.Place) -> None:
    with pytest.raises(InitError):
        prepare(adoption({**FILES, ".env": "A=${NOWHERE}x\n"}), where)
    assert not Path(where.to).exists()


def test_the_inventory_connects_as_this_run_does(where: run.Place) -> None:
    request = Request([], "", "", "", str(Path(where.to).parent), Command("christmas.selfheal.adopt", []))
    request = request._replace(connection=[("ansible_port", 2222), ("ansible_ssh_private_key_file", "/keys/shop")])
    run.prepare(adoption(), where, request, 0.0, lambda _project: None, check=False)
    assert "      ansible_port: 2222\n      ansible_ssh_private_key_file: /keys/shop\n" in Path(where.hosts).read_text(
        encoding="utf-8"
    )


def test_a_folder_of_another_app_is_refused(where: run.Place) -> None:
    prepare(adoption(), where)
    with pytest.raises(InitError, match=r"it is the folder of shop on 10\.0\.0\.5"):
        prepare(adoption(), where._replace(host="10.0.0.6"))


def test_a_host_cannot_write_outside_the_folder(where: run.Place) -> None:
    with pytest.raises(InitError, match="a path that leaves the project"):
        prepare(adoption({**FILES, "../evil": "x"}), where)
    assert not Path(where.to).exists()


# --- the run of site.yml ----------------------------------------------------------------------------------------------


def test_the_other_run_gets_the_new_inventory_and_the_options_of_this_one() -> None:
    given = {"inventory": ["old"], "extra_vars": ["adopt=h:/x"], "private_key_file": "key", "ask_pass": False}
    argv = take_over.command("site.yml", "new/hosts.yml", "new/.password", command_line.passed_on, given)
    assert argv[:4] == [sys.executable, "-m", "ansible", "playbook"]
    assert argv[4:] == [
        *("site.yml", "-i", "new/hosts.yml", "--vault-password-file", "new/.password"),
        *("-e", "docker_engine_restart=false", "--extra-vars=adopt=h:/x", "--private-key=key"),
    ]


def test_its_lines_are_shown_as_they_come_and_its_end_counts() -> None:
    shown: list[str] = []
    program = (
        "import os; print(os.environ['ANSIBLE_COLLECTIONS_PATH'].split(':')[0]); "
        "print(os.environ['ANSIBLE_CONFIG']); raise SystemExit(3)"
    )
    assert take_over.run([sys.executable, "-c", program], "/collections", "/new/ansible.cfg", shown.append) == 3
    assert shown == ["/collections", "/new/ansible.cfg"]


# --- what it says at its end ------------------------------------------------------------------------------------------


def test_a_failure_says_what_runs_now(where: run.Place) -> None:
    said = messages.failed(adoption(), adoption(), where)
    assert "1 of 1 containers run, from /root/shop, with the images as before" in said
    renumbered = adoption()
    renumbered["instances"][0]["name"] = "shop-app-2"
    assert "with the images as before" in messages.failed(renumbered, adoption(), where)
    other = adoption()
    other["instances"][0]["image_id"] = "sha256:2"
    assert "with other images than before" in messages.failed(other, adoption(), where)
    assert "could not be asked what runs now" in messages.failed(None, adoption(), where)
    assert "from /opt/shop" in messages.failed(adoption(stage="serves"), adoption(), where)


# id, state and exit code before, the same now, what is said
ENDED: list[tuple[str, tuple[str, int], tuple[str, int], str]] = [
    ("it runs once", ("exited", 0), ("exited", 0), "1 of 1 containers run"),
    ("it failed", ("exited", 0), ("exited", 1), "1 of 2 containers run"),
    ("it was stopped", ("running", 0), ("exited", 0), "1 of 2 containers run"),
    ("it runs now", ("exited", 0), ("running", 0), "2 of 2 containers run"),
]


@pytest.mark.parametrize(("before", "after", "said"), [row[1:] for row in ENDED], ids=[row[0] for row in ENDED])
def test_a_container_that_runs_once_is_not_missing(
    where: run.Place, before: tuple[str, int], after: tuple[str, int], said: str
) -> None:
    found, now = adoption(), adoption()
    for one, (state, code) in ((found, before), (now, after)):
        web = one["instances"][0]
        one["instances"] = [web, {**web, "service": "migrate", "state": state, "exit_code": code}]
    assert said in messages.failed(now, found, where)


def test_an_adopted_app_is_left_alone_and_a_start_by_hand_is_named(where: run.Place) -> None:
    said = messages.adopted(adoption(stage="done"), where)
    assert "adopted already: it runs from /opt/shop. Nothing was changed" in said
    assert "run again in /root/shop" in said
    calm = adoption(stage="done")
    calm["folder"] = "/opt/shop"
    assert "run again" not in messages.adopted(calm, where)


@pytest.mark.parametrize(
    ("links", "name"),
    [
        ({"conf": "/srv/other"}, "notes"),
        ({"deep/conf": "../../other"}, "notes"),
        ({"conf": "."}, "conf/notes"),
        ({"conf": "."}, "./conf/notes"),
    ],
    ids=["a link elsewhere", "a link above", "a file behind a link", "the same, spelled otherwise"],
)
def test_a_link_does_not_lead_out_of_the_project(tmp_path: Path, links: dict[str, str], name: str) -> None:
    with pytest.raises(InitError, match="a path that leaves the project"):
        receive.unpack(archive({name: "a text"}, links), str(tmp_path / "shop"))
    assert not list(tmp_path.rglob("notes"))


def test_a_link_within_the_project_is_received(tmp_path: Path) -> None:
    receive.unpack(archive({"conf/site": "a text"}, {"deep/site": "../conf/site"}), str(tmp_path))
    assert (tmp_path / "deep/site").read_text(encoding="utf-8") == "a text"


# --- services that work on files of others ---


def test_a_service_that_works_as_root_on_files_of_others_keeps_what_it_needs(where: run.Place) -> None:
    found = adoption()
    found["foreign"] = [{"service": "web", "target": "/data", "uid": 1001}]
    text = prepare(found, where).plan
    assert "web runs as root, and files in /data belong to user 1001. It keeps DAC_OVERRIDE" in text
    app = Path(where.inventory, "group_vars/all/app.yml")
    rows = yaml.safe_load(app.read_text(encoding="utf-8"))["compose_app_services"]
    assert rows["web"]["loosen"]["cap_add"] == {
        "to": ["DAC_OVERRIDE"],
        "because": "works as root on files of user 1001",
    }
    assert "DAC_OVERRIDE" not in prepare(found, where).plan


def test_an_inventory_that_is_there_gets_the_row_as_advice(where: run.Place) -> None:
    prepare(adoption(), where)
    found = adoption()
    found["foreign"] = [{"service": "web", "target": "/data", "uid": 1001}]
    assert "Add to compose_app_services: web: {loosen: {cap_add: {to: [DAC_OVERRIDE]" in prepare(found, where).plan
