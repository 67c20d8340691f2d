#!/usr/bin/env bash
# What autoheal does: each so many seconds, restart every container that is unhealthy, with 10 s to end by itself.
# Usage: unhealthy_loop.sh SECONDS
set -u
every=$1

while true; do
    for container in $(docker ps --quiet --filter health=unhealthy); do
        echo "$container is unhealthy, restarting"
        docker restart -t 10 "$container"
    done
    sleep "$every"
done
