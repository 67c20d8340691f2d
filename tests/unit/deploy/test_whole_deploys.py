# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole deploys against an engine in memory: the order of the steps, and which release serves after a failure."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import cli, outcome, status
from ansible_collections.christmas.selfheal.plugins.module_utils.core.present import present
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import before_first, rollback, rolling
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import deploy as deployment
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.network import Port
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.module_utils.env import rules as secret_rules
from ansible_collections.christmas.selfheal.plugins.module_utils.health import facts as health_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.health import login_log
from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import run as recovery
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import status as app_status
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store
from ansible_collections.christmas.selfheal.plugins.module_utils.releases.store import Release
from ansible_collections.christmas.selfheal.tests.unit.world import (
    OTHER_TOKEN,
    TOKEN,
    VARIABLES,
    Killed,
    World,
    die,
    digest,
    live,
    simulated,
)

POSTGRES = digest("postgres 17")
ONE, TWO = digest("version 1"), digest("version 2")
WORKER = {"image": "shop:1", "restart": "unless-stopped", "command": ["work"]}
MIGRATE = {"image": "shop:1", "command": ["migrate"], "depends_on": {"database": {"condition": "service_healthy"}}}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as root, simulated(Path(root), monkeypatch) as it:
        yield it


@pytest.fixture
def balanced(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as root, simulated(Path(root), monkeypatch, balanced=True) as it:
        yield it


PLAN = rolling.Plan(gate=10.0, drain=1.0, watch=2.0)


def deploy(world: World, check: bool = False, **how: Any) -> deployment.DeployResult:
    """One minute after the previous call."""
    world.tick(60.0)
    world.docker.acts.clear()
    world.said.clear()
    return deployment.deploy(world.app, deployment.How(say=world.say, plan=PLAN, **how), check, world.clock)


def failed(world: World, **how: Any) -> str:
    with pytest.raises(deployment.DeployError) as raised:
        deploy(world, **how)
    return str(raised.value)


def roll_back(world: World, wanted: str = "") -> deployment.DeployResult:
    world.tick(60.0)
    return rollback.roll_back(world.app, wanted, deployment.How(say=world.say, plan=PLAN), clock=world.clock)


def last_good(world: World) -> Release:
    found = release_store.last_good(world.app.paths.directory)
    assert found is not None
    return found


def token(world: World) -> str:
    return str(dotenv.parse(Path(world.app.paths.env).read_text(encoding="utf-8"))["TOKEN"])


# --- successes -------------------------------------------------------------------------------------------------------


def test_a_first_deploy_pulls_builds_and_starts_in_order_and_a_second_does_nothing(world: World) -> None:
    done = deploy(world, by="ada")
    assert (done["changed"], done["healthy"], done["differences"]) == (True, True, ["nothing was deployed here yet"])
    assert world.docker.acts == [
        "pull postgres:17",
        "build web",
        "create database",
        "create web",
        "start database",
        "start web",
    ]
    assert (last_good(world)["id"], last_good(world)["by"]) == (done["release"], "ada")
    assert world.docker.images["selfheal/shop-web:last-good"] == ONE
    again = deploy(world)
    assert (again["changed"], again["release"], world.docker.acts) == (False, done["release"], [])


def test_a_changed_source_replaces_only_the_services_built_from_it(world: World) -> None:
    first = deploy(world)
    world.source("version 2")
    done = deploy(world)
    assert done["differences"] == [f"the build context differs from release {first['release']}"]
    assert world.docker.acts == ["build web", "remove web", "create web", "start web"]
    assert world.running() == {"web": TWO, "database": POSTGRES}


def _exited(world: World) -> None:
    next(one for one in world.docker.of("shop") if one.service == "web").state = "exited"


def _removed(world: World) -> None:
    world.docker.containers = {one.id: one for one in world.docker.of("shop") if one.service != "web"}


def _configured(world: World) -> None:
    next(one for one in world.docker.of("shop") if one.service == "web").hash = "by hand"


def _image(world: World) -> None:
    next(one for one in world.docker.of("shop") if one.service == "web").image = "sha256:by-hand"


def _moved(world: World) -> None:
    world.docker.there.add("sha256:newer")
    world.docker.images["postgres:17"] = "sha256:newer"


def _paused(world: World) -> None:
    next(one for one in world.docker.of("shop") if one.service == "web").state = "paused"


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        pytest.param(_exited, "shop-web-2 is exited", id="it has ended"),
        pytest.param(_paused, "shop-web-2 is paused", id="it was paused"),
        pytest.param(_removed, "service web has no container", id="it was removed"),
        pytest.param(_configured, "shop-web-2 was made with another configuration", id="it was made by hand"),
        pytest.param(_image, "shop-web-2 runs another image", id="of another image"),
        pytest.param(_moved, "service database: postgres:17 is another image than that of release", id="a pull"),
    ],
)
def test_changes_by_hand_are_differences_and_are_corrected(
    world: World, happens: Callable[[World], None], said: str
) -> None:
    deploy(world)
    happens(world)
    done = deploy(world)
    assert [text[: len(said)] for text in done["differences"]] == [said]
    assert world.running()["web"] == ONE
    assert deploy(world)["changed"] is False


