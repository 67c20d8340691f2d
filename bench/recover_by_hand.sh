#!/usr/bin/env bash
# A plain script for the same incident: the same commands as recover.yml, over ssh, without validation and report.
# Usage: recover_by_hand.sh ADDRESS APP < VALUES   (VALUES: NAME=value lines: SUPABASE_SERVICE_KEY, PROBE_EMAIL, PROBE_PASSWORD)
set -euo pipefail

address=$1 app=$2
directory=/opt/$app url=http://$address:8000 front=http://172.30.57.10:3000
lab=$(cd "$(dirname "$0")/.." && pwd)/.lab
host=(ssh -i "$lab/id_ed25519" -o UserKnownHostsFile="$lab/host_keys/%h" "root@$address")
compose="docker compose -p $app -f $directory/compose.yaml -f $directory/compose.hardened.yaml"

declare -A value
while IFS='=' read -r name rest; do value[$name]=$rest; done

"${host[@]}" true
"${host[@]}" "cp -p $directory/.env $directory/.env.backup"
printf '%s' "${value[SUPABASE_SERVICE_KEY]}" | "${host[@]}" "
  key=\$(cat) && umask 077 &&
  grep -v ^SUPABASE_SERVICE_KEY= $directory/.env > $directory/.env.new &&
  printf 'SUPABASE_SERVICE_KEY=\"%s\"\n' \"\$key\" >> $directory/.env.new &&
  mv $directory/.env.new $directory/.env"
"${host[@]}" "$compose down"
"${host[@]}" "$compose up -d --build"
for _ in $(seq 600); do
  curl -fs -m 2 -o /dev/null "$url/health" && break
  sleep 0.1
done
curl -fsS -m 5 -o /dev/null "$url/health"
login=$(printf '{"email":"%s","password":"%s"}' "${value[PROBE_EMAIL]}" "${value[PROBE_PASSWORD]}" |
  curl -fsS -m 5 -H 'Content-Type: application/json' --data @- "$url/auth/login")
token=$(sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p' <<< "$login")
printf 'header = "Authorization: Bearer %s"\n' "$token" | curl -fsS -m 5 -o /dev/null --config - "$url/api/gifts"
curl -fsS -m 5 -o /dev/null "$front/"
"${host[@]}" "rm -f $directory/.env.backup"
