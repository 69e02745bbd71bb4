#!/bin/sh
# What busybox's udhcpc runs when it has got or lost a lease ("$1"): sets the address and the router.
# $interface, $ip, $mask (a prefix length) and $router come from it. Test support; no part of vtep.
set -eu
case "$1" in
  deconfig)
    ip -4 addr flush dev "${interface:?}"
    ;;
  bound | renew)
    ip -4 addr replace "${ip:?}/${mask:?}" dev "${interface:?}"
    echo "$1 $ip ${router:-}"
    ;;
esac
