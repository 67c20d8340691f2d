# Written by christmas.selfheal (role watcher)
# Completes `selfheal`: its commands and options, the apps of this host, and their services.

_selfheal_apps() {
    local path
    for path in /etc/selfheal/*.json; do
        [[ -e $path ]] && basename "$path" .json
    done
}

_selfheal_services() {
    local app=$1
    [[ -n $app ]] || app=$(_selfheal_apps)
    docker ps --all --filter "label=com.docker.compose.project=$app" \
        --format '{{.Label "com.docker.compose.service"}}' 2>/dev/null | sort -u
}

_selfheal() {
    local current=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]} words="" app="" at
    for ((at = 2; at < COMP_CWORD; at++)); do
        [[ ${COMP_WORDS[at - 1]} == --app ]] && app=${COMP_WORDS[at]}
    done
    case $last in
        --app) words=$(_selfheal_apps) ;;
        --since | --for) words="10m 1h 1d" ;;
        --why) words="hand schedule" ;;
        --last | --month | --reason | --to | --what) ;;
        selfheal) words="status logs probe recover incidents report pause resume backup restore certificate" ;;
        *)
            words="--app"
            case ${COMP_WORDS[1]} in
                status | probe) words+=" --json" ;;
                logs) words+=" --since --all --follow $(_selfheal_services "$app")" ;;
                recover) words+=" --json --check" ;;
                incidents) words+=" --json --last" ;;
                report) words+=" --json --month --keep --send" ;;
                pause) words+=" --for --reason" ;;
                backup) words+=" now verify list settle --why --wait" ;;
                restore) words+=" --to --what --check" ;;
                certificate) words+=" show renew --force --patient" ;;
            esac
            ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _selfheal selfheal
