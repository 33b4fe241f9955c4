#!/usr/bin/env bash
# make check-packages: the Debian packages and the PGXN archive in fresh Debian systems, one for each server version. Built, installed in a system
# that has never seen a compiler, used, upgraded to a next version with the server restarted, removed and purged: nothing is left. Needs root,
# debootstrap and a Debian mirror; 3 GB a version while it runs.
#
#   scripts/check-packages.sh [version...]   15 17 18; default: all of them
#   ONDATRA_CHROOTS=/var/tmp/…               where plain systems are kept for later runs; the packages are left in NAME.packages
#   ONDATRA_MIRROR=http://…                  default: the mirror of this machine
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/systems.sh

chroots=${ONDATRA_CHROOTS:-/var/tmp/ondatra-chroots}
version=$(sed -n 's/^EXTVERSION = //p' Makefile)
passed=0 failed=0

# step NAME COMMAND...: one line for it; what it printed when it failed.
step() {
  local name=$1 log
  shift
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    printf '%-7s %s\n' ok "$name"
    rm -f "$log"
  else
    failed=$((failed + 1))
    printf '%-7s %s\n' FAILED "$name"
    tail -n 40 "$log"
    rm -f "$log"
    return 1
  fi
}

# A copy of the plain system.
fresh() {
  rm -rf "$2" && cp -a "$1" "$2"
}

# The tree as a commit would have it.
unpack_tree() {
  mkdir -p "$1"
  git ls-files -co --exclude-standard | tar -cf - -T - | tar -xf - -C "$1"
}

# Two versions of the package: this one, and one that differs by its number.
build_packages() {
  inside "$1" sh -ec "
    apt-get -qq update
    apt-get -qq -y -o Dpkg::Use-Pty=0 install dpkg-dev debhelper lintian zip unzip
    cd /build/ondatra
    apt-get -qq -y -o Dpkg::Use-Pty=0 install postgresql-server-dev-all
    pg_buildext updatecontrol
    apt-get -qq -y -o Dpkg::Use-Pty=0 build-dep ./
    dpkg-buildpackage -us -uc
    mkdir /build/first && mv /build/*.deb /build/*.dsc /build/*.tar.* /build/*.changes /build/*.buildinfo /build/first/
    sed -i '1s/($version)/($version+1)/' debian/changelog
    dpkg-buildpackage -us -uc -b
    mkdir /build/next && mv /build/*.deb /build/next/"
}

lint() {
  inside "$1" sh -ec 'lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs,bad-distribution-in-changes-file /build/first/*.changes'
}

# What others' tools make of the archive: unpack, make, make install, in the system that has the headers.
build_archive() {
  inside "$1" sh -ec "
    cd /build/archive && unzip -q 'ondatra-$version.zip' && cd 'ondatra-$version'
    python3 -c 'import json; m = json.load(open(\"META.json\")); assert m[\"version\"] == \"$version\" == m[\"provides\"][\"ondatra\"][\"version\"]'
    make -s && make -s install
    test -s \"\$(pg_config --sharedir)/extension/ondatra--$version.sql\""
}

install_package() {
  cp "$2"/*.deb "$1/var/tmp/"
  rm -f "$1"/var/tmp/*dbgsym*
  inside "$1" sh -ec 'apt-get -qq update; apt-get -qq -y -o Dpkg::Use-Pty=0 install /var/tmp/*.deb python3; rm /var/tmp/*.deb'
}

# A cluster of the package's own server, which stays for what comes next.
make_cluster() {
  inside "$1" sh -ec "pg_createcluster '$2' main -o shared_preload_libraries=ondatra -o \"ondatra.allowed_hosts='127.0.0.1'\" && pg_ctlcluster '$2' main start"
}

use() {
  inside "$1" sh -ec 'cp -r /build/tests /tmp/ && chmod -R a+rX /tmp/tests && runuser -u postgres -- sh /tmp/tests/one-sync'
}

restart() {
  inside "$1" pg_ctlcluster "$2" main restart
}

purge() {
  inside "$1" sh -ec "
    runuser -u postgres -- psql -Xq -c 'DROP EXTENSION ondatra CASCADE'
    sed -i '/shared_preload_libraries = .*ondatra/d; /^ondatra/d' /etc/postgresql/$2/main/postgresql.conf
    pg_ctlcluster '$2' main restart
    apt-get -qq -y -o Dpkg::Use-Pty=0 purge 'postgresql-$2-ondatra'
    pg_ctlcluster '$2' main restart
    pg_ctlcluster '$2' main stop
    rm -rf /tmp/tests
    left=\$(find / -xdev -iname '*ondatra*' -not -path '/build/*' -not -path '/var/log/*' -not -path '/var/cache/*' -not -path '/proc/*' -not -name ondatra.key)
    test -z \"\$left\" || { echo \"left behind: \$left\"; exit 1; }"
}

check_version() {
  local pg=$1 suite root build try
  suite=$(suite_of "$pg") root=$chroots/$suite.plain build=$chroots/$suite.build try=$chroots/$suite.try
  say "PostgreSQL $pg, Debian $suite"
  step "$pg: a plain system" make_base "$suite" "$root" || return 0
  fresh "$root" "$build"
  unpack_tree "$build/build/ondatra"
  mount_system "$build"
  step "$pg: the packages are built" build_packages "$build" || return 0
  step "$pg: lintian has no complaint" lint "$build" || true
  mkdir -p "$build/build/archive"
  step "$pg: the archive is made" bash scripts/dist.sh "$build/build/archive" || return 0
  step "$pg: and builds" build_archive "$build" || return 0
  unmount_system
  rm -rf "$chroots/$suite.packages" && cp -r "$build/build/first" "$chroots/$suite.packages"
  fresh "$root" "$try"
  mkdir -p "$try/build" && cp -r debian/tests "$try/build/"
  mount_system "$try"
  if step "$pg: the package is installed" install_package "$try" "$build/build/first" && step "$pg: a cluster starts with it" make_cluster "$try" "$pg" &&
    step "$pg: a sync delivers" use "$try" && step "$pg: a next version is installed beside the running server" install_package "$try" "$build/build/next" &&
    step "$pg: the old library goes on" use "$try" && step "$pg: the server is restarted" restart "$try" "$pg" &&
    step "$pg: the sync goes on where it was" use "$try"; then
    step "$pg: the package is purged, nothing is left" purge "$try" "$pg" || true
  fi
  inside "$try" pg_ctlcluster "$pg" main stop -m immediate >/dev/null 2>&1 || true
  unmount_system
  rm -rf "$build" "$try"
}

[ "$(id -u)" = 0 ] || die "make check-packages needs root: it makes other Debian systems and runs in them"
need required debootstrap git zip
for pg in ${*:-15 17 18}; do suite_of "$pg" >/dev/null; done
mkdir -p "$chroots"
for pg in ${*:-15 17 18}; do
  check_version "$pg"
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
