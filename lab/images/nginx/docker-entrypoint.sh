#!/bin/sh
# Does what the official image of nginx does before the server runs: every script of /docker-entrypoint.d, in order.
set -e

if [ "$1" = nginx ]; then
    for script in /docker-entrypoint.d/*.sh; do
        [ -x "$script" ] || continue
        echo "$0: Launching $script"
        "$script"
    done
    echo "$0: Configuration complete; ready for start up"
fi
exec "$@"
