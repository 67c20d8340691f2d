# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the alerts of monitoring say, in both languages. `<name>` is a value of ours, `{{ }}` is Prometheus's. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, TypedDict

KOREAN = "ko"
OVER = {"en": "over", KOREAN: "해소"}
_PLACEHOLDER = re.compile(r"<(\w+)>")

# What an alert is about.
APP = "{{ $labels.app }} @ {{ $labels.host }}"
# Its series may be gone, and the label with it.
NAMED_APP = "<app> @ {{ $labels.host }}"
HOST = "{{ $labels.host }}"
TARGET = "{{ $labels.target }}"
MONITORING_HOST = "<monitoring_host>"


class AlertText(NamedTuple):
    """What an alert is about, what it says in a line, and what that means."""

    subject: str
    english: str
    korean: str
    meaning_english: str
    meaning_korean: str


class Annotations(TypedDict):
    """The annotations of a rule: a line, what it means and where to read on, and the line that says that it is over."""

    summary: str
    description: str
    over: str
    runbook_url: str


def alert_annotations(values: Mapping[str, object], language: str, runbook_url: str) -> dict[str, Annotations]:
    """Return the annotations of each alert.

    :arg values: the thresholds and settings that the texts name.
    :arg runbook_url: the page that has a section for each alert.
    """
    return {
        name: _annotations(text, values, language, f"{runbook_url.strip()}#{name.lower()}")
        for name, text in ALERTS.items()
    }


def _annotations(text: AlertText, values: Mapping[str, object], language: str, section: str) -> Annotations:
    korean = language == KOREAN
    subject = _filled(text.subject, values)
    line = _filled(text.korean if korean else text.english, values)
    meaning = _filled(text.meaning_korean if korean else text.meaning_english, values)
    over = OVER[KOREAN if korean else "en"]
    return Annotations(
        summary=f"{subject}: {line}",
        description=f"{meaning}\n→ {section}",
        over=f"{subject}: {over}: {line}",
        runbook_url=section,
    )


def _filled(text: str, values: Mapping[str, object]) -> str:
    return _PLACEHOLDER.sub(lambda name: str(values[name.group(1)]), text)


