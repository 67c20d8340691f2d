#!/usr/bin/env bash
# env-cmd 11.0.0: on SIGTERM it passes the signal on to its command, and ends at once, without waiting for it.
# Expected: it ends when its command has ended, as cross-env and dotenv-cli do.
# Seen: it is gone while the command still does its last work. As a container's command it is process 1: the kernel then kills the rest,
# so that no request that is being served is ever finished, whatever stop_grace_period says.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-audit --no-fund --prefix "$work" env-cmd@11.0.0 >"$work/npm.log" 2>&1 || { cat "$work/npm.log"; exit 2; }
cd "$work"
echo 'GREETING=hello' >.env
cat >serve.js <<'JS'
const fs = require('fs')
process.on('SIGTERM', () => setTimeout(() => { fs.writeFileSync('finished', ''); process.exit() }, 2000))
fs.writeFileSync('ready', '')
setInterval(() => {}, 1000)
JS
node_modules/.bin/env-cmd node serve.js >/dev/null 2>&1 &
runner=$!
for _ in $(seq 100); do [ -e ready ] && break; sleep 0.1; done
sleep 0.5
kill -TERM "$runner"
wait "$runner" || true
at_its_end=$([ -e finished ] && echo finished || echo 'still at work')
for _ in $(seq 60); do [ -e finished ] && break; sleep 0.1; done
later=$([ -e finished ] && echo finished || echo 'still at work')
echo "when env-cmd 11.0.0 has ended after SIGTERM, its command is $at_its_end; some seconds later it is $later"
[ "$at_its_end" = 'still at work' ] && [ "$later" = finished ]
