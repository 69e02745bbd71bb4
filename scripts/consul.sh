#!/usr/bin/env bash
# Prints the path of a `consul` binary: the one on the PATH, else the project's own copy in .cache/consul, else it fetches
# that copy: Debian bullseye's package, from the mirror that this machine's apt already uses, with lists of its own.
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

cache=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)/.cache/consul
binary=$cache/usr/bin/consul
if [[ -x $binary ]]; then
  printf '%s\n' "$binary"
  exit 0
fi

keyring=
for candidate in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
  [[ -e $candidate && -z $keyring ]] && keyring=$candidate
done
for tool in apt-get dpkg; do
  command -v "$tool" >/dev/null || fail "no consul on the PATH and no $tool to fetch one with: install Consul"
done
[[ -n $keyring ]] || fail 'no consul on the PATH and no Debian archive keyring to fetch one with: install Consul'
architecture=$(dpkg --print-architecture)
case $architecture in
  amd64 | arm64) ;;
  *) fail "no consul on the PATH, and none is fetched for $architecture: install Consul" ;;
esac

# apt itself tells its mirrors, however they are written down (.list, .sources, mirror lists): each repository's release
# file is <mirror>/dists/<suite>/InRelease. Security and vendors' repositories are sorted out by the keyring and the suite.
mirrors() {
  local codename
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  apt-get --print-uris update 2>/dev/null |
    sed -n "s|^'\([^']*\)/dists/${codename:-stable}/InRelease' .*|\1|p; s|^'\([^']*\)/dists/stable/InRelease' .*|\1|p" |
    sort -u
}

mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial"

# The machine's own lists and package caches stay as they are.
private_apt() {
  (cd "$work" && apt-get -q \
    -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- \
    -o "Dir::State::Lists=$work/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
    -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any -o Acquire::Languages=none \
    "$@") >>"$work/log" 2>&1
}

reason='apt names no Debian mirror'
while read -r mirror; do
  printf 'deb [signed-by=%s arch=%s] %s bullseye main\n' "$keyring" "$architecture" "$mirror" >"$work/sources.list"
  if ! private_apt update; then
    reason='apt could not read the lists of Debian bullseye'
  elif ! private_apt download consul; then
    reason='apt could not download the package consul of Debian bullseye'
  elif ! dpkg -x "$work"/consul_*.deb "$work/root"; then
    reason='dpkg could not unpack the package consul'
  else
    reason=
    break
  fi
done < <(mirrors)
if [[ -n $reason ]]; then
  detail=$(grep -m1 '^E: ' "$work/log" 2>/dev/null || true)
  fail "no consul on the PATH, and $reason${detail:+ (${detail#E: })}: install Consul"
fi

# Renamed as a whole, so that a second run never sees half a copy; the loser of a race keeps the winner's.
mkdir -p "$cache/usr"
mv -T "$work/root/usr/bin" "$cache/usr/bin" 2>/dev/null || true
[[ -x $binary ]] || fail "the fetched package holds no usable consul for $binary: remove $cache and try again"
printf '%s\n' "$binary"