def test_a_job_runs_once_before_the_services_that_depend_on_it(world: World) -> None:
    world.docker.behaves["migrate"] = "exits 0"
    world.compose(migrate=MIGRATE, web={"depends_on": {"migrate": {"condition": "service_completed_successfully"}}})
    deploy(world)
    assert world.docker.acts[-3:] == ["start database", "start migrate", "start web"]
    assert last_good(world)["jobs"] == ["migrate"]
    world.source("version 2")
    world.compose(
        migrate=MIGRATE,
        web={
            "depends_on": {"migrate": {"condition": "service_completed_successfully"}},
            "environment": {"TOKEN": "${TOKEN}", "DEBUG": "1"},
        },
    )
    deploy(world, build=False)
    assert world.docker.acts == ["remove web", "create web", "start web"]


def test_a_service_with_restart_true_restarts_with_its_dependency(world: World) -> None:
    world.compose(web={"depends_on": {"database": {"condition": "service_healthy", "restart": True}}})
    deploy(world)
    _moved(world)
    deploy(world)
    acts = [act for act in world.docker.acts if not act.startswith("build")]
    assert acts == ["remove database", "create database", "stop web", "start database", "start web"]


def test_a_service_with_post_start_is_started_by_compose(world: World) -> None:
    """Only Compose runs the commands of post_start."""
    world.compose(web={"post_start": [{"command": ["warm-up"]}]})
    lines: list[str] = []
    world.docker.before = lines.append
    deploy(world)
    assert [line for line in lines if line.endswith("up --detach --no-recreate --no-build --no-deps web")] != []
    assert world.running()["web"] == ONE


def test_the_images_of_a_promotion_run_and_their_origin_is_recorded(world: World) -> None:
    first = deploy(world)
    world.docker.there.add(TWO)
    origin = {"host": "staging1", "release": "7"}
    done = deploy(world, build=False, images={"web": TWO, "gone": "sha256:0"}, origin=origin)
    assert done["differences"] == [f"the image of service web differs from release {first['release']}"]
    assert (world.running()["web"], last_good(world)["promoted_from"]) == (TWO, origin)
    world.env(OTHER_TOKEN)
    deploy(world, build=False)
    assert last_good(world)["promoted_from"] == origin


def test_an_image_of_a_promotion_that_did_not_arrive_is_named(world: World) -> None:
    deploy(world)
    said = failed(world, build=False, images={"web": TWO})
    assert "the images cannot be tagged with their names in compose.yaml" in said
    assert world.running()["web"] == ONE


# --- refused deploys change nothing ----------------------------------------------------------------------------------


def _placeholder(world: World) -> None:
    Path(world.app.paths.env).write_text("TOKEN=your-key-here\n", encoding="utf-8")


