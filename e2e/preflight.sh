#!/bin/sh
# preflight.sh - whether this machine can run the lab at all. Changes nothing. Exits with 1 and one sentence if not.
# A shell script because it comes before everything: there may be no cargo to build a program with.
no() { echo "kilonova: $*" >&2; exit 1; }

# at_least HAVE WANT: compares version numbers
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

cd "$(dirname "$0")/.." || exit 1
[ "$(id -u)" = 0 ] || no "this needs root (namespaces, libvirt, packages): run it as root or with sudo."
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || no "this needs Linux on x86_64, not $(uname -s) on $(uname -m)."
ids=$(. /etc/os-release 2>/dev/null && echo " $ID $ID_LIKE ")
case $ids in
*" debian "* | *" ubuntu "*) ;;
*) no "this needs Debian or Ubuntu, whose packages it installs; /etc/os-release says:${ids:- nothing}." ;;
esac
command -v apt-get > /dev/null || no "there is no apt-get, by which packages are installed."

rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
have=$(cargo --version 2>/dev/null | cut -d' ' -f2)
[ -n "$have" ] || no "there is no cargo: install Rust $rust or later (https://rustup.rs)."
at_least "$have" "$rust" || no "cargo is $have; Rust $rust or later is needed (rustup update)."

go=$(sed -n 's/^go //p' e2e/control-plane/go.mod)
have=$(go env GOVERSION 2>/dev/null | sed 's/^go//')
[ -n "$have" ] || no "there is no go: install Go $go or later (https://go.dev/dl)."
at_least "$have" "$go" || no "go is $have; Go $go or later is needed (https://go.dev/dl)."
