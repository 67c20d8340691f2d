# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replace the instances behind the load balancer, one by one, without failing a request; and roll that back.

A new instance starts next to the old ones, in a slot without traffic, and has to pass the checks through its own port.
Then HAProxy sends it requests, and an old one gets no new ones. The first new instance is watched for a while. Only
then the old one is stopped, and the others follow.

A rollout may be killed at any point: `rollout.json` names the old instances before a new one is started.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Callable, NamedTuple

from ..compose import bring_up
from ..core.app import App, Balancer
from ..core.app_paths import AppPaths
from ..core.clock import Clock, iso
from ..core.files import atomic_write
from ..core.present import present
from ..core.variable import Variable
from ..docker import engine
from ..docker import network as docker_network
from ..docker import project as docker_project
from ..docker.containers import Container
from ..env import history as env_history
from ..env import read as env_file
from ..health import facts as health_facts
from ..probe import run as probe
from ..probe.run import ProbeResult
from ..releases import front, haproxy
from ..releases import store as release_store
from ..releases.store import Release

# How long an instance of a release that was good before may take to be so again.
PUT_BACK_SECONDS = 30.0
# While it is watched, a new instance is asked this often; a second bad answer in a row ends it.
WATCH_PAUSE, WATCH_BAD = 0.25, 2
_POLL_SECONDS = 0.05

# The gate and HAProxy ask alike when the load balancer's role has read the same health check.
DISAGREES = (
    "HAProxy disagrees with the gate and sends no requests: {out}. Fix: run christmas.selfheal.site: it makes HAProxy "
    "ask what the health check of selfheal_checks asks. Leave load_balancer_health_path empty, or write its path"
)
SLOW = (
    f"HAProxy has sent no requests for {haproxy.LATE_SECONDS:.0f} s: {{out}}. Its check passes or comes late, as where "
    "all processors are taken. Fix: see with `top` what takes them on the host, then run this again"
)

Say = Callable[[str], None]


class Interrupted(Exception):
    """The caller of the rollout is gone: it is rolled back."""


class Plan(NamedTuple):
    """The pace, in seconds: for the gate, for requests in flight to end, for the first new instance to be watched."""

    gate: float = 120.0
    drain: float = 30.0
    watch: float = 10.0


