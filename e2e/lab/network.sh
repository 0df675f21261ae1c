# network.sh ADDRESS SERVICE DIR - run in a fresh lab: its loopback, and the bridge that all nodes are on.
# Read by bash from standard input, with -euo pipefail.
ip link set lo up
ip addr add "$2/32" dev lo
ip link add name lab0 type bridge stp_state 0 forward_delay 0
ip addr add "$1/24" dev lab0
ip link set dev lab0 up
# A network namespace wants a sysfs of its own.
mount -t sysfs sysfs /sys
# No way leads to the machine's name servers from here. None at all is refused at once; one out of reach takes 10 s.
echo '# no name server' > "$3/resolv.conf"
resolver=$(realpath -m /etc/resolv.conf)
[ ! -e "$resolver" ] || mount --bind "$3/resolv.conf" "$resolver"
