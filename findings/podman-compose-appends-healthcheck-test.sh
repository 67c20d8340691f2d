#!/usr/bin/env bash
# podman-compose 1.6.0: an override file's `healthcheck.test` is appended to the base file's, so the check runs another command.
# Expected: it replaces the base file's, as `command` does, and as Docker Compose has it.
# Seen: [CMD, app-check] overridden by [NONE] becomes [CMD, app-check, NONE]: the check stays on, with one argument more.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" podman-compose==1.6.0 pyyaml==6.0.3 python-dotenv==1.2.1 2>/dev/null
cd "$work"
# podman-compose asks Podman for its version before it reads a file; nothing else of Podman is used.
apt-get download podman libgpgme11* libsubid* libassuan* libdevmapper1* >apt.log 2>&1 || { cat apt.log; exit 1; }
for package in ./*.deb; do dpkg -x "$package" root; done
libraries=$(dirname "$(find root -name 'libgpgme.so.*' -print -quit)")
echo 'services: {app: {image: app, command: [serve], healthcheck: {test: [CMD, app-check]}}}' >base.yaml
echo 'services: {app: {command: [work], healthcheck: {test: [NONE]}}}' >override.yaml
seen=$(PATH="$work/root/usr/bin:$PATH" LD_LIBRARY_PATH="$work/$libraries" PYTHONPATH="$work/pip" \
    python3 -m podman_compose -f base.yaml -f override.yaml config 2>podman.log |
    PYTHONPATH="$work/pip" python3 -c 'import sys, yaml
app = yaml.safe_load(sys.stdin)["services"]["app"]; print(app["command"], app["healthcheck"]["test"])') || { cat podman.log; exit 1; }
echo "command, test: $seen"
[ "$seen" = "['work'] ['CMD', 'app-check', 'NONE']" ]
