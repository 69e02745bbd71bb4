#!/usr/bin/env bash
# A machine with a real systemd as its process 1, in namespaces of its own: systemd-machine.sh boot|remove NAME FOLDER NETNS HIDDEN
#
# Its files are this machine's, copied on write, but for HIDDEN, which is empty there, and /run, /tmp, /home and /root. Its units are
# those that the test puts into FOLDER/units, and nothing else: no unit of this machine runs a second time.
# The network is that of NETNS (a path). `boot` becomes process 1; when its parent ends, so does the machine.
set -euo pipefail
action=$1 name=$2 folder=$3 netns=${4:-} hidden=${5:-}

# The unified hierarchy, wherever this machine has it; NAME is a group of it, and the root of the machine's.
mount_groups() {
  mkdir -p "$1"
  mount -t cgroup2 cgroup2 "$1"
}

case $action in
  boot)
    exec unshare --mount --propagation private "$0" enter "$name" "$folder" "$netns" "$hidden"
    ;;
  enter)
    mount_groups "$folder/groups"
    mkdir -p "$folder/groups/$name"
    echo $$ >"$folder/groups/$name/cgroup.procs"
    exec nsenter --net="$netns" unshare --pid --uts --ipc --cgroup --fork --kill-child=KILL "$0" init "$name" "$folder" "" "$hidden"
    ;;
  init)
    layer=$folder/layer root=$folder/layer/root
    mkdir -p "$layer"
    mount -t tmpfs tmpfs "$layer"
    mkdir "$layer/upper" "$layer/work" "$root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" "$root"
    for path in /run /tmp /home /root; do mount -t tmpfs -o mode=755 tmpfs "$root$path"; done
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount_groups "$root/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    mkdir -p "$root/dev/net" "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    for node in null zero full random urandom tty net/tun; do
      touch "$root/dev/$node"
      mount --bind "/dev/$node" "$root/dev/$node"
    done
    rm -rf "$root/etc/systemd/system"
    cp -r "$folder/units" "$root/etc/systemd/system"
    mkdir -p "$root/run/inbox"
    mount --bind "$folder/inbox" "$root/run/inbox"
    # One in a folder that is empty here already is hidden.
    if [[ -n $hidden && -d $root$hidden ]]; then mount -t tmpfs tmpfs "$root$hidden"; fi
    cd "$root"
    mkdir -p mnt
    pivot_root . mnt
    umount -l /mnt
    # As on a machine that has booted: what is mounted later is seen in the units' own views.
    mount --make-rshared /
    export container=other SYSTEMD_UNIT_PATH=/etc/systemd/system SYSTEMD_GENERATOR_PATH=/nowhere
    exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=null </dev/null
    ;;
  remove)
    exec unshare --mount --propagation private "$0" prune "$name" "$folder"
    ;;
  prune)
    mount_groups "$folder/groups"
    [[ ! -d "$folder/groups/$name" ]] || find "$folder/groups/$name" -depth -type d -exec rmdir {} +
    ;;
esac
