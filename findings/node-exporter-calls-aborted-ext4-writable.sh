#!/usr/bin/env bash
# prometheus-node-exporter and an ext4 that the kernel has stopped writing to (errors=remount-ro, Linux 6.18): each write fails with
# EROFS, and node_filesystem_readonly stays 0, so an alert on that metric never fires.
# Expected: 1, and `ro` in /proc/mounts with ST_RDONLY from statvfs(3), as "remounting read-only" in the kernel's log promises.
# Seen: the mount stays `rw` in both of its lists of options, with `emergency_ro` behind, and statvfs says that it is writable.
# The error is one that ext4 makes itself, by trigger_fs_error below /sys/fs/ext4 (Documentation/ABI/testing/sysfs-fs-ext4).
# Needs root, a loop device, and a kernel whose ext4 knows emergency_ro.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "run this as root" >&2; exit 2; }
work=$(mktemp -d)
exporter=
clean() {
    [ -z "$exporter" ] || kill "$exporter"
    umount "$work/disk" 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT
cd "$work"
apt-get download -qq prometheus-node-exporter=1.5.0-1+b6 >/dev/null
dpkg -x prometheus-node-exporter_*.deb package
truncate --size=32M image
mkfs.ext4 -q image
mkdir disk
mount -o loop,errors=remount-ro image disk
device=$(findmnt --noheadings --output SOURCE "$work/disk")

package/usr/bin/prometheus-node-exporter --web.listen-address=127.0.0.1:19100 --collector.disable-defaults \
    --collector.filesystem --collector.filesystem.mount-points-exclude='^$' >log 2>&1 &
exporter=$!
says() { # prints what the exporter says of the mount, once it answers
    python3 - "$work/disk" <<'PY'
import sys
import time
import urllib.request

until = time.monotonic() + 20
while True:
    try:
        text = urllib.request.urlopen("http://127.0.0.1:19100/metrics", timeout=5).read().decode()
        break
    except OSError:
        if time.monotonic() > until:
            raise
        time.sleep(0.2)
lines = [one for one in text.splitlines() if one.startswith("node_filesystem_readonly{") and sys.argv[1] in one]
print(lines[0].split()[-1])
PY
}

before=$(says)
echo 1 >"/sys/fs/ext4/${device##*/}/trigger_fs_error"
refused=
touch disk/file 2>refused || refused=$(grep -o 'Read-only file system' refused)
options=$(findmnt --noheadings --output FS-OPTIONS "$work/disk")
flag=$(python3 -c 'import os, sys; print(bool(os.statvfs(sys.argv[1]).f_flag & os.ST_RDONLY))' "$work/disk")
after=$(says)
echo "Linux $(uname -r): a write: ${refused:-succeeds}; options: $options; statvfs says read-only: $flag"
echo "prometheus-node-exporter 1.5.0: node_filesystem_readonly $before before the error, $after after it"
[ "$refused" = "Read-only file system" ] && [ "$flag" = False ] && [ "$before" = 0 ] && [ "$after" = 0 ]
