# ports.sh INDEX - run in a lab whose network is there: the ports that a machine's two NICs are plugged into, unless they
# are there. Read by bash from standard input, with -euo pipefail.
for port in "node$1 lab0" "trunk$1 trunk0"; do
  set -- $port
  ip link show dev "$1" > /dev/null 2>&1 && continue
  ip tuntap add dev "$1" mode tap
  ip link set dev "$1" gso_max_segs 1
  echo 1 > "/proc/sys/net/ipv6/conf/$1/disable_ipv6"
  ip link set dev "$1" master "$2" up
done
