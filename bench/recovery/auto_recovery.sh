#!/usr/bin/env bash
# The automatic recovery script of the incident report of 2025-05-27: ask /health, restart the service when the answer is not 200,
# check again after 30 s, sleep, and repeat. Nothing is added, not even a time limit for curl. It only logs each check, so that
# the time of its sleep and the time of curl are known separately.
# Usage, in the app's directory: auto_recovery.sh URL SECONDS   (the report sleeps 300 s between two checks)
set -u
url=$1 every=$2

status() {
    curl -s -o /dev/null -w '%{http_code}' "$url"
}

while true; do
    echo "Looking"
    if [ "$(status)" != 200 ]; then
        echo "Backend unhealthy, restarting..."
        docker-compose restart backend
        sleep 30
        if [ "$(status)" != 200 ]; then
            echo "Critical: Backend restart failed"
        fi
    fi
    sleep "$every"
done
