#!/usr/bin/env bash
# redis-py 8.1.0 with its defaults: Redis stands still for 12 s, and one call of incr() counts twice. rpush() would queue a job twice.
# Expected: what is not safe to repeat is sent once, as with 7.1.0: it waited, and the counter was 1. Or an error says that it is unknown.
# Seen: 8 gives up an answer after 5 s by default (before: never) and sends the command again over a new connection, without a word.
# Redis then does what it has read and what it is sent again. A disk that stalls, or a container that is paused, is enough.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
for version in 8.1.0 7.1.0; do
    python3 -m pip --quiet --disable-pip-version-check install --target "$work/$version" "redis==$version" 2>"$work/pip.log" ||
        { cat "$work/pip.log" >&2; exit 2; }
done
apt-get download redis-server redis-tools libjemalloc2 liblzf1 >/dev/null 2>&1
for package in ./*.deb; do dpkg -x "$package" "$work/root"; done
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu "$work/root/usr/bin/redis-server" \
    --port "$port" --bind 127.0.0.1 --save '' --dir "$work" >"$work/redis.log" 2>&1 &
server=$!
disown
cat >once.py <<'PYTHON'
import os, signal, sys, threading, time
import redis

port, server = int(sys.argv[1]), int(sys.argv[2])
client = redis.Redis(port=port)
deadline = time.monotonic() + 10
while True:
    try:
        client.set("n", 0)
        break
    except redis.ConnectionError:
        assert time.monotonic() < deadline
        time.sleep(0.1)
os.kill(server, signal.SIGSTOP)
threading.Timer(12, os.kill, (server, signal.SIGCONT)).start()
client.incr("n")
time.sleep(1)
print(int(client.get("n")))
PYTHON
new=$(PYTHONPATH=$work/8.1.0 python3 once.py "$port" "$server")
old=$(PYTHONPATH=$work/7.1.0 python3 once.py "$port" "$server")
echo "after one incr() and a pause of 12 s the counter is $new with redis-py 8.1.0, and $old with 7.1.0"
[ "$new" = 2 ] && [ "$old" = 1 ]
