# node.sh DIR - a node for the tests: what libvirt and QEMU see of a machine, in DIR. Read by bash from its command
# line, in mount, network and PID namespaces of its own, so that nothing of the machine is touched and all of it ends
# with this process. libvirtd is started again whenever it ends, unless DIR/hold is there.
set -euo pipefail
dir=$1
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/libvirt /run/lock
mount -t sysfs sysfs /sys
for pair in etc:/etc/libvirt lib:/var/lib/libvirt log:/var/log/libvirt cache:/var/cache/libvirt; do
  source=$dir/${pair%%:*} target=${pair#*:}
  mkdir -p "$source" "$target"
  mount --bind "$source" "$target"
done
mkdir -p /etc/libvirt/qemu /var/log/libvirt/qemu "$dir/sock"

# libvirtd wants this user to be there, whatever it is configured for; here alone, where the machine has none.
cp /etc/passwd /etc/group "$dir/"
grep -q '^kvm:' "$dir/group" || echo 'kvm:x:64054:' >> "$dir/group"
grep -q '^libvirt-qemu:' "$dir/group" || echo 'libvirt-qemu:x:64055:' >> "$dir/group"
grep -q '^libvirt-qemu:' "$dir/passwd" ||
  echo "libvirt-qemu:x:64055:$(sed -n 's/^kvm:[^:]*:\([0-9]*\):.*/\1/p' "$dir/group")::/var/lib/libvirt:/usr/sbin/nologin" >> "$dir/passwd"
mount --bind "$dir/passwd" /etc/passwd
mount --bind "$dir/group" /etc/group

# /dev/kvm that root may open but QEMU's user may not makes libvirtd probe QEMU at every call.
if [ -e /dev/kvm ]; then
  mknod -m 660 /run/kvm c 10 232
  chown root:kvm /run/kvm
  mount --bind /run/kvm /dev/kvm
fi

cat > /etc/libvirt/qemu.conf << END
user = "libvirt-qemu"
group = "kvm"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
END
cat > /etc/libvirt/libvirtd.conf << END
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
unix_sock_dir = "$dir/sock"
host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
END
ip tuntap add kt0 mode tap vnet_hdr
virtlogd -d 2>> "$dir/virtlogd.log"
while :; do
  libvirtd 2>> "$dir/libvirtd.log" &
  echo $! > "$dir/libvirtd.pid"
  wait $! || true
  rm -f "$dir/libvirtd.pid"
  while [ -e "$dir/hold" ]; do sleep 0.1; done
done
