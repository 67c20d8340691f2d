# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Deploy the files in the app's directory, behind a gate. A release that does not pass it is rolled back."""

from __future__ import annotations

import contextlib
import os
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Callable, NamedTuple, TypedDict

from ..compose import bring_up, loosening_hints, start_order
from ..core.app import App
from ..core.app_paths import AppPaths
from ..core.clock import Clock, iso, stamp
from ..core.locks import LOCK_SECONDS, hold_lock
from ..core.redact import redact
from ..docker import containers as docker_containers
from ..docker import engine
from ..docker import images as docker_images
from ..docker import network as docker_network
from ..docker import project as docker_project
from ..docker.containers import Container
from ..docker.model import Model, Services
from ..env import history as env_history
from ..env import rules as secret_rules
from ..env.read import read as read_env
from ..health import login_log
from ..health.diagnosis import MEANING, diagnose, held_by, to_free
from ..health.evidence import LOG_LINES
from ..health.facts import holders, read
from ..health.wait import wait_healthy
from ..probe.run import NotAsked, ProbeResult
from ..records import failure_logs
from ..releases import haproxy
from ..releases import store as release_store
from ..releases.store import Identity, PromotedFrom, Release
from . import before_first, differences, first_guard, last_good
from . import rolling as deploy_rolling

# Characters of a step's line.
_LONGEST_STEP = 120


class DeployError(Exception):
    """The release was not deployed.

    `message` says why, and what runs now; `hints` are lines for the inventory; `log` has the last lines of what failed;
    `variables` are the names in the env that have another value than in the last good one, as far as that is known;
    `refused` is the kind of server that refused a login (of `login_log.WORDS`), "" for none.
    """

    def __init__(
        self,
        message: str,
        hints: list[str] | None = None,
        checks: ProbeResult | None = None,
        log: str = "",
        variables: Sequence[str] = (),
        refused: str = "",
    ) -> None:
        super().__init__("\n".join(filter(None, (message, log))))
        self.message, self.log, self.variables, self.refused = message, log, list(variables), refused
        self.hints = hints or []
        self.checks: ProbeResult | NotAsked = checks or {}


def _silent() -> None:
    """The caller is always there."""


class How(NamedTuple):
    """How to deploy.

    `build`: the images of services that have a build section; `pull`: those of the others, although they are on this
    host; `plan`: the pace, behind a balancer; `by`: who deploys, for the record.

    `say` reports each step; `alive` raises `rolling.Interrupted` when the caller is gone. `images`: the release uses
    exactly these, {service: image id}; `pins`: their digests in a registry by name, as the host knows that pulled them;
    `origin`: where they come from.
    """

    build: bool = True
    pull: bool = False
    by: str = ""
    plan: deploy_rolling.Plan = deploy_rolling.Plan()
    say: Callable[[str], None] = lambda _text: None
    alive: Callable[[], None] = _silent
    images: Mapping[str, str] = {}
    pins: Mapping[str, str] = {}
    origin: PromotedFrom | None = None


class _Target(TypedDict, total=False):
    to: str


class DeployResult(_Target):
    """What a deploy did. `release` is the id of the one that serves, `to` that of the one that was gone back to.

    `differences` are those from the release before, `seconds` how long it took.
    """

    changed: bool
    healthy: bool
    release: str
    differences: list[str]
    checks: ProbeResult | NotAsked
    seconds: float


AS_IT_IS = How()
# An app whose services took all of the time is still asked.
LEAST_SECONDS = 2.0


def deploy(app: App, how: How = AS_IT_IS, check: bool = False, clock: Clock | None = None) -> DeployResult:
    """Deploy the files in the app's directory.

    Behind a balancer the instances are replaced one by one, and no request fails. Without one there is a gap while the
    containers are recreated.

    :arg check: say what would change, and change nothing; works on a host without an engine.
    :raises DeployError: the release was not deployed; the last good release runs.
    :raises LockHeld: another deploy or recovery of this app goes on.
    """
    clock, paths = clock or Clock(), app.paths
    if check and not engine.state()["answers"]:
        return result(True, False, "", ["everything: this host has no engine yet"], None, 0.0)
    what = f"deploy {app.name}"
    with contextlib.nullcontext() if check else hold_lock(paths.lock, LOCK_SECONDS, what, paths.restoring):
        return deploy_locked(app, how, check, clock)


