#!/usr/bin/env bash
# What the incident report of 2025-05-27 proposed, the section on an automatic recovery script: ask /health, restart the service
# when the answer is not 200, look once more after 30 s, sleep, and so on. Nothing is added, a time limit for curl neither; but it
# says when it looks, so that its sleep can be told from what curl takes.
# Usage, in the app's directory: auto_recovery.sh URL SECONDS   (the report sleeps 300 s between two looks)
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
