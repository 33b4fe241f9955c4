# shellcheck shell=bash disable=SC2034
# Shared by check.sh and demo.sh: find or install what the build and the tests need, choose the server, copy the tree to where user
# postgres may write, build and install. Sourced by bash, from the top of the repository. Existing clusters and services are not touched.

die() {
  echo "$*" >&2
  exit 1
}

say() {
  echo "-- $*"
}

# Prints those of the named Debian packages that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$' || echo "$package"
  done
}

# While packages are installed: no service starts, no default cluster appears.
quiet_install() {
  local policy=/usr/sbin/policy-rc.d cluster_conf=/etc/postgresql-common/createcluster.d/zz-ondatra.conf made_policy='' status=0
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made_policy=1
  fi
  mkdir -p "$(dirname $cluster_conf)" && echo 'create_main_cluster = false' >$cluster_conf
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 --no-install-recommends install "$@" \
    >"$apt_log" 2>&1 || status=$?
  rm -f $cluster_conf
  rmdir "$(dirname $cluster_conf)" 2>/dev/null || true
  [ -z "$made_policy" ] || rm -f $policy
  return $status
}

# need required|optional package...: installs what is missing. Optional: only says that it could not.
need() {
  local kind=$1 apt_log missing
  shift
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "no apt here: taking it that these, or what your system calls them, are installed: $*"
    return 0
  fi
  missing=$(missing_packages "$@" | tr '\n' ' ')
  [ -n "${missing// /}" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    [ "$kind" = optional ] && { say "not installed, tests that need it are skipped: $missing"; return 0; }
    die "missing packages: $missing
Run this as root, or install them first: apt-get install --no-install-recommends $missing"
  fi
  say "installing $missing"
  apt_log=$(mktemp)
  # shellcheck disable=SC2086
  if ! quiet_install $missing; then
    apt-get -qq update >>"$apt_log" 2>&1 || true
    # shellcheck disable=SC2086
    quiet_install $missing || {
      tail -n 15 "$apt_log" >&2
      [ "$kind" = optional ] || { rm -f "$apt_log"; die "apt-get could not install: $missing (no network, or no such package in this release?)"; }
      install_each $missing
    }
  fi
  rm -f "$apt_log"
  # Their packages would start them at the next boot; the tests start their own.
  case " $missing" in *" nginx-light "*) update-rc.d nginx disable >/dev/null 2>&1 || true ;; esac
  case " $missing" in *" lighttpd "*) update-rc.d lighttpd disable >/dev/null 2>&1 || true ;; esac
  case " $missing" in *" clickhouse-server "*) update-rc.d clickhouse-server disable >/dev/null 2>&1 || true ;; esac
}

# One that cannot be had does not keep the others out. Used by need, whose apt_log it writes.
install_each() {
  local package
  for package in "$@"; do
    quiet_install "$package" || say "could not be installed, tests that need it are skipped: $package"
  done
}

# need_npm DIR package@version...: installs what is missing into DIR, without running a package's own scripts. Optional: only says that it could not.
need_npm() {
  local dir=$1 wanted name missing='' npm_log
  shift
  for wanted in "$@"; do
    name=${wanted%@*}
    grep -qs "^ *\"version\": \"${wanted##*@}\"" "$dir/node_modules/$name/package.json" || missing="$missing $wanted"
  done
  [ -n "$missing" ] || return 0
  command -v npm >/dev/null || need optional nodejs npm
  command -v npm >/dev/null || { say "no npm here, tests that need it are skipped:$missing"; return 0; }
  # What runs from there must be ours: anybody may make a directory in /var/tmp.
  mkdir -p "$dir" || true
  [ -O "$dir" ] || { say "$dir is not ours, tests that need it are skipped:$missing"; return 0; }
  say "installing$missing into $dir"
  npm_log=$(mktemp)
  # shellcheck disable=SC2086
  if ! timeout 600 npm install --prefix "$dir" --ignore-scripts --omit=dev --omit=optional --no-audit --no-fund $missing >"$npm_log" 2>&1; then
    head -n 5 "$npm_log" >&2
    say "could not be installed, tests that need it are skipped:$missing"
  fi
  rm -f "$npm_log"
  chmod -R a+rX "$dir"
}