def serve_restored(app: App, how: How, to: Release | None, clock: Clock) -> DeployResult:
    """Deploy what a restore has put in place; it holds the app's lock. As `deploy`.

    :arg to: the recorded release that this is, None when there is none.
    """
    if to is not None:
        named = docker_project.Project(app.name, app.paths.directory).put_back_images(to)
        if named.code:
            raise DeployError(f"the images of release {to['id']} cannot be used: {named.reason}")
        how = how._replace(build=False, pull=False)
    return deploy_locked(app, how, False, clock, to)


def result(
    changed: bool, healthy: bool, name: str, found: list[str], checks: ProbeResult | None, seconds: float
) -> DeployResult:
    """The result of a deploy; `found` are the differences."""
    nothing: NotAsked = {}
    return {
        "changed": changed,
        "healthy": healthy,
        "release": name,
        "differences": found,
        "checks": checks or nothing,
        "seconds": round(seconds, 3),
    }


class Candidate(NamedTuple):
    """A release before it is deployed, and what is there before it.

    `how`: with images of this app's services alone, and no secret in what it says; `secrets`: what must not be shown;
    `contexts`: the folders that images are built from, by service; `wanted`: the release, as it is recorded;
    `compared`: the same, with the source that it is compared by; `good`: the last good release; `to`: the recorded
    release that this is, None for the files in the app's directory.
    """

    app: App
    how: How
    project: docker_project.Project
    model: Model
    instances: list[Container]
    secrets: Mapping[str, str]
    contexts: dict[str, str]
    wanted: Identity
    compared: Identity
    good: Release | None
    to: Release | None


def deploy_locked(app: App, how: How, check: bool, clock: Clock, to: Release | None = None) -> DeployResult:
    """Deploy the files in the app's directory; the caller holds the app's lock. As `deploy`.

    :arg to: the recorded release that they are, None when there is none.
    """
    begun, paths = clock.monotonic(), app.paths

    def would(found: list[str]) -> DeployResult:
        return result(True, False, "", found, None, clock.monotonic() - begun)

    _require_engine()
    project = docker_project.Project(app.name, paths.directory)
    env = read_env(paths, app.variables, clock.now())
    # In check mode, earlier steps have not put right what they would.
    if check and (not project.files or env["findings"]):
        return would(["the env in force does not pass its rules" if project.files else "nothing was deployed here yet"])
    if env["findings"]:
        whose = f"{paths.env}, of release {to['id']}," if to else paths.env
        raise DeployError(f"nothing was started, {whose} does not pass:\n{secret_rules.describe(env['findings'])}")
    new = _candidate(app, project, env["values"], how, to)
    found, others, probed = _compare(new, check, clock)
    if not found and new.good is not None:
        _keep_balancer(app, check)
        return result(False, True, str(new.good["id"]), [], probed, clock.monotonic() - begun)
    if check:
        return would(found)
    new = new._replace(how=new.how._replace(build=new.how.build and bool(new.contexts)))
    with first_guard.held(paths):
        return _replace(new, found, others, clock, begun)


def _replace(new: Candidate, found: list[str], others: bool, clock: Clock, begun: float) -> DeployResult:
    """Start the release in the place of what runs. Raises DeployError, with the release before serving again."""
    app, project = new.app, new.project
    loosening: list[str] = []
    logs, refused = "", None
    try:
        failure, checks = _start(new, others, clock)
        if not failure:
            name = _accept(new, others, clock, begun)
            return result(True, True, name, found, checks, clock.monotonic() - begun)
        loosening = _hints(project, new.secrets)
        logs, refused = _keep_logs(new, checks, clock)
        failure = _with_refusal(failure, refused)
    except Exception as error:
        # Whatever the error, the release before has to serve again.
        failure, checks = str(error) or type(error).__name__, None
    # The whole reason is in the message.
    why = textwrap.shorten(redact(failure, new.secrets), _LONGEST_STEP, placeholder=" …")
    new.how.say(f"rolling back: {why}")
    variables = _changed_variables(new)
    serves = last_good.bring_back(app, new.good, bool(new.instances), new.how.plan.gate, clock)
    message = "\n".join(filter(None, (failure, serves)))
    kind = refused.kind if refused else ""
    raise DeployError(redact(message, new.secrets), loosening, checks, redact(logs, new.secrets), variables, kind)


