#!/bin/bash
# init.sh - the first process of a cluster's node, or of a machine beside the cluster (KUBELET=0), on a user-mode kernel
# whose root is the machine's own, read-only.
#
# NODE_DIR, from the kernel's command line, is the node's directory on the machine. In it: node.env (what is different
# from node to node), kubeconfig and certificates, the key that may log in. Ends only with the node.
{
set -euo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=~root LANG=C
trap 'echo "init: line $LINENO failed: $BASH_COMMAND"; sleep 1; poweroff -f' ERR

# --- root: what is written goes to memory, what must outlive a power cut to the node's disk --------------------------
mount -t proc proc /proc
mount -t tmpfs -o size=256m,mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
mkdir -p .machine
pivot_root . .machine
cd /
mount -t proc proc /proc
# With the machine's own root goes the way to write there by accident. Against root, who can mount it anew, it is none.
umount -l /.machine
rmdir /.machine
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /sys/fs/cgroup
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for dir in /dev/shm /run /tmp; do mount -t tmpfs -o mode=1777 tmpfs "$dir"; done
chmod 755 /run
. "$NODE_DIR/node.env"

mkdir -p /var/log/node
mount -t hostfs -o "$LOGS" hostfs /var/log/node
mount -t ext4 -o nobarrier,noatime /dev/ubda /mnt
for dir in /var/lib/containerd /var/lib/kubelet /var/log/pods /var/log/containers /var/lib/cni \
  /var/lib/kilonova /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt; do
  mkdir -p "$dir" "/mnt$dir"
  mount --bind "/mnt$dir" "$dir"
done
# The kubelet's statistics need a clock speed and libvirt the sizes of addresses, of which this kernel says nothing.
sed '/^bogomips/i cpu MHz\t\t: 2000.000\naddress sizes\t: 46 bits physical, 48 bits virtual' /proc/cpuinfo > /run/cpuinfo
mount --bind /run/cpuinfo /proc/cpuinfo
mkdir -p /run/lock /run/libvirt /run/netns
mount --make-rshared /

# --- who it is, and its network ---------------------------------------------------------------------------------------
hostname "$NAME"
rm -f /etc/hosts /etc/resolv.conf /etc/machine-id
printf '127.0.0.1 localhost\n%s %s\n' "$ADDRESS" "$NAME" > /etc/hosts
echo '# no name server' > /etc/resolv.conf
printf '%032x\n' $((0x10000 + INDEX)) > /etc/machine-id

ip link set lo up
for nic in 0 1; do
  ip link set dev "vec$nic" name "eth$nic" address "$(printf '52:54:00:99:%02x:%02x' "$nic" "$INDEX")"
done
ip addr add "$ADDRESS/24" dev eth0
# The physical network's NIC has nothing of its own to say.
echo 1 > /proc/sys/net/ipv6/conf/eth1/disable_ipv6
ip link set dev eth0 up
ip link set dev eth1 up
ip route add default via "$GATEWAY"
for ((peer = 1; peer <= NODES; peer++)); do
  [ "$peer" = "$INDEX" ] || ip route add "$PODS.$peer.0/24" via "$PEERS.$((10 + peer))"
done

# As on most Kubernetes nodes: bridged frames pass the packet filter, and nothing is forwarded but for pods.
echo 1 > /proc/sys/net/ipv4/ip_forward
for family in iptables ip6tables; do
  echo 1 > "/proc/sys/net/bridge/bridge-nf-call-$family"
  "$family" -P FORWARD DROP
done
iptables -A FORWARD -s "$PODS.0.0/16" -j ACCEPT
iptables -A FORWARD -d "$PODS.0.0/16" -j ACCEPT

# --- configuration ------------------------------------------------------------------------------------------------------
mkdir -p /etc/cni/net.d /etc/containerd /etc/dropbear /etc/kubernetes "$HOME/.ssh"
cp "$SCRIPTS/etc/containerd.toml" /etc/containerd/config.toml
cp "$SCRIPTS/etc/kubelet.yaml" /etc/kubernetes/
[ "$KUBELET" = 0 ] || cp "$NODE_DIR"/kubernetes/* /etc/kubernetes/
sed "s|@SUBNET@|$PODS.$INDEX.0/24|" "$SCRIPTS/etc/cni.conflist" > /etc/cni/net.d/10-lab.conflist
cp "$SCRIPTS"/etc/libvirt/* /etc/libvirt/
printf 'host_uuid = "00000000-0000-4000-8000-%012x"\n' "$INDEX" >> /etc/libvirt/libvirtd.conf
mkdir -p /etc/libvirt/qemu /var/log/libvirt/qemu /var/lib/libvirt/images
chmod 700 "$HOME" "$HOME/.ssh"
# What the machine's owner has there is for people, and slow.
: > "$HOME/.bashrc"
cp "$NODE_DIR/authorized_keys" "$HOME/.ssh/authorized_keys"
chmod 600 "$HOME/.ssh/authorized_keys"

# --- services, each started again a second after its end, as a service manager does it ----------------------------------
trap - ERR
set +e
keep() {
  local log=/var/log/node/$1.log
  shift
  while :; do
    "$@" >> "$log" 2>&1 < /dev/null
    echo "$1 ended with $?; it is started again" >> "$log"
    sleep 1
  done &
}
keep dropbear dropbear -F -E -s -R -p "$ADDRESS:22"
if [ "$LIBVIRT" = 1 ]; then
  keep virtlogd virtlogd
  keep libvirtd libvirtd
fi
if [ "$KUBELET" = 1 ]; then
  export PATH=$PROGRAMS:$PATH
  keep containerd containerd --config /etc/containerd/config.toml
  until [ -S /run/containerd/containerd.sock ]; do sleep 0.1; done
  keep kubelet kubelet --config=/etc/kubernetes/kubelet.yaml --kubeconfig=/etc/kubernetes/kubeconfig \
    --hostname-override="$NAME" --node-ip="$ADDRESS" --node-labels="$LABELS" --v=1
  for image in $IMAGES; do
    done=/var/lib/containerd/imported-${image//\//-}
    [ -e "$done" ] || { ctr -n k8s.io images import --local "$image" && touch "$done"; } || missing=$image
  done >> /var/log/node/images.log 2>&1
  # Nobody else has it: pods would wait for ever.
  if [ -n "${missing:-}" ]; then echo "cannot import $missing: see images.log"; poweroff -f; fi
fi
until (exec 3<> "/dev/tcp/$ADDRESS/22") 2> /dev/null; do sleep 0.1; done
touch /var/log/node/up
while :; do wait; sleep 1; done
}
