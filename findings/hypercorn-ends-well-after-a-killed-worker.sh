#!/usr/bin/env bash
# Hypercorn 0.18.0 with two workers: when one is killed, as by the kernel when memory is short, the whole server ends, with exit code 0.
# Expected: the worker is replaced, as by Gunicorn and Uvicorn, or the server ends with a code that says it failed, as Granian does.
# Seen: both workers are gone, nothing is logged, and the code is 0: `restart: on-failure` leaves the service down.
set -euo pipefail
work=$(mktemp -d)
server=
clean_up() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
pip install --quiet --target "$work/pip" hypercorn==0.18.0 2>/dev/null
cd "$work"
cat >app.py <<'PYTHON'
import os


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
PYTHON
PYTHONPATH=$work/pip timeout 40 python3 -m hypercorn --workers 2 --bind 127.0.0.1:18703 app:app 2>server.log &
server=$!
worker=
for _ in $(seq 100); do worker=$(curl -s -m 2 http://127.0.0.1:18703/) && break; sleep 0.1; done
sleep 1
before=$(wc -l <server.log)
kill -KILL "$worker"
code=0
wait "$server" || code=$?
server=
logged=$(($(wc -l <server.log) - before))
answers=$(curl -s -o answer.txt -m 2 -w '%{http_code}' http://127.0.0.1:18703/ || true)
echo "exit code of the server: $code; lines logged after the kill: $logged; HTTP status then: $answers"
[ "$code $logged $answers" = "0 0 000" ]
