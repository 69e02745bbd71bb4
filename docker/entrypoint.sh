#!/bin/sh
# Starts vtepd in the image with what its container may: `docker run ... vtep --registry URL --underlay eth0`.
#
# Docker gives a container's capabilities to root alone. The image's own user gets them by a copy of setpriv that has them
# as file capabilities, as ambient ones, which vtepd passes on to ip and nft. Only those that the container has and vtepd has
# a use for are asked for. Where file capabilities don't count (no-new-privileges) vtepd says itself what it lacks.
set -eu

status() {
  sed -n "s/^$1:[[:space:]]*//p" /proc/self/status
}

granted() {
  [ $((0x$(status "$1") >> $2 & 1)) = 1 ]
}

set -- /opt/vtep/bin/vtepd "$@"
NET_ADMIN=12
if [ "$(id -u)" = 0 ] || [ "$(status NoNewPrivs)" = 1 ] || granted CapAmb "$NET_ADMIN" || ! granted CapBnd "$NET_ADMIN"; then
  exec "$@"
fi
capabilities=
for capability in "net_admin $NET_ADMIN" 'net_bind_service 10' 'sys_ptrace 19' 'sys_admin 21' 'sys_nice 23'; do
  if granted CapBnd "${capability#* }"; then capabilities=$capabilities,+${capability% *}; fi
done
exec /opt/vtep/bin/grant --inh-caps="${capabilities#,}" --ambient-caps="${capabilities#,}" -- "$@"
