#!/usr/bin/env bash
# PostgreSQL 15.20 (Debian 12, with LLVM 14) fails a query once it is costly enough for JIT, where no memory may be both written and
# run (MemoryDenyWriteExecute of a systemd unit). Cheap queries work, and so does pg_jit_available(): it says yes.
# Expected: it interprets the query, as it does where the JIT provider is missing ("will continue without JIT").
# Seen: "error during JITing: Permission denied", and the query ends with an ERROR; a server that looked well fails in its reports.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download postgresql-15=15.20-0+deb12u1 postgresql-client-15=15.20-0+deb12u1 libpq5=15.20-0+deb12u1 \
    libllvm14=1:14.0.6-12 libz3-4=4.8.12-3.1 >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
# PR_SET_MDWE of linux/prctl.h, since Linux 6.3.
cat >within.py <<'PYTHON'
import ctypes, os, sys
if sys.argv[1] == "within" and ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit("this kernel has no PR_SET_MDWE")
os.execv(sys.argv[2], sys.argv[2:])
PYTHON
cat >ask.sh <<'SHELL'
set -euo pipefail
bin=$PWD/root/usr/lib/postgresql/15/bin
export LD_LIBRARY_PATH=$PWD/root/usr/lib/x86_64-linux-gnu
ask() { "$bin/psql" -h "$PWD/data" -p 5499 -U me -d postgres -At "$@"; }
"$bin/initdb" -D data/db -U me -A trust >data/init.log 2>&1
for where in without within; do
    python3 within.py "$where" "$bin/postgres" -D data/db -k "$PWD/data" -c listen_addresses= -c port=5499 >"data/$where.log" 2>&1 &
    for _ in $(seq 100); do ask -c 'select 1' >/dev/null 2>&1 && break; sleep 0.1; done
    echo "$where: available $(ask -c 'select pg_jit_available()')," \
        "cheap $(ask -c 'select sum(i) from generate_series(1, 10) i')," \
        "costly $(ask -c 'set jit_above_cost = 0' -c 'select sum(i) from generate_series(1, 1000) i' 2>&1 | tail -1 | cut -c1-60)"
    kill %%
    wait %% || true
done
SHELL
install -d -o nobody -m 0700 data
chmod a+rx . && chmod -R a+rX root
su -s /bin/bash nobody -c 'bash ask.sh' | tee seen.txt
grep -qx 'without: available t, cheap 55, costly 500500' seen.txt
grep -q '^within: available t, cheap 55, costly ERROR:  failed to look up symbol' seen.txt
