#!/usr/bin/env bash
# honcho 2.0.0: when one of its processes is killed (SIGKILL, as by the kernel when memory is short), it ends with exit code 247.
# Expected: 137 (128 + 9), as a shell, an init of a container and the engine itself say it, and as honcho says 3 after `exit 3`.
# Seen: -9 is cut to a byte. Who tells a kill by exit code 137 (a restart rule, an alert on memory) takes 247 for a fault of the app.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --quiet --disable-pip-version-check install --no-warn-script-location --target "$work/lib" honcho==2.0.0 2>"$work/pip.log" ||
    { cat "$work/pip.log" >&2; exit 2; }
cd "$work"
printf 'import os, signal, sys\nif sys.argv[1] == "kill":\n    os.kill(os.getpid(), signal.SIGKILL)\nsys.exit(int(sys.argv[1]))\n' >app.py

code_of() {
    printf 'web: exec python3 app.py %s\nother: exec sleep 30\n' "$1" >Procfile
    local code=0
    PYTHONPATH="$work/lib" python3 -m honcho start >"$work/out" 2>&1 || code=$?
    echo "$code"
}

exited=$(code_of 3)
killed=$(code_of kill)
echo "honcho 2.0.0: after exit 3 it ends with $exited, after SIGKILL with $killed"
[ "$exited" = 3 ] && [ "$killed" = 247 ]