def _changed_variables(new: Candidate) -> list[str]:
    """The names of the env whose values differ from those of the last good release."""
    if new.good is None:
        return []
    with contextlib.suppress(env_history.EnvError, OSError):
        return env_history.changed_since(new.app.paths.env, new.app.paths.history, str(new.good["env"]))
    return []


def _with_refusal(failure: str, refused: login_log.Refusal | None) -> str:
    """The failure, with a refused login in its first line."""
    if refused is None or MEANING["credentials_refused"] in failure:
        return failure
    first, line_end, rest = failure.partition("\n")
    whose = f" of user {refused.user}" if refused.user else ""
    return f"{first}: {refused.kind} refused the login{whose}{line_end}{rest}"


def _require_engine() -> None:
    found = engine.state()
    if not found["answers"]:
        raise DeployError(f"the Docker engine does not answer: {found['reason']}. Try: systemctl status docker")


def _candidate(
    app: App, project: docker_project.Project, values: Mapping[str, str], how: How, to: Release | None
) -> Candidate:
    """Read what is to be deployed, and what is there. Raises DeployError, with no secret in it."""
    paths, secrets = app.paths, secret_rules.secrets_of(app.variables, values)
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
    # A service may exist on one host only; the rest is the same compose file.
    services = model.get("services") or {}
    how = how._replace(images={name: image for name, image in how.images.items() if name in services})
    # An image that is not built here does not come from this host's folders.
    contexts = release_store.contexts(model) if how.build else {}
    # An earlier release's images were built from its own source, which may have changed since.
    source = str(to["source"]) if to else release_store.source_fingerprint(contexts, paths.directory)
    wanted = release_store.describe(paths.directory, paths.env, hashes, source)
    good = release_store.last_good(paths.directory)
    compared: Identity = wanted if how.build or to or good is None else {**wanted, "source": good["source"]}
    return Candidate(app, how, project, model, instances, secrets, contexts, wanted, compared, good, to)


def _compare(new: Candidate, check: bool, clock: Clock) -> tuple[list[str], bool, ProbeResult | None]:
    """Compare with what serves: (why there is something to deploy, whether images differ, the probe's result).

    The app is probed where nothing differs.

    :raises DeployError: the candidate cannot run; the files of the last good release are in place again.
    """
    probed: ProbeResult | None = None
    try:
        if not check:
            _pull(new.project, new.model, new.good, new.how, new.secrets)
        others = differences.moved_images(new.model, new.good, new.how.build)
        others += differences.other_images(new.how.images, new.good)
        expected = start_order.expected(new.model)
        found = differences.describe(new.compared, new.good, new.instances, new.app.balancer, expected) + others
        if not found:
            probed, trouble = _ask(new, check, clock)
            found = [trouble] if trouble else []
        if found:
            _require_ports(new.app.paths, new.model, new.instances)
    except DeployError:
        # These files cannot run; what runs was made from the last good ones.
        if new.good is not None and not check:
            release_store.put_back_files(new.app.paths.directory, str(new.good["id"]))
        raise
    return found, bool(others), probed


def _ask(new: Candidate, check: bool, clock: Clock) -> tuple[ProbeResult, str]:
    """Probe the app, where nothing differs: (the result, why it still has to be deployed, or "")."""
    balancer = None if check else new.app.balancer
    if balancer:
        haproxy.start(new.app.paths)
    probed: ProbeResult = read(new.app, None, 0.0 if check else new.how.plan.gate, clock)["probe"]
    out = deploy_rolling.kept_out(new.app.paths, balancer, new.instances, clock) if balancer else ""
    if out or probed["ok"]:
        return probed, out
    return probed, f"the checks fail: {probed['summary']}"


def _start(new: Candidate, others: bool, clock: Clock) -> tuple[str, ProbeResult | None]:
    """Start the release: (why it failed or "", the probe's result).

    :arg others: whether images differ from those of the last good release.
    """
    plan = start_order.whole(new.model)
    if new.app.balancer:
        same = not others and differences.is_same(new.compared, new.good)
        failure, checks = _roll(new.app, new.project, plan, new.how, new.good, same, clock)
    else:
        failure, checks = _switch(new.app, new.project, plan, new.how, clock)
    return failure or _unexpected_images(new.project, new.how.images), checks


