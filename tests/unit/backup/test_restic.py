# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What restic's exit codes and words mean to a person, and what becomes of its processes; `sh` is run in its place."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.backup import restic
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result

REPOSITORY = restic.Repository("sftp:backup@store:/shop", "/password")


def answers(monkeypatch: pytest.MonkeyPatch, *results: Result) -> list[list[str]]:
    """Have restic answer so, in turn, the last one for ever; what it is asked."""
    asked: list[list[str]] = []
    left = list(results)

    def run(argv: list[str], *_unused: Any) -> Result:
        asked.append(list(argv[argv.index("restic") :]))
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(restic, "_run", run)
    return asked


def script(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have a script of sh run in the place of restic."""
    monkeypatch.setattr(restic, "words", lambda *_: ["sh", "-c", text])


# --- what its failures mean ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said", "kind", "message"),
    [
        (12, "Fatal: wrong password or no key found", restic.WRONG_PASSWORD, "Fix: backup_password in the vault"),
        (1, "Fatal: wrong password or no key found", restic.WRONG_PASSWORD, "does not open the repository"),
        (10, "Fatal: repository does not exist", restic.NOT_THERE, "there is no repository at sftp:backup@store:/shop"),
        (1, "Fatal: repo already locked, waiting up to 2m0s", restic.LOCKED, "another backup holds the repository"),
        (1, "Save failed: no space left on device", restic.FULL, "the disk is full: restic prune says: "),
        (1, "ssh: connect to host store: Connection refused", restic.UNREACHED, "Is its host up?"),
        (1, "Fatal: unable to open: server response (403)", restic.REFUSED, "Fix: the keys in backup_secrets"),
        (7, "", 7, "restic prune failed at sftp:backup@store:/shop: exit code 7"),
        (1, '{"message_type":"exit_error","message":"Fatal: boom"}', 1, "Fatal: boom"),
        (1, '{"message_type":"error","error":{"message":"read: input/output error"}}', 1, "input/output error"),
    ],
)  # fmt: skip
def test_a_failure_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, code: int, said: str, kind: int, message: str
) -> None:
    monkeypatch.setattr(restic, "LOCKED_SECONDS", 0.0)
    answers(monkeypatch, Result(code, "", said))
    with pytest.raises(restic.RepositoryError) as raised:
        restic.prune(REPOSITORY)
    assert (raised.value.code, message in str(raised.value)) == (kind, True), str(raised.value)


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (1, 1, "the repository is damaged: restic check failed"),
        (restic.WRONG_PASSWORD, restic.WRONG_PASSWORD, "the password does not open"),
    ],
)
def test_a_repository_that_cannot_be_opened_is_not_called_damaged(
    monkeypatch: pytest.MonkeyPatch, code: int, kind: int, message: str
) -> None:
    asked = answers(monkeypatch, Result(code, "", "Fatal: "))
    with pytest.raises(restic.RepositoryError, match=message) as raised:
        restic.check(REPOSITORY, 5)
    assert raised.value.code == kind
    assert asked[0][-1] == "--read-data-subset=5%"


@pytest.mark.parametrize(
    ("version", "good"),
    [("restic 0.18.0 compiled with go1.24", True), ("restic 0.17.3", True), ("restic 0.16.4", False), ("", False)],
)
def test_a_restic_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch, version: str, good: bool) -> None:
    monkeypatch.setattr(restic, "run", lambda *_: Result(0 if version else 127, version, ""))
    if good:
        restic.require()
        return
    expected = (
        "restic is 0.16.4, 0.17 or newer is needed: upgrade the host to Debian 13"
        if version
        else ("restic is not installed, 0.17 or newer is needed: run christmas.selfheal.site --tags backup")
    )
    with pytest.raises(restic.RepositoryError, match=expected):
        restic.require()


def test_an_empty_repository_is_made_once_and_never_in_the_place_of_one_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, done = Result(restic.NOT_THERE, "", ""), Result(0, "", "")
    asked = answers(monkeypatch, gone, done)
    assert restic.make_ready(REPOSITORY, may_make=True)
    assert [words[3] for words in asked] == ["cat", "init"]
    asked = answers(monkeypatch, done)
    assert not restic.make_ready(REPOSITORY, may_make=True)
    assert [words[3] for words in asked] == ["cat", "unlock"]
    asked = answers(monkeypatch, gone)
    with pytest.raises(restic.RepositoryError, match=r"not there any more.*set another backup_repository"):
        restic.make_ready(REPOSITORY, may_make=False)
    assert [words[3] for words in asked] == ["cat"]


SUMMARY = '{"message_type":"summary","snapshot_id":"abc","total_bytes_processed":7,"data_added_packed":3}'


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ('{"message_type":"error","error":{"message":"lstat /srv/x: no such file or directory"}}', True),
        ('{"message_type":"error","error":{"message":"open /srv/x: permission denied"}}', False),
    ],
    ids=["it vanished", "it cannot be read"],
)
def test_a_file_that_vanished_is_not_a_failure_and_one_that_cannot_be_read_is(
    monkeypatch: pytest.MonkeyPatch, said: str, good: bool
) -> None:
    warning = '{"message_type":"exit_error","message":"Warning: at least one source file could not be read"}'
    answers(monkeypatch, Result(restic.INCOMPLETE, f"status\n{SUMMARY}\n{{}}", f"{said}\n{warning}"))
    if good:
        kept = restic.keep_files(REPOSITORY, ["/srv"], [], "web1")
        assert kept == {"snapshot": "abc", "bytes": 7, "added": 3}
        return
    with pytest.raises(restic.RepositoryError, match="files cannot be read: open /srv/x: permission"):
        restic.keep_files(REPOSITORY, ["/srv"], [], "web1")


# --- secrets and words -----------------------------------------------------------------------------------------------


def test_secrets_are_in_the_environment_and_limits_in_the_words(tmp_path: Path) -> None:
    secrets = tmp_path / "shop.env"
    secrets.write_text("AWS_SECRET_ACCESS_KEY=hunter2=\nnothing\n", encoding="utf-8")
    ssh = "ssh -i /key backup@store"
    there = REPOSITORY._replace(secrets_file=str(secrets), ssh_command=ssh, upload_kib=500, download_kib=900)
    given = restic.environment(there, {"PGPASSWORD": "hunter3"})
    assert (given["AWS_SECRET_ACCESS_KEY"], given["PGPASSWORD"]) == ("hunter2=", "hunter3")
    words = restic.words(there, "check")
    assert words[-7:] == ["--limit-upload", "500", "--limit-download", "900", "-o", f"sftp.command={ssh}", "check"]
    command = restic.dump_words(there, "abc", "shop.dump")
    assert command.startswith(f"set -a; . {secrets}; set +a; restic --repo sftp:backup@store:/shop")
    assert "hunter" not in command
    with pytest.raises(restic.RepositoryError, match=f"{tmp_path} cannot be read"):
        restic.environment(there._replace(secrets_file=str(tmp_path)))


# --- its processes ---------------------------------------------------------------------------------------------------


def test_a_program_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restic, "words", lambda *_: ["/nowhere/restic"])
    with pytest.raises(restic.RepositoryError, match="/nowhere/restic cannot be run: No such file"):
        restic.prune(REPOSITORY)


def test_what_takes_too_long_is_ended_with_all_that_it_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(restic, "LOOK_SECONDS", 0.02)
    script(monkeypatch, f"sleep 60 & echo $! >{tmp_path}/pid; wait")
    with pytest.raises(restic.RepositoryError, match="does not answer: restic check: no end within 0 s") as raised:
        restic.call(REPOSITORY, "check", timeout=0.3)
    assert raised.value.code == restic.UNREACHED
    child = int((tmp_path / "pid").read_text(encoding="utf-8"))
    until = time.monotonic() + 5.0
    while os.path.exists(f"/proc/{child}") and time.monotonic() < until:
        state = Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        if state == "Z":
            return
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{child}")


def test_a_text_is_given_to_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, f"test \"$(cat)\" = manifest && echo '{SUMMARY}'")
    assert restic.keep_text(REPOSITORY, "manifest", "manifest.json", ["part=manifest"], "web1")["snapshot"] == "abc"


@pytest.mark.parametrize(
    ("dump", "taker", "said"),
    [
        pytest.param("echo rows; exit 0", ["cat"], "", id="it is taken"),
        pytest.param("yes warning | head -c 200000 >&2; echo rows", ["cat"], "", id="it warns of much"),
        pytest.param(
            "echo rows", ["sh", "-c", "echo ERROR: syntax >&2; exit 3"], "cannot load shop.dump: ERROR", id="refused"
        ),
        pytest.param(
            "echo rows", ["false"], "cannot load shop.dump: the dump is incomplete", id="refused without a word"
        ),
        pytest.param("echo rows; echo Fatal: broken >&2; exit 1", ["cat"], "Fatal: broken", id="the dump breaks off"),
        pytest.param("echo rows", ["/nowhere/psql"], "shop.dump could not be loaded: ", id="no such program"),
        pytest.param("echo rows", ["sleep", "60"], "shop.dump could not be loaded: .*timed out", id="it hangs"),
    ],
)
def test_a_dump_is_poured_into_a_command(
    monkeypatch: pytest.MonkeyPatch, dump: str, taker: list[str], said: str
) -> None:
    script(monkeypatch, dump)
    if not said:
        assert restic.pour(REPOSITORY, "abc", "shop.dump", taker, timeout=10.0) == "rows\n"
        return
    with pytest.raises(restic.RepositoryError, match=said):
        restic.pour(REPOSITORY, "abc", "shop.dump", taker, timeout=0.3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one\nERROR: bad\nDETAIL: why\nlast", "ERROR: bad / DETAIL: why"),
        ("one\ntwo\nthree\nfour", "two / three / four"),
        ("", ""),
    ],
)
def test_the_first_error_is_what_is_shown(text: str, said: str) -> None:
    assert restic.first_error(text) == said


def test_a_lock_is_waited_for_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    left = [True, True, False]
    assert restic.wait_free(lambda: left.pop(0), 60.0)
    assert not restic.wait_free(lambda: True, 0.0)
