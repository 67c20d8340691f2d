# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an alert says, in English and Korean: labels and annotations of each kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypedDict

from ..core.clock import iso
from ..records.incidents import IncidentRecord
from ..records.state import BackupProblem, CertificateMemory, Pause

INCIDENT, ESCALATED, PAUSED, WATCHDOG = "SelfhealIncident", "SelfhealEscalated", "SelfhealPaused", "SelfhealWatchdog"
UNMEASURED, TIMER = "MeasuringStopped", "SelfhealTimerStopped"
BY_HAND, CHANGED = "SelfhealReplacedByHand", "SelfhealChangedByHand"
# What may be wrong with the backups, as they are remembered, and what that is called.
BACKUP = {"backup": "SelfhealBackupFailed", "verify": "SelfhealBackupNotProved"}
CERTIFICATE = "SelfhealCertificateNotRenewed"
SUMMARY_LENGTH = 110
EVIDENCE_LINES = 3
EVIDENCE_LENGTH = 140
EVIDENCE_THINGS = 6
# Longer than an exporter that has just been started waits before it posts again.
UNMEASURED_HOLD_SECONDS = 180.0


class _Times(TypedDict, total=False):
    startsAt: str
    endsAt: str


class Alert(_Times):
    """An alert as Alertmanager takes it (its API v2, postableAlerts).

    One with `endsAt` ends it. The annotation `over` has the words for its end.
    """

    labels: dict[str, str]
    annotations: dict[str, str]


class Changed(TypedDict):
    """A change by hand: what, {file or container: what is different}, when (epoch s), and who was logged in then.

    `number` tells it from others.
    """

    number: int
    at: float
    who: list[str]
    things: dict[str, str]


# --- words -----------------------------------------------------------------------------------------------------------

