#!/usr/bin/env bash
# What attach.sh and detach.sh share: one request to vtepd's API by curl. To be sourced; it does nothing by itself.

# fail EXIT_CODE MESSAGE: one line on standard error.
fail() {
  printf '%s: %s\n' "${0##*/}" "${2//$'\n'/ }" >&2
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

# json_addresses TEXT: of each "addresses" list in a JSON text one line, its addresses with blanks between.
json_addresses() {
  local marker='"addresses":['
  sed -n -E 's/^"addresses":\[([^]]*)\].*/\1/; t found; d; :found s/"//g; s/,/ /g; p' <<<"${1//"$marker"/$'\n'"$marker"}"
}

# read_arguments OPTIONS ARGUMENT...: the network into $network, and the value of each option that is one of OPTIONS (a list
# with blanks: "--netns --pid") into the variable of its name; each --ip into the array ips. Help and refusals end the
# script, by its own help() and $USAGE.
read_arguments() {
  local options=" $1 "
  shift
  while (($# > 0)); do
    case $1 in
      -h | --help)
        help
        exit 0
        ;;
      -*)
        [[ $options == *" $1 "* ]] || fail 2 "unknown option $1; usage: $USAGE"
        if (($# < 2)) || [[ -z $2 ]]; then fail 2 "$1 needs a value; usage: $USAGE"; fi
        if [[ $1 == --ip ]]; then ips+=("$2"); else printf -v "${1#--}" '%s' "$2"; fi
        shift 2
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
}

# check_container USAGE NETNS PID CONTAINER: exactly one of them is given, and a pid is one.
check_container() {
  local given=0 value pid=$3
  for value in "$2" "$3" "$4"; do
    [[ -z $value ]] || given=$((given + 1))
  done
  ((given == 1)) || fail 2 "give one of --netns, --pid and --container; usage: $1"
  if [[ -n $pid && ! $pid =~ ^[1-9][0-9]{0,9}$ ]]; then
    fail 2 "--pid \"$pid\" must be a process id: a whole number above 0"
  fi
}

# add_text FIELD VALUE: a string field of the request in $body, if it was given. add_raw: of a number, true or false.
body=''
add_text() {
  local text
  [[ -n $2 ]] || return 0
  # An assignment by itself, so that a refusal in json_text ends the script.
  text=$(json_text "$2")
  body+=",\"$1\":$text"
}
add_raw() {
  [[ -z $2 ]] || body+=",\"$1\":$2"
}

# post SOCKET PATH: sends $body; the answer is in $answer. Ends the script unless vtepd says that it is done.
post() {
  local socket=$1 status message
  local start_hint='start it with: sudo vtepd --registry URL --underlay INTERFACE'
  command -v curl >/dev/null || fail 1 'the command "curl" is missing: install it (apt-get install curl)'
  [[ -e $socket ]] || fail 1 "vtepd is not reachable on $socket: there is no such socket; $start_hint"
  [[ -S $socket ]] || fail 1 "vtepd is not reachable on $socket: it is not a socket; give the right one with --socket"
  [[ -w $socket ]] || fail 1 "vtepd is not reachable on $socket: permission denied; run ${0##*/} as root (sudo)"
  if ! answer=$(curl --silent --show-error --max-time 60 --unix-socket "$socket" --write-out '\n%{http_code}' \
    --header 'content-type: application/json' --data-binary @- "http://vtepd$2" <<<"{${body#,}}" 2>&1); then
    fail 1 "vtepd is not reachable on $socket: ${answer##*curl: }; $start_hint"
  fi
  status=${answer##*$'\n'}
  answer=${answer%$'\n'*}
  case $status in
    200 | 201) ;;
    4* | 5*)
      message=$(json_field message "$answer")
      if [[ $status == 400 ]]; then fail 2 "${message:-HTTP 400}"; else fail 1 "${message:-vtepd answered HTTP $status}"; fi
      ;;
    *) fail 1 "vtepd answered HTTP $status; is $socket its socket?" ;;
  esac
}
