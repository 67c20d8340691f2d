# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make what runs equal to the files in the app's directory, behind a gate; if it fails, put the last good back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Callable, NamedTuple, cast

from ..compose import bring_up, loosening_hints, start_order
from ..core.app import App, Balancer
from ..core.clock import Clock, iso, stamp
from ..core.locks import LOCK_SECONDS, hold_lock
from ..core.redact import redact
from ..docker import containers as docker_containers
from ..docker import engine
from ..docker import images as docker_images
from ..docker import network as docker_network
from ..docker import project as docker_project
from ..docker.containers import Container
from ..env import history as env_history
from ..env import rules as secret_rules
from ..env.read import read as read_env
from ..health.diagnosis import MEANING, diagnose, held_by
from ..health.evidence import LOG_LINES
from ..health.facts import holders, read
from ..health.wait import wait_healthy
from ..records import failure_logs
from ..releases import haproxy
from ..releases import store as release_store
from ..releases.store import Release
from . import before_first
from . import rolling as deploy_rolling


class DeployError(Exception):
    """The release was not deployed; the message says why, and what runs now. `hints` are lines for the inventory."""

    def __init__(self, message: str, hints: list[str] | None = None, checks: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.hints = hints or []
        self.checks = dict(checks or {})


def _silent() -> None:
    """Nobody can go away."""


class How(NamedTuple):
    """How to deploy.

    `build`: the images of services that have a build section; `pull`: those of the others, although they are on this
    host; `plan`: the pace, behind a balancer; `by`: who deploys, for the record.

    `say` is told each step as it is done; `alive` raises `rollout.Interrupted` when whoever asked is gone. `images`:
    the release is made of exactly these, {service: image id}; `pins`: what their names are for good in a registry, as
    whoever pulled them knows; `origin`: where they come from, {host, release}.
    """

    build: bool = True
    pull: bool = False
    by: str = ""
    plan: deploy_rolling.Plan = deploy_rolling.Plan()
    say: Callable[[str], None] = lambda _text: None
    alive: Callable[[], None] = _silent
    images: Mapping[str, str] = {}
    pins: Mapping[str, str] = {}
    origin: Mapping[str, str] = {}


AS_IT_IS = How()
# What waited for its services until the end of its time is asked all the same.
LEAST_SECONDS = 2.0


def deploy(app: App, how: How = AS_IT_IS, check: bool = False, clock: Clock | None = None) -> dict[str, Any]:
    """Deploy the files in the app's directory.

    Behind a balancer the instances are replaced one by one, and no request fails; without one, there is a gap while the
    containers are made anew.

    :arg check: say what would change, and change nothing; works on a host without an engine.
    :returns: {changed, healthy, release, differences, checks, seconds}.
    :raises DeployError: the gate was not passed, or something is wrong before it; the last good release runs.
    :raises LockHeld: another deploy or recovery of this app goes on.
    """
    clock = clock or Clock()
    if check and not engine.state()["answers"]:
        return _result(True, False, "", ["everything: this host has no engine yet"], {}, 0.0)
    lock = contextlib.nullcontext() if check else hold_lock(app.lock, LOCK_SECONDS, f"deploy {app.name}", app.restoring)
    with lock:
        return _deploy(app, how, check, clock)


def serve_restored(app: App, how: How, to: Release | None, clock: Clock) -> dict[str, Any]:
    """Deploy what a restore has put in place; it holds the app's lock. As `deploy`.

    :arg to: the recorded release that this is, None when there is none.
    """
    if to is not None:
        named = docker_project.Project(app.name, app.directory).put_back_images(to)
        if named.code:
            raise DeployError(f"the images of release {to['id']} cannot be used: {named.reason}")
        how = how._replace(build=False, pull=False)
    return _deploy(app, how, False, clock, to)


def roll_back(app: App, wanted: str, how: How, check: bool = False, clock: Clock | None = None) -> dict[str, Any]:
    """Deploy a release that was recorded here: its compose files, its env, its images, through the same gate.

    :arg wanted: its id; "" for the newest one before the one that serves that nobody has rolled back from.
    :returns: as `deploy`, with `to`, the id of the release that was gone back to.
    :raises DeployError: there is no such release, or its env or its images are gone; nothing was touched then.
    """
    clock = clock or Clock()
    serving = release_store.last_good(app.directory)
    known = release_store.known(app.directory)
    to = next((one for one in known if one["id"] == wanted), None) if wanted else _before(known, serving)
    if to is None:
        there = ", ".join(str(one["id"]) for one in known) or "none"
        raise DeployError(f"there is no release {wanted or 'before the one that serves'}. Recorded here: {there}")
    missing = [
        image
        for service, image in to["images"].items()
        if not docker_images.has_image(image) and to["names"][service] not in to.get("pins", {})
    ]
    if missing:
        raise DeployError(f"an image of release {to['id']} is not on this host any more: {missing[0]}. Deploy it anew")
    versions = [one["fingerprint"] for one in env_history.versions(app.history) if one["good"]]
    if to["env"] and to["env"] not in (*versions, read_env(app, clock.now())["fingerprint"]):
        raise DeployError(f"the env of release {to['id']} is not kept on this host any more. Deploy it anew")
    if check:
        return {**_result(True, False, "", [f"release {to['id']} would serve"], {}, 0.0), "to": to["id"]}
    with hold_lock(app.lock, LOCK_SECONDS, f"roll back {app.name}", app.restoring):
        how.say(f"putting the files of release {to['id']} back")
        try:
            deploy_rolling.restore_files(app, to, clock)
            done = {**_deploy(app, how._replace(build=False, pull=False), False, clock, to), "to": to["id"]}
        except (DeployError, env_history.EnvError, engine.EngineError, OSError):
            if serving is not None:
                with contextlib.suppress(env_history.EnvError, engine.EngineError, OSError):
                    deploy_rolling.restore_files(app, serving, clock)
            raise
        if serving is not None and done["changed"]:
            release_store.leave(app.directory, serving)
        return done


def _before(known: list[Release], serving: Release | None) -> Release | None:
    """The newest release before the one that serves that is another, and that nobody has rolled back from."""

    def same(one: Mapping[str, Any]) -> bool:
        return serving is not None and all(one[key] == serving[key] for key in ("files", "env", "images"))

    older = [one for one in known if serving is None or one["id"] < serving["id"]]
    return next((one for one in reversed(older) if not same(one) and not one.get("left")), None)


def _result(
    changed: bool, healthy: bool, name: str, differences: list[str], checks: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    return {
        "changed": changed,
        "healthy": healthy,
        "release": name,
        "differences": differences,
        "checks": dict(checks),
        "seconds": round(seconds, 3),
    }


class Candidate(NamedTuple):
    """A release before it is deployed, and what is there before it.

    `how`: with images of this app's services alone, and no secret in what it says; `secrets`: what must not be shown;
    `contexts`: the folders that images are built from; `wanted`: the release, as it is recorded; `compared`: the same,
    with the source that it is compared by; `good`: the last good release; `to`: the recorded release that this is,
    None for the files in the app's directory.
    """

    app: App
    how: How
    project: docker_project.Project
    model: Mapping[str, Any]
    instances: list[Container]
    secrets: Mapping[str, str]
    contexts: Mapping[str, Any]
    wanted: Mapping[str, Any]
    compared: Mapping[str, Any]
    good: Release | None
    to: Release | None


def _deploy(app: App, how: How, check: bool, clock: Clock, to: Release | None = None) -> dict[str, Any]:
    begun = clock.monotonic()

    def would(differences: list[str]) -> dict[str, Any]:
        return _result(True, False, "", differences, {}, clock.monotonic() - begun)

    _require_engine()
    project = docker_project.Project(app.name, app.directory)
    env = read_env(app, clock.now())
    # In check mode, earlier steps have not put right what they would.
    if check and (not project.files or env["findings"]):
        return would(["the env in force does not pass its rules" if project.files else "nothing was deployed here yet"])
    if env["findings"]:
        raise DeployError(f"nothing was started, {app.env} does not pass:\n{secret_rules.describe(env['findings'])}")
    new = _candidate(app, project, env["values"], how, to)
    differences, others, probed = _compare(new, check, clock)
    if not differences:
        _keep_balancer(app, check)
        return _result(False, True, str((new.good or {})["id"]), [], probed, clock.monotonic() - begun)
    if check:
        return would(differences)
    new = new._replace(how=new.how._replace(build=new.how.build and bool(new.contexts)))
    loosening: list[str] = []
    logs = ""
    try:
        failure, checks = _start(new, others, clock)
        if not failure:
            name = _accept(new, others, clock, begun)
            return _result(True, True, name, differences, checks, clock.monotonic() - begun)
        loosening = _hints(project, new.secrets)
        logs = _keep_logs(app, project, checks, new.secrets, clock)
    except Exception as error:
        # Whatever it is, what served before has to serve again.
        failure, checks = str(error) or type(error).__name__, {}
    new.how.say(f"taking it back: {failure.splitlines()[0]}")
    serves = _serve_last_good(new, clock)
    raise DeployError(redact("\n".join(filter(None, (failure, serves, logs))), new.secrets), loosening, checks)


def _require_engine() -> None:
    found = engine.state()
    if not found["answers"]:
        raise DeployError(f"the Docker engine does not answer: {found['reason']}. Try: systemctl status docker")


def _candidate(
    app: App, project: docker_project.Project, values: Mapping[str, str], how: How, to: Release | None
) -> Candidate:
    """Read what is to be deployed, and what is there. Raises DeployError, with no secret in it."""
    secrets = secret_rules.secrets_of(app.variables, values)
    # What the engine refuses it quotes, and an env's values may be in it.
    say = how.say
    how = how._replace(say=lambda text: say(redact(text, secrets)))
    try:
        engine.require_compose(engine.compose_version())
        model = project.config()
        hashes = project.hashes()
        instances = project.containers()
    except engine.EngineError as error:
        raise DeployError(redact(str(error), secrets)) from error
    # What an app depends on may be a service on one host only; the rest is the same compose file.
    services = model.get("services") or {}
    how = how._replace(images={name: image for name, image in how.images.items() if name in services})
    # What is not built here does not come from the folders here, whatever is in them.
    contexts = release_store.contexts(model) if how.build else {}
    # An earlier release's images were built from its own source, whatever is in the folders now.
    source = str(to["source"]) if to else release_store.source_fingerprint(contexts, app.directory)
    wanted = release_store.describe(app.directory, app.env, hashes, source)
    good = release_store.last_good(app.directory)
    compared = wanted if how.build or to or good is None else {**wanted, "source": good["source"]}
    return Candidate(app, how, project, model, instances, secrets, contexts, wanted, compared, good, to)


def _compare(new: Candidate, check: bool, clock: Clock) -> tuple[list[str], bool, dict[str, Any]]:
    """Compare with what serves: (why there is something to deploy, whether images are others, the probe's result).

    The app is asked where nothing differs.

    :raises DeployError: the candidate cannot run; the files of the last good release are in place again.
    """
    probed: dict[str, Any] = {}
    try:
        if not check:
            _pull(new.project, new.model, new.good, new.how, new.secrets)
        others = moved(new.model, new.good, new.how.build) + _other_images(new.how.images, new.good)
        expected = start_order.expected(new.model)
        differences = _differences(new.compared, new.good, new.instances, new.app.balancer, expected) + others
        if not differences:
            probed, trouble = _ask(new, check, clock)
            differences = [trouble] if trouble else []
        if differences:
            _require_ports(new.app, new.model, new.instances)
    except DeployError:
        # What the files say cannot run; what runs is what the last good files say.
        if new.good is not None and not check:
            release_store.put_back_files(new.app.directory, str(new.good["id"]))
        raise
    return differences, bool(others), probed


def _ask(new: Candidate, check: bool, clock: Clock) -> tuple[dict[str, Any], str]:
    """Ask the app, where nothing differs: (the probe's result, why it has to be deployed all the same or "")."""
    balanced = new.app.balancer is not None and not check
    if balanced:
        haproxy.start(new.app)
    probed = read(new.app, None, 0.0 if check else new.how.plan.gate, clock)["probe"]
    out = deploy_rolling.kept_out(new.app, new.instances, clock) if balanced else ""
    if out or probed["ok"]:
        return probed, out
    return probed, f"the checks fail: {probed['summary']}"


def _start(new: Candidate, others: bool, clock: Clock) -> tuple[str, dict[str, Any]]:
    """Have the release serve: (why it failed or "", the probe's result).

    :arg others: whether images differ from those of the last good release.
    """
    plan = start_order.whole(new.model)
    if new.app.balancer:
        failure, checks = _roll(new.app, new.project, plan, new.how, new.good, _is_same(new, others), clock)
    else:
        failure, checks = _switch(new.app, new.project, plan, new.how, clock)
    return failure or _strangers(new.project, new.how.images), checks


def _is_same(new: Candidate, others: bool) -> bool:
    """Whether it is the last good release that is deployed again."""
    if new.good is None or others:
        return False
    return all(new.compared[key] == new.good[key] for key in ("files", "env", "source", "services"))


def _accept(new: Candidate, others: bool, clock: Clock, begun: float) -> str:
    """Record the release that has passed its gate; its id."""
    known = {
        **new.wanted,
        "contexts": new.contexts,
        # Recovery does not run the jobs again.
        "jobs": sorted(start_order.jobs(new.model)),
        "by": new.how.by,
        **_origin(new.how, new.good, others),
    }
    _remove_dropped(new.project, new.model, new.good, new.how)
    name = _record(new.app, new.project, known, clock, new.how, new.to, clock.monotonic() - begun)
    deploy_rolling.finish(new.app)
    before_first.forget(new.app)
    _keep_balancer(new.app, False)
    return name


def _serve_last_good(new: Candidate, clock: Clock) -> str:
    """Have serve again what served before, and say what runs now."""
    app, good = new.app, new.good
    # As long as a release may take: what comes back may start as slowly.
    seconds = max(deploy_rolling.PUT_BACK_SECONDS, new.how.plan.gate)
    if app.balancer and good:
        return _roll_back(app, good, seconds, clock)
    said = _put_back(app, good, bool(new.instances), seconds, clock)
    if good is None:
        # There is nothing to go back to.
        deploy_rolling.finish(app)
    return said


def _keep_balancer(app: App, check: bool) -> None:
    """Users are served through HAProxy as it is: the watcher puts its files back like this when they are damaged."""
    if app.balancer and not check:
        # Without room for a copy, the deploy is as good.
        with contextlib.suppress(OSError):
            haproxy.keep(app)


def _differences(
    wanted: Mapping[str, Any],
    good: Release | None,
    instances: list[Container],
    balanced: Balancer | None,
    expected: Collection[str],
) -> list[str]:
    """Say in what the wanted release differs from the last good one and from what runs; [] when in nothing."""
    if good is None:
        return ["nothing was deployed here yet"]
    found = [
        f"{name} differs from release {good['id']}" for name in release_store.differing(wanted["files"], good["files"])
    ]
    found += ["the env differs from release " + good["id"]] if wanted["env"] != good["env"] else []
    found += ["the build context differs from release " + good["id"]] if wanted["source"] != good["source"] else []
    found += (
        ["the merged configuration differs from release " + good["id"]]
        if wanted["services"] != good["services"]
        else []
    )
    for service in sorted(wanted["services"]):
        mine = [item for item in instances if item["service"] == service]
        if not mine and service in expected:
            found.append(f"service {service} has no container")
        elif balanced and service == balanced.service and len(mine) != balanced.instances:
            found.append(f"service {service} has {len(mine)} of {balanced.instances} instances")
        for item in mine:
            if item["job_done"]:
                continue
            if item["state"] != "running":
                found.append(f"{item['name']} is {item['state']}")
            elif item["config_hash"] != good.get("labels", {}).get(service, item["config_hash"]):
                found.append(f"{item['name']} was made with another configuration")
            elif item["digest"] != good.get("images", {}).get(service, item["digest"]):
                found.append(f"{item['name']} runs another image")
    return found


def _pull(
    project: docker_project.Project,
    model: Mapping[str, Any],
    good: Release | None,
    how: How,
    secrets: Mapping[str, str],
) -> None:
    """Pull the images that are not built: what a name was resolved to once it stays, until somebody asks anew."""
    pins = (good or {}).get("pins", {})
    for name in sorted({name for service, name in _pulled(model, how.build).items() if service not in how.images}):
        if not how.pull and docker_images.has_image(name):
            continue
        how.say(f"pulling {name}")
        pulled = project.pull({name: name if how.pull else pins.get(name, name)})
        if pulled.code:
            raise DeployError(redact(f"{name} cannot be pulled: {pulled.reason}. Nothing was started.", secrets))


def _pulled(model: Mapping[str, Any], build: bool) -> dict[str, str]:
    """{service: image} of a merged model's services whose image is not built here, by another service neither."""
    services = model.get("services") or {}
    built = {spec.get("image") for spec in services.values() if build and "build" in spec}
    return {
        name: str(spec["image"]) for name, spec in services.items() if spec.get("image") and spec["image"] not in built
    }


def moved(model: Mapping[str, Any], good: Release | None, build: bool) -> list[str]:
    """In what the images that are not built here differ from those of the last good release, under the same names."""
    found = []
    for service, name in sorted(_pulled(model, build).items()):
        if good is None or good["names"].get(service) != name:
            continue
        there = docker_images.image_id(name)
        if there and there != good["images"][service]:
            found.append(f"service {service}: {name} is another image than that of release {good['id']}")
    return found


def _require_ports(app: App, model: Mapping[str, Any], instances: list[Container]) -> None:
    """Refuse before anything is touched when a foreign process holds a port that the app publishes."""
    for port in docker_network.unheld_ports(model, instances):
        for holder in holders(port["port"]):
            fix = f"Stop that {'container' if 'container' in holder else 'process'}, or publish another port."
            if holder.get("process") == "haproxy":
                fix = (
                    "If that is the load balancer of this app: compose_app_instances: 1 keeps it, with one instance. "
                    f"To do without it, remove {haproxy.CONFIG.format(app=app.name)} and reload haproxy first; "
                    "then deploy. Until that has ended nobody reaches the app."
                )
            raise DeployError(
                f"port {port['port']}, which service {port['service']} publishes, is held by {held_by(holder)}. "
                f"Nothing was started. {fix}"
            )


def _other_images(images: Mapping[str, str], good: Release | None) -> list[str]:
    """Say which of the images that a release is to be made of the last good one is not made of."""
    if good is None:
        return []
    return [
        f"the image of service {service} differs from release {good['id']}"
        for service, image in sorted(images.items())
        if good["images"].get(service) != image
    ]


def _strangers(project: docker_project.Project, images: Mapping[str, str]) -> str:
    """Say which containers are made of other images than they have to be, "" when none is."""
    if not images:
        return ""
    found = {(item["service"], item["digest"]) for item in project.containers() if item["service"] in images}
    wrong = sorted({service for service, _image in found ^ set(images.items())})
    return f"other images run than those that were asked for: {', '.join(wrong)}" if wrong else ""


def _origin(how: How, good: Release | None, others: bool) -> dict[str, Any]:
    """Where the images come from. A new env or overlay does not change that, `others` than before do."""
    known = {} if how.build or others else (good or {}).get("promoted_from", {})
    found = dict(how.origin or known)
    return {"promoted_from": found} if found else {}


def _build(project: docker_project.Project, how: How) -> str:
    """Build the images, where there is something to build; say why that failed, "" when it did not."""
    if how.images:
        services = project.config().get("services") or {}
        names = {name: (services.get(name) or {}).get("image") or f"{project.app}-{name}" for name in how.images}
        # A name with a digest cannot be given, and means the same image wherever it is pulled.
        pins = {name: name for name in names.values() if "@" in name}
        tagged = project.put_back_images({"images": dict(how.images), "names": names, "pins": pins})
        if tagged.code == 0:
            return ""
        return (
            f"the images cannot have the names that {docker_project.USER_FILE} gives them: {tagged.reason}. One that "
            "is named by its digest comes from its registry, so this host has to reach that"
        )
    if not how.build:
        return ""
    how.say("building the images")
    built = project.build()
    return f"docker compose build failed: {built.reason}" if built.code else ""


def _roll(
    app: App,
    project: docker_project.Project,
    plan: start_order.Plan,
    how: How,
    good: Release | None,
    same: bool,
    clock: Clock,
) -> tuple[str, dict[str, Any]]:
    """Build, and replace the instances behind the balancer: (why it failed or "", the probe's result).

    :arg good: the last good release.
    :arg same: whether it is that one that is deployed again: what runs of it stays.
    """
    assert app.balancer is not None
    rolling = deploy_rolling.Rollout(app, how.plan, clock, how.say, how.alive)
    rolling.begin(good)
    failure = _build(project, how)
    if failure:
        return failure, {}
    pace = _pace(how, clock)
    # What depends on the balanced service is started after its new instances, as Compose would.
    late = start_order.dependents(plan.model, app.balancer.service)
    begun, failure = _start_others(project, plan, sorted(plan.services - late - {app.balancer.service}), how, pace)
    failure = failure or bring_up.await_needs(project, plan, app.balancer.service, begun, pace)
    if failure:
        return failure, {}
    made = [item for item in project.containers() if same and good and deploy_rolling.is_made_of(item, good)]
    # One that hangs is replaced, though nothing differs.
    keep = [str(item["id"]) for item in made if rolling.passes(item)]
    failure = rolling.replace(keep)
    if not failure:
        pace = _pace(how, clock)
        more, failure = _start_others(project, plan, sorted(late), how, pace)
        # Those of the balanced service have passed their gate one by one.
        rest = plan._replace(services=plan.services - {app.balancer.service})
        failure = failure or _settle(project, rest, begun | more, rolling.checks, pace)
    if not failure:
        # Not before: the instances that were there may have needed what the new ones do without.
        project.remove_orphans()
    return failure, rolling.checks


def _pace(how: How, clock: Clock) -> bring_up.Pace:
    seconds = how.plan.gate
    return bring_up.Pace(clock.monotonic() + seconds, seconds, clock.monotonic, clock.sleep, how.alive, how.say)


def _start_others(
    project: docker_project.Project, plan: start_order.Plan, services: Sequence[str], how: How, pace: bring_up.Pace
) -> tuple[frozenset[str], str]:
    """Start services that are not balanced, in their order: (the ids of what was started, why it failed or "")."""
    if not services:
        return frozenset(), ""
    how.say(f"starting {', '.join(services)}")
    failure = bring_up.create(project, plan, services, timeout=how.plan.gate)
    if failure:
        return frozenset(), failure
    done = bring_up.start(project, plan._replace(services=frozenset(services)), pace)
    return done.begun, done.failure


def _switch(
    app: App, project: docker_project.Project, plan: start_order.Plan, how: How, clock: Clock
) -> tuple[str, dict[str, Any]]:
    """Build, start, and wait at the gate: (why it failed or "", the probe's result)."""
    failure = _build(project, how)
    if failure:
        return failure, {}
    how.say("recreating the containers")
    failure = bring_up.create(project, plan, timeout=how.plan.gate)
    if failure:
        return failure, {}
    pace = _pace(how, clock)
    started = bring_up.start(project, plan, pace)
    if started.failure:
        return started.failure, {}
    wait_healthy(app, None, max(pace.until - clock.monotonic(), LEAST_SECONDS), clock)
    facts = read(app, None, 0.0, clock)
    if facts["probe"]["ok"]:
        return _settle(project, plan, started.begun, facts["probe"], pace), facts["probe"]
    found = diagnose(facts)
    why = "; ".join(found.evidence)
    return f"the release did not pass its gate: {MEANING[found.cause]}: {why}. {facts['probe']['summary']}", facts[
        "probe"
    ]


def _settle(
    project: docker_project.Project,
    plan: start_order.Plan,
    begun: Collection[str],
    checks: Mapping[str, Any],
    pace: bring_up.Pace,
) -> str:
    """Wait for what no check asks: jobs, and services that may still turn out to end; say what is wrong, or ""."""
    failure = bring_up.await_jobs(project, plan, begun, pace)
    if failure:
        return failure
    asked = {int(item["port"]) for item in checks.get("results", ()) if item.get("port")}
    failures = bring_up.watch(project, plan, asked, pace)
    told = bring_up.described(failures)
    return f"the checks pass, and the release is bad all the same: {told}" if told else ""


def _hints(project: docker_project.Project, secrets: Mapping[str, str]) -> list[str]:
    """Read the logs of what failed, and name the inventory lines that would loosen what it cannot live with."""
    found: list[str] = []
    for document in project.documents():
        text = redact(project.logs(document["Id"], LOG_LINES), secrets)
        rows = loosening_hints.hints(text, document)
        if rows:
            script = project.script(document["Id"], loosening_hints.entrypoint_paths(document))
            rows = loosening_hints.hints(text, document, script)
        found += [redact(row, secrets) for row in rows]
    return list(dict.fromkeys(found))


def _remove_dropped(project: docker_project.Project, model: Mapping[str, Any], good: Release | None, how: How) -> None:
    """Remove what the last good release had and the files still name, in a profile that is not active any more."""
    dropped = set((good or {}).get("services", ())) - set(model.get("services") or {})
    left = [item for item in project.containers() if item["service"] in dropped]
    if left:
        project.remove([item["id"] for item in left])
        names = ", ".join(sorted({str(item["service"]) for item in left}))
        how.say(f"removed {names}: no active profile has it any more (COMPOSE_PROFILES). Its volumes stay")


def _keep_logs(
    app: App, project: docker_project.Project, checks: Mapping[str, Any], secrets: Mapping[str, str], clock: Clock
) -> str:
    """Keep the logs of what failed, which are gone with their containers; return their last lines."""
    try:
        instances = project.containers()
        chosen = failure_logs.failed(instances, checks.get("results", ()))
        names = {str(item["id"]): str(item["name"]) for item in instances}
        logs = [failure_logs.Log(names[one], project.logs(one, failure_logs.KEPT_LINES, 20.0)) for one in chosen]
    except engine.EngineError:
        return ""
    folder = os.path.join(app.state, "failed-releases")
    return failure_logs.keep(folder, stamp(clock.now()), logs, secrets)


def _roll_back(app: App, good: Release, seconds: float, clock: Clock) -> str:
    """Let the last good release serve alone again, and say what runs now."""
    try:
        deploy_rolling.go_back(app, good, clock, lambda _text: None)
    except (env_history.EnvError, engine.EngineError, haproxy.BalancerError, OSError) as error:
        return f"The last good release {good['id']} could not be put back: {error}"
    checks = wait_healthy(app, None, seconds, clock)
    said = "serves" if checks["ok"] else "does not pass either"
    return f"The last good release {good['id']} {said}: {checks['summary']}."


def _put_back(app: App, good: Release | None, ran: bool, seconds: float, clock: Clock) -> str:
    """Bring back what served before, and say what runs now."""
    if good is not None:
        try:
            deploy_rolling.restore_files(app, good, clock)
        except (env_history.EnvError, engine.EngineError, OSError) as error:
            return f"The last good release {good['id']} could not be put back: {error}"
        project = docker_project.Project(app.name, app.directory)
        try:
            failure = bring_up.again(project, (), good.get("jobs", ()), clock.monotonic, clock.sleep)
        except engine.EngineError as error:
            failure = str(error)
        if failure:
            return f"The last good release {good['id']} could not be started: {failure}"
        checks = wait_healthy(app, None, seconds, clock)
        said = "serves" if checks["ok"] else f"does not pass either, so the cause lies elsewhere: {checks['summary']}"
        return f"The last good release {good['id']} is put back and {said}."
    if ran:
        return _put_first_back(app, seconds, clock)
    docker_project.Project(app.name, app.directory).down()
    return "There is no last good release: the containers were taken down, volumes are kept."


def _put_first_back(app: App, seconds: float, clock: Clock) -> str:
    """Bring back what ran before the app was ever deployed from here, and say what it does."""
    note = before_first.read(app)
    if note is None:
        return "What ran before was not recorded, so it is not put back. Start it again from its own compose file."
    if app.balancer:
        # HAProxy may hold the port that the app publishes itself.
        with contextlib.suppress(OSError):
            haproxy.leave(app)
    done = before_first.put_back(app, note)
    if done.failure:
        return f"What ran before could not be put back: {done.failure}"
    project = docker_project.Project(app.name, app.directory)
    checks = wait_healthy(app, None, seconds, clock)
    serves = "serves" if checks["ok"] else "does not pass either"
    ended = before_first.said(note, project.containers())
    what = f"What ran before is put back, from its own {', '.join(done.compose)}, not hardened"
    return f"{what}. It {serves}: {'; '.join(filter(None, (checks['summary'], ended)))}."


def _pins(instances: list[Container], good: Release | None, told: Mapping[str, str]) -> dict[str, str]:
    """{name: what it is for good in its registry}. What came in an archive, the engine knows nothing of."""
    found = {}
    for item in instances:
        service, name = item["service"], str(item["image"])
        same = good and (good["images"].get(service), good["names"].get(service)) == (item["digest"], name)
        kept = good.get("pins", {}).get(name, "") if good and same else ""
        found[name] = docker_images.pin(name) or told.get(name, "") or kept
    return {name: digest for name, digest in sorted(found.items()) if digest}


def _unnamed(item: Mapping[str, Any], folders: list[str]) -> str:
    line = f"volumes: [{item['service']}-data:{folders[0]}]"
    return (
        f"{item['name']} keeps {', '.join(folders)} in a volume without a name: if its container is removed, the next "
        f"one starts empty. To keep the data, name the volume in the compose file: {line}"
    )


def _record(
    app: App,
    project: docker_project.Project,
    wanted: Mapping[str, Any],
    clock: Clock,
    how: How,
    to: Release | None = None,
    seconds: float = 0.0,
) -> str:
    """Record the release that runs now, unless it is one that was gone back `to`; mark it and its env last good.

    :arg seconds: how long the deploy has taken: what is younger was started by it.
    """
    if to is not None:
        project.keep_images(to["images"])
        release_store.mark_last_good(app.directory, str(to["id"]))
        env_history.mark_good(app.history, str(to["env"]))
        return str(to["id"])
    # What somebody ran of another profile is no part of the release: nobody would start it again.
    instances = [item for item in project.containers() if item["service"] in wanted["services"]]
    for item in instances:
        folders = docker_containers.unnamed_data(item)
        if folders:
            how.say(_unnamed(item, folders))
    name = f"{stamp(clock.now())}-{str(wanted['fingerprint'])[-8:]}"
    ages = {item["service"]: item["started_seconds"] for item in instances}
    document = {
        "id": name,
        "app": app.name,
        "time": iso(clock.now()),
        "images": {item["service"]: item["digest"] for item in instances},
        "names": {item["service"]: item["image"] for item in instances},
        "pins": _pins(instances, release_store.last_good(app.directory), how.pins),
        # Compose labels a container with another hash than `config --hash` prints (2.26).
        "labels": {item["service"]: item["config_hash"] for item in instances},
        # How long each took to start, at most (s): a recovery gives it twice as long.
        "starts": {
            **((release_store.last_good(app.directory) or {}).get("starts") or {}),
            **{name: age for name, age in ages.items() if age is not None and age <= seconds},
        },
        **wanted,
    }
    release_store.record(app.directory, cast(Release, document))
    project.keep_images(document["images"])
    # So that neither a build nor a clean-up takes away what there is to go back to.
    project.keep_images(document["images"], name)
    for gone in release_store.mark_last_good(app.directory, name):
        project.let_go_images(document["images"], gone)
    env_history.mark_good(app.history, str(wanted["env"]))
    return name
