#!/bin/sh
# Installs vtep-cni and its configuration on a host, from a container of vtep's image that has the host's folders mounted
# (docker/kubernetes/vtep.yaml), or from a checkout. Each file appears at once and whole, the configuration last: a runtime
# that sees it finds the plugin.
#
# Hosts of containers have no Node.js as a rule. So the plugin is a folder of its own, with this image's node, the libraries
# that it is linked to and their loader: it runs on any Linux of the same architecture, whatever C library that has. What
# runtimes call is a shell script beside it.
#
#   BIN/vtep-cni                     sh: runs what is in the folder that it was written for
#   BIN/.vtep-cni/ID/                node, cni.mjs, lib/ (ID: of their contents; the one of before stays for who runs it)
#   CONF/10-vtep.conflist
#
# Exit codes: 0 installed (or removed), 1 a failure, 2 wrong input.
set -eu

USAGE='install.sh [--bin DIR] [--conf DIR] [--conflist FILE | --no-conflist] [--remove]'

package=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
bin=${CNI_BIN_DIR:-/opt/cni/bin}
conf=${CNI_CONF_DIR:-/etc/cni/net.d}
conflist=${CNI_CONFLIST:-$package/docker/cni/10-vtep.conflist}
remove=no

# fail EXIT_CODE MESSAGE: one line on standard error.
fail() {
  printf 'install.sh: %s\n' "$2" >&2
  exit "$1"
}

while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      cat <<EOF
Usage: $USAGE

  --bin DIR        where the runtime looks for plugins (environment: CNI_BIN_DIR; default: /opt/cni/bin)
  --conf DIR       where it looks for configurations (CNI_CONF_DIR; /etc/cni/net.d)
  --conflist FILE  the configuration (CNI_CONFLIST; the package's docker/cni/10-vtep.conflist)
  --no-conflist    none (CNI_CONFLIST=none): the plugin alone, for Multus
  --remove         takes the configuration and the plugin away
EOF
      exit 0
      ;;
    --no-conflist) conflist=none ;;
    --remove) remove=yes ;;
    --bin | --conf | --conflist)
      if [ $# -lt 2 ] || [ -z "$2" ]; then fail 2 "$1 needs a value; usage: $USAGE"; fi
      case $1 in
        --bin) bin=$2 ;;
        --conf) conf=$2 ;;
        --conflist) conflist=$2 ;;
      esac
      shift
      ;;
    *) fail 2 "unknown argument $1; usage: $USAGE" ;;
  esac
  shift
done

own=$bin/.vtep-cni
fresh=$own/.fresh.$$

if [ "$remove" = yes ]; then
  rm -f "$conf/10-vtep.conflist" "$bin/vtep-cni"
  rm -rf "$own"
  exit 0
fi

node=$(command -v node) || fail 1 'node is not in the PATH: run this in the image of vtep'
node=$(readlink -f "$node")
[ -f "$package/dist/cni.js" ] || fail 1 "$package/dist/cni.js is missing: build it (npm run build)"
if [ "$conflist" != none ]; then
  # shellcheck disable=SC2016 # the program is Node's, not the shell's
  node -e 'JSON.parse(require("fs").readFileSync(process.argv[1], "utf8")).plugins.length' "$conflist" 2>/dev/null ||
    fail 2 "$conflist must be a file with a list of plugins (JSON)"
  mkdir -p "$conf" || fail 1 "$conf can't be made"
fi
mkdir -p "$own" || fail 1 "$own can't be made"
trap 'rm -rf "$fresh" "$conf/.10-vtep.$$"' EXIT

# What a run that was cut short has left.
rm -rf "$own"/.fresh.* "$conf"/.10-vtep.*
mkdir -p "$fresh/lib"
cp "$node" "$fresh/node"
cp "$package/dist/cni.js" "$fresh/cni.mjs"
loader=
for library in $(ldd "$node" 2>/dev/null | sed -n 's/^.*=> \(\/[^ ]*\) (0x.*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (0x.*/\1/p'); do
  cp -L "$library" "$fresh/lib/"
  case ${library##*/} in ld-* | ld.so*) loader=${library##*/} ;; esac
done
id=$(cat "$fresh/node" "$fresh/cni.mjs" "$fresh/lib/"* 2>/dev/null | sha256sum | cut -c1-12)
# It must run here before a runtime calls it.
run_installed() {
  if [ -n "$loader" ]; then set -- "$1/lib/$loader" --library-path "$1/lib" "$1/node" "$1/cni.mjs"; else set -- "$1/node" "$1/cni.mjs"; fi
  echo '{"cniVersion":"1.0.0"}' | CNI_COMMAND=VERSION "$@"
}
run_installed "$fresh" >/dev/null || fail 1 'what was copied does not run'

previous=$(sed -n 's/^id=//p' "$bin/vtep-cni" 2>/dev/null || true)
if [ -d "$own/$id" ]; then rm -rf "$fresh"; else mv "$fresh" "$own/$id"; fi
# shellcheck disable=SC2016 # the variables are the script's that is written
{
  printf '#!/bin/sh\n# vtep-cni, by docker/cni/install.sh of vtep.\nid=%s\n' "$id"
  printf 'own=${0%%/*}/.vtep-cni/$id\n'
  if [ -n "$loader" ]; then
    printf 'exec "$own/lib/%s" --library-path "$own/lib" "$own/node" "$own/cni.mjs"\n' "$loader"
  else
    printf 'exec "$own/node" "$own/cni.mjs"\n'
  fi
} >"$own/.fresh.$$"
chmod 0755 "$own/.fresh.$$"
mv -f "$own/.fresh.$$" "$bin/vtep-cni"
for there in "$own"/*; do
  case ${there##*/} in "$id" | "$previous") ;; *) rm -rf "$there" ;; esac
done

if [ "$conflist" != none ]; then
  cp "$conflist" "$conf/.10-vtep.$$"
  chmod 0644 "$conf/.10-vtep.$$"
  mv -f "$conf/.10-vtep.$$" "$conf/10-vtep.conflist"
fi
printf 'installed %s/vtep-cni (%s)\n' "$bin" "$id"
