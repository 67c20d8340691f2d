# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""No record that was acknowledged before a backup is lost, even with its host; and every backup is verified.

`host` is the app's host. The tests build on each other, in order; the last one destroys it.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from backup.tests.writer import KEPT, Writer, everything, lost
from shared.acting import slow, until

REPOSITORY = Path(__file__).resolve().parents[3]
SERVERS = REPOSITORY / "molecule/backup/servers"
APP, HOST, STORE = "records", "molecule-backup", "molecule-backup-store"
DIRECTORY, STATE = f"/opt/{APP}", f"/var/lib/selfheal/{APP}"
FOLDER = f"/etc/selfheal/backup/{APP}"
CONTAINERS = f"docker ps -q --filter label=com.docker.compose.project={APP}"
METRICS = f"/run/selfheal/selfheal-{APP}-backup.prom"
KILLS = 20

Play = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run(play: Play) -> Play:
    def once(playbook: str, *words: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        return play(playbook, f"--limit={HOST}", *words, extra=variables or None)

    return once


def good(ended: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert ended.returncode == 0, ended.stdout[-4000:]
    return ended


def plain(text: str) -> str:
    return " ".join(text.split())


def record(host: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.check_output(f"cat {STATE}/backup.json"))
    return found


def restic(host: Any, words: str, content: str = "") -> str:
    """Run restic on the host, with its configuration; `content` is a command whose output is the input."""
    config = json.loads(host.check_output(f"cat {FOLDER}.json"))
    ssh = shlex.quote(f"sftp.command={config['ssh_command']}")
    base = f"restic -q -r {config['repository']} --password-file {FOLDER}.password -o {ssh}"
    ahead = f"{content.replace('RESTIC', base)} | " if content else ""
    return str(host.check_output(f"{ahead}{base} {words}"))


def snapshots(host: Any, *tags: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(restic(host, f"snapshots --json --tag {','.join(tags)}"))
    return found


def sums(host: Any) -> dict[str, str]:
    """The state that has to be the same after a restore, and after a dry run."""
    return {
        "env": host.check_output(f"sha256sum <{DIRECTORY}/.env"),
        "files": host.check_output(f"cd {DIRECTORY} && sha256sum compose.yaml compose.hardened.yaml"),
        "images": host.check_output(f"docker inspect --format '{{{{.Image}}}}' $({CONTAINERS}) | sort"),
        "release": host.check_output(f"readlink {DIRECTORY}/releases/last-good"),
    }


def sound(host: Any) -> None:
    """Wait until the app is healthy, and no throwaway container or restore in progress remains."""
    until(lambda: json.loads(host.run("selfheal status --json").stdout or "{}").get("healthy"), 90.0)
    until(lambda: not host.file(f"{STATE}/restore.json").exists, 90.0)
    left = "docker ps -a --format '{{.Names}}' --filter name=records-verify --filter name=records-restore"
    until(lambda: host.check_output(left) == "", 90.0, lambda: host.check_output(left))
    until(lambda: host.check_output("docker ps -aq --filter label=christmas.selfheal.dump") == "", 90.0)


def test_a_backup_is_complete_verified_and_shows_no_secret(run: Play, host: Any, writer: Writer) -> None:
    until(lambda: len(writer.acked) > 100)
    elsewhere = f"written elsewhere at {time.time()}"
    note = ["-d", "archive", "-c", f"INSERT INTO archive.notes VALUES ('{elsewhere}')"]
    subprocess.run(["docker", "exec", "selfheal-lab-db", "psql", "-q", *note], check=True, timeout=30)
    # Records plaintext on the disk, and the list of processes, during the backup. Only the first look reads files that
    # have not changed since.
    folders = "/tmp /var/tmp /var/cache /root /opt /etc /run /var/lib/selfheal /dev/shm"
    found = "-exec grep -lF 'CREATE TABLE public.records' {} + | sed 's/^/PLAIN /'"
    script = (
        f"exec >/srv/seen 2>/dev/null; touch /srv/begun; find {folders} -type f {found}; "
        f"while sleep 0.2; do ps -eo args; find {folders} -type f -cnewer /srv/begun {found}; done"
    )
    host.check_output(f"nohup sh -c {shlex.quote(script)} >/dev/null 2>&1 & echo $! >/srv/seen.pid")
    ended = good(run("backup.yml", "-vvv", backup_verify=True))
    host.check_output("kill $(cat /srv/seen.pid)")
    seen = host.check_output("cat /srv/seen")
    assert "PLAIN" not in [line[:5] for line in seen.splitlines()]
    assert "restic" in seen
    env = host.check_output(f"cat {DIRECTORY}/.env")
    values = [line.partition("=")[2].strip("'\"") for line in env.splitlines() if "PASSWORD" in line]
    dsn = next(line.partition("=")[2].strip("'\"") for line in env.splitlines() if line.startswith("ARCHIVE_DSN="))
    values += [dsn, str(urlsplit(dsn).password)]
    values.append(host.check_output(f"cat {FOLDER}.password"))
    assert len(values) == 5
    journal = host.check_output("journalctl --no-pager")
    outputs = {
        "output": ended.stdout,
        "processes": seen,
        "journal": journal,
        "metrics": host.check_output(f"cat {METRICS}"),
    }
    assert [
        (where, number) for where, text in outputs.items() for number, value in enumerate(values) if value in text
    ] == []
    assert "It was verified" in plain(ended.stdout)
    verified = record(host)["last_verified"]["set"]
    assert verified == record(host)["last_success"]["set"]
    (dump,) = snapshots(host, f"set={verified}", "part=database:archive")
    assert restic(host, f"dump {dump['id']} archive.dump | grep -ac {shlex.quote(elsewhere)}").strip() == "1"
    for name in ("last_success", "last_verified"):
        line = next(
            line for line in outputs["metrics"].splitlines() if line.startswith(f"selfheal_backup_{name}_timestamp")
        )
        assert time.time() - float(line.rpartition(" ")[2]) < 600
    again = good(run("site.yml", "--tags=backup"))
    assert "changed=0" in again.stdout


def test_a_dry_run_says_what_would_change_and_changes_nothing(run: Play, host: Any, writer: Writer) -> None:
    containers = f"docker inspect --format '{{{{.State.StartedAt}}}}' $({CONTAINERS})"
    before, started, count = sums(host), host.check_output(containers), len(writer.acked)
    ended = good(run("restore.yml", "--check", "--diff"))
    assert "volume database: from the dumps of records" in plain(ended.stdout)
    assert "database archive is on another server, which a restore leaves alone" in plain(ended.stdout)
    assert (sums(host), host.check_output(containers)) == (before, started)
    assert len(writer.acked) > count
    sound(host)


def fired(host: Any, name: str) -> list[str]:
    asked = host.run(f"amtool --alertmanager.url=http://127.0.0.1:9093 alert query -o json alertname={name}").stdout
    return [one["annotations"]["description"] for one in json.loads(asked or "[]")]


def forge(host: Any, part: str, name: str, content: str) -> str:
    """Replace a part of the newest backup with a command's output; the id of its snapshot."""
    newest = record(host)["last_success"]["set"]
    values = (f"app={APP}", f"host={HOST}", f"set={newest}", "why=hand", f"part={part}")
    tags = " ".join(f"--tag {one}" for one in values)
    restic(host, f"backup --stdin --stdin-filename {name} {tags}", content)
    return str(snapshots(host, f"set={newest}", f"part={part}")[-1]["id"])


CUT_OFF, SHORT = "RESTIC dump PART | head -c 9000", "RESTIC dump PART | head -n 9"
# Forged parts of a backup: the part, its file, its content, and the message of the verification.
WRONG: list[tuple[str, str, str, str, str]] = [
    ("an empty dump", "database:records", "records.dump", "echo", "cannot load records.dump"),
    ("a truncated dump", "database:records", "records.dump", CUT_OFF, "cannot load records.dump"),
    ("a truncated dump of a command", "database:ledger", "ledger.dump", SHORT, "cannot load ledger.dump"),
    ("a truncated dump of a cache", "database:cache", "cache.dump", "printf REDIS0012", "cannot load cache.dump"),
    ("a missing volume", "volumes", "nothing", "echo", "the backup is incomplete: it does not have /var"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("part", "name", "content", "says"),
    [pytest.param(*case, id=about, marks=[] if case[2] == CUT_OFF else slow) for about, *case in WRONG],
)
def test_a_verification_finds(host: Any, part: str, name: str, content: str, says: str) -> None:
    newest = snapshots(host, f"set={record(host)['last_success']['set']}", f"part={part}")[-1]["id"]
    forged = forge(host, part, name, content.replace("PART", f"{newest} {name}"))
    try:
        ended = host.run("selfheal backup verify")
        assert ended.rc != 0
        assert says in plain(ended.stderr)
        until(lambda: any(says in plain(one) for one in fired(host, "SelfhealBackupNotProved")))
        assert record(host)["problems"]["verify"]["text"]
    finally:
        restic(host, f"forget {forged}")
    host.check_output("selfheal backup verify")
    assert record(host)["problems"] == {}
    sound(host)


def test_a_wrong_password_is_reported_and_nothing_is_changed(host: Any, writer: Writer) -> None:
    before = sums(host)
    host.check_output(f"cp -p {FOLDER}.password /root/right && echo another-password-altogether >{FOLDER}.password")
    try:
        for words in ("backup", "backup verify", "restore --to latest"):
            ended = host.run(f"selfheal {words}")
            assert ended.rc != 0
            assert "the password does not open the repository" in ended.stderr
        until(lambda: fired(host, "SelfhealBackupFailed") and fired(host, "SelfhealBackupNotProved"))
    finally:
        host.check_output(f"mv /root/right {FOLDER}.password")
    assert sums(host) == before


def test_a_repository_that_cannot_be_reached_is_reported(host: Any, writer: Writer) -> None:
    before = sums(host)
    host.check_output("ip route add unreachable 172.30.57.52")
    try:
        for words in ("backup", "backup verify", "restore --check"):
            ended = host.run(f"selfheal {words}")
            assert ended.rc != 0
            assert "does not answer" in ended.stderr
    finally:
        host.check_output("ip route del unreachable 172.30.57.52")
    assert sums(host) == before
    assert "does not answer" in record(host)["problems"]["backup"]["text"]
    # A success clears the recorded problems.
    for words in ("backup", "backup verify"):
        host.check_output(f"selfheal {words}")
    assert record(host)["problems"] == {}


@slow
def test_a_full_or_damaged_repository_is_reported_and_a_new_one_works(host: Any, writer: Writer) -> None:
    host.check_output(
        f"mkdir -p /mnt/full && mount -t tmpfs -o size=24m none /mnt/full && cp -p {FOLDER}.json /root/right"
    )
    try:
        host.check_output(f'sed -i \'s#"repository": .*#"repository": "/mnt/full",#\' {FOLDER}.json')
        ended = host.run("selfheal backup")
        assert ended.rc != 0
        assert "the disk is full" in ended.stderr
        # Now there is room for everything except the images.
        host.check_output("mount -o remount,size=600m /mnt/full && selfheal backup && selfheal backup verify")
        assert record(host)["problems"] == {}
        # Damage a byte of each data file.
        host.check_output(
            "for file in $(find /mnt/full/data -type f); do chmod u+w $file; "
            "printf X | dd of=$file bs=1 seek=$(($(stat -c %s $file) / 3)) conv=notrunc status=none; done; "
            "rm -rf /var/cache/selfheal/restic"
        )
        before = sums(host)
        for words in ("backup verify", "restore"):
            ended = host.run(f"selfheal {words}")
            assert ended.rc != 0, ended.stdout
        assert sums(host) == before
        assert "verify" in record(host)["problems"]
    finally:
        host.check_output(f"mv /root/right {FOLDER}.json && umount /mnt/full")
    host.check_output("selfheal backup && selfheal backup verify")
    assert record(host)["problems"] == {}
    sound(host)


def test_a_full_disk_during_a_restore_leaves_the_app_unchanged(host: Any, writer: Writer) -> None:
    before = sums(host)
    staged = f"/opt/.{APP}.restore"
    host.check_output(f"mkdir -p {staged} && mount -t tmpfs -o size=8k none {staged}")
    try:
        ended = host.run("selfheal restore")
        assert ended.rc != 0
        assert "the disk is full" in ended.stderr
    finally:
        host.check_output(f"umount {staged}; rm -rf {staged}")
    assert sums(host) == before
    sound(host)


def test_a_backup_of_another_app_is_refused(host: Any) -> None:
    newest = record(host)["last_success"]["set"]
    stamp = "20200101T000000Z"
    tags = f"--tag app=other --tag host={HOST} --tag set={stamp} --tag why=hand --tag part=manifest"
    restic(host, f"backup --stdin --stdin-filename manifest.json {tags}", "echo")
    before = sums(host)
    ended = host.run(f"selfheal restore --to {stamp}")
    assert ended.rc != 0
    assert f"backup {stamp} was made of other" in ended.stderr
    assert sums(host) == before
    assert newest in host.check_output("selfheal backup list")


def test_a_second_backup_at_once_is_refused(host: Any) -> None:
    host.check_output("systemctl start --no-block selfheal-backup@records.service")
    until(lambda: host.run("selfheal backup settle").rc != 0, 30.0)
    ended = host.run("selfheal backup")
    assert ended.rc != 0
    assert "is held by pid" in ended.stderr
    until(lambda: host.run("systemctl is-active selfheal-backup@records.service").stdout.strip() == "inactive", 90.0)
    assert record(host)["problems"] == {}


def torn(writer: Writer, begun: float, ended: float) -> dict[str, Any]:
    """Records that a killed restore has mixed or lost; both must be empty.

    A record that was acknowledged outside the backup's own seconds is in all places or in none. One from before the
    backup is in all.
    """
    acked = {number: when for number, (_unused, when) in writer.acked.items() if when < time.time() - 1.0}
    found = everything()
    mixed = [
        number
        for number, when in acked.items()
        if not begun - 1.0 < when < ended + 1.0 and len({number in found[where] for where in KEPT}) > 1
    ]
    return {"mixed": mixed[:10], "lost": lost(writer.before(begun - 1.0))}


@slow
def test_paused_writes_continue_even_after_a_killed_backup(run: Play, host: Any, writer: Writer) -> None:
    hooks = {
        "backup_before": [{"service": "backend", "command": ["touch", "/tmp/paused"]}],
        "backup_after": [{"service": "backend", "command": ["rm", "-f", "/tmp/paused"]}],
    }
    good(run("site.yml", "--tags=backup", **hooks))
    try:
        refused = len(writer.failed)
        host.check_output("selfheal backup")
        assert len(writer.failed) > refused, "nothing was paused"
        host.check_output(f"systemctl start --no-block selfheal-backup@{APP}")
        until(lambda: host.run(f"docker exec {APP}-backend-1 test -e /tmp/paused").rc == 0, longest=0.2)
        host.check_output(f"systemctl kill -s KILL --kill-whom=main selfheal-backup@{APP}")
        until(lambda: not host.file(f"{STATE}/writes-paused").exists)
        taken = len(writer.acked)
        until(lambda: len(writer.acked) > taken)
    finally:
        good(run("site.yml", "--tags=backup"))
    host.check_output("selfheal backup")
    assert record(host)["problems"] == {}


def serve(kind: str, **settings: str) -> None:
    """Start another kind of repository server on the store, with the script of that kind."""
    given = [word for name, value in settings.items() for word in ("-e", f"{name}={value}")]
    script = (SERVERS / f"{kind}.sh").read_text(encoding="utf-8")
    command = ["docker", "exec", "-i", *given, "-e", "ADDRESS=172.30.57.52", STORE, "sh", "-e"]
    ended = subprocess.run(command, input=script, text=True, capture_output=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]


# The server's kind and URL, the user, the variables for restic, and the server's answer to a wrong password.
@slow
@pytest.mark.parametrize(
    ("kind", "url", "user", "named", "says"),
    [
        ("rest", "rest:http://172.30.57.52:8000/", "records", ("RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"), "401"),
        (
            *("s3", "s3:https://172.30.57.52:8001/backups", "records:backup"),
            *(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "signature we calculated does not match"),
        ),
    ],
)
def test_a_repository_server_keeps_backups(
    run: Play, host: Any, writer: Writer, kind: str, url: str, user: str, named: tuple[str, str], says: str
) -> None:
    password = f"{kind}-{random.getrandbits(64):x}"
    serve(kind, KEPT_USER=user.rpartition(":")[2], KEPT_PASSWORD=password)
    secrets = {named[0]: user, named[1]: password}
    if kind == "s3":
        certificate = subprocess.check_output(["docker", "exec", STORE, "cat", "/etc/swift/certificate.pem"], text=True)
        host.check_output(f"echo {shlex.quote(certificate)} >/etc/ssl/store.pem")
        secrets["RESTIC_CACERT"] = "/etc/ssl/store.pem"
    elsewhere = {"backup_repository": url, "backup_ssh_key": "", "backup_known_hosts": ""}
    try:
        good(run("site.yml", "--tags=backup", backup_secrets=secrets, **elsewhere))
        before, begun = sums(host), time.time()
        ended = host.run("selfheal backup && selfheal backup verify")
        assert ended.rc == 0, ended.stderr
        assert password not in ended.stdout + ended.stderr
        good(run("restore.yml"))
        assert sums(host) == before
        assert lost(writer.before(begun)) == {}
        # Records written since the backup are not in it.
        writer.forget(begun)
        good(run("site.yml", "--tags=backup", backup_secrets={**secrets, named[1]: "x"}, **elsewhere))
        ended = host.run("selfheal backup")
        assert ended.rc != 0
        assert "refuses access" in ended.stderr
        assert says in plain(ended.stderr)
    finally:
        good(run("site.yml", "--tags=backup"))
    host.check_output("selfheal backup && selfheal backup verify")
    assert record(host)["problems"] == {}


@slow
@pytest.mark.parametrize("what", ["backup", "restore"])
def test_a_killed_run_leaves_app_and_repository_sound(host: Any, writer: Writer, what: str) -> None:
    begun = time.time()
    host.check_output("selfheal backup")
    ended = time.time()
    made = record(host)["last_success"]["set"]
    words = {"backup": "backup", "restore": f"restore --to {made}"}[what]
    if what == "restore":
        host.check_output(f"selfheal {words}")
    took = time.time() - (begun if what == "backup" else ended)
    marked = 0
    for number in range(KILLS):
        # The process alone, or with its child processes, as in a power cut.
        alone, unit = number % 4 < 2, f"killed-{what}-{number}"
        mode = "process" if alone else "control-group"
        host.check_output(f"systemd-run -q --unit={unit} --collect -p KillMode={mode} selfheal {words}")
        after = random.uniform(0.0, took)
        if what == "restore" and number % 2 == 0:
            # During the swap.
            until(lambda: host.file(f"{STATE}/restore.json").exists, 180.0, longest=0.2)
            after = random.uniform(0.0, 4.0) if number else 0.0
        time.sleep(after)
        marked += host.file(f"{STATE}/restore.json").exists
        host.run(f"systemctl kill -s KILL {'--kill-whom=main' if alone else ''} {unit}.service")
        sound(host)
        assert torn(writer, begun, ended) == {"mixed": [], "lost": {}}
    writer.forget(begun)
    print(f"{what}: {KILLS} were killed, {marked} of them during the swap")
    assert what == "backup" or marked
    host.check_output("selfheal backup && selfheal backup verify")
    assert record(host)["problems"] == {}
    restic(host, "check")


def test_a_part_is_restored_and_the_rest_is_unchanged(run: Play, host: Any, writer: Writer) -> None:
    good(run("backup.yml"))
    made = record(host)["last_success"]["set"]
    wanted = writer.before(record(host)["last_success"]["at"] - record(host)["last_success"]["seconds"])
    time.sleep(1.0)
    host.check_output("docker exec records-database-1 psql -U postgres -d records -c 'TRUNCATE records'")
    ended = good(run("restore.yml", restore_to=made, restore_what="database:records"))
    found = everything()
    assert [number for number, text in wanted.items() if found["database"].get(number) != text] == []
    # Records written since are still in the files, and not in the database.
    assert len(found["files"]) > len(found["database"])
    writer.forget(record(host)["last_success"]["at"] - record(host)["last_success"]["seconds"])
    assert "To undo it: -e restore_to=" in plain(ended.stdout)
    before = sums(host)
    ended = run("restore.yml", restore_to=made, restore_what="volume:no-such")
    assert ended.returncode != 0
    assert "has no volume no-such; it has cache, database, files, ledger" in plain(ended.stdout)
    ended = run("restore.yml", restore_to=made, restore_what="database:archive")
    assert ended.returncode != 0
    assert "database archive is on another server, which a restore leaves alone" in plain(ended.stdout)
    assert sums(host) == before
    sound(host)


def command(*argv: str, **variables: Any) -> None:
    ended = subprocess.run(
        [*argv, "-e", json.dumps(variables)],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))},
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]


def test_a_rebuilt_host_serves_all_records_of_the_backup(run: Play, host: Any, writer: Writer) -> None:
    until(lambda: len(writer.before(time.time())) > 200)
    begun = time.time()
    good(run("backup.yml", backup_verify=True))
    wanted, before = writer.before(begun), sums(host)
    time.sleep(2.0)
    gone = time.time()
    hosts = [{"name": HOST, "address": "172.30.57.51", "variant": "prepared", "backing": True}]
    command("ansible-playbook", "lab/destroy.yml", lab_hosts=hosts)
    written = writer.before(time.time())
    writer.over.set()
    command("ansible-playbook", "lab/create.yml", lab_hosts=hosts)
    command("ansible-playbook", "molecule/backup/database.yml")
    bare = time.time()
    ended = good(run("rebuild.yml"))
    rebuilt = time.time()
    assert "was rebuilt in" in plain(ended.stdout)
    assert lost(wanted) == {}
    found = everything()
    kept = set.intersection(*(set(found[where]) for where in KEPT))
    newest = max(when for number, (_unused, when) in writer.acked.items() if number in kept)
    print(
        f"\nrebuilt in {rebuilt - bare:.0f} s (RTO); {len(wanted)} records were acknowledged before the backup began, "
        f"all are there; of {len(written)} acknowledged before the host was lost {len(set(written) - kept)} are not, "
        f"those of its last {gone - newest:.1f} s (RPO)"
    )
    after = sums(host)
    assert {key: after[key] for key in ("env", "files", "images", "release")} == before
    again = good(run("site.yml"))
    assert "changed=0" in again.stdout