def _unknown_image(world: World) -> None:
    world.compose(cache={"image": "redis:8"})


def _old_compose(world: World) -> None:
    world.docker.compose_version = "2.20.0"


def _damaged(world: World) -> None:
    Path(world.app.paths.directory, "compose.yaml").write_text("services: [", encoding="utf-8")


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        pytest.param(_placeholder, r"nothing was started, .*/\.env does not pass:\n.*TOKEN", id="a placeholder"),
        pytest.param(_unknown_image, r"redis:8 cannot be pulled: .*\. Nothing was started\.", id="no such image"),
        pytest.param(_old_compose, r"plugin is 2\.20\.0, 2\.24 or newer is needed: install", id="an old Compose"),
        pytest.param(_damaged, r"the compose files in .*/opt/shop do not make a project: error", id="no YAML"),
    ],
)
def test_a_deploy_that_cannot_run_is_refused_and_the_app_keeps_running(
    world: World, happens: Callable[[World], None], said: str
) -> None:
    deploy(world)
    happens(world)
    world.source("version 2")
    with pytest.raises(deployment.DeployError, match=f"(?s){said}"):
        deploy(world)
    assert world.docker.acts == []
    assert world.running()["web"] == ONE


def test_files_with_an_unknown_image_are_replaced_by_those_of_the_running_release(world: World) -> None:
    """A recovery would start the app from them."""
    deploy(world)
    before = world.files()["compose.yaml"]
    _unknown_image(world)
    failed(world)
    assert world.files()["compose.yaml"] == before


def test_an_engine_that_does_not_answer_is_named_with_the_next_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{world.root}/nowhere.sock")
    assert "the Docker engine does not answer: " in (said := failed(world))
    assert said.endswith("Try: systemctl status docker")
    assert deploy(world, check=True)["differences"] == ["everything: this host has no engine yet"]


def test_haproxy_at_the_apps_port_gets_another_message_than_other_processes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procfs, "listeners", lambda _port: [{"process": "haproxy", "pid": 7}])
    said = failed(world)
    assert "port 8000, which service web publishes, is held by" in said
    assert "compose_app_instances: 1 keeps it, with one instance" in said
    monkeypatch.setattr(procfs, "listeners", lambda _port: [{"process": "nginx", "pid": 7}])
    assert failed(world).endswith("Nothing was started. Stop that process, or publish another port.")
    assert world.docker.acts == []


# --- check mode ------------------------------------------------------------------------------------------------------


def _no_files(world: World) -> None:
    Path(world.app.paths.directory, "compose.yaml").unlink()


def _other_source(world: World) -> None:
    world.source("version 2")


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        pytest.param(_no_files, "nothing was deployed here yet", id="no compose file"),
        pytest.param(_placeholder, "the env in force does not pass its rules", id="a placeholder"),
        pytest.param(_other_source, "the build context differs from release", id="another source"),
        pytest.param(_exited, "shop-web-2 is exited", id="it has ended"),
    ],
)
def test_check_mode_says_what_would_change_and_touches_nothing(
    world: World, happens: Callable[[World], None], said: str
) -> None:
    good = deploy(world)
    happens(world)
    message = deploy(world, check=True)
    assert (message["changed"], message["differences"][0][: len(said)]) == (True, said)
    assert (world.docker.acts, last_good(world)["id"]) == ([], good["release"])


# --- after a failure -------------------------------------------------------------------------------------------------


def _gate(world: World) -> None:
    world.bad.add(TWO)


def _build_fails(world: World) -> None:
    world.docker.fails[" build --quiet"] = "error: no space left on device"


def _job_fails(world: World) -> None:
    world.docker.behaves["migrate"] = "exits 3"
    world.compose(migrate=MIGRATE, web={"depends_on": {"migrate": {"condition": "service_completed_successfully"}}})


def _worker_ends(world: World) -> None:
    world.docker.behaves["worker"] = "exits 1"
    world.compose(worker=WORKER)


def _loops(world: World) -> None:
    world.docker.behaves[TWO] = "restarts"


