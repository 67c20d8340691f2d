#!/usr/bin/env bash
# ansible-core 2.19.14: ANSIBLE_CONFIG=/dev/null, the usual way to say "no settings of this machine", is an error.
# Expected: the defaults, as with GIT_CONFIG_GLOBAL=/dev/null or `curl --config /dev/null`.
# Seen: each command of Ansible ends with a trace before it begins, because the file's name does not end in ".cfg" or ".ini". An empty file
# "none.cfg" is taken.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --quiet --disable-pip-version-check install --no-warn-script-location --target "$work/lib" ansible-core==2.19.14 2>"$work/pip.log" ||
    { cat "$work/pip.log" >&2; exit 2; }
cd "$work"
export HOME=$work PYTHONPATH=$work/lib ANSIBLE_NOCOLOR=1
: >none.cfg
null=0 empty=0
ANSIBLE_CONFIG=/dev/null python3 -m ansible adhoc localhost -m ansible.builtin.ping >null.out 2>&1 || null=$?
ANSIBLE_CONFIG=none.cfg python3 -m ansible adhoc localhost -m ansible.builtin.ping >empty.out 2>&1 || empty=$?
echo "ansible-core 2.19.14: exit $null with ANSIBLE_CONFIG=/dev/null, $empty with an empty none.cfg: $(grep -m1 -o 'Unsupported configuration[^/]*' null.out)"
[ "$null" != 0 ] && [ "$empty" = 0 ] && grep -q 'Unsupported configuration file extension' null.out
