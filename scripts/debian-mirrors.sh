#!/usr/bin/env bash
# Prints the Debian mirrors that this machine's apt uses, a URL a line; nothing where it uses none.
# apt itself tells them, however they are written down (.list, .sources, mirror lists): each repository's release file is
# <mirror>/dists/<suite>/InRelease. Security and vendors' repositories have other suites, or keys that are not Debian's.
set -euo pipefail

codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
apt-get --print-uris update 2>/dev/null |
  sed -n "s|^'\([^']*\)/dists/${codename:-stable}/InRelease' .*|\1|p; s|^'\([^']*\)/dists/stable/InRelease' .*|\1|p" |
  sort -u
