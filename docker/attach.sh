#!/usr/bin/env bash
# Gives a container an interface (a veth pair's end) and an address in a vtep network, without the vtep command: one
# request to vtepd's API by curl. Prints the interface and the addresses. Run again, it prints the same and changes
# nothing. With --container the interface comes back each time that the container is started again; detach.sh ends it.
#
# Exit codes: 0 attached, 1 a failure, 2 wrong input (also if it is vtepd that finds it wrong).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=vtepd-request.sh disable=SC1091
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/vtepd-request.sh"

USAGE='attach.sh NETWORK (--container NAME | --netns NAME | --pid N) [--ip ADDRESS] [--name NAME] [--socket PATH]'

help() {
  cat <<EOT
Usage: $USAGE

Gives a container on this host an interface and an address in a network, and prints both. If it has them already, they
are printed; if they are not as wanted, it is an error.

  --container NAME the container, by the name or id that its engine knows it by
  --engine NAME    whose container: docker, podman or nerdctl (default: auto, whichever has it)
  --netns NAME     the container, by its network namespace: a name in /run/netns or an absolute path
  --pid N          the container, by the id of a process in it
  --standing X     on: it comes back when the container is started again, or the namespace made again, with its addresses
                   (default: on with --container, else off)
  --ip ADDRESS     the address, for each family once (default: the next free ones of the network's pools)
  --name NAME      a name for the endpoint
  --socket PATH    vtepd's unix socket (environment: VTEP_SOCKET; default: /run/vtep/vtepd.sock)

Examples:
  attach.sh my_overlay --container web --ip 10.0.0.20
  attach.sh my_overlay --netns master
  attach.sh my_overlay --pid 4711 --name web
EOT
}

network='' netns='' pid='' container='' engine='' standing='' name=''
ips=()
answer=''
socket=${VTEP_SOCKET:-/run/vtep/vtepd.sock}

read_arguments '--container --engine --netns --pid --standing --ip --name --socket' "$@"
check_container "$USAGE" "$netns" "$pid" "$container"
case $standing in
  on) standing=true ;;
  off) standing=false ;;
  '') ;;
  *) fail 2 "--standing \"$standing\" must be on or off" ;;
esac

add_text network "$network"
add_text netns "$netns"
add_raw pid "$pid"
add_text container "$container"
add_text engine "$engine"
add_raw standing "$standing"
if ((${#ips[@]} == 1)); then
  add_text ip "${ips[0]}"
elif ((${#ips[@]} > 1)); then
  list=''
  for ip in "${ips[@]}"; do
    text=$(json_text "$ip")
    list+=",$text"
  done
  add_raw ips "[${list#,}]"
fi
add_text name "$name"
add_raw mayExist true
post "$socket" /v1/endpoints

interface=$(json_field containerInterface "$answer")
addresses=$(json_addresses "$answer")
[[ -n $interface && -n $addresses ]] || fail 1 'the answer of vtepd makes no sense: no interface or address in it'
printf '%s %s\n' "$interface" "$addresses"
