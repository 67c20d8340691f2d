#!/bin/sh
# Does what the official image of Redis does before the server runs: as root, give the data to redis and drop privileges.
set -e

case $1 in
    -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis '{}' +
    exec setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
fi
[ "$(umask)" != 0022 ] || umask 0077
# The official image is built without protected mode, in which Redis answers its own container only.
[ "$1" != redis-server ] || set -- "$@" --protected-mode no
exec "$@"
