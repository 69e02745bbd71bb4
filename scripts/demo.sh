#!/usr/bin/env bash
# The demo: two hosts, one registry, one network that both see, two containers that reach each other over real VXLAN.
#
# The hosts cdh1 and cdh2 and the containers master and slaver are network namespaces; the underlay is a veth pair.
# What is made is recorded in .cache/demo.state the moment it exists, with what identifies it (a namespace's inode, a
# process's start time), so that only this demo's own things are ever removed: at the end, on Ctrl-C, on failure, or by
# --cleanup after --keep.
#
# Commands are strings run by eval, so that what is printed is exactly what runs.
# shellcheck disable=SC2016
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE=$ROOT/.cache/demo.state
NAMESPACES=(cdh1 cdh2 master slaver)
REGISTRY=10.30.10.111:8500
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

usage() {
  cat <<'TEXT'
Usage: npm run demo -- [--keep] [--consul]
       npm run demo -- --cleanup

Two hosts, a registry, one overlay network, two containers: made, shown, measured and removed again.

  --keep      leave everything standing at the end, to play with
  --cleanup   remove what a run with --keep left standing
  --consul    take a real Consul as the registry (fetched if it is not on the PATH);
              without this option: consul if it is on the PATH, else vtepd's embedded registry
  --help      this text
TEXT
}

die() {
  printf 'demo: %s\n' "$1" >&2
  exit "${2:-1}"
}

keep=false cleanup_only=false consul_wanted=false
for option in "$@"; do
  case $option in
    --keep) keep=true ;;
    --cleanup) cleanup_only=true ;;
    --consul) consul_wanted=true ;;
    --help | -h) usage && exit 0 ;;
    *) die "unknown option '$option': there are --keep, --cleanup, --consul and --help" 2 ;;
  esac