class Rollout:
    """The instances of an app's balanced service, and what is done with them."""

    def __init__(self, app: App, plan: Plan, clock: Clock, say: Say, alive: Callable[[], None]) -> None:
        self.app, self.plan, self.clock, self.say, self.alive = app, plan, clock, say, alive
        self.balancer: Balancer = present(app.balancer)
        self.project = docker_project.Project(app.name, app.paths.directory)
        self.values = env_file.read(app.paths, app.variables, clock.now())["values"]
        # The instance that holds HAProxy's port, and that HAProxy is in front of.
        self.before: front.Before | None = None
        # The newest result of the probe.
        self.checks: ProbeResult | None = None
        # The state that each slot has to have, by port: HAProxy forgets it when it is reloaded.
        self.states: dict[int, str] = {}

    # --- forward -----------------------------------------------------------------------------------------------------

    def begin(self, good: Release | None) -> None:
        """Record that a rollout goes on, before a container of the new release is created; `finish` ends it.

        :arg good: the last good release. What a killed deploy has left next to it is removed first.
        """
        self._sweep(good)
        self._leave_marker([item["id"] for item in self._running()])

    @contextlib.contextmanager
    def in_front(self) -> Iterator[None]:
        """Within the block, hold the requests to an instance from before there was a balancer; then give them on.

        Without such an instance, or where HAProxy cannot be put in front of it, nothing is held.
        """
        self._put_in_front()
        try:
            yield
        finally:
            if self.before:
                with contextlib.suppress(haproxy.BalancerError):
                    front.release(self.app.paths)
                self._end_front()

    def _end_front(self) -> None:
        self.before = None
        front.end(self.app.paths)

    def _put_in_front(self) -> None:
        put = front.put(self.app.paths, self.balancer, self._running(), self.clock)
        why = put.why
        if put.before is not None:
            self.before = put.before
            try:
                front.hold(self.app.paths, put.before, self.clock)
                self.say(f"HAProxy is in front of {put.before.name}, and holds new requests")
            except haproxy.BalancerError as error:
                why = str(error)
        if why:
            self.say(f"requests fail until the new instances serve: {why}")

    def replace(self, keep: Sequence[str] = ()) -> str:
        """Replace every instance but those to keep (ids); return why it did not work, "" when it did.

        After a failure the instances that are not of the old release are still there: `roll_back` removes them.
        """
        running = self._running()
        if self._blocking(running):
            failure = self._hand_over_port(running, keep)
        else:
            failure = self._replace_one_by_one(running, keep)
        return failure or self._whole()

    def _hand_over_port(self, running: list[Container], keep: Sequence[str]) -> str:
        """Replace an instance from before there was a balancer; say why it did not work, "" when it did.

        It holds the port that HAProxy needs, and serves until the new instances run.
        """
        old = [item for item in running if item["id"] not in keep]
        for _unused in range(len(running) - len(old), self.balancer.instances):
            self.alive()
            item, failure = self._start_one()
            if item is None or failure:
                return failure
            if self.before:
                front.take_in(self.app.paths, self.balancer, _port(item), self.clock)
                self.say(f"{item['name']} gets the requests that were held")
        if self.before:
            front.forget_closed(self.before)
        for leaving in old:
            self._let_go(leaving)
        haproxy.start(self.app.paths)
        self.say("HAProxy has the public port now")
        for item in self._running():
            haproxy.take_in(self.app.paths, self.balancer, _port(item))
        if self.before:
            failure = kept_out(self.app.paths, self.balancer, self._running(), self.clock)
            if failure:
                return failure
            self._end_front()
        return ""

    def _replace_one_by_one(self, running: list[Container], keep: Sequence[str]) -> str:
        """Replace the instances behind the balancer; say why it did not work, "" when it did."""
        haproxy.start(self.app.paths)
        running = self._trim(running)
        old = [item for item in running if item["id"] not in keep]
        fresh = len(running) - len(old)
        watched = not old
        while fresh < self.balancer.instances:
            self.alive()
            item, failure = self._start_one()
            if item is None or failure:
                return failure
            failure = self._take_in(item)
            if failure:
                return failure
            fresh += 1
            self.say(f"{item['name']} gets requests now (slot {self._slot(item)} of the load balancer)")
            leaving = old.pop(0) if old and len(old) + fresh > self.balancer.instances else None
            if leaving:
                self._set(self._slots_of(leaving), haproxy.MAINT)
            failure = "" if watched else self._watch(item)
            if failure:
                return failure
            watched = True
            if leaving:
                self._let_go(leaving)
        for leaving in old:
            self._drop(leaving)
        return ""

    def _sweep(self, good: Release | None) -> None:
        """After a killed rollout: remove what it has started, as long as others serve."""
        if not under_way(self.app):
            return
        running = self._running()
        old = self._of(running, good)
        if old and not self._blocking(running):
            self.say("a deploy before this one was killed: removing its containers")
            haproxy.start(self.app.paths)
            self._set([port for item in old for port in self._slots_of(item)], haproxy.READY)
            for item in running:
                if item not in old:
                    self._drop(item)

    def _trim(self, running: list[Container]) -> list[Container]:
        """Remove surplus instances, first those that HAProxy does not reach; return the others."""
        order = sorted(running, key=lambda item: bool(self._slots_of(item)))
        while len(order) > self.balancer.instances:
            self._drop(order.pop(0))
        return order

    def _start_one(self) -> tuple[Container | None, str]:
        """Start an instance in a slot without traffic, and wait until it passes the checks: (it, why not)."""
        before = self._running()
        used = {port for item in before for port in item["ports"]}
        with contextlib.suppress(haproxy.BalancerError):
            self._set([port for port in self.balancer.slots if port not in used], haproxy.MAINT)
        begun = self.clock.monotonic()
        scale = {self.balancer.service: len(before) + 1}
        started = self.project.up(services=[self.balancer.service], scale=scale, timeout=self.plan.gate)
        known = {item["id"] for item in before}
        fresh = [item for item in self._instances() if item["id"] not in known]
        if started.code or not fresh:
            return None, f"docker compose up failed: {started.reason}"
        item = fresh[0]
        self.say(f"{item['name']} starts next to {len(before)}")
        failure = self._gate(str(item["id"]), self.plan.gate)
        # Its port is known once it runs.
        gone: Container = {**item, "targets": []}
        item = next((one for one in self._instances() if one["id"] == item["id"]), gone)
        if not failure and not item["targets"]:
            failure = "the new instance died right after it had passed its gate"
        if not failure:
            self.say(f"{item['name']} passed its gate after {self.clock.monotonic() - begun:.1f} s")
        return item, failure

    def _gate(self, identity: str, seconds: float) -> str:
        """Wait until an instance passes the checks through its own port; say why it does not, "" when it does."""
        until = self.clock.monotonic() + seconds
        while True:
            self.alive()
            self._hold_on()
            item = next((one for one in self._instances() if one["id"] == identity), None)
            if item is None:
                return "the new instance is gone: its container was removed"
            if item["state"] == "running" and item["ports"]:
                self.checks = self._ask(item, min(1.0, max(0.0, until - self.clock.monotonic())))
                if self.checks["ok"]:
                    return ""
            why = self.checks["summary"] if self.checks else "it never answered"
            if item["state"] in ("exited", "dead") or item["restarts"] >= 2:
                # Of one that runs again just now, the engine does not say what it ended with.
                code = f" (code {item['exit_code']})" if item["exit_code"] else ""
                return f"the new instance did not pass its gate: it exits{code}. {why}"
            if self.clock.monotonic() >= until:
                return f"the new instance did not pass its gate within {seconds:.0f} s: {why}"
            self.clock.sleep(_POLL_SECONDS)

    def _ask(self, item: Container, deadline: float, quick: bool = False) -> ProbeResult:
        return probe.run_checks(
            self.app.quick if quick else self.app.checks,
            self.values,
            deadline,
            self.clock.monotonic,
            self.clock.sleep,
            ask=haproxy.aside(self.balancer, _port(item)),
            shown=self.app.shown,
        )

    def passes(self, item: Container) -> bool:
        """Whether an instance is healthy through its own port."""
        return bool(self._slots_of(item) and self._ask(item, 0.0, quick=True)["ok"])

    def _watch(self, item: Container) -> str:
        """Watch the first new instance while it serves; say why it fails, "" when it does not."""
        self.say(f"watching {item['name']} for {self.plan.watch:.0f} s")
        begun, bad = self.clock.monotonic(), 0
        while self.clock.monotonic() - begun < self.plan.watch:
            self.alive()
            self._hold_on()
            asked = self._ask(item, 0.0, quick=True)
            bad = 0 if asked["ok"] else bad + 1
            if bad >= WATCH_BAD:
                self.checks = asked
                after = self.clock.monotonic() - begun
                return f"the release turned bad {after:.1f} s after its first instance was taken in: {asked['summary']}"
            self.clock.sleep(WATCH_PAUSE)
        return kept_out(self.app.paths, self.balancer, [item], self.clock)

    def _let_go(self, item: Container) -> None:
        """Wait until an instance that gets no new requests has answered the others, and remove it."""
        ports = self._slots_of(item)
        until = self.clock.monotonic() + self.plan.drain
        outcome = "has answered its requests, and is removed"
        while ports and any(one.port in ports and one.sessions for one in haproxy.slots(self.app.paths)):
            if self.clock.monotonic() >= until:
                outcome = f"is removed, though it has not answered everything within {self.plan.drain:.0f} s"
                break
            self._hold_on()
            self.clock.sleep(_POLL_SECONDS)
        self._remove([item])
        self.say(f"{item['name']} {outcome}")

    def _whole(self) -> str:
        """All checks, through HAProxy as users ask, with every slot open again."""
        self._set(self.balancer.slots, haproxy.READY)
        failure = kept_out(self.app.paths, self.balancer, self._running(), self.clock)
        if failure:
            return failure
        self.checks = health_facts.ask(self.app.checks, self.values, self.plan.gate, self.clock, self.app.shown)
        return "" if self.checks["ok"] else f"the instances pass, and the app does not: {self.checks['summary']}"

    # --- back --------------------------------------------------------------------------------------------------------

    def roll_back(self, good: Release | None = None) -> None:
        """Have the last good release, whose files are in place, serve alone again.

        The instances from before the rollout that still run are used; others are started next to those that serve.
        Raises EngineError or BalancerError when the engine or HAProxy fails.
        """
        running = self._running()
        old = self._of(running, good)
        foreign = [item for item in running if item not in old]
        if self._blocking(old):
            # It serves on HAProxy's port, as before there was a balancer: HAProxy cannot start as long as it does.
            self._remove(foreign, 0.0)
            finish(self.app.paths)
            return
        if self._is_unbalanced(old):
            self._remove(running)
            haproxy.leave(self.app.paths)
            jobs = good.get("jobs", ()) if good else ()
            failure = bring_up.again(self.project, (), jobs, self.clock.monotonic, self.clock.sleep)
            if failure:
                raise engine.EngineError(failure)
            finish(self.app.paths)
            self.say("the release before serves without a load balancer, as it did before")
            return
        haproxy.start(self.app.paths)
        self._set([port for item in old for port in self._slots_of(item)], haproxy.READY)
        serving = self._in_service(foreign)
        useless = [item for item in foreign if item not in serving]
        self._set([port for item in useless for port in self._slots_of(item)], haproxy.MAINT)
        self._remove(useless, 0.0)
        # There has to be a slot for the next one that is started.
        while serving and len(old) + len(serving) > self.balancer.instances:
            self._drop(serving.pop())
        while len(old) < self.balancer.instances:
            item, failure = self._start_one()
            if not item:
                raise engine.EngineError(failure)
            if item["targets"]:
                self._take_in(item)
            old.append(item)
            if serving:
                self._drop(serving.pop())
        for item in [*serving, *old[self.balancer.instances :]]:
            self._drop(item)
        self._set(self.balancer.slots, haproxy.READY)
        finish(self.app.paths)
        self.say(f"{min(len(old), self.balancer.instances)} instances of the release before serve")

    def _drop(self, item: Container) -> None:
        self._set(self._slots_of(item), haproxy.MAINT)
        self._let_go(item)

    def _in_service(self, items: Sequence[Container]) -> list[Container]:
        """Those that serve users: they are kept until others do."""
        ready = {one.port for one in haproxy.slots(self.app.paths) if one.up}
        return [item for item in items if ready & set(item["ports"]) and self._ask(item, 0.0, quick=True)["ok"]]

    # --- what there is -----------------------------------------------------------------------------------------------

    def _instances(self) -> list[Container]:
        return [item for item in self.project.containers() if item["service"] == self.balancer.service]

    def _running(self) -> list[Container]:
        """Those that run. The others are removed: each would take the slot of a new one."""
        present = self._instances()
        self._remove([item for item in present if item["state"] != "running"], 0.0)
        return [item for item in present if item["state"] == "running"]

    def _of(self, items: Sequence[Container], good: Release | None) -> list[Container]:
        """Those of a release; without one, those that ran before the rollout."""
        if good is None:
            before = read_marker(self.app.paths)
            return [item for item in items if item["id"] in before]
        return [item for item in items if is_made_of(item, good)]

    def _blocking(self, items: Sequence[Container]) -> list[Container]:
        return [item for item in items if set(item["ports"]) & set(self.balancer.ports)]

    def _is_unbalanced(self, items: Sequence[Container]) -> bool:
        """Whether the release whose files are in place publishes its ports itself, and no container holds them."""
        unheld = docker_network.unheld_ports(self.project.config(), items)
        return any(one["service"] == self.balancer.service for one in unheld)

    def _set(self, ports: Sequence[int], state: str) -> None:
        haproxy.set_state(self.app.paths, self.balancer, ports, state)
        self.states.update(dict.fromkeys(ports, state))

    def _take_in(self, item: Container) -> str:
        """Let HAProxy send requests to an instance; say why it does not, "" when it does."""
        haproxy.take_in(self.app.paths, self.balancer, _port(item))
        self.states[_port(item)] = haproxy.READY
        return kept_out(self.app.paths, self.balancer, [item], self.clock)

    def _hold_on(self) -> None:
        """Set again which slots get no requests: HAProxy forgets it when it is reloaded, for a certificate say."""
        with contextlib.suppress(haproxy.BalancerError):
            out = [port for port, state in self.states.items() if state == haproxy.MAINT]
            haproxy.set_state(self.app.paths, self.balancer, out, haproxy.MAINT)

    def _remove(self, items: Sequence[Container], grace: float | None = None) -> None:
        self.project.remove([str(item["id"]) for item in items], grace)

    def _slots_of(self, item: Container) -> list[int]:
        return [port for port in item["ports"] if port in self.balancer.slots]

    def _slot(self, item: Container) -> int:
        return _port(item) - self.balancer.first_port

    def _leave_marker(self, identities: Sequence[str]) -> None:
        document = {"begun": iso(self.clock.now()), "before": list(identities)}
        atomic_write(self.app.paths.rollout, (json.dumps(document) + "\n").encode(), mode=0o640)


