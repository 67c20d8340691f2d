#!/usr/bin/env bash
# py-spy 0.4.3: it cannot show the stack of a process that is stopped by SIGSTOP, the plainest way in which an app hangs.
# Expected: `py-spy dump` suspends the process, which is suspended already, and prints its stack.
# Seen: "Failed to suspend process … unexpected waitpid result", exit code 1. It takes a group-stop (ptrace(2)) for an error. With
# --nonblocking it prints the stack. The process stays stopped both times.
# Needs the right to trace other processes: root, or kernel.yama.ptrace_scope=0.
set -euo pipefail
work=$(mktemp -d)
trap 'kill -KILL "${app:-}" 2>/dev/null; rm -rf "$work"' EXIT
pip install --quiet --target "$work/lib" py-spy==0.4.3 2>/dev/null
printf 'import time\ndef wait_here():\n    time.sleep(60)\nwait_here()\n' >"$work/app.py"
"$(command -v python3)" "$work/app.py" &
app=$!
sleep 1
dump() { "$work/lib/bin/py-spy" dump "$@" --pid "$app" 2>&1 | grep -oE 'wait_here|unexpected waitpid result' | head -1; }
state() { awk '$1 == "State:" { print $2 }' "/proc/$app/status"; }
seen="running: $(dump)"
kill -STOP "$app"
sleep 0.5
seen+="; stopped: $(dump); nonblocking: $(dump --nonblocking); state: $(state)"
echo "$seen"
[ "$seen" = "running: wait_here; stopped: unexpected waitpid result; nonblocking: wait_here; state: T" ]
