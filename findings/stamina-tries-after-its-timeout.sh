#!/usr/bin/env bash
# stamina 26.1.0: after `timeout` ("maximum total time for all retries") has passed, one more wait may end and one more try begin.
# Expected: with timeout=2, no try begins later than two seconds after the first one, and the last error is raised by then.
# Seen: tries after 0, 0.5, 1.5 and 3.5 s. The time is looked at only after a failure, not before the wait: with its longest wait
# (5 s) and a try of 10 s, a start-up that may take 30 s gives up after 45 s.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work" stamina==26.1.0 tenacity==9.2.1 2>/dev/null
seen=$(PYTHONPATH=$work python3 - 2>/dev/null <<'PYTHON'
import time

import stamina

begin = time.monotonic()
tries = []


@stamina.retry(on=OSError, attempts=10, timeout=2, wait_initial=0.5, wait_jitter=0)
def ask():
    tries.append(round((time.monotonic() - begin) * 2) / 2)
    raise ConnectionRefusedError


try:
    ask()
except ConnectionRefusedError:
    print(*tries)
PYTHON
)
echo "seconds at which a try begins, with timeout=2: $seen"
[ "$seen" = "0.0 0.5 1.5 3.5" ]