_CAUSES = {
    "en": {
        "crashed": "it is not running",
        "hung": "it takes requests and does not answer",
        "erroring": "it answers with errors",
        "not_listening": "nothing answers on its port",
        "out_of_memory": "it ran out of memory",
        "env_invalid": "its env is not valid",
        "config_damaged": "its compose files are damaged",
        "container_missing": "a container is missing",
        "image_missing": "an image is missing",
        "crash_loop": "it crashes again and again",
        "engine_down": "the Docker engine is down",
        "engine_incomplete": "a part of the Docker engine is not installed",
        "engine_hung": "the Docker engine hangs",
        "disk_full": "the disk is full",
        "disk_read_only": "its disk has become read-only",
        "balancer_down": "its load balancer does not answer",
        "balancer_disagrees": "its load balancer keeps healthy instances out",
        "port_taken": "its port is taken by {who}",
        "upstream_down": "upstream {who} is down",
        "overloaded": "it is overloaded",
        "network_broken": "its network on the host is broken",
        "unhealthy": "a service fails its own health check",
        "rate_limited": "it limits how often its checks may ask",
        "maintenance": "it is down for maintenance",
        "database_recovering": "its database is recovering",
        "credentials_refused": "its login is refused",
        "replaced_by_hand": "it was replaced by hand, with docker compose",
        "unknown": "its checks fail, nothing says why",
    },
    "ko": {
        "crashed": "실행되고 있지 않음",
        "hung": "요청을 받고도 응답하지 않음",
        "erroring": "오류로 응답함",
        "not_listening": "포트에서 응답이 없음",
        "out_of_memory": "메모리가 부족함",
        "env_invalid": "환경 변수(.env)가 올바르지 않음",
        "config_damaged": "compose 파일이 손상됨",
        "container_missing": "컨테이너가 없음",
        "image_missing": "이미지가 없음",
        "crash_loop": "시작할 때마다 종료됨",
        "engine_down": "Docker 엔진이 멈춤",
        "engine_incomplete": "Docker 엔진의 일부가 설치되어 있지 않음",
        "engine_hung": "Docker 엔진이 응답하지 않음",
        "disk_full": "디스크가 가득 참",
        "disk_read_only": "디스크가 읽기 전용이 됨",
        "balancer_down": "로드 밸런서가 응답하지 않음",
        "balancer_disagrees": "로드 밸런서가 정상 인스턴스를 제외함",
        "port_taken": "{who}이(가) 포트를 점유함",
        "upstream_down": "외부 서비스 {who} 장애",
        "overloaded": "과부하",
        "network_broken": "호스트의 컨테이너 네트워크가 끊김",
        "unhealthy": "서비스가 자기 상태 점검을 통과하지 못함",
        "rate_limited": "점검 요청 횟수가 앱의 한도를 넘음",
        "maintenance": "점검(유지 보수) 중",
        "database_recovering": "데이터베이스 복구 중",
        "credentials_refused": "로그인이 거부됨",
        "replaced_by_hand": "docker compose로 직접 교체됨",
        "unknown": "점검 실패, 원인 불명",
    },
}
_UNMEASURED = {
    "en": (
        "nothing is measured any more",
        "Prometheus does not ask any more: it has ended, or hangs. No threshold alerts are sent.",
        "over: ",
    ),
    "ko": ("더 이상 측정되지 않음", "Prometheus가 종료되었거나 멈춤. 임계값 알림이 오지 않음.", "해소: "),
}
_UNNAMED = {
    "en": {"upstream_down": "service", "port_taken": "another process"},
    "ko": {"upstream_down": "", "port_taken": "다른 프로세스"},
}
_REMEDIES = {
    "en": {
        "restart": "restart",
        "up": "container started",
        "recreate": "new containers",
        "proved_env": "env from the vault",
        "last_good_env": "last good env",
        "last_good_compose": "last good compose files",
        "last_good_release": "last good release",
        "free_space": "space freed",
        "start_engine": "engine started",
        "restart_engine": "engine restarted",
        "rebuild_network": "network rebuilt",
        "restart_balancer": "load balancer restarted",
    },
    "ko": {
        "restart": "재시작",
        "up": "컨테이너 시작",
        "recreate": "컨테이너 재생성",
        "proved_env": "볼트의 환경 변수",
        "last_good_env": "마지막 정상 환경 변수",
        "last_good_compose": "마지막 정상 compose 파일",
        "last_good_release": "마지막 정상 릴리스",
        "free_space": "디스크 공간 확보",
        "start_engine": "엔진 시작",
        "restart_engine": "엔진 재시작",
        "rebuild_network": "네트워크 재구성",
        "restart_balancer": "로드 밸런서 재시작",
    },
}
# What is being done when an incident opens; "" is for the causes that the host has remedies for.
_DOING = {
    "en": {
        "": "The host is healing it; the next message says how that went.",
        "upstream_down": "No restart: the app is not at fault. It is watched until the upstream is back.",
        "rate_limited": "No restart: the app is not at fault. It is asked less often, once a minute at most.",
        "maintenance": "No restart: the app says when it will be back. It is watched until then.",
        "database_recovering": "No restart: the database would start over. It is watched until it takes connections.",
        "overloaded": "No restart: it would only add to the load. It is watched.",
        "credentials_refused": "No restart while the password is the same. It is watched.",
        "balancer_disagrees": "No restart: the load balancer and the checks ask differently. This one needs you.",
        "port_taken": "The host leaves a foreign process alone: this one needs you.",
        "engine_incomplete": "The host installs no packages by itself: this one needs you.",
    },
    "ko": {
        "": "호스트가 복구 중이며, 결과는 다음 메시지로 알립니다.",
        "upstream_down": "재시작 안 함: 앱의 잘못이 아닙니다. 외부 서비스가 돌아올 때까지 지켜봅니다.",
        "rate_limited": "재시작 안 함: 앱의 잘못이 아닙니다. 점검 간격을 1분 이상으로 늘립니다.",
        "maintenance": "재시작 안 함: 앱이 언제 돌아올지 알립니다. 그때까지 지켜봅니다.",
        "database_recovering": "재시작 안 함: 데이터베이스가 처음부터 다시 해야 합니다. 연결을 받을 때까지 지켜봅니다.",
        "overloaded": "재시작 안 함: 부하만 늘어납니다. 지켜봅니다.",
        "credentials_refused": "재시작 안 함: 비밀번호가 같으면 도움이 되지 않습니다. 지켜봅니다.",
        "balancer_disagrees": "재시작 안 함: 로드 밸런서와 점검의 요청이 다릅니다. 사람이 필요합니다.",
        "port_taken": "호스트는 다른 프로세스를 건드리지 않습니다. 사람이 필요합니다.",
        "engine_incomplete": "호스트는 패키지를 스스로 설치하지 않습니다. 사람이 필요합니다.",
    },
}
# What a person does at once, though the host may not have given up.
_FIRST_STEP = {
    "en": {
        "upstream_down": "Look at the status page of the upstream.",
        "overloaded": "Look at what asks so much, or give the app more CPU.",
        "port_taken": "Stop that process or container, or publish the app on another port.",
    },
    "ko": {
        "upstream_down": "외부 서비스의 상태 페이지를 확인하세요.",
        "overloaded": "요청이 몰리는 곳을 확인하거나 CPU를 늘리세요.",
        "port_taken": "그 프로세스나 컨테이너를 멈추거나 앱의 포트를 바꾸세요.",
    },
}
# The records' own next step is English; these say the same.
_NEXT_STEP_KO = {
    "": "{evidence} 증거(마지막 로그부터)를 읽고, 앱을 고쳐 배포하세요.",
    "env_invalid": "볼트에서 {about} 변수를 고치고 christmas.selfheal.validate로 확인하세요.",
    "credentials_refused": "{about} 로그인이 거부됩니다. 재시작은 도움이 되지 않습니다. 볼트의 변수를 고치고 "
    "christmas.selfheal.site를 실행하거나, 서버에서 그 사용자에게 볼트의 비밀번호를 설정하세요. POSTGRES_PASSWORD 같은 "
    "변수는 볼륨이 비어 있을 때만 적용됩니다.",
    "config_damaged": "christmas.selfheal.site로 compose 파일을 다시 쓰세요.",
    "image_missing": "이미지를 다시 빌드하거나 받은 뒤 christmas.selfheal.site를 실행하세요.",
    "replaced_by_hand": "christmas.selfheal.site로 릴리스를 시작하고, {about}에서 docker compose를 실행하지 마세요.",
    "out_of_memory": "compose_app_services의 memory를 늘리거나 보관된 로그에서 누수를 찾으세요.",
    "engine_incomplete": "표시된 패키지를 설치하거나(apt-get install) christmas.selfheal.site를 실행하세요.",
    "engine_down": "systemctl start docker 후 journalctl -u docker -n 50을 확인하세요.",
    "engine_hung": "journalctl -u docker -n 50을 확인하고 systemctl restart docker를 실행하세요.",
    "balancer_down": "journalctl -u haproxy -n 20을 확인하고 christmas.selfheal.site를 실행하세요.",
    "balancer_disagrees": "christmas.selfheal.site를 실행하세요. MAINT인 슬롯은 systemctl reload haproxy로 되돌립니다.",
    "rate_limited": "앱을 재시작하지 마세요. 이 호스트의 점검을 허용하거나 점검 간격을 늘리세요.",
    "disk_full": "df -h, docker system df로 공간을 확보하세요. 볼륨은 지우지 마세요.",
    "disk_read_only": "dmesg로 커널 메시지를 읽고, 백업에 없는 것을 따로 저장한 뒤 fsck로 파일 시스템을 검사하세요.",
    "network_broken": "journalctl -u docker -n 50을 확인하고 방화벽 규칙을 살펴보세요.",
    "maintenance": "앱이 알린 시간까지 기다리세요. 그때까지 돌아오지 않으면 유지 보수를 끝내세요.",
    "database_recovering": "데이터베이스를 재시작하지 마세요. 처음부터 다시 하게 됩니다. 진행 상황은 로그에 있습니다.",
}
_WORDS = {
    "en": {
        "escalated": "needs a person",
        "tried": "Tried",
        "failed": "failed",
        "nothing": "Nothing could be tried.",
        "why": "Why it stops",
        "next": "Next",
        "nothing_yet": "Nothing to do yet.",
        "healthy": "healthy again after {took}",
        "cured": "Cured by",
        "by_itself": "No remedy was needed.",
        "was": "It was",
        "mttr": "MTTR {took}, from {seen} to {ended} UTC",
        "silent": "no news of the incident any more; see `selfheal status`",
        "paused": "healing is paused until {until} UTC",
        "order": "The host watches and does nothing. Reason: {reason}",
        "resume": "Next: `selfheal resume` on the host, when the work is done.",
        "pause_over": "the pause is over, the host heals again",
        "no_reason": "none given",
        "backup": "the last backup failed",
        "verify": "the newest backup could not be verified",
        "backup_next": "Next: mend it, then `selfheal backup` on the host.",
        "verify_next": "Next: mend it, then `selfheal backup verify`. Until then do not rely on a restore.",
        "backup_over": "it is backed up again",
        "verify_over": "a backup was verified again",
        "certificate": "the certificate of {names} is not renewed, it ends {ends} UTC",
        "no_certificate": "there is no certificate for {names}",
        "certificate_next": "Next: mend it, then `selfheal certificate renew` on the host.",
        "certificate_over": "it has a new certificate",
        "timer": "the timer of its watcher was stopped",
        "timer_meaning": "Nothing starts the watcher again when it is stopped, and then nothing heals the app.",
        "timer_next": "Next: `systemctl enable --now selfheal@{app}.timer` on the host.",
        "timer_over": "the timer of its watcher runs again",
        "by_hand": "{services} replaced by hand",
        "by_hand_meaning": "It was started by `docker compose` in {folders}, without the hardened overlay.",
        "by_hand_next": "Next: run site.yml with the app's inventory, and leave that folder alone.",
        "by_hand_over": "the release runs again",
        "changed": "changed by hand: {things}",
        "changed_who": "At {at} UTC. Logged in over ssh: {who}.",
        "changed_no_one": "no one",
        "changed_next": "Next: write it into the inventory or the project if it is to stay, then run site.yml. "
        "drift.yml shows the difference.",
        "changed_container": "Next: undo it with `docker update`; if it is to stay, write it into compose_app_services "
        "and run site.yml.",
        "changed_over": "as desired again: {things}",
    },
    "ko": {
        "escalated": "사람이 필요함",
        "tried": "시도",
        "failed": "실패",
        "nothing": "시도할 수 있는 것이 없었습니다.",
        "why": "멈춘 이유",
        "next": "다음 할 일",
        "nothing_yet": "아직 할 일은 없습니다.",
        "healthy": "{took} 만에 정상으로 돌아옴",
        "cured": "복구 방법",
        "by_itself": "조치 없이 돌아왔습니다.",
        "was": "원인",
        "mttr": "MTTR {took} (UTC {seen}부터 {ended}까지)",
        "silent": "인시던트 소식이 끊김, `selfheal status`로 확인 필요",
        "paused": "자동 복구 일시 중지 중(UTC {until}까지)",
        "order": "호스트는 지켜보기만 합니다. 이유: {reason}",
        "resume": "다음 할 일: 작업이 끝나면 호스트에서 `selfheal resume`을 실행하세요.",
        "pause_over": "일시 중지가 끝나 자동 복구를 다시 시작함",
        "no_reason": "없음",
        "backup": "마지막 백업이 실패함",
        "verify": "최신 백업을 검증하지 못함",
        "backup_next": "다음 할 일: 원인을 고친 뒤 호스트에서 `selfheal backup`을 실행하세요.",
        "verify_next": "다음 할 일: 고친 뒤 `selfheal backup verify`를 실행하세요. 그때까지 복원을 믿지 마세요.",
        "backup_over": "백업이 다시 됨",
        "verify_over": "백업이 다시 검증됨",
        "certificate": "{names} 인증서가 갱신되지 않음(UTC {ends} 만료)",
        "no_certificate": "{names} 인증서가 없음",
        "certificate_next": "다음 할 일: 원인을 고친 뒤 호스트에서 `selfheal certificate renew`를 실행하세요.",
        "certificate_over": "인증서가 새로 발급됨",
        "timer": "감시자의 타이머가 꺼짐",
        "timer_meaning": "감시자가 멈추면 다시 시작되지 않으며, 그러면 자동 복구가 되지 않습니다.",
        "timer_next": "다음 할 일: 호스트에서 `systemctl enable --now selfheal@{app}.timer`를 실행하세요.",
        "timer_over": "감시자의 타이머가 다시 동작함",
        "by_hand": "{services} 서비스가 수동으로 교체됨",
        "by_hand_meaning": "{folders}에서 `docker compose`로 시작되어 강화 오버레이가 없습니다.",
        "by_hand_next": "다음 할 일: 앱의 인벤토리로 site.yml을 실행하고, 그 폴더는 그대로 두세요.",
        "by_hand_over": "릴리스가 다시 실행됨",
        "changed": "수동으로 변경됨: {things}",
        "changed_who": "시각: UTC {at}. ssh로 로그인한 사람: {who}.",
        "changed_no_one": "없음",
        "changed_next": "다음 할 일: 남겨야 할 변경이면 인벤토리나 프로젝트에 적고, site.yml을 실행하세요. "
        "차이는 drift.yml이 보여 줍니다.",
        "changed_container": "다음 할 일: `docker update`로 되돌리세요. 남겨야 할 변경이면 compose_app_services에 적고 "
        "site.yml을 실행하세요.",
        "changed_over": "원래 상태로 돌아옴: {things}",
    },
}
_UNITS = {"en": (" h ", " min ", " s"), "ko": ("시간 ", "분 ", "초")}
# How the evidence of a diagnosis names the upstream or process.
_NAMES = {
    "upstream_down": re.compile(r"(?:upstream )?`?([^`:\s]{1,40})`?: "),
    "port_taken": re.compile(r"held by (?:the (container \S{1,80})|(.{1,40}? \(pid \d+\)))"),
}


