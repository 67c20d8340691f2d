#!/usr/bin/env bash
# just 1.59.0 (rust-just) with Debian's sh: SIGTERM reaches the recipe's shell alone, and the program that the shell runs goes on.
# Expected: just passes SIGTERM on and waits, as its manual says, so that the program stops in its own way.
# Seen: the shell dies, just ends with 143 at once, and the program never hears of it. With `exec` in the recipe all is well.
set -euo pipefail
work=$(mktemp -d)
started=()
end_all() { for pid in "${started[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done; rm -rf "$work"; }
trap end_all EXIT
python3 -m pip --quiet --disable-pip-version-check install --no-warn-script-location --target "$work/lib" rust-just==1.59.0 2>"$work/pip.log" ||
    { cat "$work/pip.log" >&2; exit 2; }
cd "$work"
printf 'plain:\n    python3 serve.py plain\n\nexec:\n    exec python3 serve.py exec\n' >justfile
cat >serve.py <<'PY'
import os, pathlib, signal, sys, time

name = pathlib.Path(sys.argv[1])

def stop(*_):
    name.with_suffix(".stopped").touch()
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
name.with_suffix(".part").write_text(str(os.getpid()))
name.with_suffix(".part").rename(name.with_suffix(".ready"))
while True:
    time.sleep(0.1)
PY

stopped() { # RECIPE: what the program made of the SIGTERM that just got
    "$work/lib/bin/just" "$1" >/dev/null 2>&1 &
    local just=$!
    for _ in $(seq 100); do [ -e "$1.ready" ] && break; sleep 0.1; done
    started+=("$(cat "$1.ready")")
    kill -TERM "$just"
    wait "$just" || true
    sleep 1
    [ -e "$1.stopped" ] && result=stopped || result="runs on"
}

stopped plain
plain=$result
stopped exec
echo "just 1.59.0 after SIGTERM: the program of a plain recipe $plain; with exec it $result"
[ "$plain" = 'runs on' ] && [ "$result" = stopped ]