def _ends(world: World) -> None:
    world.docker.behaves[TWO] = "exits 1"


def _refuses(world: World) -> None:
    world.docker.behaves[TWO] = "refuses"


def _waits_too_long(world: World) -> None:
    _waits_in_vain(world)
    world.docker.behaves["cache"] = "starting"


def _waits_in_vain(world: World) -> None:
    world.docker.behaves["cache"] = "unhealthy"
    world.docker.registry["redis:8"] = digest("redis")
    world.compose(
        cache={"image": "redis:8", "healthcheck": {"test": ["CMD", "true"]}},
        web={"depends_on": {"cache": {"condition": "service_healthy"}}},
    )


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        pytest.param(_gate, "the release did not pass its gate", id="it answers badly"),
        pytest.param(_build_fails, "docker compose build failed: error: no space left", id="no build"),
        pytest.param(_job_fails, "service migrate exited with 3", id="a job fails"),
        pytest.param(_worker_ends, "but a service does not run: service worker exited with 1", id="no check asks"),
        pytest.param(_loops, "the release did not pass its gate", id="it keeps restarting"),
        pytest.param(_ends, "the release did not pass its gate", id="it ends"),
        pytest.param(_refuses, "web cannot be started: Error response from daemon: web: permission", id="no start"),
        pytest.param(_waits_too_long, "within 10 s (compose_app_gate_timeout): web waits for cache", id="too long"),
        pytest.param(_waits_in_vain, "service cache is unhealthy", id="its dependency is unhealthy"),
    ],
)
def test_after_a_bad_release_the_last_good_one_serves_with_its_files_and_env(
    world: World, happens: Callable[[World], None], said: str
) -> None:
    good = deploy(world)
    before = world.files()["compose.yaml"]
    world.source("version 2")
    world.env(OTHER_TOKEN)
    happens(world)
    message = failed(world)
    assert said in message
    assert f"The last good release {good['release']} is put back and serves." in message
    assert (world.running()["web"], world.files()["compose.yaml"], token(world)) == (ONE, before, TOKEN)
    assert last_good(world)["id"] == good["release"]


def test_a_job_that_fails_now_does_not_keep_the_last_good_release_down(world: World) -> None:
    """A newer release may have migrated the database to a schema that the older job cannot read."""
    world.docker.behaves["migrate"] = "exits 0"
    waits = {"depends_on": {"migrate": {"condition": "service_completed_successfully"}}}
    world.compose(migrate=MIGRATE, web=waits)
    good = deploy(world)
    world.source("version 2")
    world.compose(migrate={**MIGRATE, "environment": {"STEP": "2"}}, web=waits)
    world.docker.behaves["migrate"] = "exits 3"
    message = failed(world)
    assert "service migrate exited with 3" in message
    assert f"The last good release {good['release']} is put back and serves." in message
    assert world.running()["web"] == ONE


def test_a_refused_login_is_named_first_and_so_are_the_variables_that_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The engine of this test logs everything in April.
    monkeypatch.setattr(login_log, "LATELY_SECONDS", 1e9)
    deploy(world)
    world.env(OTHER_TOKEN)
    _job_fails(world)
    world.docker.log = 'FATAL:  password authentication failed for user "shop"'
    with pytest.raises(deployment.DeployError) as raised:
        deploy(world)
    assert raised.value.message.startswith("service migrate exited with 3: PostgreSQL refused the login of user shop\n")
    assert raised.value.refused == "PostgreSQL"
    assert raised.value.variables == ["TOKEN"]


def test_the_log_of_a_failed_release_is_kept_without_secrets(world: World) -> None:
    deploy(world)
    world.source("version 2")
    _gate(world)
    world.docker.log = f"error: refusing {TOKEN}"
    message = failed(world)
    assert "error: refusing <TOKEN sha256:" in message
    [kept] = Path(world.app.paths.state, "failed-releases").iterdir()
    assert TOKEN not in message + kept.read_text(encoding="utf-8") + "".join(world.said)


