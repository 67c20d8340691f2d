#!/usr/bin/env bash
# js-yaml 5.5.0 refuses a file that holds comments alone, as an override or a values file whose last line was commented out.
# Expected: no value, as in 4.1.1 (`null`).
# Seen: it raises "expected a document, but the input is empty".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 4.1.1 5.5.0; do
    npm install --silent --no-audit --no-fund --prefix "$work/$version" "js-yaml@$version" >"$work/npm.log" 2>&1 ||
        { cat "$work/npm.log"; exit 1; }
done
read_it() {
    node -e '
        const yaml = require(process.argv[1] + "/node_modules/js-yaml")
        try {
            console.log(String(yaml.load("# nothing is overridden here any more\n")))
        } catch (error) {
            console.log(error.message.split("\n")[0])
        }
    ' "$work/$1"
}
older=$(read_it 4.1.1)
newer=$(read_it 5.5.0)
echo "js-yaml 4.1.1: $older; 5.5.0: $newer"
[ "$older" = null ] && [[ $newer == "expected a document, but the input is empty"* ]]
