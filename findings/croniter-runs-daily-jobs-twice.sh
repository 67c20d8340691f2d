#!/usr/bin/env bash
# croniter 7.0.0 with a time zone: a job that is due once a day at 02:30 is due twice in the night when the clocks go back.
# Expected: once, as with croniter 6.0.0, with cronsim 2.8, and with the cron daemon of Debian: only jobs of every hour run again.
# Seen: 02:30 summer time and 02:30 winter time, an hour apart: a nightly backup, or a clean-up that keeps N backups, runs twice.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for package in croniter==6.0.0 croniter==7.0.0 cronsim==2.8; do
    pip install --quiet --target "$work/$package" "$package" tzdata==2026.6 2>/dev/null
done
next() {
    PYTHONPATH="$work/$1" PYTHONTZPATH='' python3 - <<'PYTHON'
from datetime import datetime
from zoneinfo import ZoneInfo

start = datetime(2026, 10, 24, 12, tzinfo=ZoneInfo("Europe/Berlin"))
try:
    from cronsim import CronSim
    times = CronSim("30 2 * * *", start)
except ImportError:
    from croniter import croniter
    times = croniter("30 2 * * *", start, ret_type=datetime)
print(sum(f"{next(times):%d}" == "25" for _ in range(4)))
PYTHON
}
seen="$(next croniter==6.0.0) $(next croniter==7.0.0) $(next cronsim==2.8)"
echo "runs on 25 October with croniter 6.0.0, croniter 7.0.0, cronsim 2.8: $seen"
[ "$seen" = "1 2 1" ]