done
[[ $EUID -eq 0 ]] || die 'needs root, to make network namespaces: run it as root or with sudo'

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' green=$'\e[32m' cyan=$'\e[36m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' green='' cyan='' red='' plain=''
fi

# --- what was made, and how it goes ----------------------------------------------------------------------------------

record() { printf '%s\n' "$*" >>"$STATE"; }

# Clock ticks from boot to the start of a process: with the pid, its identity. Empty if there is no such process.
start_ticks() {
  local line
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
  # The command's name, in parentheses, may hold spaces: count the fields after it.
  read -r -a fields <<<"${line##*) }"
  [[ ${fields[0]} == Z ]] || printf '%s' "${fields[19]}"
}

namespace_inode() { stat -Lc %i "/run/netns/$1" 2>/dev/null || true; }

stop_recorded() {
  local kind pid ticks attempt alive
  for signal in TERM KILL; do
    while read -r kind pid ticks; do
      if [[ $kind == process && -n $ticks && $(start_ticks "$pid") == "$ticks" ]]; then kill "-$signal" "$pid" 2>/dev/null; fi
    done <"$STATE"
    for ((attempt = 0; attempt < 50; attempt++)); do
      alive=false
      while read -r kind pid ticks; do
        if [[ $kind == process && -n $ticks && $(start_ticks "$pid") == "$ticks" ]]; then alive=true; fi
      done <"$STATE"
      $alive || return 0
      sleep 0.1
    done
  done
}

# Removes everything that the state file names, and only that.
remove_recorded() {
  local kind name inode pid
  [[ -f $STATE ]] || return 0
  stop_recorded
  while read -r kind name inode; do
    [[ $kind == namespace && -n $inode && $(namespace_inode "$name") == "$inode" ]] || continue
    for pid in $(ip netns pids "$name" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null; done
    ip netns del "$name"
  done <"$STATE"
  while read -r kind name _; do
    if [[ $kind == folder && $name == */vtep-demo.* ]]; then rm -rf -- "$name"; fi
  done <"$STATE"
  rm -f -- "$STATE"
}

if $cleanup_only; then
  [[ -f $STATE ]] || die 'nothing to remove: no run with --keep is recorded'
  set +e
  remove_recorded
  printf 'demo: removed\n'
  exit 0
fi

for name in "${NAMESPACES[@]}"; do
  if [[ -e /run/netns/$name ]]; then
    die "the network namespace $name exists already: remove an earlier demo with \`npm run demo -- --cleanup\`"
  fi
done
[[ -x $ROOT/dist/cli.js && -x $ROOT/dist/daemon.js ]] || die 'dist is missing: build it with `node scripts/setup.mjs demo`'

D='' making=''
step_title='' command_now='' finished=false

show_logs() {
  local log
  for log in "$D"/*.log; do
    [[ -s $log ]] || continue
    printf '%s--- the end of %s ---%s\n' "$bold" "$(basename "$log")" "$plain"
    tail -n 15 -- "$log"
  done >&2
}

# on_exit [STATUS]
on_exit() {
  local status=${1:-$?} pid attempt
  set +e
  # Nothing may stop the removal half-way: a second Ctrl-C, a closed terminal, a closed pipe.
  trap '' INT TERM HUP PIPE
  trap - EXIT
  if [[ $status -ne 0 && $status -lt 129 ]]; then
    printf '\n%sdemo: failed in "%s"%s%s\n' "$red" "$step_title" "${command_now:+, at: $command_now}" "$plain" >&2
    [[ -z $D ]] || show_logs
  fi
  if $keep && $finished; then exit "$status"; fi
  # What was just being made when the signal came, and is not recorded yet.
  for pid in $(jobs -pr); do record process "$pid" "$(start_ticks "$pid")"; done
  if [[ -n $making ]]; then
    # `ip netns add` may have outlived the signal by a moment.
    for ((attempt = 0; attempt < 20; attempt++)); do
      if [[ -e /run/netns/$making ]]; then break; fi
      sleep 0.05
    done
    sleep 0.1
  fi
  if [[ -n $making && -e /run/netns/$making ]]; then record namespace "$making" "$(namespace_inode "$making")"; fi
  remove_recorded >/dev/null 2>&1
  [[ -z $D ]] || rm -rf -- "$D"
  exit "$status"
}
# Not by way of `exit`: a signal that comes when on_exit has just begun would end the script without the rest of it.
trap on_exit EXIT
trap 'on_exit 130' INT
trap 'on_exit 143' TERM
trap 'on_exit 129' HUP
trap 'on_exit 141' PIPE

# --- how it is shown -------------------------------------------------------------------------------------------------

step_number=0
step() {
  step_number=$((step_number + 1))
  step_title="$step_number. $1"
  command_now=''
  printf '\n%s%s%s\n' "$bold" "$step_title" "$plain"
}

show() { printf '%s$ %s%s\n' "$cyan" "$1" "$plain"; }

# Prints a command, runs it, shows its output and keeps it in $D/output.
run() {
  command_now=$1
  show "$1"
  eval "$1" 2>&1 | tee "$D/output"
  command_now=''
}

# Starts a process in the background, with its output in $D/NAME.log. In a session of its own, so that Ctrl-C reaches
# the script alone and --keep outlives the terminal.
spawn() {
  local pid
  command_now=$2
  show "$2 >\$D/$1.log 2>&1 &"
  eval "exec setsid $2" >"$D/$1.log" 2>&1 </dev/null &
  pid=$!
  # The same process for its whole life: the start time does not change at exec.
  record process "$pid" "$(start_ticks "$pid")"
  command_now=''
}

make_namespace() {
  making=$1
  run "ip netns add $1"
  record namespace "$1" "$(namespace_inode "$1")"
  making=''
  run "ip -n $1 link set lo up"
}

# wait_for SECONDS WHAT COMMAND: polls until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1))
  until eval "$3" >/dev/null 2>&1; do
    if ((SECONDS >= deadline)); then
      command_now=$3
      printf 'demo: waited %s s for %s\n' "$1" "$2" >&2
      return 1
    fi
    sleep 0.1
  done
}

ping_without_loss() {
  run "ip netns exec $1 ping -c 5 -i 0.2 $2"
  if ! grep -q ' 0% packet loss' "$D/output"; then
    printf 'demo: %s loses packets to %s\n' "$1" "$2" >&2
    return 1
  fi
}

# throughput SERVER CLIENT ADDRESS: measures by iperf3 and leaves Mbit/s, as a number, in $mbits.
throughput() {
  spawn "iperf3-$1" "ip netns exec $1 iperf3 -s -1"
  wait_for 5 "iperf3 in $1" "ip netns exec $1 ss -Hltn 'sport = :5201' | grep -q ."
  command_now="ip netns exec $2 iperf3 -c $3 -t ${DEMO_IPERF_SECONDS:-3} -f m"
  show "$command_now"
  eval "$command_now" >"$D/output" 2>&1 || { cat "$D/output" && return 1; }
  mbits=$(awk '/receiver/ { for (i = 2; i <= NF; i++) if ($i == "Mbits/sec") print $(i - 1) }' "$D/output")
  [[ -n $mbits ]] || { cat "$D/output" && return 1; }
  command_now=''
}

# --- the demo --------------------------------------------------------------------------------------------------------

mkdir -p "$ROOT/.cache"
# What a run that was killed outright left behind.
remove_recorded
D=$(mktemp -d "${TMPDIR:-/tmp}/vtep-demo.XXXXXX")
record folder "$D"
export D PATH="$D/bin:$PATH"

step 'The commands vtep and vtepd, and a folder for sockets, state and logs'
show "export D=$D PATH=$D/bin:\$PATH"
mkdir "$D/bin"
ln -s "$ROOT/dist/cli.js" "$D/bin/vtep"
ln -s "$ROOT/dist/daemon.js" "$D/bin/vtepd"
consul=''
if $consul_wanted && ! command -v consul >/dev/null; then
  printf 'fetching consul\n'
  consul=$(bash "$ROOT/scripts/consul.sh") || die '--consul: scripts/consul.sh could not get consul'
  ln -s "$consul" "$D/bin/consul"
fi
consul=$(command -v consul || true)
run 'vtep --version'

step 'Two hosts, cdh1 and cdh2, on one wire'
make_namespace cdh1
make_namespace cdh2
run 'ip link add ens33 netns cdh1 type veth peer name ens33 netns cdh2'
run 'ip -n cdh1 addr add 10.30.10.111/24 dev ens33'
run 'ip -n cdh2 addr add 10.30.10.112/24 dev ens33'
run 'ip -n cdh1 link set ens33 up'
run 'ip -n cdh2 link set ens33 up'
run 'ip netns exec cdh2 ping -c 1 -w 5 10.30.10.111'

options1="--underlay ens33 --node cdh1 --socket \$D/cdh1.sock --state-dir \$D/cdh1"
options2="--underlay ens33 --node cdh2 --socket \$D/cdh2.sock --state-dir \$D/cdh2"
if [[ -n $consul ]]; then
  step "The registry on cdh1: Consul"
  spawn consul "ip netns exec cdh1 consul agent -server -bootstrap-expect=1 -node=cdh1 -bind=10.30.10.111 -client=10.30.10.111 -data-dir=\$D/consul -disable-host-node-id -hcl='disable_update_check = true'"
  wait_for 40 'Consul to elect a leader' "ip netns exec cdh1 curl -sf http://$REGISTRY/v1/status/leader | grep -q :"
  step 'vtepd on both hosts'
  spawn vtepd-cdh1 "ip netns exec cdh1 vtepd --registry http://$REGISTRY $options1"
else
  step 'vtepd on both hosts; that of cdh1 also serves the registry (no consul on the PATH)'
  spawn vtepd-cdh1 "ip netns exec cdh1 vtepd --embedded-registry $REGISTRY $options1"
fi
wait_for 20 'vtepd on cdh1' '[[ -S $D/cdh1.sock ]] && vtep --socket $D/cdh1.sock status'
spawn vtepd-cdh2 "ip netns exec cdh2 vtepd --registry http://$REGISTRY $options2"
wait_for 20 'vtepd on cdh2' '[[ -S $D/cdh2.sock ]] && vtep --socket $D/cdh2.sock status'
wait_for 20 'both nodes in the registry' 'vtep --socket $D/cdh1.sock node ls | grep -q cdh2'
run 'ip netns exec cdh1 vtep --socket $D/cdh1.sock node ls'

step 'A network, made once, on cdh1'
run 'ip netns exec cdh1 vtep --socket $D/cdh1.sock network create my_overlay'

step 'It is there on both'
wait_for 10 'my_overlay on cdh2' 'vtep --socket $D/cdh2.sock network ls | grep -q my_overlay'
run 'ip netns exec cdh1 vtep --socket $D/cdh1.sock network ls'
run 'ip netns exec cdh2 vtep --socket $D/cdh2.sock network ls'
command_now='vtep network ls' && grep -q global "$D/output"

step 'A container on each: master on cdh1, slaver on cdh2'
make_namespace master
make_namespace slaver
run 'ip netns exec cdh1 vtep --socket $D/cdh1.sock attach --network my_overlay --netns master --name master'
run 'ip netns exec cdh2 vtep --socket $D/cdh2.sock attach --network my_overlay --netns slaver --name slaver'

step 'Their addresses, from the pool of the network'
run 'ip -n master -br addr show dev eth0'
command_now='expecting 10.0.0.2 in master' && grep -q '10\.0\.0\.2/' "$D/output"
master_mac=$(ip -n master -br link show dev eth0 | awk '{ print $3 }')
run 'ip -n slaver -br addr show dev eth0'
command_now='expecting 10.0.0.3 in slaver' && grep -q '10\.0\.0\.3/' "$D/output"
slaver_mac=$(ip -n slaver -br link show dev eth0 | awk '{ print $3 }')

step 'Each host knows where the other container is'
wait_for 10 "the MAC of slaver on cdh1" "vtep --socket \$D/cdh1.sock fdb | grep -qi $slaver_mac"
wait_for 10 "the MAC of master on cdh2" "vtep --socket \$D/cdh2.sock fdb | grep -qi $master_mac"
run 'ip netns exec cdh1 vtep --socket $D/cdh1.sock endpoint ls'
run 'ip netns exec cdh1 vtep --socket $D/cdh1.sock fdb'
run 'ip netns exec cdh2 vtep --socket $D/cdh2.sock fdb'

step 'Ping, both ways'
ping_without_loss master 10.0.0.3
ping_without_loss slaver 10.0.0.2

step 'Throughput: the overlay, and the bare underlay'
throughput slaver master 10.0.0.3
overlay=$mbits
printf 'overlay:  %s Mbit/s\n' "$overlay"
throughput cdh2 cdh1 10.30.10.112
underlay=$mbits
printf 'underlay: %s Mbit/s\n' "$underlay"
awk -v overlay="$overlay" -v underlay="$underlay" \
  'BEGIN { printf "the overlay carries %.1f %% of what the underlay carries\n", 100 * overlay / underlay }'

step 'What the registry holds'
run "ip netns exec cdh1 curl -sS 'http://$REGISTRY/v1/kv/vtep/v1/?keys&pretty'"
grep -q 'vtep/v1/networks/my_overlay' "$D/output"
printf '\n'

step 'Counters'
run 'ip netns exec cdh1 vtep --socket $D/cdh1.sock status'
run 'ip netns exec cdh2 vtep --socket $D/cdh2.sock status --drops'

finished=true
printf '\n%sAll steps done: 0 %% loss both ways.%s\n' "$green" "$plain"
if $keep; then
  cat <<TEXT

It is left standing. To play with it, in this shell or another one:
  export D=$D PATH=$D/bin:\$PATH
  ip netns exec master ping 10.0.0.3
  ip netns exec cdh1 tcpdump -ni ens33 udp port 4789
  ip netns exec cdh1 vtep --socket \$D/cdh1.sock network inspect my_overlay
  tail -f \$D/*.log
To remove it:
  npm run demo -- --cleanup
TEXT
fi