def _accept(new: Candidate, others: bool, clock: Clock, begun: float) -> str:
    """Record the release that has passed its gate; its id."""
    known: Release = {
        "files": new.wanted["files"],
        "env": new.wanted["env"],
        "services": new.wanted["services"],
        "source": new.wanted["source"],
        "fingerprint": new.wanted["fingerprint"],
        "contexts": new.contexts,
        # Recovery does not run the jobs again.
        "jobs": sorted(start_order.jobs(new.model)),
        "by": new.how.by,
    }
    origin = _origin(new.how, new.good, others)
    if origin:
        known["promoted_from"] = origin
    _remove_dropped(new.project, new.model, new.good, new.how)
    name = _record(new.app.paths, new.project, known, clock, new.how, new.to, clock.monotonic() - begun)
    deploy_rolling.finish(new.app.paths)
    before_first.forget(new.app.paths)
    _keep_balancer(new.app, False)
    return name


def _keep_balancer(app: App, check: bool) -> None:
    """Keep a copy of HAProxy's files: the watcher restores them from it when they are damaged."""
    if app.balancer and not check:
        # The deploy has succeeded without a copy, too.
        with contextlib.suppress(OSError):
            haproxy.keep(app.paths)


def _pull(
    project: docker_project.Project,
    model: Model,
    good: Release | None,
    how: How,
    secrets: Mapping[str, str],
) -> None:
    """Pull the images that are not built. A name keeps its digest until a pull is asked for."""
    pins = good.get("pins", {}) if good else {}
    pulled_images = differences.pulled_images(model, how.build)
    for name in sorted({name for service, name in pulled_images.items() if service not in how.images}):
        if not how.pull and docker_images.has_image(name):
            continue
        how.say(f"pulling {name}")
        pulled = project.pull({name: name if how.pull else pins.get(name, name)})
        if pulled.code:
            raise DeployError(redact(f"{name} cannot be pulled: {pulled.reason}. Nothing was started.", secrets))


def _require_ports(paths: AppPaths, model: Model, instances: list[Container]) -> None:
    """Fail before anything is changed when a foreign process holds a port that the app publishes."""
    for port in docker_network.unheld_ports(model, instances):
        for holder in holders(port["port"]):
            raise DeployError(
                f"port {port['port']}, which service {port['service']} publishes, is held by {held_by(holder)}. "
                f"Nothing was started. {to_free(holder, paths.name)}"
            )


def _unexpected_images(project: docker_project.Project, images: Mapping[str, str]) -> str:
    """Say which containers run other images than asked for, "" when none does."""
    if not images:
        return ""
    found = {(item["service"], item["digest"]) for item in project.containers() if item["service"] in images}
    wrong = sorted({service for service, _image in found ^ set(images.items())})
    return f"other images run than those that were asked for: {', '.join(wrong)}" if wrong else ""


def _origin(how: How, good: Release | None, others: bool) -> PromotedFrom | None:
    """Where the images come from. A new env or overlay does not change that; other images (`others`) do."""
    known = None if how.build or others or good is None else good.get("promoted_from")
    return how.origin or known


def _build(project: docker_project.Project, how: How) -> str:
    """Build the images, or name those that were given; say why that failed, "" when it did not."""
    if how.images:
        services: Services = project.config().get("services") or {}
        names = {name: (services.get(name) or {}).get("image") or f"{project.app}-{name}" for name in how.images}
        # A name with a digest cannot be assigned; it is the same image on every host.
        pins = {name: name for name in names.values() if "@" in name}
        tagged = project.put_back_images({"images": dict(how.images), "names": names, "pins": pins})
        if tagged.code == 0:
            return ""
        return (
            f"the images cannot be tagged with their names in {docker_project.USER_FILE}: {tagged.reason}. An image "
            "that is named by its digest comes from its registry, so this host has to reach that"
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
) -> tuple[str, ProbeResult | None]:
    """Build, and replace the instances behind the balancer: (why it failed or "", the probe's result).

    :arg good: the last good release.
    :arg same: whether that release is deployed again: its instances that run stay.
    """
    rolling = deploy_rolling.Rollout(app, how.plan, clock, how.say, how.alive)
    rolling.begin(good)
    failure = _build(project, how)
    if failure:
        return failure, None
    with rolling.in_front():
        return _roll_services(rolling, project, plan, how, good, same, clock)


