#!/usr/bin/env bash
# Builds a Debian base image, on which all other lab images are built.
#
#   lab/base-image.sh TAG SUITE [CONTEXT_HASH]
#
# It uses a registry's debian:SUITE-slim when a registry answers, otherwise debootstrap. `docker import` flattens both, so the
# result is one labelled layer, and `make clean` finds everything by its label.
set -euo pipefail

readonly usage='usage: base-image.sh TAG SUITE [CONTEXT_HASH]'
tag=${1:?$usage}
suite=${2:?$usage}
context=${3:-}
readonly registry_image="debian:${suite}-slim"
readonly pull_seconds=30 # about 30 MB; with a slower registry debootstrap is faster

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT

say() { printf 'base-image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

import_tar() { # tar stream on stdin
    docker import \
        --change 'LABEL christmas.selfheal.lab=1' \
        --change "LABEL christmas.selfheal.context=${context}" \
        --change 'ENV DEBIAN_FRONTEND=noninteractive' \
        --change 'CMD ["bash"]' \
        - "$tag" >/dev/null
}

from_registry() {
    local had_it=yes container
    if ! docker image inspect "$registry_image" >/dev/null 2>&1; then
        had_it=no
        timeout "$pull_seconds" docker pull --quiet "$registry_image" >/dev/null 2>"$work/pull.err" || return 1
    fi
    container=$(docker create --label christmas.selfheal.lab=1 "$registry_image")
    docker export "$container" | import_tar
    docker rm "$container" >/dev/null
    # Keep the user's own copy of the image; remove one that was pulled here.
    [ "$had_it" = yes ] || docker image rm "$registry_image" >/dev/null
}

install_debootstrap() {
    command -v debootstrap >/dev/null && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        die "no registry answered, and debootstrap is missing. Install it, or make ${registry_image} available: docker pull"
    fi
    say 'installing debootstrap'
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends debootstrap debian-archive-keyring >&2
}

# This machine's own Debian mirror; empty (debootstrap's default) where there is none, as on Ubuntu.
machine_mirror() {
    command -v apt-get >/dev/null || return 0
    # shellcheck disable=SC2016 # $(…) is apt's own placeholder here, not the shell's
    apt-get indextargets --format '$(REPO_URI)' \
        'Identifier: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' 2>/dev/null | head -n1 || true
}

slim() { # removes what debian:SUITE-slim leaves out, and switches off dpkg's fsync: an image layer needs no crash safety
    local root=$1
    cat >"$root/etc/dpkg/dpkg.cfg.d/lab-slim" <<'CFG'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
CFG
    cat >"$root/etc/apt/apt.conf.d/lab-slim" <<'CFG'
APT::Install-Recommends "false";
Acquire::Languages "none";
CFG
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    rm -rf "$root"/usr/share/{man,info,locale}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* \
        "$root"/var/log/{apt,dpkg.log,bootstrap.log,alternatives.log} "$root"/var/cache/debconf/*-old
    # Each host creates its machine-id at its first boot. One in the image would be the same on every host.
    : >"$root/etc/machine-id"
}

from_debootstrap() {
    install_debootstrap
    [ "$(id -u)" -eq 0 ] || die "no registry answered, and debootstrap needs root. Run as root once, or docker pull ${registry_image}"
    local mirror
    mirror=$(machine_mirror)
    say "bootstrapping ${suite} (no registry answered)"
    # shellcheck disable=SC2086 # an empty mirror must vanish: debootstrap then takes its default
    debootstrap --variant=minbase "$suite" "$work/root" $mirror >"$work/debootstrap.log" 2>&1 || {
        tail -n5 "$work/debootstrap.log" >&2
        die "debootstrap failed: the last lines of its log are above"
    }
    slim "$work/root"
    tar -C "$work/root" --one-file-system --exclude='./dev/*' -c . | import_tar
}

from_registry || from_debootstrap
say "built ${tag}, $(($(docker image inspect --format '{{.Size}}' "$tag") / 1000000)) MB"
