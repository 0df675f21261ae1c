#!/bin/bash
# build.sh OUT - builds the kernel of the lab's nodes: user-mode Linux, a program like any other.
#
# From the distribution's kernel source, because the one that it ships ready-made (package user-mode-linux) has
# nothing of nf_tables but the bridge family. Everything is built in: there are no modules, and so no directory of
# them that a node must find. It needs no root, and leaves nothing but OUT and OUT.config.
set -euo pipefail
{
out=$(realpath -m "${1:?usage: $0 OUT}")
here=$(dirname "$(realpath "$0")")
package=linux-source-6.1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Most of the source by size is for hardware that a user-mode kernel never meets.
not_needed=(
  --exclude='*/drivers/gpu/drm/*/*.[ch]' --exclude='*/sound/soc/*.[ch]'
  --exclude='*/arch/*/boot/dts/*' --exclude='*/tools/testing/*'
)

cd "$work"
apt-get download -qq "$package"
dpkg-deb --fsys-tarfile "$package"_*.deb | tar -x --to-stdout "./usr/src/$package.tar.xz" | tar -xJ "${not_needed[@]}"
rm "$package"_*.deb
cd "$package"

export ARCH=um
make -s x86_64_defconfig
scripts/kconfig/merge_config.sh -m .config "$here/config" > /dev/null
make -s olddefconfig

# An option that the kernel's own rules drop, for want of another, would be missed only by a node that fails.
dropped=$(grep -E '^CONFIG_[A-Z0-9_]+=y$' "$here/config" | grep -vxFf .config || true)
[[ -z $dropped ]] || { echo "options that did not come through: $dropped" >&2; exit 1; }

make -s -j"$(nproc)" linux
mkdir -p "$(dirname "$out")"
cp .config "$out.config"
strip -o "$out.part" linux
mv "$out.part" "$out"
exit
}
