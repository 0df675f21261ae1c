# node.sh NAME ADDRESS GATEWAY DIR FORWARD - run in a node's fresh network, mount and UTS namespaces; its eth0 is there.
# Read by bash from standard input, with -euo pipefail. Makes it a machine of its own: what libvirt and the agent
# keep is in DIR, and nothing of the real machine's /run, /var/lib/libvirt or /sys is in sight.
name=$1 address=$2 gateway=$3 dir=$4 forward=$5

hostname "$name"
mount -t tmpfs -o mode=755 tmpfs /run
mount -t sysfs sysfs /sys
mkdir -p /run/lock /run/libvirt /run/netns /run/kilonova
# ip-netns(8) would do this at its first use; the agent may come first.
mount --bind /run/netns /run/netns
mount --make-shared /run/netns

for pair in libvirt-etc:/etc/libvirt libvirt-lib:/var/lib/libvirt libvirt-log:/var/log/libvirt \
  libvirt-cache:/var/cache/libvirt state:/var/lib/kilonova; do
  source=$dir/${pair%%:*} target=${pair#*:}
  mkdir -p "$source" "$target"
  chmod 755 "$source"
  mount --bind "$source" "$target"
done
mkdir -p /etc/libvirt/qemu /var/log/libvirt/qemu /var/lib/libvirt/images

# /dev/kvm that root may open but QEMU's user may not makes libvirtd probe QEMU anew at every call.
if [ -e /dev/kvm ]; then
  mknod -m 660 /run/kvm c 10 232
  chown root:kvm /run/kvm
  mount --bind /run/kvm /dev/kvm
fi

# Its name leads to its address, at once: libvirt asks for it at each start of a domain.
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" > "$dir/hosts"
mount --bind "$dir/hosts" /etc/hosts

cat > /etc/libvirt/qemu.conf << EOF
user = "libvirt-qemu"
group = "kvm"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "logd"
EOF
printf 'max_size = 65536\nmax_backups = 3\n' > /etc/libvirt/virtlogd.conf
cat > /etc/libvirt/libvirtd.conf << EOF
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
EOF

ip link set lo up
ip addr add "$address/24" dev eth0
ip link set eth0 up
ip route add default via "$gateway"

# As on most Kubernetes nodes: bridged frames pass the packet filter, and forwarding is not allowed by itself.
for family in iptables ip6tables; do
  knob=/proc/sys/net/bridge/bridge-nf-call-$family
  [ ! -e "$knob" ] || echo 1 > "$knob"
done
case $forward in
accept) ;;
drop-inet) nft 'table inet hostfilter { chain forward { type filter hook forward priority filter; policy drop; counter; }; }' ;;
drop-iptables) nft 'table ip filter { chain FORWARD { type filter hook forward priority filter; policy drop; counter; }; }' ;;
*) echo "no such forward policy: $forward" >&2; exit 1 ;;
esac
