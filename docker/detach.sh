#!/usr/bin/env bash
# Takes a container off a vtep network: undoes what attach.sh did, also when the container is gone. One request to vtepd's
# API by curl. Prints the addresses that are free now. Where nothing is attached it says so, and that is no error.
#
# Exit codes: 0 nothing is attached any more, 1 a failure, 2 wrong input (also if it is vtepd that finds it wrong).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=vtepd-request.sh disable=SC1091
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/vtepd-request.sh"

USAGE='detach.sh NETWORK (--container NAME | --netns NAME | --pid N) [--socket PATH]'

help() {
  cat <<EOT
Usage: $USAGE

Takes a container on this host off a network. It does not come back when the container is started again.

  --container NAME the container, by the name or id that it was attached by; it may be stopped, or gone
  --engine NAME    whose container: docker, podman or nerdctl (default: auto)
  --netns NAME     the container, by its network namespace: a name in /run/netns or an absolute path
  --pid N          the container, by the id of a process in it
  --socket PATH    vtepd's unix socket (environment: VTEP_SOCKET; default: /run/vtep/vtepd.sock)

Examples:
  detach.sh my_overlay --container web
  detach.sh my_overlay --netns master
EOT
}

network='' netns='' pid='' container='' engine=''
answer=''
socket=${VTEP_SOCKET:-/run/vtep/vtepd.sock}

read_arguments '--container --engine --netns --pid --socket' "$@"
check_container "$USAGE" "$netns" "$pid" "$container"

add_text network "$network"
add_text netns "$netns"
add_raw pid "$pid"
add_text container "$container"
add_text engine "$engine"
add_raw ifExists true
post "$socket" /v1/detach

if [[ $answer == '[]' ]]; then
  printf 'nothing was attached\n'
  exit 0
fi
addresses=$(json_addresses "$answer")
[[ -n $addresses ]] || fail 1 'the answer of vtepd makes no sense: no addresses in it'
while read -r line; do printf 'detached %s\n' "$line"; done <<<"$addresses"
