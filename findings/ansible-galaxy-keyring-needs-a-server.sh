#!/usr/bin/env bash
# ansible-core 2.19.14: `ansible-galaxy collection install --keyring KEYRING --signature file://MANIFEST.json.asc ARCHIVE` fails for every archive
# that is a file on disk.
# Expected: the detached signature of MANIFEST.json is checked, as for a collection that comes from a Galaxy server.
# Seen: "'NoneType' object is not iterable", exit code not 0, nothing installed: the list of signatures that a server has for a collection
# is walked, and a file has none. Without --keyring the same archive is installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v gpg >/dev/null || { echo "gpg is needed" >&2; exit 2; }
python3 -m pip --quiet --disable-pip-version-check install --no-warn-script-location --target "$work/lib" ansible-core==2.19.14 2>"$work/pip.log" ||
    { cat "$work/pip.log" >&2; exit 2; }
cd "$work"
export HOME=$work GNUPGHOME=$work/gnupg PYTHONPATH=$work/lib ANSIBLE_NOCOLOR=1
mkdir -m 0700 gnupg
gpg --batch --quiet --passphrase '' --quick-generate-key releases@example.com ed25519 sign never 2>/dev/null
gpg --batch --quiet --export releases@example.com >keyring.gpg
galaxy() { python3 -m ansible galaxy collection "$@"; }
galaxy init example.tools >/dev/null
printf 'requires_ansible: ">=2.16"\n' >example/tools/meta/runtime.yml
galaxy build example/tools --output-path . >/dev/null
tar -xzf example-tools-1.0.0.tar.gz MANIFEST.json
gpg --batch --quiet --armor --detach-sign MANIFEST.json
gpg --batch --quiet --verify MANIFEST.json.asc MANIFEST.json 2>/dev/null
mkdir signed plain
code=0
ANSIBLE_COLLECTIONS_PATH=$work/signed galaxy install --no-deps --collections-path signed --keyring keyring.gpg \
    --signature "file://$work/MANIFEST.json.asc" example-tools-1.0.0.tar.gz >out 2>&1 || code=$?
ANSIBLE_COLLECTIONS_PATH=$work/plain galaxy install --no-deps --collections-path plain example-tools-1.0.0.tar.gz >/dev/null 2>&1
signed=$(find signed -name MANIFEST.json | wc -l) plain=$(find plain -name MANIFEST.json | wc -l)
echo "ansible-galaxy of ansible-core 2.19.14: with --keyring exit $code, installed: $signed; without: $plain. It said: $(grep -m1 -o "'NoneType'.*" out || tail -n1 out)"
gpgconf --kill all 2>/dev/null || true
[ "$code" != 0 ] && [ "$signed" = 0 ] && [ "$plain" = 1 ] && grep -q "'NoneType' object is not iterable" out
