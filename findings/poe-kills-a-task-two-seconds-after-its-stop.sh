#!/usr/bin/env bash
# poethepoet 0.49.0: `poe start` as a container's command turns SIGTERM into SIGINT, sends that again and again, and kills the task in
# less than two seconds.
# Expected: the task gets SIGTERM, and has as long as the engine gives it (10 s, stop_grace_period), as with `uv run` and `pdm run`.
# Seen: a task that needs 4 s for its last work gets SIGINT several times, no SIGTERM, and never ends that work; poe ends with 137.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --quiet --disable-pip-version-check install --no-warn-script-location --target "$work/lib" poethepoet==0.49.0 2>"$work/pip.log" ||
    { cat "$work/pip.log" >&2; exit 2; }
cd "$work"
printf '[tool.poe.tasks]\nstart = "python3 task.py"\n' >pyproject.toml
cat >task.py <<'PY'
import signal, time

def note(number, _):
    print(signal.Signals(number).name, flush=True)

for each in (signal.SIGINT, signal.SIGTERM):
    signal.signal(each, note)
open("ready", "w").close()
signal.pause()
end = time.monotonic() + 4
while time.monotonic() < end:
    time.sleep(0.1)
print("finished", flush=True)
PY
PYTHONPATH="$work/lib" python3 -m poethepoet start >out 2>/dev/null &
poe=$!
for _ in $(seq 100); do [ -e ready ] && break; sleep 0.1; done
kill -TERM "$poe"
code=0
wait "$poe" || code=$?
interrupts=$(grep -c '^SIGINT$' out || true) terms=$(grep -c '^SIGTERM$' out || true) finished=$(grep -c '^finished$' out || true)
echo "poethepoet 0.49.0 after SIGTERM: the task got SIGINT $interrupts times and SIGTERM $terms times, finished $finished times; exit $code"
[ "$interrupts" -ge 2 ] && [ "$terms" = 0 ] && [ "$finished" = 0 ] && [ "$code" = 137 ]