def test_a_first_release_that_fails_leaves_no_container_and_all_data(world: World) -> None:
    world.bad.add(ONE)
    message = failed(world)
    assert message.count("There is no last good release: the containers were taken down, volumes are kept.") == 1
    assert (world.docker.of("shop"), "shop_data" in world.docker.volumes) == ([], True)
    assert release_store.last_good(world.app.paths.directory) is None


def test_when_the_last_good_release_fails_too_the_message_says_so(world: World) -> None:
    deploy(world)
    world.bad = {ONE, TWO}
    message = failed(world)
    assert "recreating the containers" in world.said
    assert "does not pass either" in message


def _image_gone(world: World) -> None:
    world.docker.there.discard(ONE)
    world.docker.images = {name: one for name, one in world.docker.images.items() if one != ONE}


def _no_up(world: World) -> None:
    world.docker.fails[" up --no-start"] = "error: the network shop_default is in use"


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        pytest.param(_image_gone, "could not be put back: Error response from daemon: No such image", id="no image"),
        pytest.param(_no_up, "could not be started: docker compose up failed: error: the network", id="no start"),
    ],
)
def test_a_release_that_cannot_be_restored_is_reported_with_the_reason(
    world: World, happens: Callable[[World], None], said: str
) -> None:
    good = deploy(world)
    world.source("version 2")
    world.bad.add(TWO)
    happens(world)
    assert f"The last good release {good['release']} {said}" in failed(world)


def test_after_an_interrupted_deploy_the_last_good_release_serves(world: World) -> None:
    deploy(world)
    world.source("version 2")

    def alive() -> None:
        raise rolling.Interrupted("the deploy was interrupted")

    assert "the deploy was interrupted" in failed(world, alive=alive)
    assert world.running()["web"] == ONE


# --- the app before its first deploy ---------------------------------------------------------------------------------


def ran_before(world: World) -> str:
    """Start the app with plain Compose, as a person would. Return the text of its compose file."""
    world.docker.run(["docker", "pull", "postgres:17"], 1.0)
    project = docker_project.Project("shop", world.app.paths.directory)
    project.build()
    project.up()
    return world.files()["compose.yaml"]


@pytest.mark.parametrize("kept", [True, False], ids=["recorded", "not recorded"])
def test_the_app_from_before_the_first_deploy_is_restored_if_it_was_recorded(world: World, kept: bool) -> None:
    before = ran_before(world)
    if kept:
        before_first.keep(world.app.paths, ["compose.yaml", "added.conf"])
    world.source("version 2")
    world.compose(web={"environment": {"TOKEN": "${TOKEN}", "DEBUG": "1"}})
    Path(world.app.paths.directory, "added.conf").write_text("new", encoding="utf-8")
    world.bad.add(TWO)
    message = failed(world)
    if not kept:
        assert "The version that ran before this deploy is not recorded, so it cannot be started again" in message
        return
    assert (
        f"What ran before is put back, from its own {world.app.paths.directory}/compose.yaml, not hardened." in message
    )
    assert "It serves: 1 of 1 checks passed" in message
    assert world.running()["web"] == ONE
    assert (world.files()["compose.yaml"], "added.conf" in world.files()) == (before, False)
    assert before_first.read(world.app.paths) is None


def test_the_app_from_before_the_first_deploy_is_not_restored_without_its_compose_file(world: World) -> None:
    ran_before(world)
    before_first.keep(world.app.paths, [])
    elsewhere = Path(world.app.paths.directory, "compose.yaml").rename(
        Path(world.app.paths.directory, "docker-compose.yml")
    )
    world.source("version 2")
    world.bad.add(TWO)
    assert elsewhere.exists()
    assert "What ran before could not be put back: its compose file " in failed(world)


# --- going back ------------------------------------------------------------------------------------------------------