ALERTS = {
    "HostMemory": AlertText(
        HOST,
        "{{ $value | humanizePercentage }} of its memory in use",
        "메모리 {{ $value | humanizePercentage }} 사용 중",
        "The host is above <memory_percent> %. When nothing is left the kernel ends processes.",
        "호스트의 메모리가 <memory_percent> %를 넘음. 남은 것이 없으면 커널이 프로세스를 종료시킴.",
    ),
    "HostCpu": AlertText(
        HOST,
        "{{ $value | humanizePercentage }} of its CPU in use",
        "CPU {{ $value | humanizePercentage }} 사용 중",
        "The host is above <cpu_percent> %, and not only for a moment.",
        "호스트의 CPU가 잠시가 아니라 계속 <cpu_percent> %를 넘음.",
    ),
    "DiskFullSoon": AlertText(
        HOST,
        "the disk is full within <disk_hours> h",
        "<disk_hours>시간 안에 디스크가 가득 참",
        "{{ $labels.mountpoint }} fills up as it did in the last hour.",
        "{{ $labels.mountpoint }}: 지난 한 시간의 속도가 계속될 경우.",
    ),
    "ClockOff": AlertText(
        HOST,
        "its clock is wrong or not synchronized",
        "시계가 맞지 않거나 동기화되지 않음",
        "Tokens and certificates are judged by the clock: logins fail when it is wrong.",
        "토큰과 인증서는 시계로 판단됨. 시계가 틀리면 로그인이 실패함.",
    ),
    "HostDown": AlertText(
        HOST,
        "the host is down",
        "호스트가 응답하지 않음",
        "None of its exporters has answered for a minute.",
        "1분 동안 호스트의 어떤 exporter도 응답하지 않음.",
    ),
    "TargetDown": AlertText(
        HOST,
        "{{ $labels.job }} does not answer",
        "{{ $labels.job }}에서 응답이 없음",
        "{{ $labels.instance }} does not answer, so its measurements are missing.",
        "{{ $labels.instance }}가 응답하지 않아 측정되지 않음.",
    ),
    "MeasuringStopped": AlertText(
        MONITORING_HOST,
        "nothing is measured any more",
        "더 이상 측정되지 않음",
        "Prometheus does not store what it measures, most likely because its disk is full. Until it does, no "
        "threshold raises an alert.",
        "Prometheus가 측정값을 저장하지 못함. 디스크가 가득 찼을 가능성이 큼. 해결될 때까지 임계값 알림이 오지 않음.",
    ),
    "ContainerMemory": AlertText(
        APP,
        "{{ $value | humanizePercentage }} of its memory limit in use",
        "메모리 한도의 {{ $value | humanizePercentage }} 사용 중",
        "Container {{ $labels.container }} is above <memory_percent> %. At 100 % the kernel ends it.",
        "컨테이너 {{ $labels.container }}의 메모리가 <memory_percent> %를 넘음. 100 %가 되면 커널이 종료시킴.",
    ),
    "ContainerCpu": AlertText(
        APP,
        "{{ $value | humanizePercentage }} of its CPU limit in use",
        "CPU 한도의 {{ $value | humanizePercentage }} 사용 중",
        "Container {{ $labels.container }} is above <cpu_percent> %. At 100 % it is held back, and answers late.",
        "컨테이너 {{ $labels.container }}의 CPU가 <cpu_percent> %를 넘음. 100 %가 되면 제한되어 응답이 느려짐.",
    ),
    "AppErrors": AlertText(
        APP,
        "{{ $value | humanizePercentage }} of the requests fail",
        "요청의 {{ $value | humanizePercentage }}가 실패함",
        "Above <error_percent> % within a minute, counted by the load balancer or by the checks from outside.",
        "1분 동안 <error_percent> %를 넘음 (로드 밸런서 또는 외부 점검 기준).",
    ),
    "AppSlow": AlertText(
        APP,
        "an answer takes {{ $value | humanizeDuration }}",
        "응답에 {{ $value | humanizeDuration }} 걸림",
        "Above <response_ms> ms, for each of the last requests from outside.",
        "외부에서 보낸 최근 요청이 모두 <response_ms> ms를 넘음.",
    ),
    "AppDown": AlertText(
        APP,
        "{{ $value }} of its checks fail from outside",
        "외부 점검 {{ $value }}개가 실패함",
        "They have failed for a minute, so the host has not healed it by itself.",
        "1분 동안 실패함. 호스트가 스스로 복구하지 못함.",
    ),
    "CertificateEnds": AlertText(
        APP,
        "its certificate ends in {{ $value | humanizeDuration }}",
        "인증서가 {{ $value | humanizeDuration }} 후 만료됨",
        "Less than <certificate_days> days are left, so its renewal does not work.",
        "남은 기간이 <certificate_days>일 미만임. 갱신이 되지 않고 있음.",
    ),
    "ContainerOom": AlertText(
        APP,
        "it ran out of memory",
        "메모리가 부족해 종료됨",
        "The kernel ended a process of it at the memory limit, within the last five minutes.",
        "최근 5분 안에 커널이 메모리 한도에 도달한 프로세스를 종료시킴.",
    ),
    "RestartLoop": AlertText(
        APP,
        "started {{ $value }} times within 10 minutes",
        "10분 안에 {{ $value }}번 다시 시작됨",
        "Container {{ $labels.container }} does not stay up.",
        "컨테이너 {{ $labels.container }}가 계속 종료됨.",
    ),
    "InstancesMissing": AlertText(
        APP,
        "{{ $value }} of <instances> instances get requests",
        "인스턴스 <instances>개 중 {{ $value }}개만 요청을 받음",
        "The load balancer has found the others unhealthy for five minutes.",
        "로드 밸런서가 5분 동안 나머지를 비정상으로 판단함.",
    ),
    "BreakerOpen": AlertText(
        APP,
        "the host has given up healing it",
        "호스트가 자동 복구를 포기함",
        "The breaker is open: no remedy is applied any more. A person is needed.",
        "차단기가 열림: 더 이상 복구를 시도하지 않음. 사람이 필요함.",
    ),
    "WatcherNotSeen": AlertText(
        NAMED_APP,
        "the watcher is not seen",
        "감시 프로그램(watcher)이 보이지 않음",
        "It has not looked at the app for more than <watcher_seconds> s, so nothing is healed.",
        "<watcher_seconds>초 넘게 앱을 점검하지 않음. 자동 복구가 되지 않음.",
    ),
    "BudgetBurnsFast": AlertText(
        APP,
        "{{ $value | humanizePercentage }} failed in 1h",
        "1h 동안 {{ $value | humanizePercentage }} 실패",
        "That uses up what <slo_percent> % leaves 14.4 times as fast as it may, and still goes on.",
        "<slo_percent> % 목표의 허용량을 14.4배 속도로 쓰고 있으며 지금도 계속됨.",
    ),
    "BudgetBurns": AlertText(
        APP,
        "{{ $value | humanizePercentage }} failed in 6h",
        "6h 동안 {{ $value | humanizePercentage }} 실패",
        "That uses up what <slo_percent> % leaves 6 times as fast as it may, and still goes on.",
        "<slo_percent> % 목표의 허용량을 6배 속도로 쓰고 있으며 지금도 계속됨.",
    ),
    "BudgetBurnsSlowly": AlertText(
        APP,
        "{{ $value | humanizePercentage }} failed in 3d",
        "3d 동안 {{ $value | humanizePercentage }} 실패",
        "That uses up what <slo_percent> % leaves 1 times as fast as it may, and still goes on.",
        "<slo_percent> % 목표의 허용량을 1배 속도로 쓰고 있으며 지금도 계속됨.",
    ),
    "CacheGone": AlertText(
        APP,
        "its cache does not answer",
        "캐시가 응답하지 않음",
        "The app works without it, and asks the database for everything meanwhile.",
        "앱은 캐시 없이 동작하지만, 그동안 모든 조회가 데이터베이스로 감.",
    ),
    "CacheEvicting": AlertText(
        APP,
        "its cache is too small",
        "캐시가 너무 작음",
        "For ten minutes it has thrown out more than <evictions_per_second> keys a second to make room.",
        "공간을 만들려고 10분 동안 초당 <evictions_per_second>개가 넘는 키를 내보냄.",
    ),
    "PoolGone": AlertText(
        APP,
        "its connection pool does not answer",
        "커넥션 풀이 응답하지 않음",
        "Without it the app does not reach its database, and the host has not brought it back for a minute.",
        "풀이 없으면 앱이 데이터베이스에 접속할 수 없음. 1분 동안 호스트가 되살리지 못함.",
    ),
    "PoolExhausted": AlertText(
        APP,
        "requests wait {{ $value | humanizeDuration }} for a database connection",
        "요청이 데이터베이스 연결을 {{ $value | humanizeDuration }} 기다림",
        "All connections of the pool are lent. After 10 s in the queue a request fails.",
        "풀의 연결이 모두 사용 중임. 10초를 기다린 요청은 실패함.",
    ),
    "DatabaseGone": AlertText(
        APP,
        "its database cannot be asked",
        "데이터베이스를 조회할 수 없음",
        "It is down, cut off from this host, or does not take the login of `monitoring_database`.",
        "데이터베이스가 멈췄거나, 이 호스트와 끊겼거나, `monitoring_database`의 로그인이 거부됨.",
    ),
    "DatabaseConnections": AlertText(
        APP,
        "{{ $value | humanizePercentage }} of the database connections in use",
        "데이터베이스 연결의 {{ $value | humanizePercentage }} 사용 중",
        "Above <connections_percent> % of what it allows. At 100 % the next client is refused.",
        "허용된 수의 <connections_percent> %를 넘음. 100 %가 되면 다음 연결은 거부됨.",
    ),
    "SlowQueries": AlertText(
        APP,
        "a transaction has taken {{ $value | humanizeDuration }}",
        "트랜잭션이 {{ $value | humanizeDuration }} 동안 끝나지 않음",
        "Longer than <query_seconds> s. What it has locked the others wait for.",
        "<query_seconds>초를 넘음. 이 트랜잭션이 잠근 것을 다른 요청들이 기다림.",
    ),
    "BackupTooOld": AlertText(
        APP,
        "the last backup is too old",
        "마지막 백업이 너무 오래됨",
        "None was made for <backup_hours> hours: what is written now would be lost.",
        "<backup_hours>시간 동안 백업되지 않음. 지금 기록되는 데이터는 잃을 수 있음.",
    ),
    "BackupNotVerified": AlertText(
        APP,
        "no backup was verified lately",
        "최근에 검증된 백업이 없음",
        "No backup was verified by restoring it for <verified_days> days. It is not known whether one can be restored.",
        "<verified_days>일 동안 복원해서 확인된 백업이 없음. 복원할 수 있는지 알 수 없음.",
    ),
    "DriftFound": AlertText(
        TARGET,
        "{{ $value }} differences from the desired state",
        "의도한 상태와 다른 항목 {{ $value }}개",
        "Somebody or something has changed the host, or a change of the inventory waits for site.yml. "
        "`selfheal-drift log` on the controller says what, and since when.",
        "누군가 손으로 바꿨거나 다른 프로그램이 바꿈. 또는 인벤토리의 변경이 아직 반영되지 않음. "
        "컨트롤러에서 selfheal-drift log로 내용과 시점을 확인할 수 있음.",
    ),
    "DriftNotChecked": AlertText(
        TARGET,
        "not compared for more than <drift_hours> h",
        "<drift_hours>시간 넘게 비교하지 못함",
        "It is not known whether it has drifted: the host cannot be reached, or the check fails.",
        "변경 여부를 알 수 없음. 호스트에 연결할 수 없거나 검사가 도중에 중단됨.",
    ),
}
