#!/usr/bin/env bash
# Node 26.10.0 (20 does the same): what it writes to a pipe that is full for a moment is lost when the process ends.
# Expected: all lines arrive, as Node's manual calls writes to a pipe synchronous on Linux. bun 1.4.5 does that.
# Seen: after 200 lines of 2,000 bytes and an error that ends the process, 32 lines arrive, those that fitted into the pipe. The reader was
# busy for a second, as an engine on a busy host is: what is missing is the end of the log, with the reason.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-audit --no-fund --prefix "$work" node@26.10.0 bun@1.4.5 >"$work/npm.log" 2>&1 || { cat "$work/npm.log"; exit 2; }
cat >"$work/crash.js" <<'JS'
for (let i = 0; i < 200; i++) console.log(`${i} `.padEnd(1999, '.'))
throw new Error('the reason')
JS
arrived() { # RUNTIME
    { "$work/node_modules/.bin/$1" "$work/crash.js" 2>"$work/stderr" || true; } | { sleep 1.5; wc -l; }
}
node=$(arrived node)
bun=$(arrived bun)
echo "lines of 200 that arrive at a reader who was busy for a second: from node 26.10.0 $node, from bun 1.4.5 $bun"
[ "$node" -lt 100 ] && [ "$bun" = 200 ]
