#!/usr/bin/env bash
# Uvicorn 0.54.0: when the app cannot start (its database is away), the server ends with exit code 3, but with --workers 2 it ends with 0.
# Expected: the same code, or any but 0: the parent knows ("failed to start, stopping the parent process") and gives up for that reason.
# Seen: 3 without workers, 0 with two. `restart: on-failure`, and `&&` in a start script, take the second for a server that did its work.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" uvicorn==0.54.0 2>/dev/null
cd "$work"
cat >app.py <<'PYTHON'
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
PYTHON
serve() {
    local code=0
    PYTHONPATH=$work/pip timeout 20 python3 -m uvicorn --port 18704 "$@" app:app 2>server.log || code=$?
    echo "$code"
}
alone=$(serve)
workers=$(serve --workers 2)
said=$(grep -o 'failed to start, stopping the parent process' server.log)
echo "exit code alone: $alone; with two workers: $workers (\"$said\")"
[ "$alone $workers" = "3 0" ]
