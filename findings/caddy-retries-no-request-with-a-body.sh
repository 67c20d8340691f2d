#!/usr/bin/env bash
# Caddy 2.6.2 (Debian 12): with lb_try_duration, a request with a body is lost when the upstream that is tried first refuses to connect.
# Expected: a connection that was refused took nothing of the body, so a POST goes to the next upstream like a GET, as nginx has it.
# Seen: GETs are answered by the other upstream, and each POST ends with 502 ("invalid Read on closed Body") after the same first try.
set -euo pipefail
work=$(mktemp -d)
pids=()
clean_up() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait || true
    rm -rf "$work"
}
trap clean_up EXIT
cd "$work"
apt-get download -qq caddy=2.6.2-5 >/dev/null 2>&1
dpkg -x caddy_*.deb root
cat >upstream.py <<'PYTHON'
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.end_headers()

    do_POST = do_GET


HTTPServer(("127.0.0.1", 18762), Handler).serve_forever()
PYTHON
cat >Caddyfile <<'CADDY'
{
    admin off
    auto_https off
}
http://127.0.0.1:18760 {
    reverse_proxy 127.0.0.1:18761 127.0.0.1:18762 {
        lb_policy round_robin
        lb_try_duration 2s
    }
}
CADDY
python3 upstream.py 2>upstream.log &
pids+=($!)
XDG_CONFIG_HOME=$work XDG_DATA_HOME=$work root/usr/bin/caddy run --config Caddyfile 2>caddy.log &
pids+=($!)
ask() { curl -s -o answer.txt -m 5 -w '%{http_code} ' "$@" http://127.0.0.1:18760/ || true; }
for _ in $(seq 50); do [ "$(ask)" = "200 " ] && break; sleep 0.1; done
seen="GET: $(ask; ask; ask)POST: $(ask -d x; ask -d x; ask -d x)"
echo "$seen"
grep -o 'invalid Read on closed Body' caddy.log | sort -u
[ "$seen" = "GET: 200 200 200 POST: 502 502 502 " ]