def _language(language: str) -> str:
    return language if language in _WORDS else "en"


def phrase(record: IncidentRecord, language: str) -> str:
    """What is wrong, in a few words, with the name of the upstream or process."""
    cause = str(record["cause"])
    words = _CAUSES[language].get(cause, str(record.get("meaning") or cause))
    services = ", ".join(str(name) for name in record.get("services") or [])
    if "{who}" not in words:
        return f"{services}: {words}" if services else words
    found = [match for line in record["evidence"] if (match := _NAMES[cause].search(line))]
    names = [match[match.lastindex or 0] for match in found]
    # An upstream that the inventory names says more than the variable of the env that holds its address.
    who = next((name for name in names if not name.isupper()), names[0] if names else _UNNAMED[language][cause])
    return " ".join(words.format(who=who).split())


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def _summary(app: str, host: str, what: str) -> str:
    return _cut(f"{app} @ {host}: {what}", SUMMARY_LENGTH)


def _evidence(record: IncidentRecord) -> list[str]:
    return [f"• {_cut(str(line), EVIDENCE_LENGTH)}" for line in record["evidence"][:EVIDENCE_LINES]]


def next_step(record: IncidentRecord, language: str) -> str:
    """What a person does now: what ends an escalated incident; before that a first step, or nothing."""
    if record.get("escalated") or record.get("held"):
        return _next_step(record, language)
    return _FIRST_STEP[language].get(str(record["cause"]), _WORDS[language]["nothing_yet"])


