#!/usr/bin/env bash
# HAProxy 2.6.12 (Debian 12, PCRE2 with JIT) calls a valid configuration invalid where no memory may be both written and run, as in
# a systemd unit with MemoryDenyWriteExecute: `haproxy -c` for checking a file belongs outside such a sandbox.
# Expected: PCRE2 interprets what it may not compile (as `grep -P` does there), so `-c` says the same within and without.
# Seen: valid without, exit 1 within: "jit compilation failed" for each regular expression.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download haproxy=2.6.12-1+deb12u4 liblua5.3-0=5.3.6-2 libopentracing-c-wrapper0=1.1.3-3+b1 libopentracing1=1.6.0-4 \
    libpcre2-8-0=10.42-1+deb12u2 >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
printf '%s\n' defaults ' mode http' ' timeout client 1s' ' timeout server 1s' ' timeout connect 1s' \
    frontend\ web ' bind 127.0.0.1:18999' ' http-request deny if { path_reg ^/private/.* }' >haproxy.cfg
# PR_SET_MDWE of linux/prctl.h, since Linux 6.3, is what MemoryDenyWriteExecute sets.
cat >within.py <<'PYTHON'
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit("this kernel has no PR_SET_MDWE")
os.execvp(sys.argv[1], sys.argv[1:])
PYTHON
export LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/lib/x86_64-linux-gnu
without=0 within=0 grep=0
root/usr/sbin/haproxy -c -f haproxy.cfg >without.txt 2>&1 || without=$?
python3 within.py root/usr/sbin/haproxy -c -f haproxy.cfg >within.txt 2>&1 || within=$?
echo /private/a | python3 within.py grep -qP '^/private/.*' || grep=$?
root/usr/sbin/haproxy -v | head -1
echo "haproxy -c: exit $without without, $within within; grep -P within: exit $grep"
grep 'jit compilation failed' within.txt
[ "$without" = 0 ] && [ "$within" = 1 ] && [ "$grep" = 0 ]
