# split.sh apart|together - run in a node's namespaces while none of libvirt's drivers runs; read by bash.
# apart: from now on libvirt is reached by virtqemud's socket alone. Debian has no virtqemud: where there is none,
# libvirtd listens elsewhere, and that socket leads to it. together: as it was.
conf=/etc/libvirt/libvirtd.conf elsewhere=/run/libvirt/elsewhere
rm -f /run/libvirt/libvirt-sock* /run/libvirt/virtqemud-sock* /run/libvirt/*-admin-sock
sed -i '/^unix_sock_dir/d' "$conf"
case $1 in
apart)
  cp "$conf" /etc/libvirt/virtqemud.conf
  if ! command -v virtqemud > /dev/null; then
    mkdir -p "$elsewhere"
    echo "unix_sock_dir = \"$elsewhere\"" >> "$conf"
    ln -s "$elsewhere/libvirt-sock" /run/libvirt/virtqemud-sock
  fi
  ;;
together) ;;
*) echo "no such layout: $1" >&2; exit 1 ;;
esac
