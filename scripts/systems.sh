# shellcheck shell=bash
# Shared by check-all.sh and check-packages.sh: other releases of Debian, each in a folder of its own, where services do not start. Sourced by bash
# after lib.sh; the sourcing script sets `chroots`, where they are kept.

suite_of() {
  case $1 in
  15) echo bookworm ;;
  17) echo trixie ;;
  18) echo forky ;;
  *) die "no Debian release has PostgreSQL $1: 15 17 18" ;;
  esac
}

# The mirror that most of this machine's package lists came from, whatever its name.
mirror() {
  if [ -n "${ONDATRA_MIRROR:-}" ]; then
    echo "$ONDATRA_MIRROR"
  else
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sed 's,/*$,,' | sort | uniq -c | sort -rn |
      awk 'NR == 1 { print $2 }'
  fi
}

# Made beside its place and moved there: an interrupted one is never taken for a whole one.
make_base() {
  local suite=$1 root=$2 script=/usr/share/debootstrap/scripts/$1
  [ ! -x "$root/usr/bin/apt-get" ] || return 0
  say "making a Debian $suite in $root"
  [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid # a release that is newer than this machine's debootstrap
  rm -rf "$root.new"
  debootstrap --variant=minbase "$suite" "$root.new" "$(mirror)" "$script" >"$root.log" 2>&1 || { tail -n 5 "$root.log"; return 1; }
  printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/locale/*' \
    >"$root.new/etc/dpkg/dpkg.cfg.d/lean"
  # A mirror's copy of a release may be old.
  printf '%s\n' 'APT::Install-Recommends "false";' 'Acquire::Check-Valid-Until "false";' >"$root.new/etc/apt/apt.conf.d/99lean"
  printf '#!/bin/sh\nexit 101\n' >"$root.new/usr/sbin/policy-rc.d" && chmod 755 "$root.new/usr/sbin/policy-rc.d"
  mkdir -p "$root.new/etc/postgresql-common"
  echo 'create_main_cluster = false' >"$root.new/etc/postgresql-common/createcluster.conf"
  mv "$root.new" "$root"
}

inside() {
  local root=$1
  shift
  chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

mounted=
mount_system() {
  mkdir -p "$1/dev/shm"
  mounted=$1
  mountpoint -q "$1/proc" || mount -t proc proc "$1/proc"
  mountpoint -q "$1/dev/shm" || mount -t tmpfs tmpfs "$1/dev/shm"
}

unmount_system() {
  [ -z "$mounted" ] || umount "$mounted/dev/shm" "$mounted/proc" 2>/dev/null || true
  mounted=
}
trap unmount_system EXIT
