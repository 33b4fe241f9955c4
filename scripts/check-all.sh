#!/usr/bin/env bash
# make check-all: scripts/check.sh with every server version that Debian has, each in a system of its own; a table at the end. Exit status 1
# when a version failed or could not be tried. Needs root, debootstrap and a Debian mirror; 1 GB a version, once.
#
#   scripts/check-all.sh [version...]     15 17 18; default: all of them
#   ONDATRA_CHROOTS=/var/tmp/…            where the systems are kept for later runs, and what they printed (NAME.log)
#   ONDATRA_MIRROR=http://…               default: the mirror of this machine
#   ONDATRA_SUITES="regress tap"          only these suites; ONDATRA_TESTS and ONDATRA_KEEP as in check.sh
#
# The version of this machine's own Debian, or of PG_CONFIG, is tried here, as make check would; the others in a minimal system made by
# debootstrap, where services do not start. What a test needs and that release does not have is skipped visibly.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/systems.sh

chroots=${ONDATRA_CHROOTS:-/var/tmp/ondatra-chroots}
in_system=/var/tmp/ondatra

# --- a system ------------------------------------------------------------------------------------------------

# The server, and its headers without the 0.6 GB of clang and llvm that their package depends on. check.sh installs what else it needs.
install_server() {
  local version=$1 root=$2
  [ ! -f "$root/usr/lib/postgresql/$version/lib/pgxs/src/makefiles/pgxs.mk" ] || return 0
  say "installing PostgreSQL $version in $root"
  inside "$root" sh -ec "
    apt-get -qq update
    apt-get -qq -y -o Dpkg::Use-Pty=0 install 'postgresql-$version' libipc-run-perl
    mkdir -p /tmp/headers && cd /tmp/headers
    apt-get -qq -o APT::Sandbox::User=root download libpq-dev 'postgresql-server-dev-$version'
    for deb in *.deb; do dpkg-deb -x \"\$deb\" /; done
    cd / && rm -rf /tmp/headers && apt-get clean" >"$root.log" 2>&1 || { tail -n 5 "$root.log"; return 1; }
}

# What the machine's npm has fetched serves the others too; only node itself is a package of theirs.
lend_npm() {
  local root=$1 dir=${ONDATRA_NPM_DIR:-/var/tmp/ondatra-npm}
  [ -d "$dir/node_modules" ] && [ -O "$dir" ] || return 0
  rm -rf "$root/var/tmp/ondatra-npm"
  cp -a "$dir" "$root/var/tmp/ondatra-npm"
  [ -x "$root/usr/bin/node" ] || inside "$root" apt-get -qq -y -o Dpkg::Use-Pty=0 install nodejs >"$root.log" 2>&1 || say "no node in $root"
}

# --- one version ---------------------------------------------------------------------------------------------

check_in_system() {
  local version=$1 root=$2 status=0
  mkdir -p "$chroots"
  exec 9>"$root.lock"
  flock -n 9 || { echo "another run uses $root"; return 1; }
  make_base "$(suite_of "$version")" "$root" || return 1
  mount_system "$root"
  install_server "$version" "$root" && lend_npm "$root" || status=1
  if [ $status = 0 ]; then
    rm -rf "${root:?}$in_system" && mkdir -p "$root$in_system"
    tar -cf - --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.d' --exclude=./tmp_check --exclude=./build . | tar -xf - -C "$root$in_system"
    # shellcheck disable=SC2086
    inside "$root" "PG_CONFIG=/usr/lib/postgresql/$version/bin/pg_config" "ONDATRA_TESTS=${ONDATRA_TESTS:-}" "ONDATRA_KEEP=${ONDATRA_KEEP:-}" \
      ${PG_TEST_TIMEOUT_DEFAULT:+"PG_TEST_TIMEOUT_DEFAULT=$PG_TEST_TIMEOUT_DEFAULT"} \
      bash "$in_system/scripts/check.sh" ${ONDATRA_SUITES:-} || status=1
  fi
  unmount_system
  return $status
}

# This machine's own version needs no other system.
is_here() {
  if [ -n "${PG_CONFIG:-}" ]; then
    [ "$("$PG_CONFIG" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')" = "$1" ]
  else
    [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = "$(suite_of "$1")" ]
  fi
}

check_version() {
  if is_here "$1"; then
    # shellcheck disable=SC2086
    bash scripts/check.sh ${ONDATRA_SUITES:-}
  else
    check_in_system "$1" "$chroots/$(suite_of "$1")"
  fi
}

[ "$(id -u)" = 0 ] || die "make check-all needs root: it makes other Debian systems and runs in them"
need required debootstrap
versions=${*:-15 17 18}
for version in $versions; do suite_of "$version" >/dev/null; done
mkdir -p "$chroots"

table='' bad=0
for version in $versions; do
  log=$chroots/$(suite_of "$version").check.log
  say "PostgreSQL $version"
  # In a subshell, so that its traps and locks end with it.
  status=0
  (trap unmount_system EXIT; check_version "$version") 2>&1 | tee "$log" || status=1
  [ $status = 0 ] || bad=1
  last=$(tail -n 1 "$log" | grep -E '^[0-9]+ passed, [0-9]+ failed' || echo "did not run to its end: $log")
  table+=$(printf '%-6s %-10s %s' "$version" "$(suite_of "$version")" "$last")$'\n'
done
echo
printf '%s' "$table"
exit $bad
