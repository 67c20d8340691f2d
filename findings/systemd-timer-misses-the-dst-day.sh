#!/usr/bin/env bash
# systemd 252 (Debian 12): a daily timer at 02:30 has no run at all on the day on which clocks go from 02:00 to 03:00.
# Expected: the job runs late on that day, as one of Debian's cron does (cron(8): jobs of the time that is skipped run at once).
# Seen: in Europe/Berlin it runs on 27 March 2027 at 02:30, and then on 29 March: a night without a backup. A timer at 03:30 runs
# every night.
# The time zones of this machine are used (tzdata).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download systemd=252.39-1~deb12u2 libsystemd-shared=252.39-1~deb12u2 >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
runs() {
    LC_ALL=C TZ=UTC LD_LIBRARY_PATH=root/usr/lib/x86_64-linux-gnu/systemd \
        root/usr/bin/systemd-analyze calendar --base-time="$1 12:00 UTC" --iterations=3 "*-*-* $2 Europe/Berlin" |
        grep -oE '[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{5}' | paste -sd' '
}
echo "daily at 02:30, in UTC: $(runs 2027-03-26 02:30)"
echo "daily at 03:30, in UTC: $(runs 2027-03-26 03:30)"
[ "$(runs 2027-03-26 02:30)" = "2027-03-27 01:30 2027-03-29 00:30 2027-03-30 00:30" ]
[ "$(runs 2027-03-26 03:30)" = "2027-03-27 02:30 2027-03-28 01:30 2027-03-29 01:30" ]