def test_a_rollback_restores_files_env_and_images_and_is_not_repeated(world: World) -> None:
    first = deploy(world)
    before = world.files()["compose.yaml"]
    world.source("version 2")
    world.env(OTHER_TOKEN)
    world.compose(worker=WORKER)
    second = deploy(world)
    done = roll_back(world)
    assert (done["to"], done["changed"], last_good(world)["id"]) == (first["release"], True, first["release"])
    assert (world.running(), world.files()["compose.yaml"], token(world)) == (
        {"web": ONE, "database": POSTGRES},
        before,
        TOKEN,
    )
    with pytest.raises(deployment.DeployError, match="there is no release before the one that serves"):
        roll_back(world)
    assert roll_back(world, second["release"])["to"] == second["release"]
    assert world.running()["worker"] == TWO


def test_a_failed_rollback_restores_the_release_that_served(world: World) -> None:
    deploy(world)
    world.source("version 2")
    world.env(OTHER_TOKEN)
    second = deploy(world)
    world.bad.add(ONE)
    with pytest.raises(
        deployment.DeployError, match=f"The last good release {second['release']} is put back and serves"
    ):
        roll_back(world)
    assert (world.running()["web"], token(world), last_good(world)["id"]) == (TWO, OTHER_TOKEN, second["release"])


MAP_KEY = "Tn4wYb8RqHs2Lc6JvZx0"


def wants_map_key(world: World) -> None:
    """From now on the app has one more required variable, and its env a value of it."""
    row = {"name": "MAP_API_KEY", "kind": "token", "source": "made once"}
    world.app.variables = secret_rules.parse_table([*VARIABLES, row])
    world.more["MAP_API_KEY"] = MAP_KEY


def values(world: World) -> dict[str, str]:
    return dotenv.parse(Path(world.app.paths.env).read_text(encoding="utf-8"))


