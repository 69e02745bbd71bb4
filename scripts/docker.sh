#!/usr/bin/env bash
# docker.sh SUITE: prints a folder with the Docker of a Debian suite unpacked, as .cache/docker/SUITE, and fetches it
# (debian-package.sh) if it is not there: usr/sbin/dockerd, usr/bin/docker, usr/bin/containerd, usr/sbin/runc. Nothing is
# installed: an installed docker.io would start a daemon on this machine. The libraries are the machine's own.
#
#   bullseye  20.10.5, which shares networks through a cluster store, Consul
#   bookworm  20.10.24, without
#   trixie    26.1.5
#
# Exit status 1 and one line on standard error when it is not to be had or does not run here.
set -euo pipefail

fail() {
  printf 'docker.sh: %s\n' "$1" >&2
  exit 1
}

suite=${1-}
packages=(docker.io containerd runc)
case $suite in
  bullseye | bookworm) ;;
  trixie) packages+=(docker-cli) ;;
  *) fail "no Docker of '$suite': give bullseye, bookworm or trixie" ;;
esac

scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=${scripts%/*}/.cache/docker/$suite
if [[ ! -d $root ]]; then
  reason=$(bash "$scripts/debian-package.sh" "$root" "$suite" "${packages[@]}" 2>&1) ||
    fail "no Docker of Debian $suite: $reason"
fi

# A runc that needs a newer libc than the machine's gives way to bookworm's, which any containerd runs.
if ! "$root/usr/sbin/runc" --version >/dev/null 2>&1 && [[ $suite == trixie ]]; then
  older=$(bash "${BASH_SOURCE[0]}" bookworm)
  ln -sf "$older/usr/sbin/runc" "$root/usr/sbin/runc"
fi

# What an unpacked package needs and no apt has looked after: a library that is missing is named by the loader.
for program in usr/sbin/dockerd usr/bin/docker usr/bin/containerd usr/sbin/runc; do
  [[ -x $root/$program ]] || fail "$root lacks $program: remove the folder and try again"
  said=$("$root/$program" --version 2>&1) || fail "$root/$program does not run: ${said%%$'\n'*}"
done
command -v iptables >/dev/null || [[ -x /usr/sbin/iptables ]] || fail 'dockerd needs iptables: install it'
printf '%s\n' "$root"