def _roll_services(
    rolling: deploy_rolling.Rollout,
    project: docker_project.Project,
    plan: start_order.Plan,
    how: How,
    good: Release | None,
    same: bool,
    clock: Clock,
) -> tuple[str, ProbeResult | None]:
    """Replace what runs, as `_roll`."""
    service = rolling.balancer.service
    pace = _pace(how, clock)
    # What depends on the balanced service is started after its new instances, as Compose would.
    late = start_order.dependents(plan.model, service)
    begun, failure = _start_others(project, plan, sorted(plan.services - late - {service}), how, pace)
    failure = failure or bring_up.await_needs(project, plan, service, begun, pace)
    if failure:
        return failure, None
    made = [item for item in project.containers() if same and good and deploy_rolling.is_made_of(item, good)]
    # An instance that hangs is replaced, although nothing differs.
    keep = [str(item["id"]) for item in made if rolling.passes(item)]
    failure = rolling.replace(keep)
    if not failure:
        pace = _pace(how, clock)
        more, failure = _start_others(project, plan, sorted(late), how, pace)
        # The instances of the balanced service have passed their gate one by one.
        rest = plan._replace(services=plan.services - {service})
        failure = failure or _settle(project, rest, begun | more, rolling.checks, pace)
    if not failure:
        # Not before: the old instances may have needed what the new ones do without.
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
) -> tuple[str, ProbeResult | None]:
    """Build, start, and wait at the gate: (why it failed or "", the probe's result)."""
    failure = _build(project, how)
    if failure:
        return failure, None
    how.say("recreating the containers")
    failure = bring_up.create(project, plan, timeout=how.plan.gate)
    if failure:
        return failure, None
    pace = _pace(how, clock)
    started = bring_up.start(project, plan, pace)
    if started.failure:
        return started.failure, None
    wait_healthy(app, None, max(pace.until - clock.monotonic(), LEAST_SECONDS), clock)
    facts = read(app, None, 0.0, clock)
    probed: ProbeResult = facts["probe"]
    if probed["ok"]:
        return _settle(project, plan, started.begun, probed, pace), probed
    found = diagnose(facts)
    why = "; ".join(found.evidence)
    return f"the release did not pass its gate: {MEANING[found.cause]}: {why}. {probed['summary']}", probed


def _settle(
    project: docker_project.Project,
    plan: start_order.Plan,
    begun: Collection[str],
    checks: ProbeResult | None,
    pace: bring_up.Pace,
) -> str:
    """Wait for what no check covers: jobs, and services that may still end; say what is wrong, or ""."""
    failure = bring_up.await_jobs(project, plan, begun, pace)
    if failure:
        return failure
    asked = {item["port"] for item in (checks["results"] if checks else ()) if item["port"]}
    failures = bring_up.watch(project, plan, asked, pace)
    described = bring_up.described(failures)
    return f"the checks pass, but a service does not run: {described}" if described else ""


def _hints(project: docker_project.Project, secrets: Mapping[str, str]) -> list[str]:
    """Read the logs of what failed, and name the inventory lines that loosen the defaults it does not run with."""
    found: list[str] = []
    for document in project.documents():
        text = redact(project.logs(document["Id"], LOG_LINES), secrets)
        rows = loosening_hints.hints(text, document)
        if rows:
            script = project.script(document["Id"], loosening_hints.entrypoint_paths(document))
            rows = loosening_hints.hints(text, document, script)
        found += [redact(row, secrets) for row in rows]
    return list(dict.fromkeys(found))


def _remove_dropped(project: docker_project.Project, model: Model, good: Release | None, how: How) -> None:
    """Remove the last good release's services whose profile is no longer active; the files still name them."""
    dropped = set(good["services"] if good else ()) - set(model.get("services") or {})
    left = [item for item in project.containers() if item["service"] in dropped]
    if left:
        project.remove([item["id"] for item in left])
        names = ", ".join(sorted({str(item["service"]) for item in left}))
        how.say(f"removed {names}: not in an active profile any more (COMPOSE_PROFILES). The volumes stay")