@pytest.mark.parametrize("is_balanced", [False, True])
def test_a_rollback_keeps_a_required_variable_that_the_release_did_not_have(
    is_balanced: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with simulated(tmp_path, monkeypatch, balanced=is_balanced) as world:
        first = deploy(world)
        wants_map_key(world)
        world.source("version 2")
        world.env(OTHER_TOKEN)
        second = deploy(world)
        assert app_status.inform(world.app, world.clock)["rolls_back_to"] == first["release"]
        assert roll_back(world)["to"] == first["release"]
        assert (values(world), world.running()["web"]) == ({"TOKEN": TOKEN, "MAP_API_KEY": MAP_KEY}, ONE)
        # It is what the release serves with: a deploy finds nothing to do, and no run takes the value away again.
        assert deploy(world, build=False)["changed"] is False
        assert last_good(world)["id"] == first["release"]
        assert app_status.inform(world.app, world.clock)["env_findings"] == []
        assert roll_back(world, second["release"])["changed"]
        assert values(world)["TOKEN"] == OTHER_TOKEN


def test_a_rollback_does_not_keep_an_optional_variable_that_the_release_did_not_have(world: World) -> None:
    deploy(world)
    row = {"name": "MAP_API_KEY", "kind": "token", "source": "made once", "required": False}
    world.app.variables = secret_rules.parse_table([*VARIABLES, row])
    world.more["MAP_API_KEY"] = MAP_KEY
    world.source("version 2")
    world.env(OTHER_TOKEN)
    deploy(world)
    roll_back(world)
    assert values(world) == {"TOKEN": TOKEN}


def test_a_failed_rollback_leaves_no_trace_of_the_env_that_it_tried(world: World) -> None:
    first = deploy(world)
    wants_map_key(world)
    world.source("version 2")
    world.env(OTHER_TOKEN)
    second = deploy(world)
    world.bad.add(ONE)
    with pytest.raises(deployment.DeployError, match="is put back and serves"):
        roll_back(world)
    assert (values(world)["TOKEN"], last_good(world)["id"]) == (OTHER_TOKEN, second["release"])
    recorded = next(one for one in release_store.known(world.app.paths.directory) if one["id"] == first["release"])
    assert recorded["env"] != last_good(world)["env"]
    world.bad.clear()
    assert roll_back(world)["to"] == first["release"]


def test_a_release_whose_env_is_invalid_today_is_named_and_nothing_is_touched(world: World) -> None:
    first = deploy(world)
    wants_map_key(world)
    world.source("version 2")
    world.env(OTHER_TOKEN)
    deploy(world)
    Path(world.app.paths.env).write_text(f"TOKEN={OTHER_TOKEN}\n", encoding="utf-8")
    world.docker.acts.clear()
    with pytest.raises(deployment.DeployError) as raised:
        roll_back(world)
    assert f"the env that was kept of release {first['release']} does not pass today" in str(raised.value)
    assert "MAP_API_KEY: missing" in str(raised.value)
    assert (values(world), world.docker.acts) == ({"TOKEN": OTHER_TOKEN}, [])
    # What would be refused is not named as the next.
    assert app_status.inform(world.app, world.clock)["rolls_back_to"] == ""


# --- behind the load balancer ----------------------------------------------------------------------------------------


def webs(world: World) -> list[str]:
    return sorted(one.image for one in world.docker.of("shop") if one.service == "web" and one.state == "running")


def test_behind_a_balancer_what_it_needs_comes_first_and_what_needs_it_last(balanced: World) -> None:
    balanced.compose(worker={**WORKER, "depends_on": {"web": {"condition": "service_started"}}})
    assert deploy(balanced)["healthy"]
    starts = [act for act in balanced.docker.acts if act.startswith(("start", "HAProxy"))]
    assert starts == ["start database", "HAProxy starts", "start web", "start web", "start worker"]
    assert deploy(balanced)["changed"] is False
    balanced.source("version 2")
    assert deploy(balanced)["healthy"]
    assert webs(balanced) == [TWO, TWO]
    assert "start database" not in balanced.docker.acts


def test_behind_a_balancer_an_instance_that_is_gone_is_started_and_no_other(balanced: World) -> None:
    deploy(balanced)
    gone = next(one for one in balanced.docker.of("shop") if one.service == "web")
    del balanced.docker.containers[gone.id]
    done = deploy(balanced)
    assert done["differences"] == ["service web has 1 of 2 instances"]
    assert [act for act in balanced.docker.acts if "web" in act] == ["build web", "create web", "start web"]


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        pytest.param(_gate, "the new instance did not pass its gate within", id="it answers badly"),
        pytest.param(_ends, "the new instance did not pass its gate: it exits (code 1)", id="it ends"),
        pytest.param(_build_fails, "docker compose build failed", id="no build"),
        pytest.param(_worker_ends, "service worker exited with 1", id="no check asks"),
    ],
)
def test_behind_a_balancer_a_bad_release_is_rolled_back(
    balanced: World, happens: Callable[[World], None], said: str
) -> None:
    good = deploy(balanced)
    balanced.source("version 2")
    happens(balanced)
    message = failed(balanced)
    assert said in message
    assert f"The last good release {good['release']} serves: 1 of 1 checks passed." in message
    assert webs(balanced) == [ONE, ONE]
    assert not rolling.under_way(balanced.app)


def test_behind_a_balancer_a_first_release_that_fails_leaves_nothing_under_way(balanced: World) -> None:
    balanced.bad.add(ONE)
    assert "There is no last good release" in failed(balanced)
    assert (webs(balanced), rolling.under_way(balanced.app)) == ([], False)


@pytest.mark.parametrize("then", ["cleaned up", "deployed again"])
def test_behind_a_balancer_only_one_release_runs_after_a_killed_deploy(balanced: World, then: str) -> None:
    deploy(balanced)
    balanced.source("version 2")
    die(balanced, lambda line: line.startswith("docker stop"))
    with pytest.raises(Killed):
        deploy(balanced)
    live(balanced)
    assert (rolling.under_way(balanced.app), webs(balanced)) == (True, sorted([ONE, ONE, TWO]))
    if then == "cleaned up":
        assert rolling.clean_up(balanced.app, balanced.clock, balanced.say)
        assert not rolling.clean_up(balanced.app, balanced.clock, balanced.say)
    else:
        deploy(balanced)
        assert any("was killed" in text for text in balanced.said)
    assert webs(balanced) == ([ONE, ONE] if then == "cleaned up" else [TWO, TWO])
    assert not rolling.under_way(balanced.app)


