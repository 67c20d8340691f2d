#!/usr/bin/env bash
# OpenTelemetry for Python 1.45.2: one span that waits, and a collector that cannot be reached, hold up the end of the process.
# Expected: at exit one try is made, and the process ends within a second.
# Seen: with a refused connection the end takes about 7 s (it tries again three times), with a collector that takes the connection and says
# nothing about 10 s. The engine kills a container 10 s after it asked it to stop: tracing that is down turns each stop into a kill.
set -euo pipefail
work=$(mktemp -d)
silent=
end_all() { [ -z "$silent" ] || kill "$silent" 2>/dev/null || true; rm -rf "$work"; }
trap end_all EXIT
python3 -m pip --quiet --disable-pip-version-check install --no-warn-script-location --target "$work/lib" \
    opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2 2>"$work/pip.log" || { cat "$work/pip.log" >&2; exit 2; }
export PYTHONPATH="$work/lib"
cat >"$work/app.py" <<'PY'
import sys, time
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"http://127.0.0.1:{sys.argv[1]}/v1/traces")))
trace.set_tracer_provider(provider)
with trace.get_tracer("app").start_as_current_span("request"):
    pass
with open(sys.argv[2], "w") as file:
    file.write(str(time.time()))
PY
cat >"$work/silent.py" <<'PY'
import socket, sys, time

listener = socket.create_server(("127.0.0.1", 0), backlog=50)
with open(sys.argv[1], "w") as file:
    file.write(str(listener.getsockname()[1]))
time.sleep(120)
PY
seconds_to_end() { # PORT
    python3 "$work/app.py" "$1" "$work/at" >"$work/log" 2>&1
    python3 -c 'import sys, time; print(int(time.time() - float(open(sys.argv[1]).read())))' "$work/at"
}
closed=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
python3 "$work/silent.py" "$work/port" &
silent=$!
for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.1; done
refused=$(seconds_to_end "$closed")
unanswered=$(seconds_to_end "$(cat "$work/port")")
echo "opentelemetry 1.45.2, one span: the end takes $refused s with a collector that refuses, $unanswered s with one that says nothing"
[ "$refused" -ge 4 ] && [ "$unanswered" -ge 8 ]