def _next_step(record: IncidentRecord, language: str) -> str:
    cause = str(record["cause"])
    first = _FIRST_STEP[language].get(cause)
    if first or language == "en":
        return first or str(record["next_step"])
    # What only metrics say of an incident has no folder.
    has_folder = "app" in record and "id" in record
    folder = f"/var/lib/selfheal/{record['app']}/incidents/{record['id']}에 있는" if has_folder else "인시던트에 보관된"
    about = record.get("about") or "증거에 나온"
    return _NEXT_STEP_KO.get(cause, _NEXT_STEP_KO[""]).format(about=about, evidence=folder)


def tried(record: IncidentRecord, language: str) -> str:
    """The remedies in their order, each once, with what failed marked."""
    words = _WORDS[language]
    names = [
        _REMEDIES[language].get(one["name"], str(one["name"])) + ("" if one["done"] else f" ({words['failed']})")
        for one in record["remedies"]
    ]
    return ", ".join(dict.fromkeys(names))


def _took(seconds: float, language: str) -> str:
    """A duration for people: 4.2 s, 12 min 5 s, 3 h 4 min."""
    hour, minute, second = _UNITS[language]
    if seconds < 60:
        return f"{seconds:.1f}{second}"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{minute}{whole % 60}{second}"
    return f"{whole // 3600}{hour}{whole % 3600 // 60}{minute}".strip()


