#!/usr/bin/env bash
# dehydrated 0.7.0: a CA that refuses a nonce ends the run.
# Expected: the client sends the request again with the nonce of the refusal (RFC 8555, 6.5: it should), as lego 4.9.1 does. CAs with
# several sites refuse valid nonces now and then; Pebble, which they test clients with, refuses 5 % by default.
# Seen, with a CA that refuses 40 %: lego gets its certificate each time, dehydrated ends at the first refusal.
set -euo pipefail
work=$(mktemp -d)
trap 'kill "${ca:-}" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"
apt-get download pebble=2.4.0+ds1-2+b4 dehydrated=0.7.0-3 lego=4.9.1-1 >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 2>/dev/null
cat >pebble.json <<JSON
{"pebble": {"listenAddress": "127.0.0.1:14770", "certificate": "cert.pem", "privateKey": "key.pem", "httpPort": 15770, "tlsPort": 15771}}
JSON
PEBBLE_VA_ALWAYS_VALID=1 PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=40 root/usr/bin/pebble -config pebble.json >pebble.log 2>&1 &
ca=$!
export CURL_CA_BUNDLE=$work/cert.pem LEGO_CA_CERTIFICATES=$work/cert.pem
url=https://127.0.0.1:14770/dir
for _ in $(seq 100); do curl --silent --fail --output /dev/null "$url" && break; sleep 0.1; done
printf 'CA=%s\nBASEDIR=%s\nWELLKNOWN=%s\n' "$url" "$work/state" "$work" >dehydrated.conf
dehydrated() {
    root/usr/bin/dehydrated -f dehydrated.conf --register --accept-terms && root/usr/bin/dehydrated -f dehydrated.conf -c -d shop.example
}
lego() {
    root/usr/bin/lego -s "$url" -a -m me@shop.example --path state -d shop.example --http --http.port 127.0.0.1:15770 run
}
seen=
for client in lego dehydrated; do
    good=0
    for _ in 1 2 3; do
        rm -rf state && mkdir state
        "$client" >"$client.log" 2>&1 && good=$((good + 1))
    done
    seen+="$client $good of 3, "
done
echo "certificates: $seen"
grep -q badNonce dehydrated.log
[ "$seen" = "lego 3 of 3, dehydrated 0 of 3, " ]
