#!/usr/bin/env bash
# ansible-core 2.19.14: `ansible-galaxy collection install --collections-path FOLDER ARCHIVE` installs nothing into an empty FOLDER when the
# same version is in another folder that the settings name.
# Expected: the archive is in FOLDER afterwards, as `pip install --target` would do it.
# Seen: "Nothing to do", exit code 0, and FOLDER is empty; the next command, which has FOLDER alone, does not find the collection. A clone
# of a collection in the path of its developer's settings is enough. With --force it is installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --quiet --disable-pip-version-check install --no-warn-script-location --target "$work/lib" ansible-core==2.19.14 2>"$work/pip.log" ||
    { cat "$work/pip.log" >&2; exit 2; }
cd "$work"
export HOME=$work PYTHONPATH=$work/lib ANSIBLE_NOCOLOR=1
galaxy() { python3 -m ansible galaxy collection "$@"; }
galaxy init example.tools >/dev/null
printf 'requires_ansible: ">=2.16"\n' >example/tools/meta/runtime.yml
galaxy build example/tools --output-path . >/dev/null
mkdir first second
ANSIBLE_COLLECTIONS_PATH=$work/first galaxy install --no-deps --collections-path first example-tools-1.0.0.tar.gz >/dev/null 2>&1
code=0
ANSIBLE_COLLECTIONS_PATH=$work/first galaxy install --no-deps --collections-path second example-tools-1.0.0.tar.gz >out 2>&1 || code=$?
skipped=$(find second -name MANIFEST.json | wc -l)
ANSIBLE_COLLECTIONS_PATH=$work/first galaxy install --no-deps --force --collections-path second example-tools-1.0.0.tar.gz >/dev/null 2>&1
forced=$(find second -name MANIFEST.json | wc -l)
echo "ansible-galaxy of ansible-core 2.19.14: exit $code, collections in the named folder: $skipped; with --force: $forced"
[ "$code" = 0 ] && [ "$skipped" = 0 ] && [ "$forced" = 1 ] && grep -q 'Nothing to do' out