# --- alerts ----------------------------------------------------------------------------------------------------------


def _alert(name: str, severity: str, app: str, host: str, cause: str, incident: str) -> Alert:
    labels = {"alertname": name, "app": app, "host": host, "cause": cause, "severity": severity, "incident": incident}
    return {"labels": labels, "annotations": {"summary": "", "description": ""}}


def _of(record: IncidentRecord, name: str, severity: str) -> Alert:
    """An alert about an incident's record."""
    # Its labels stay those of its opening, or it would not end.
    cause = str(record.get("opened_as") or record["cause"])
    alert = _alert(name, severity, str(record["app"]), str(record["host"]), cause, str(record["id"]))
    return {**alert, "startsAt": str(record["seen"])}


def opened(record: IncidentRecord, language: str) -> Alert:
    """Something is wrong, and this is being done: a warning. The record is redacted."""
    tongue = _language(language)
    cause = str(record["cause"])
    app, host, words = record["app"], record["host"], _WORDS[tongue]
    step = next_step(record, tongue)
    lines = [_DOING[tongue].get(cause, _DOING[tongue][""]), *_evidence(record), f"{words['next']}: {step}"]
    return {
        **_of(record, INCIDENT, "warning"),
        "annotations": {
            "summary": _summary(app, host, phrase(record, tongue)),
            "description": "\n".join(lines),
            "over": _summary(app, host, words["silent"]),
        },
    }