def test_behind_a_balancer_the_next_deploy_keeps_the_instances_of_a_killed_first_one(balanced: World) -> None:
    die(balanced, lambda line: "--scale web=2" in line)
    with pytest.raises(Killed):
        deploy(balanced)
    live(balanced)
    assert rolling.clean_up(balanced.app, balanced.clock, balanced.say)
    assert webs(balanced) == [ONE]
    assert deploy(balanced)["healthy"]
    assert webs(balanced) == [ONE, ONE]


# --- state and recover on the host -----------------------------------------------------------------------------------


def test_the_state_of_an_app_names_its_releases_and_its_cause_without_secrets(world: World) -> None:
    done = deploy(world, by="ada")
    facts = app_status.inform(world.app, world.clock)
    assert (facts["healthy"], facts["cause"], facts["release"]) == (True, "", done["release"])
    assert [(one["id"], one["by"]) for one in facts["releases"]] == [(done["release"], "ada")]
    assert sorted(one["service"] for one in facts["instances"]) == ["database", "web"]
    assert facts["rolls_back_to"] == ""
    world.source("version 2")
    second = deploy(world)
    facts = app_status.inform(world.app, world.clock)
    assert (facts["release"], facts["rolls_back_to"]) == (second["release"], done["release"])
    _exited(world)
    facts = app_status.inform(world.app, world.clock)
    assert facts["healthy"] is False
    assert facts["cause"] != ""
    assert TOKEN not in str(facts)


def test_the_state_of_an_app_names_who_holds_ports_that_it_is_going_to_have(
    balanced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    nginx, container = {"process": "nginx", "pid": 7}, {"container": "the container blog-web-1"}
    held = {80: [nginx], 443: [nginx, container], 9000: [nginx]}
    monkeypatch.setattr(health_facts, "holders", lambda port, _own: held.get(port, []))
    balanced.app.balancer = present(balanced.app.balancer)._replace(ports=(80, 443))
    published: list[Port] = [{"service": "web", "port": port} for port in (80, 443, 9000, 9001)]
    facts = app_status.inform(balanced.app, balanced.clock, published)
    assert [(one["port"], one["holders"]) for one in facts["ports"]] == [
        # Of HAProxy's ports only containers count: the role knows the rest.
        (443, [container]),
        (9000, [nginx]),
        (9001, []),
    ]


def test_the_state_of_an_app_says_what_its_watcher_does(world: World) -> None:
    lines = status.care("shop", str(world.root), world.clock)
    assert [line.partition(":")[0] for line in lines][:2] == ["watcher", "breaker"]
    assert status.care("unknown", str(world.root), world.clock) == []


def test_recover_on_the_host_starts_an_ended_container_and_does_not_touch_a_healthy_app(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (cli, recovery):
        monkeypatch.setattr(module, "Clock", lambda: world.clock)
    deploy(world)
    assert cli.main(["recover"], str(world.root)) == outcome.GOOD
    assert capsys.readouterr().out.endswith("shop: healthy, left alone\n")
    _exited(world)
    assert cli.main(["recover", "--check"], str(world.root)) == outcome.GOOD
    assert "shop: would be recovered (" in capsys.readouterr().out
    assert "web" not in world.running()
    assert cli.main(["recover"], str(world.root)) == outcome.GOOD
    printed = capsys.readouterr().out
    assert "shop: recovered in " in printed
    assert "1. Env file backed up (" in printed
    assert world.running()["web"] == ONE
    world.bad.add(ONE)
    assert cli.main(["recover"], str(world.root)) == outcome.SICK
    assert "shop: NOT recovered (" in capsys.readouterr().out
    assert cli.main(["recover", "--json"], str(world.root)) == outcome.SICK
