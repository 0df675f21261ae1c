#!/usr/bin/env bash
# Both images, built by buildah: kilonova-controllers and kilonova-agent, and as OCI archives in .kilonova/images.
#
#   TAG=dev          their tag
#   OUT=DIR          where the archives go, in place of .kilonova/images
#   PREBUILT=1       takes the programs out of target/release (or BIN_DIR) in place of building them in a container
#   LOCAL_BASES=1    on bases made from Debian packages (local-bases.sh); with PREBUILT this is the default. Without it,
#                    the programs are built there by this machine's Rust, from crates that it has or can fetch
set -euo pipefail
cd "$(dirname "$0")/.."

TAG=${TAG:-dev}
PREBUILT=${PREBUILT:-}
LOCAL_BASES=${LOCAL_BASES:-$PREBUILT}
BIN_DIR=${BIN_DIR:-target/release}
OUT=${OUT:-.kilonova/images}
# Containers need no daemon, no systemd and no file system of their own: a build inside a container works.
export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot} STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}

if ! command -v buildah > /dev/null; then
    echo "make images needs buildah: apt install buildah; any other builder takes build/*.Dockerfile" >&2
    exit 1
fi
build_args=()
if [ -n "$PREBUILT" ]; then
    build/local-bases.sh
elif [ -n "$LOCAL_BASES" ]; then
    build/local-bases.sh builder
    cargo fetch --locked --quiet
    # Seen in the build, and no part of any image: the compiler, the crates, and what was compiled last time.
    compiled=$PWD/.kilonova/cache/image-build
    mkdir -p "$compiled"
    build_args=(
        --build-arg BUILDER=localhost/kilonova-base-builder
        --volume "$(rustc --print sysroot):/opt/rust:ro"
        --volume "${CARGO_HOME:-$HOME/.cargo}/registry:/opt/cargo/registry"
        --volume "$compiled:/src/target"
    )
fi
mkdir -p "$OUT"
work=$(mktemp -d --tmpdir="$OUT")
trap 'rm -rf "$work"' EXIT

for part in controllers agent; do
    args=(--quiet --file "build/$part.Dockerfile" --tag "localhost/kilonova-$part:$TAG" "${build_args[@]}")
    if [ -n "$LOCAL_BASES" ]; then
        args+=(--build-arg "BASE=localhost/kilonova-base-$part")
    fi
    context=.
    if [ -n "$PREBUILT" ]; then
        context=$work/$part
        mkdir "$context"
        # A tenth of the size without what only a debugger reads.
        strip --strip-debug -o "$context/kilonova-$part" "$BIN_DIR/kilonova-$part"
        args+=(--build-arg "BUILDER=localhost/kilonova-base-$part")
    fi
    buildah build "${args[@]}" "$context" > /dev/null
    archive=$OUT/$part.tar
    rm -f "$archive"
    # The name that a kubelet looks for when a pod says kilonova-controllers:dev.
    buildah push --quiet "localhost/kilonova-$part:$TAG" \
        "oci-archive:$archive:docker.io/library/kilonova-$part:$TAG"
    echo "$archive ($(du -h "$archive" | cut -f1))"
done