def escalated(record: IncidentRecord, language: str) -> Alert:
    """The host can do no more about an incident: critical. It ends when the incident does."""
    tongue = _language(language)
    app, host, words = record["app"], record["host"], _WORDS[tongue]
    attempted, why = tried(record, tongue), str(record["hold"])
    lines = [
        f"{words['tried']}: {attempted}" if attempted else words["nothing"],
        *([f"{words['why']}: {_cut(why, EVIDENCE_LENGTH)}"] if why else []),
        *_evidence(record),
        *([f"{words['next']}: {step}"] if (step := _next_step(record, tongue)) else []),
    ]
    return {
        **_of(record, ESCALATED, "critical"),
        "annotations": {
            "summary": _summary(app, host, f"{words['escalated']}: {phrase(record, tongue)}"),
            "description": "\n".join(lines),
            "over": _summary(app, host, words["silent"]),
        },
    }


def resolved(record: IncidentRecord, language: str) -> Alert:
    """An incident is over: how, and how long it took. Added to an outbox it ends all alerts of the incident."""
    tongue = _language(language)
    app, host, words = record["app"], record["host"], _WORDS[tongue]
    took = _took(float(record["seconds"]), tongue)
    what, attempted = phrase(record, tongue), tried(record, tongue)
    seen, ended = str(record["seen"])[11:19], str(record["ended"])[11:19]
    lines = [
        f"{words['cured']}: {attempted}" if attempted else words["by_itself"],
        f"{words['was']}: {what}",
        words["mttr"].format(took=took, seen=seen, ended=ended),
    ]
    return {
        **_of(record, INCIDENT, "warning"),
        "annotations": {
            "summary": _summary(app, host, f"{words['healthy'].format(took=took)} ({what})"),
            "description": "\n".join(lines),
        },
        "endsAt": str(record["ended"]),
    }


def lasting_pause(app: str, host: str, pause: Pause | None, language: str) -> Alert:
    """A person ordered a pause long ago, and nothing is healed meanwhile: a warning.

    :arg pause: None will do for the alert that `end` takes.
    """
    words = _WORDS[_language(language)]
    until = iso(float(pause["until"]))[:16].replace("T", " ") if pause else ""
    reason = str((pause["reason"] if pause else "") or words["no_reason"])
    # Each pause is an alert of its own: Alertmanager would take a second one for the first, which it has sent.
    number = f"-{float(pause['until']):.0f}" if pause else ""
    alert = _alert(PAUSED, "warning", app, host, "paused", f"pause{number}")
    alert["annotations"] = {
        "summary": _summary(app, host, words["paused"].format(until=until)),
        "description": f"{words['order'].format(reason=_cut(reason, EVIDENCE_LENGTH))}\n{words['resume']}",
        "over": _summary(app, host, words["pause_over"]),
    }
    return alert


def bad_backup(app: str, host: str, what: str, problem: BackupProblem | None, language: str) -> Alert:
    """A backup failed (`what` is backup), or could not be verified (verify).

    :arg problem: None will do for the alert that `end` takes.
    """
    words = _WORDS[_language(language)]
    number = f"-{float(problem['since']):.0f}" if problem else ""
    text = problem["text"] if problem else ""
    alert = _alert(BACKUP[what], "warning", app, host, what, f"{what}{number}")
    alert["annotations"] = {
        "summary": _summary(app, host, words[what]),
        "description": f"{_cut(text, 2 * EVIDENCE_LENGTH)}\n{words[what + '_next']}",
        "over": _summary(app, host, words[what + "_over"]),
    }
    return alert


