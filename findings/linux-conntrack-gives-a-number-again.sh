#!/usr/bin/env bash
# Linux 6.18: the id of a connection in the table of conntrack is made of its place in memory and of its addresses. A client that
# connects again from the same port, two minutes or less after it has closed, often takes that place: the new connection has the id of the old.
# Expected: who has listed the old one, and deletes it by its addresses and its id (CTA_ID, as Docker does with each connection to a
# container that it removes), deletes nothing once there is another one in its place.
# Seen: 8 to 16 of 20 new connections have the old one's id, and would be deleted. With REDIRECT or DNAT, that is the end of such a connection:
# what the server answers is no longer translated. Docker 26.1 ended 43 of 31,244 new connections to a host, in five removals of a
# container with 40,000 closed ones. Needs root; everything happens in a network namespace of its own.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "run this as root" >&2; exit 2; }
command -v iptables >/dev/null || { echo "needs iptables" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download -qq conntrack=1:1.4.7-1+b2 libnetfilter-conntrack3 libnfnetlink0 libmnl0 >/dev/null && for one in *.deb; do dpkg -x "$one" .; done)
export PATH=$work/usr/sbin:$PATH LD_LIBRARY_PATH=$work/usr/lib/x86_64-linux-gnu
cat >"$work/trial.py" <<'PY'
import re
import socket
import subprocess

PORT, CLIENT = 8000, 12000


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def identity() -> str:
    """The id of the client's connection."""
    found = run("conntrack", "-L", "-o", "id", "-p", "tcp", "--orig-port-src", str(CLIENT))
    return re.search(r" id=(\d+)", found)[1]


def connect() -> str:
    """Connect from the one port, and have the server close first; the id while it is open."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("127.0.0.1", CLIENT))
        client.connect(("127.0.0.1", PORT))
        server, _ = listener.accept()
        found = identity()
        server.close()
        client.recv(1)
    return found


run("ip", "link", "set", "lo", "up")
run("iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", str(PORT), "-j", "REDIRECT", "--to-ports", "9000")
listener = socket.create_server(("127.0.0.1", 9000))
again, before = 0, connect()
for _ in range(20):
    now = connect()
    again += now == before
    before = now
print(again)
PY
again=$(unshare --net python3 "$work/trial.py")
echo "of 20 new connections from the same port, $again have the id of the closed one before"
[ "$again" -gt 0 ]
