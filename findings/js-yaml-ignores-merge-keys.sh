#!/usr/bin/env bash
# js-yaml 5.5.0 no longer merges `<<` by default, so a service that takes its settings from an anchor loses them without an error.
# Expected: as in 4.1.1, and as Docker Compose reads its files: the keys of the anchor are those of the service.
# Seen: the service has one key named `<<`, which holds the anchor's mapping, and its own keys.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 4.1.1 5.5.0; do
    npm install --silent --no-audit --no-fund --prefix "$work/$version" "js-yaml@$version" >"$work/npm.log" 2>&1 ||
        { cat "$work/npm.log"; exit 1; }
done
cat >"$work/compose.yaml" <<'YAML'
x-common: &common {restart: always, init: true}
services:
  app:
    <<: *common
    image: app
YAML
keys() {
    node -e '
        const read = require(process.argv[1] + "/node_modules/js-yaml").load
        const text = require("fs").readFileSync(process.argv[2], "utf8")
        console.log(Object.keys(read(text).services.app).sort().join(" "))
    ' "$work/$1" "$work/compose.yaml"
}
older=$(keys 4.1.1)
newer=$(keys 5.5.0)
echo "js-yaml 4.1.1: $older; 5.5.0: $newer"
[ "$older" = "image init restart" ] && [ "$newer" = "<< image" ]