def bad_certificate(app: str, host: str, record: CertificateMemory, language: str) -> Alert:
    """The certificate of the domain could not be renewed, and ends soon, or a name has none: critical."""
    words, problem = _WORDS[_language(language)], record["problem"]
    missing = sorted(set(record["wanted"]) - set(record["names"]))
    what, names = ("no_certificate", missing) if missing else ("certificate", record["names"])
    ends = iso(record["ends"])[:16].replace("T", " ")
    text, number = (problem["text"], f"-{problem['since']:.0f}") if problem else ("", "")
    alert = _alert(CERTIFICATE, "critical", app, host, "certificate", f"certificate{number}")
    alert["annotations"] = {
        "summary": _summary(app, host, words[what].format(names=", ".join(names), ends=ends)),
        "description": f"{_cut(text, 3 * EVIDENCE_LENGTH)}\n{words['certificate_next']}",
        "over": _summary(app, host, words["certificate_over"]),
    }
    return alert


def stopped_timer(app: str, host: str, since: str, language: str) -> Alert:
    """The timer that starts the watcher of an app was stopped: a warning, posted by each watcher that sees it.

    :arg since: tells one stop from the next, and is the same for every watcher.
    """
    words = _WORDS[_language(language)]
    alert = _alert(TIMER, "warning", app, host, "timer", f"timer-{since}")
    alert["annotations"] = {
        "summary": _summary(app, host, words["timer"]),
        "description": f"{words['timer_meaning']}\n{words['timer_next'].format(app=app)}",
        "over": _summary(app, host, words["timer_over"]),
    }
    return alert


def replaced_by_hand(app: str, host: str, found: Mapping[str, str], language: str) -> Alert:
    """Services run, and not as the release has them: a warning.

    :arg found: {service: the folder in which `docker compose` was run}, at least one.
    """
    words = _WORDS[_language(language)]
    alert = _alert(BY_HAND, "warning", app, host, "by_hand", "by-hand")
    meaning = words["by_hand_meaning"].format(folders=", ".join(sorted(set(found.values()))))
    alert["annotations"] = {
        "summary": _summary(app, host, words["by_hand"].format(services=", ".join(sorted(found)))),
        "description": f"{_cut(meaning, 2 * EVIDENCE_LENGTH)}\n{words['by_hand_next']}",
        "over": _summary(app, host, words["by_hand_over"]),
    }
    return alert


def changed_by_hand(app: str, host: str, change: Changed, language: str) -> Alert:
    """Files or containers were changed, and not by a run: a warning."""
    words = _WORDS[_language(language)]
    names = ", ".join(sorted(change["things"]))
    alert = _alert(CHANGED, "warning", app, host, "changed", f"changed-{change['number']}")
    things = [f"{name}: {what}" for name, what in sorted(change["things"].items())]
    more = [f"+ {len(things) - EVIDENCE_THINGS}"] if len(things) > EVIDENCE_THINGS else []
    who = ", ".join(change["who"]) or words["changed_no_one"]
    when = iso(change["at"])[:19].replace("T", " ")
    lines = [
        *(f"• {_cut(thing, EVIDENCE_LENGTH)}" for thing in things[:EVIDENCE_THINGS]),
        *more,
        _cut(words["changed_who"].format(at=when, who=who), 2 * EVIDENCE_LENGTH),
        words["changed_container" if all(one.startswith("container ") for one in things) else "changed_next"],
    ]
    alert["annotations"] = {
        "summary": _summary(app, host, words["changed"].format(things=names)),
        "description": "\n".join(lines),
        "over": _summary(app, host, words["changed_over"].format(things=names)),
    }
    return alert


def watchdog(app: str, host: str) -> Alert:
    """The dead-man's signal: it fires as long as the watcher and Alertmanager live."""
    alert = _alert(WATCHDOG, "none", app, host, "none", "watchdog")
    alert["annotations"] = {"summary": _summary(app, host, "the watcher is alive"), "description": ""}
    return alert


def unmeasured(host: str, language: str, now: float) -> Alert:
    """Prometheus does not scrape any more. While it runs it posts the same alert itself. This one ends by itself."""
    said, meaning, over = _UNMEASURED[language]
    return {
        "labels": {"alertname": UNMEASURED, "host": host, "scope": "host", "severity": "critical"},
        "annotations": {"summary": f"{host}: {said}", "description": meaning, "over": f"{host}: {over}{said}"},
        "endsAt": iso(now + UNMEASURED_HOLD_SECONDS),
    }