# Sets PG_CONFIG, pg_bin, pg_version (major). An explicit PG_CONFIG wins; else the newest server of Debian's that is there; else the release's own.
choose_server() {
  local dir newest=
  if [ -n "${PG_CONFIG:-}" ]; then
    command -v "$PG_CONFIG" >/dev/null || die "PG_CONFIG=$PG_CONFIG does not exist"
  else
    for dir in /usr/lib/postgresql/*/bin/postgres; do
      [ -x "$dir" ] && newest=$(printf '%s\n' "$newest" "$(echo "$dir" | cut -d/ -f5)" | sort -n | tail -n 1)
    done
    if [ -z "$newest" ] && command -v apt-cache >/dev/null; then
      [ "$(id -u)" != 0 ] || apt-cache show postgresql >/dev/null 2>&1 || apt-get -qq update || true
      newest=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
    fi
    if [ -n "$newest" ]; then
      need required "postgresql-$newest" "postgresql-server-dev-$newest"
      PG_CONFIG=/usr/lib/postgresql/$newest/bin/pg_config
    else
      PG_CONFIG=$(command -v pg_config) || die "no PostgreSQL server found: install one (15 or newer) with its development files, or set PG_CONFIG"
    fi
  fi
  pg_bin=$("$PG_CONFIG" --bindir)
  pg_version=$("$PG_CONFIG" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
  [ -f "$("$PG_CONFIG" --pgxs)" ] || die "$PG_CONFIG has no PGXS: install the server's development files (Debian: postgresql-server-dev-$pg_version)"
  [ -x "$pg_bin/postgres" ] || die "no server in $pg_bin: install postgresql-$pg_version"
  [ "$pg_version" -ge 15 ] || die "PostgreSQL 15 or newer is needed, $PG_CONFIG is $pg_version"
  export PG_CONFIG
}

# The scripted destination runs as user postgres: a python in root's home would be out of its reach.
choose_python() {
  PYTHON=/usr/bin/python3
  [ -x $PYTHON ] || PYTHON=$(command -v python3) || die "python3 is missing"
  export PYTHON
}

build_packages="gcc libc6-dev make pkg-config libcurl4-openssl-dev libjson-c-dev libxxhash-dev libssl-dev zlib1g-dev python3 openssl"

# initdb refuses root. Everything that runs a server runs as this user.
as_server_user() {
  if [ "$(id -u)" = 0 ]; then
    runuser -u "$server_user" -- "$@"
  else
    "$@"
  fi
}

choose_user() {
  server_user=$(id -un)
  if [ "$(id -u)" = 0 ]; then
    server_user=${ONDATRA_USER:-postgres}
    id "$server_user" >/dev/null 2>&1 || die "there is no user $server_user to run the server: create it, or set ONDATRA_USER"
  elif [ ! -w "$("$PG_CONFIG" --pkglibdir)" ]; then
    die "the extension has to be installed into $("$PG_CONFIG" --pkglibdir), where $server_user may not write: run this as root, or set PG_CONFIG to a server of yours"
  fi
}

# copy_tree DIR: the sources without build products, owned by the server's user: the clone itself may lie where that user cannot read.
copy_tree() {
  tar -cf - --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.d' --exclude=./tmp_check --exclude=./build --exclude=./sql/ondatra--0.1.0.sql . | tar -xf - -C "$1"
  [ "$(id -u)" != 0 ] || chown -R "$server_user:" "$1"
}

# build_and_install DIR LOG: PostgreSQL before 18 has no search path for extensions, so both files go where the server looks.
build_and_install() {
  say "building for $("$PG_CONFIG" --version)"
  as_server_user make -C "$1" -j"$(nproc)" PG_CONFIG="$PG_CONFIG" >"$2" 2>&1 || {
    grep -nE ' error: |Error ' "$2" | head -n 40 >&2
    die "the build failed: $2"
  }
  say "installing into $("$PG_CONFIG" --pkglibdir) and $("$PG_CONFIG" --sharedir)/extension"
  make -C "$1" install PG_CONFIG="$PG_CONFIG" >>"$2" 2>&1 || { tail -n 5 "$2" >&2; die "make install failed: $2"; }
}
