# network.sh PODS MEMORY ADDRESS... - run in a fresh lab: what the nodes of a cluster are plugged into, and the way to
# their pods. Read by bash from standard input, with -euo pipefail. ADDRESS is each node's, in their order.
pods=$1 memory=$2
shift 2

mount -t tmpfs -o size=100%,mode=700 tmpfs "$memory"

# The physical network: a wire for tagged frames, on which the lab itself has no address and says nothing.
ip link add name trunk0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
echo 1 > /proc/sys/net/ipv6/conf/trunk0/disable_ipv6
ip link set dev trunk0 up

# A user-mode kernel takes frames as they are on a wire: no checksum left to do, none larger than the wire's.
for bridge in lab0 trunk0; do
  ethtool -K "$bridge" tx off tso off gso off sg off > /dev/null
done

index=0
for address; do
  index=$((index + 1))
  ip route add "$pods.$index.0/24" via "$address"
done