def kept_out(paths: AppPaths, balancer: Balancer, items: Sequence[Container], clock: Clock) -> str:
    """Give HAProxy time to send requests to instances; say what it sees of those that it keeps out, "" for none."""
    ports = {port for item in items for port in item["ports"]}
    out = haproxy.kept_out(paths, balancer, ports, clock, haproxy.AGREE_SECONDS, haproxy.LATE_SECONDS)
    if not out:
        return ""
    return (SLOW if all(map(haproxy.is_slow, out.split("; "))) else DISAGREES).format(out=out)


def _port(item: Container) -> int:
    return int(item["targets"][0]["host_port"])


def is_made_of(item: Container, release_: Release) -> bool:
    """Whether an instance has the image and the configuration of a recorded release."""
    service = item["service"]
    return bool(
        item["digest"] == release_["images"].get(service)
        and item["config_hash"] == release_.get("labels", {}).get(service, item["config_hash"])
    )


def under_way(app: App) -> bool:
    """Whether a rollout goes on, or was killed: the holder of the lock knows which."""
    return app.balancer is not None and os.path.exists(app.paths.rollout)


def finish(paths: AppPaths) -> None:
    """Record that the rollout has ended: the last good release serves."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(paths.rollout)


def read_marker(paths: AppPaths) -> list[str]:
    """The ids of the containers that served before the rollout began; [] when that is not known."""
    try:
        with open(paths.rollout, encoding="utf-8") as stream:
            found = json.load(stream)["before"]
        return [str(one) for one in found]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def restore_files(paths: AppPaths, variables: Sequence[Variable], good: Release, clock: Clock) -> None:
    """Put compose files, env and image names of a release back. Raises EnvError, EngineError or OSError."""
    release_store.put_back_files(paths.directory, str(good["id"]))
    # A release from before there was an env has none to put back.
    if good["env"] and env_file.read(paths, variables, clock.now())["fingerprint"] != good["env"]:
        env_history.restore_env(paths.env, paths.history, now=clock.now(), wanted=str(good["env"]))
    tagged = docker_project.Project(paths.name, paths.directory).put_back_images(good)
    if tagged.code:
        raise engine.EngineError(tagged.reason)


def go_back(app: App, good: Release, clock: Clock, say: Say) -> None:
    """Put a release's files back, and have it serve alone after an unfinished rollout. Raises as `roll_back`."""
    restore_files(app.paths, app.variables, good, clock)
    rollout = Rollout(app, Plan(gate=PUT_BACK_SECONDS), clock, say, lambda: None)
    others = sorted(set(good["services"]) - {rollout.balancer.service})
    if others:
        failure = bring_up.again(rollout.project, others, good.get("jobs", ()), clock.monotonic, clock.sleep)
        if failure:
            raise engine.EngineError(failure)
    rollout.roll_back(good)
    rollout.project.remove_orphans()


def clean_up(app: App, clock: Clock, say: Say) -> bool:
    """After a killed rollout: have the last good release serve alone. Whether there was anything to do."""
    if not under_way(app):
        return False
    good = release_store.last_good(app.paths.directory)
    if good is None:
        # It was the first one ever: there is no release to go back to, and the next deploy continues.
        finish(app.paths)
    else:
        go_back(app, good, clock, say)
    return True
