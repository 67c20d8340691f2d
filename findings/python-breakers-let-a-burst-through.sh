#!/usr/bin/env bash
# pybreaker 1.4.1 and circuitbreaker 2.1.3: when the time of an open breaker is over, every call that comes before the trial call has
# ended is let through.
# Expected: half-open lets one call through as the trial, and refuses the others until it is known how that went, as both describe it.
# Seen: of ten threads that call at once after the pause, ten run. A service that has just come back gets the whole burst.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --quiet --disable-pip-version-check install --target "$work/lib" pybreaker==1.4.1 circuitbreaker==2.1.3 2>"$work/pip.log" ||
    { cat "$work/pip.log" >&2; exit 2; }
PYTHONPATH=$work/lib python3 - <<'PY'
import threading
import time

import circuitbreaker
import pybreaker


def fail():
    raise ValueError


def burst(breaker, refusal):
    try:
        breaker(fail)()
    except (ValueError, refusal):
        pass
    refused_while_open = 0
    try:
        breaker(lambda: None)()
    except refusal:
        refused_while_open = 1
    time.sleep(1.2)
    ran, refused, gate = [], [], threading.Barrier(10)

    def one():
        gate.wait()
        try:
            breaker(lambda: (ran.append(1), time.sleep(0.5)))()
        except refusal:
            refused.append(1)

    threads = [threading.Thread(target=one) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return refused_while_open, len(ran), len(refused)


first = burst(pybreaker.CircuitBreaker(fail_max=1, reset_timeout=1), pybreaker.CircuitBreakerError)
second = burst(circuitbreaker.CircuitBreaker(failure_threshold=1, recovery_timeout=1), circuitbreaker.CircuitBreakerError)
print(f"refused while open, then run and refused of ten at once: pybreaker 1.4.1 {first}, circuitbreaker 2.1.3 {second}")
raise SystemExit(0 if first == second == (1, 10, 0) else 1)
PY
