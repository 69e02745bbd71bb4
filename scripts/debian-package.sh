#!/usr/bin/env bash
# debian-package.sh FOLDER SUITE PACKAGE...: unpacks (installs nothing of) packages of a Debian suite into FOLDER, which
# must not exist and appears as a whole. They come from the mirror that this machine's apt already uses, with lists of
# their own. Exit status 1 and the reason, part of a sentence, on standard error when they are not to be had.
set -euo pipefail

folder=$1 suite=$2
shift 2

fail() {
  printf '%s\n' "$1" >&2
  exit 1
}

keyring=
for candidate in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
  [[ -e $candidate && -z $keyring ]] && keyring=$candidate
done
for tool in apt-get dpkg; do
  command -v "$tool" >/dev/null || fail "there is no $tool to fetch packages with"
done
[[ -n $keyring ]] || fail 'there is no Debian archive keyring (package debian-archive-keyring) to fetch packages with'
architecture=$(dpkg --print-architecture)
case $architecture in
  amd64 | arm64) ;;
  *) fail "nothing is fetched for $architecture" ;;
esac

mkdir -p "$(dirname -- "$folder")"
work=$(mktemp -d "$folder.fetch.XXXXXX")
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

unpack() {
  local package
  for package in "$work"/*.deb; do dpkg -x "$package" "$work/root" || return 1; done
}

reason='apt names no Debian mirror'
while read -r mirror; do
  printf 'deb [signed-by=%s arch=%s] %s %s main\n' "$keyring" "$architecture" "$mirror" "$suite" >"$work/sources.list"
  if ! private_apt update; then
    reason="apt could not read the lists of Debian $suite"
  elif ! private_apt download "$@"; then
    reason="apt could not download $* of Debian $suite"
  elif ! unpack; then
    reason="dpkg could not unpack $* of Debian $suite"
  else
    reason=
    break
  fi
done < <(bash "$(dirname -- "${BASH_SOURCE[0]}")/debian-mirrors.sh")
if [[ -n $reason ]]; then
  detail=$(grep -m1 '^E: ' "$work/log" 2>/dev/null || true)
  fail "$reason${detail:+ (${detail#E: })}"
fi

# Renamed as a whole, so that a second run never sees half a copy; the loser of a race keeps the winner's.
mv -T "$work/root" "$folder" 2>/dev/null || [[ -d $folder ]] || fail "could not make $folder"
