#!/usr/bin/env bash
# image-base.sh: prints the path of a tar for `docker import` that stands in for docker/Dockerfile's base image where none
# can be pulled, as .cache/image/base.tar, and makes it if it is not there: Debian bookworm by debootstrap, from the mirror
# that this machine's apt already uses, with iproute2 and nftables, and this machine's node and npm, set up as they are
# here (their registry, their certificates; no user's own settings, which may hold secrets).
# Exit status 1 and one line on standard error when it can't be made.
set -euo pipefail

fail() {
  printf 'image-base.sh: %s\n' "$1" >&2
  exit 1
}

scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cache=${scripts%/*}/.cache/image
tar=$cache/base.tar
if [[ -e $tar ]]; then
  printf '%s\n' "$tar"
  exit 0
fi

for tool in debootstrap node npm tar; do
  command -v "$tool" >/dev/null || fail "there is no $tool to make a base image with"
done
mkdir -p "$cache"
work=$(mktemp -d "$cache/base.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

made=
while read -r mirror; do
  debootstrap --variant=minbase --include=iproute2,nftables,iputils-ping bookworm "$root" "$mirror" >"$work/log" 2>&1 &&
    made=yes && break
  rm -rf --one-file-system "$root"
done < <(bash "$scripts/debian-mirrors.sh")
[[ -n $made ]] || fail "debootstrap made no Debian bookworm: $(tail -n 1 "$work/log" 2>/dev/null || echo 'apt names no mirror')"

# As Debian's images for containers: no lists, no archives, no manuals.
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/log/*

# npm sees these through its own lookup, wherever the machine's npm has them: prefix/etc/npmrc and prefix/lib.
mkdir -p "$root/usr/local/bin" "$root/usr/local/lib/node_modules" "$root/usr/local/etc" "$root/etc/ssl/certs"
cp -L "$(command -v node)" "$root/usr/local/bin/node"
cp -a "$(dirname -- "$(dirname -- "$(realpath "$(command -v npm)")")")" "$root/usr/local/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
{
  printf 'registry=%s\n' "$(npm config get registry)"
  printf 'cafile=/etc/ssl/certs/ca-certificates.crt\naudit=false\nfund=false\nupdate-notifier=false\n'
} >"$root/usr/local/etc/npmrc"

tar -C "$root" --numeric-owner -cf "$work/base.tar" .
# Renamed as a whole, so that a second run never sees half of it.
mv "$work/base.tar" "$tar"
printf '%s\n' "$tar"
