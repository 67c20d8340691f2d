#!/usr/bin/env bash
# ansible-core 2.19.14: a task that uses one filter of a collection loads the files of all filters that sort before it, in its own
# worker process, and the next task does so again. A collection with a file for each filter pays for them in every task.
# Expected: a filter `last` in plugins/filter/last.py is found by its file's name, as modules and lookups are, once in a run.
# Seen: 41 files, two tasks, 82 loads. With all filters registered in one file: 2 tasks, 2 loads.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/packages" ansible-core==2.19.14 2>/dev/null
folder=$work/ansible_collections/some/one/plugins/filter
mkdir -p "$folder"
filter_file() { # FILE NAME...: a file that registers filters, and notes that it was loaded
    printf 'import os\nopen(os.environ["LOADED"], "a").write("x")\nclass FilterModule:\n    def filters(self):\n        return {' >"$folder/$1.py"
    shift
    printf '"%s": str, ' "$@" >>"$folder/one.part"
    printf '%s}\n' "$(cat "$folder/one.part")" >>"$folder/${file:?}.py"
    rm "$folder/one.part"
}
cat >"$work/play.yml" <<'YAML'
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.assert: {that: "'a' | some.one.last == 'a'"}
    - ansible.builtin.assert: {that: "'b' | some.one.last == 'b'"}
YAML
loads() { # loads in one run
    : >"$work/loaded"
    LOADED=$work/loaded ANSIBLE_COLLECTIONS_PATH=$work ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_UNPARSED_WARNING=false \
        PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$work/packages python3 -m ansible.cli.playbook "$work/play.yml" >"$work/output" 2>&1 || cat "$work/output"
    wc -c <"$work/loaded"
}
names=()
for number in $(seq -w 1 40); do
    names+=("f$number")
    file=f$number filter_file "f$number" "f$number"
done
file=last filter_file last last
many=$(loads)
rm -r "$folder"
mkdir "$folder"
file=filters filter_file filters "${names[@]}" last
one=$(loads)
echo "files loaded in two tasks: $many with a file for each of 41 filters, $one with one file"
[ "$many $one" = "82 2" ]
