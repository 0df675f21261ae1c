# A guest by hand, as an agent would make it: segment, config drive, overlay, domain. Run on a node.
cd /var/lib/kilonova
ip netns add kn-test
in_segment() { ip netns exec kn-test "$@"; }
in_segment ip link set lo up
in_segment ip link add name kbr0 type bridge stp_state 0 forward_delay 0
in_segment ip link set dev kbr0 address fa:16:3e:00:00:01 up
in_segment ip addr add 10.0.0.1/24 dev kbr0
in_segment dnsmasq --conf-file=/dev/null --interface=kbr0 --bind-interfaces --except-interface=lo --no-resolv --no-hosts --no-ping \
  --dhcp-authoritative --dhcp-range=10.0.0.0,static,255.255.255.0,3600s --dhcp-host=fa:16:3e:00:01:05,10.0.0.5,web-1 \
  --dhcp-option=option:mtu,1400 --dhcp-option=option:classless-static-route,192.0.2.0/24,10.0.0.1,0.0.0.0/0,10.0.0.1 \
  --dhcp-leasefile=/run/kilonova/leases --pid-file=/run/kilonova/dnsmasq.pid --user=root
genisoimage -quiet -o config.iso -allow-lowercase -allow-multidot -l -J -r -V config-2 config
qemu-img create -q -f qcow2 -F qcow2 -b /var/lib/kilonova/base.qcow2 disk.qcow2 256M
cat > start.sh << 'EOF'
ip tuntap add kt1 mode tap vnet_hdr
virsh -q start --paused web-1
ip link set kt1 netns kn-test
ip netns exec kn-test ip link set kt1 master kbr0 up
virsh -q resume web-1
EOF
virsh -q define guest.xml
bash start.sh