def _keep_logs(new: Candidate, checks: ProbeResult | None, clock: Clock) -> tuple[str, login_log.Refusal | None]:
    """Keep the logs of what failed before its containers are removed.

    :returns: the last lines of the services at fault, and the last login that one of them was refused.
    """
    try:
        instances = new.project.containers()
        chosen = failure_logs.failed(instances, checks["results"] if checks else ())
        bad = [item for item in instances if item["id"] in chosen]
        at_fault = {item["service"] for item in bad}
        texts = [new.project.logs(str(item["id"]), failure_logs.KEPT_LINES, 20.0) for item in bad]
    except engine.EngineError:
        return "", None
    causes = {one: start_order.dependents(new.model, one) for one in sorted(at_fault)}
    logs = []
    for item, text in zip(bad, texts):
        because = next((one for one, late in causes.items() if item["service"] in late), "")
        logs.append(failure_logs.Log(str(item["name"]), text, because))
    # Those at fault come first.
    logs.sort(key=lambda log: bool(log.because_of))
    refusals = [login_log.as_client(log.text, clock.now(), new.how.plan.gate) for log in logs]
    folder = os.path.join(new.app.paths.state, "failed-releases")
    said = failure_logs.keep(folder, stamp(clock.now()), logs, new.secrets)
    return said, next(filter(None, refusals), None)


def _pins(instances: list[Container], good: Release | None, given: Mapping[str, str]) -> dict[str, str]:
    """{name: its digest in its registry}. The engine does not know it of an image from an archive: it is `given`."""
    found = {}
    for item in instances:
        service, name = item["service"], str(item["image"])
        same = good and (good["images"].get(service), good["names"].get(service)) == (item["digest"], name)
        kept = good.get("pins", {}).get(name, "") if good and same else ""
        found[name] = docker_images.pin(name) or given.get(name, "") or kept
    return {name: digest for name, digest in sorted(found.items()) if digest}


def _unnamed(item: Container, folders: list[str]) -> str:
    line = f"volumes: [{item['service']}-data:{folders[0]}]"
    return (
        f"{item['name']} keeps {', '.join(folders)} in a volume without a name: if its container is removed, the next "
        f"one starts empty. To keep the data, name the volume in the compose file: {line}"
    )


def _record(
    paths: AppPaths,
    project: docker_project.Project,
    wanted: Release,
    clock: Clock,
    how: How,
    to: Release | None = None,
    seconds: float = 0.0,
) -> str:
    """Record the release that runs now, unless it is a recorded one (`to`); mark it and its env as last good.

    :arg seconds: how long the deploy has taken: what is younger was started by it.
    """
    if to is not None:
        project.keep_images(to["images"])
        if wanted["env"] != to["env"]:
            labels = {item["service"]: item["config_hash"] for item in project.containers()}
            release_store.replace_env(paths.directory, to, wanted, labels)
        release_store.mark_last_good(paths.directory, str(to["id"]))
        env_history.mark_good(paths.history, str(wanted["env"]))
        return str(to["id"])
    # A container that a person ran of another profile is not part of the release: no deploy would start it again.
    instances = [item for item in project.containers() if item["service"] in wanted["services"]]
    for item in instances:
        folders = docker_containers.unnamed_data(item)
        if folders:
            how.say(_unnamed(item, folders))
    name = f"{stamp(clock.now())}-{str(wanted['fingerprint'])[-8:]}"
    ages = {item["service"]: item["started_seconds"] for item in instances}
    last = release_store.last_good(paths.directory)
    document: Release = {
        **wanted,
        "id": name,
        "app": paths.name,
        "time": iso(clock.now()),
        "images": {item["service"]: item["digest"] for item in instances},
        "names": {item["service"]: item["image"] for item in instances},
        "pins": _pins(instances, last, how.pins),
        # Compose labels a container with another hash than `config --hash` prints (2.26).
        "labels": {item["service"]: item["config_hash"] for item in instances},
        # `docker update` changes them, and no file.
        "settings": {
            item["service"]: docker_containers.settings(item["limits"], item["restart_policy"]) for item in instances
        },
        # How long each took to start, at most (s): a recovery gives it twice as long.
        "starts": {
            **((last.get("starts") if last else None) or {}),
            **{name: age for name, age in ages.items() if age is not None and age <= seconds},
        },
    }
    release_store.record(paths.directory, document)
    project.keep_images(document["images"])
    # So that neither a build nor a clean-up removes the images that a rollback needs.
    project.keep_images(document["images"], name)
    for gone in release_store.mark_last_good(paths.directory, name):
        project.let_go_images(document["images"], gone)
    env_history.mark_good(paths.history, str(wanted["env"]))
    return name
