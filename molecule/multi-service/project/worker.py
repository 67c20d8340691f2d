# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads new letters. No check asks it."""

import time

import redis
import store

cache = store.cache()
while True:
    try:
        found = cache.blpop("to read", timeout=5)
    except redis.ConnectionError:
        time.sleep(1)
        continue
    if found:
        cache.incr("read")
