#!/bin/sh
# /etc/nginx/templates/NAME.template becomes /etc/nginx/conf.d/NAME, with the variables of the environment in it.
set -eu

[ -d /etc/nginx/templates ] || exit 0
if [ ! -w /etc/nginx/conf.d ]; then
    echo "$0: ERROR: /etc/nginx/templates exists, but /etc/nginx/conf.d is not writable"
    exit 0
fi
# shellcheck disable=SC2016 # envsubst takes the names unexpanded
names=$(awk 'BEGIN { for (name in ENVIRON) printf "${%s} ", name }')
cd /etc/nginx/templates
for template in *.template; do
    [ -e "$template" ] || continue
    # shellcheck disable=SC2094 # two folders
    envsubst "$names" <"$template" >"/etc/nginx/conf.d/${template%.template}"
done
