#!/usr/bin/env bash
# Base images out of Debian packages, where no registry of images can be reached: localhost/kilonova-base-controllers
# and localhost/kilonova-base-agent for BASE of the Dockerfiles, localhost/kilonova-base-builder for BUILDER (with
# what the compiler calls; the compiler itself is this machine's, see images.sh). Needs root, mmdebstrap and buildah;
# what is there already is left as it is.
set -euo pipefail

SUITE=${SUITE:-bookworm}
MIRROR=${MIRROR:-}
CONTROLLERS=ca-certificates,libgcc-s1
BUILDER=ca-certificates,gcc,libc6-dev,libvirt-dev,pkg-config
AGENT=ca-certificates,dnsmasq-base,dnsmasq-utils,genisoimage,iproute2,libvirt0,nftables,qemu-utils,util-linux
# Nothing that no program reads.
SMALL=(
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*'
)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

base() { # NAME PACKAGES [VARIABLE=VALUE]...
    local image=localhost/kilonova-base-$1
    if buildah inspect --type image "$image" > /dev/null 2>&1; then
        return
    fi
    echo "making $image from Debian packages" >&2
    mmdebstrap --quiet --variant=minbase --include="$2" "${SMALL[@]}" \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*' \
        "$SUITE" "$work/$1.tar" ${MIRROR:+"$MIRROR"}
    local container
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$work/$1.tar" / > /dev/null
    local variable
    for variable in "${@:3}"; do
        buildah config --env "$variable" "$container"
    done
    buildah commit --quiet --rm "$container" "$image" > /dev/null
    rm "$work/$1.tar"
}

base controllers "$CONTROLLERS"
base agent "$AGENT"
if [ "${1-}" = builder ]; then
    base builder "$BUILDER" PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/opt/cargo CARGO_NET_OFFLINE=true
fi
