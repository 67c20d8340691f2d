#!/usr/bin/env bash
# restic 0.14.0 (Debian 12): `backup current/`, where `current` is a link to the folder of the release in use, saves no file.
# Expected: a slash (or `/.`) after the name means the folder behind the link, as for ls, cp, rsync, rclone and every system call.
# Seen: exit code 0, "processed 0 files", and a snapshot with the link alone, for `current/` and for `current/.`; rclone copies the file.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq restic=0.14.0-1+b5 rclone=1.60.1+dfsg-2+b5 >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
mkdir -p releases/1
echo precious >releases/1/data
ln -s releases/1 current
export RESTIC_PASSWORD=example RESTIC_REPOSITORY="$work/repository" RESTIC_CACHE_DIR="$work/cache"
root/usr/bin/restic init >/dev/null
seen=
for path in current/ current/. releases/1; do
    root/usr/bin/restic backup "$path" >backup.txt
    seen+="$path: $(sed -n 's/^processed \([0-9]* files\).*/\1/p' backup.txt); "
done
root/usr/bin/rclone --config "" copy current/ copied 2>/dev/null
seen+="rclone: $(find copied -type f | wc -l) file"
echo "$seen"
[ "$seen" = "current/: 0 files; current/.: 0 files; releases/1: 1 files; rclone: 1 file" ]
