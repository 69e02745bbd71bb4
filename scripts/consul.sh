#!/usr/bin/env bash
# Prints the path of a `consul` binary: the one on the PATH, else the project's own copy in .cache/consul, else it fetches
# that copy: Debian bullseye's package (debian-package.sh).
# Exit status 1 and one line on standard error when there is none to be had.
set -euo pipefail

fail() {
  printf 'consul.sh: %s\n' "$1" >&2
  exit 1
}

if found=$(command -v consul); then
  printf '%s\n' "$found"
  exit 0
fi

scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cache=${scripts%/*}/.cache/consul
binary=$cache/usr/bin/consul
if [[ ! -x $binary ]]; then
  reason=$(bash "$scripts/debian-package.sh" "$cache" bullseye consul 2>&1) ||
    fail "no consul on the PATH, and $reason: install Consul"
fi
[[ -x $binary ]] || fail "$cache holds no usable consul: remove it and try again"
printf '%s\n' "$binary"
