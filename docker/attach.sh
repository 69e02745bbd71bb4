#!/usr/bin/env bash
# Gives a container an interface (a veth pair's end) and an address in a vtep network, without the vtep command: one
# request to vtepd's API by curl. Prints the interface and the address.
#
# Exit codes: 0 attached, 1 a failure, 2 wrong input (also if it is vtepd that finds it wrong).
set -euo pipefail

USAGE='attach.sh NETWORK (--netns NAME | --pid N) [--ip ADDRESS] [--name NAME] [--socket PATH]'

help() {
  cat <<EOF
Usage: $USAGE

Gives a container on this host an interface and an address in a network, and prints both.

  --netns NAME     the container, by its network namespace: a name in /run/netns or an absolute path
  --pid N          the container, by the id of a process in it
  --ip ADDRESS     the address (default: the next free one of the network's pool)
  --name NAME      a name for the endpoint
  --socket PATH    vtepd's unix socket (environment: VTEP_SOCKET; default: /run/vtep/vtepd.sock)

Examples:
  attach.sh my_overlay --netns master
  attach.sh my_overlay --pid "\$(docker inspect -f '{{.State.Pid}}' web)" --name web --ip 10.0.0.20
EOF
}

# fail EXIT_CODE MESSAGE: one line on standard error.
fail() {
  printf 'attach.sh: %s\n' "${2//$'\n'/ }" >&2
  exit "$1"
}

# json_text TEXT: TEXT as a JSON string. Names and paths have no control characters; one that has is refused.
json_text() {
  local text=$1
  [[ $text != *[[:cntrl:]]* ]] || fail 2 "an argument has control characters: it must be printable"
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "$text"
}

# json_field NAME TEXT: the first string field NAME of a JSON text, unescaped. The API writes JSON without blanks.
json_field() {
  sed -n -E 's/.*"'"$1"'":"(([^"\\]|\\.)*)".*/\1/; t found; d; :found s/\\(["\\/])/\1/g; p; q' <<<"$2"
}

network='' netns='' pid='' ip='' name=''
socket=${VTEP_SOCKET:-/run/vtep/vtepd.sock}

while (($# > 0)); do
  case $1 in
    -h | --help)
      help
      exit 0
      ;;
    --netns | --pid | --ip | --name | --socket)
      if (($# < 2)) || [[ -z $2 ]]; then fail 2 "$1 needs a value; usage: $USAGE"; fi
      case $1 in
        --netns) netns=$2 ;;
        --pid) pid=$2 ;;
        --ip) ip=$2 ;;
        --name) name=$2 ;;
        --socket) socket=$2 ;;
      esac
      shift 2
      ;;
    -*)
      fail 2 "unknown option $1; usage: $USAGE"
      ;;
    *)
      [[ -z $network ]] || fail 2 "more than one network: $network and $1; usage: $USAGE"
      [[ -n $1 ]] || fail 2 "the network's name is empty; usage: $USAGE"
      network=$1
      shift
      ;;
  esac
done

[[ -n $network ]] || fail 2 "no network given; usage: $USAGE"
if [[ -n $netns && -n $pid ]] || [[ -z $netns && -z $pid ]]; then
  fail 2 "give one of --netns and --pid; usage: $USAGE"
fi
if [[ -n $pid && ! $pid =~ ^[1-9][0-9]{0,9}$ ]]; then
  fail 2 "--pid \"$pid\" must be a process id: a whole number above 0"
fi
command -v curl >/dev/null || fail 1 'the command "curl" is missing: install it (apt-get install curl)'
start_hint='start it with: sudo vtepd --registry URL --underlay INTERFACE'
[[ -e $socket ]] || fail 1 "vtepd is not reachable on $socket: there is no such socket; $start_hint"
[[ -S $socket ]] || fail 1 "vtepd is not reachable on $socket: it is not a socket; give the right one with --socket"
[[ -w $socket ]] || fail 1 "vtepd is not reachable on $socket: permission denied; run attach.sh as root (sudo)"

# add_text FIELD VALUE: a string field of the request, if it was given.
body=''
add_text() {
  local text
  [[ -n $2 ]] || return 0
  # An assignment by itself, so that a refusal in json_text ends the script.
  text=$(json_text "$2")
  body+=",\"$1\":$text"
}
add_text network "$network"
add_text netns "$netns"
add_text ip "$ip"
add_text name "$name"
[[ -z $pid ]] || body+=",\"pid\":$pid"
body="{${body#,}}"

if ! answer=$(curl --silent --show-error --max-time 60 --unix-socket "$socket" --write-out '\n%{http_code}' \
  --header 'content-type: application/json' --data-binary @- http://vtepd/v1/endpoints <<<"$body" 2>&1); then
  fail 1 "vtepd is not reachable on $socket: ${answer##*curl: }; $start_hint"
fi
status=${answer##*$'\n'}
answer=${answer%$'\n'*}

case $status in
  201) ;;
  4* | 5*)
    message=$(json_field message "$answer")
    if [[ $status == 400 ]]; then fail 2 "${message:-HTTP 400}"; else fail 1 "${message:-vtepd answered HTTP $status}"; fi
    ;;
  *) fail 1 "vtepd answered HTTP $status; is $socket its socket?" ;;
esac

interface=$(json_field containerInterface "$answer")
address=$(sed -n -E 's/.*"addresses":\["([^"]*)".*/\1/p' <<<"$answer")
[[ -n $interface && -n $address ]] || fail 1 'the answer of vtepd makes no sense: no interface or address in it'
printf '%s %s\n' "$interface" "$address"
