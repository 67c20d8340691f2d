#!/usr/bin/env bash
# gunicorn 27.0.1: `gunicornc -c "worker kill PID"` ends with 0 when no worker has that PID.
# Expected: another exit code, as for an unknown command (1), so that a script notices.
# Seen: "success: false" in its answer, and exit code 0.
set -euo pipefail
work=$(mktemp -d)
server=
end_all() { [ -z "$server" ] || kill -TERM "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"; }
trap end_all EXIT
python3 -m pip --quiet --disable-pip-version-check install --no-warn-script-location --target "$work/lib" gunicorn==27.0.1 2>"$work/pip.log" ||
    { cat "$work/pip.log" >&2; exit 2; }
cd "$work"
export PYTHONPATH="$work/lib:$work" HOME="$work"
unset XDG_RUNTIME_DIR
printf 'def app(_, start):\n    start("204 No Content", [])\n    return []\n' >app.py
"$work/lib/bin/gunicorn" app:app --bind 127.0.0.1:0 >log 2>&1 &
server=$!
for _ in $(seq 100); do grep -q 'Control socket' log && break; sleep 0.1; done
unknown=0 missing=0
"$work/lib/bin/gunicornc" -c 'nonsense' >/dev/null 2>&1 || unknown=$?
# The server itself is not one of its workers.
answer=$("$work/lib/bin/gunicornc" -c "worker kill $server" -j) || missing=$?
echo "gunicornc 27.0.1: an unknown command ends with $unknown; a worker that does not exist with $missing: $(tr -d '\n' <<<"$answer")"
[ "$unknown" = 1 ] && [ "$missing" = 0 ] && grep -q '"success": false' <<<"$answer"
