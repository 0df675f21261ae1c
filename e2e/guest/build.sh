#!/bin/bash
# build.sh OUT.qcow2 - builds the guest image of the demo and the tests.
#
# A small disk that boots for real: BIOS, SYSLINUX, Debian's cloud kernel, busybox and dropbear, all taken from the
# distribution's own packages (the packages named in kilonova-lab's `setup` must be installed). It needs no loop
# device, mounts nothing and leaves nothing but OUT.
#
#   partition 1   FAT16: SYSLINUX, kernel, initrd (GRUB would take 3 s more to read the kernel under emulation)
#   partition 2   ext4 with a journal, label kn-root: the last one, so that the disk can grow behind it
set -euo pipefail
{
out=$(realpath -m "${1:?usage: $0 OUT.qcow2}")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mib=1048576
boot_mib=30        # partition 1
root_mib=40        # partition 2; the files take about 10 MiB of it
kernel_packages="linux-image-cloud-amd64 linux-image-virtual linux-image-amd64"
initrd_modules="virtio_pci virtio_blk ext4 virtio_scsi sr_mod isofs"
root_modules="virtio_net button evdev virtio_rng virtio_balloon virtio_console"

# --- kernel ---------------------------------------------------------------------------------------------------------
# The meta package depends on the kernel of the day; Ubuntu keeps the modules in a package of their own.
fetch_kernel() {
  local meta image extra
  for meta in $kernel_packages; do
    image=$(apt-cache depends "$meta" 2>/dev/null | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ {print $2; exit}')
    [[ -n $image ]] && break
  done
  [[ -n ${image:-} ]] || { echo "no kernel package among: $kernel_packages (is apt's index there? apt-get update)" >&2; exit 1; }
  extra=$(apt-cache depends "$image" | awk '$1 == "Depends:" && $2 ~ /^linux-modules-[0-9]/ {print $2}')
  (cd "$work" && apt-get download -qq "$image" $extra)
  for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work/kernel"; done
  release=$(ls "$work/kernel/lib/modules")
  depmod -b "$work/kernel" "$release"
}

# copy_modules ROOT MODULE...: the modules with what they need, and their loading order in /lib/modules/order
copy_modules() {
  local root=$1 module file
  shift
  mkdir -p "$root/lib/modules"
  for module; do
    modprobe -d "$work/kernel" -S "$release" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" {print $2}'
  done | awk '!seen[$0]++' | while read -r file; do
    cp "$file" "$root/lib/modules/"
    basename "$file"
  done > "$root/lib/modules/order"
}

# --- initrd: load the disk's drivers, mount the root, switch to it --------------------------------------------------
make_initrd() {
  local root=$work/initrd
  mkdir -p "$root"/{bin,dev,proc,sys,mnt}
  cp /bin/busybox "$root/bin/"
  for applet in sh mount insmod cat findfs mdev usleep switch_root echo; do ln -s busybox "$root/bin/$applet"; done
  copy_modules "$root" $initrd_modules
  install -m 755 "$here/initrd-init" "$root/init"
  (cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc) | gzip -n -6 > "$work/initrd.gz"
}

# --- root -----------------------------------------------------------------------------------------------------------
make_root() {
  local root=$work/root applet library
  mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,dev,proc,sys,run,tmp,mnt,root,var/log,var/lib/guest,lib}
  cp -r "$here/root/." "$root/"
  cp /bin/busybox "$root/bin/"
  for applet in $(/bin/busybox --list); do ln -s busybox "$root/bin/$applet" 2>/dev/null || true; done
  ln -s ../bin/busybox "$root/sbin/init"
  cp /usr/sbin/dropbear "$root/usr/sbin/"
  cp /usr/bin/dropbearkey "$root/usr/bin/"
  for library in $(ldd /usr/sbin/dropbear /usr/bin/dropbearkey | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
    mkdir -p "$root/$(dirname "$library")"
    cp -L "$library" "$root/$library"
  done
  copy_modules "$root" $root_modules
  mkdir -p "$root/etc/dropbear"
  chmod 755 "$root"/etc/{rc,netd,dhcp,userdata,acpi/PWRF/00000080}
  chmod 700 "$root/root"
}

# --- disk -----------------------------------------------------------------------------------------------------------
make_disk() {
  truncate -s "${boot_mib}M" "$work/boot.img"
  mkfs.vfat -F 16 -n KN-BOOT "$work/boot.img" > "$work/mkfs.log"
  mcopy -i "$work/boot.img" "$work/kernel/boot/vmlinuz-$release" ::vmlinuz
  mcopy -i "$work/boot.img" "$work/initrd.gz" ::initrd.gz
  mcopy -i "$work/boot.img" "$here/syslinux.cfg" ::syslinux.cfg
  syslinux --install "$work/boot.img"

  truncate -s "${root_mib}M" "$work/root.img"
  mke2fs -q -t ext4 -J size=4 -L kn-root -m 0 -E root_owner=0:0,lazy_itable_init=0,nodiscard -d "$work/root" "$work/root.img"

  truncate -s "$((1 + boot_mib + root_mib))M" "$work/disk.img"
  printf '%s\n' 'label: dos' "start=2048, size=$((boot_mib * 2048)), type=6, bootable" \
    "start=$(((1 + boot_mib) * 2048)), size=$((root_mib * 2048)), type=83" | sfdisk -q "$work/disk.img"
  dd if=/usr/lib/syslinux/mbr/mbr.bin of="$work/disk.img" bs=440 count=1 conv=notrunc status=none
  dd if="$work/boot.img" of="$work/disk.img" bs=$mib seek=1 conv=notrunc,sparse status=none
  dd if="$work/root.img" of="$work/disk.img" bs=$mib seek=$((1 + boot_mib)) conv=notrunc,sparse status=none
  mkdir -p "$(dirname "$out")"
  qemu-img convert -O qcow2 "$work/disk.img" "$out.part"
  mv "$out.part" "$out"
}

fetch_kernel
make_initrd
make_root
make_disk
exit
}
