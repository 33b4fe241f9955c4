#!/usr/bin/env bash
# make demo: builds, starts a private cluster and the scripted destination in a directory of their own, shows scripts/demo.sql and leaves
# both running. make demo-stop ends them and removes the directory. Run again, it starts anew.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

home=${ONDATRA_DEMO_DIR:-/tmp/ondatra-demo}

# Only what an earlier run of this script has left in its own directory.
stop_demo() {
  local pid
  [ -O "$home/.ondatra-demo" ] || return 0
  if [ -f "$home/data/postmaster.pid" ]; then
    as_server_user "$pg_bin/pg_ctl" -D "$home/data" -m fast -w stop >/dev/null || true
  fi
  pid=$(cat "$home/destination.pid" 2>/dev/null || true)
  if [ -n "$pid" ] && grep -qz destination.py "/proc/$pid/cmdline" 2>/dev/null; then
    kill "$pid"
  fi
  rm -rf "$home"
}

choose_demo_server() {
  choose_server
  choose_python
  choose_user
}

start_cluster() {
  as_server_user "$pg_bin/initdb" -D "$home/data" --auth=trust --username=postgres --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$home/initdb.log" 2>&1 ||
    { tail "$home/initdb.log" >&2; die "initdb failed"; }
  as_server_user tee -a "$home/data/postgresql.conf" >/dev/null <<CONF
# Reachable through the socket in $home only, which nobody else may enter.
listen_addresses = ''
unix_socket_directories = '$home'
port = $port
shared_preload_libraries = 'ondatra'
ondatra.allowed_hosts = '127.0.0.1'
CONF
  as_server_user "$pg_bin/pg_ctl" -D "$home/data" -l "$home/server.log" -w start >/dev/null || { tail "$home/server.log" >&2; die "the server did not start"; }
}

# In a session of its own, so that it outlives this script and the terminal.
start_destination() {
  local waited=0
  as_server_user mkdir -p "$home/destination"
  as_server_user sh -c 'cd "$0"; setsid "$1" tree/test/server/destination.py --port 0 --dir destination >destination.log 2>&1 </dev/null & echo $! >"$0/destination.pid"' "$home" "$PYTHON"
  until [ -s "$home/destination/port" ]; do
    waited=$((waited + 1))
    [ $waited -lt 200 ] || { cat "$home/destination.log" >&2; die "the scripted destination did not start"; }
    sleep 0.05
  done
  DESTINATION=http://127.0.0.1:$(cat "$home/destination/port")
  export DESTINATION
}

# shellcheck disable=SC2086
[ "${1:-}" = stop ] || need required $build_packages curl
choose_demo_server
if [ "${1:-}" = stop ]; then
  [ -O "$home/.ondatra-demo" ] || die "no demo in $home"
  stop_demo
  say "the demo is stopped and $home removed"
  exit 0
fi

[ ! -e "$home" ] || [ -O "$home/.ondatra-demo" ] || die "$home exists and is not a demo: remove it, or set ONDATRA_DEMO_DIR"
stop_demo
mkdir -p "$home/tree"
touch "$home/.ondatra-demo"
chmod 700 "$home"
copy_tree "$home/tree"
[ "$(id -u)" != 0 ] || chown "$server_user:" "$home"
build_and_install "$home/tree" "$home/build.log"

# A number of a socket's name, not of a TCP port.
port=$((20000 + RANDOM % 20000))
say "starting a cluster and the scripted destination in $home"
start_cluster
start_destination
psql=("$pg_bin/psql" -X -h "$home" -p "$port")
"${psql[@]}" -q -v ON_ERROR_STOP=1 -U postgres -d postgres -c 'CREATE ROLE demo LOGIN' -c 'CREATE DATABASE demo OWNER demo'
"${psql[@]}" -q -v ON_ERROR_STOP=1 -U postgres -d demo -c 'CREATE EXTENSION ondatra' -c 'GRANT USAGE ON SCHEMA ondatra TO demo'
"${psql[@]}" -U demo -d demo -v url="$DESTINATION" -P pager=off -f scripts/demo.sql 2>&1 | sed 's/^psql:[^ ]* //'

cat <<DONE

-- The demo goes on: the sync runs every minute, the API stands at $DESTINATION
   look and try:   ${psql[*]} -U demo demo
   in there:       SELECT * FROM ondatra.sync_status;
                   UPDATE mart.people SET plan = 'gold' WHERE id = 42;  SELECT * FROM ondatra.run_sync('customers');
   what arrived:   curl -s '$DESTINATION/contacts/42'     tail -n 1 $home/destination/requests.jsonl
   make it fail:   curl -s -X POST -d '{"rules": [{"answer": {"status": 503}}]}' $DESTINATION/_control/script      (back: {"rules": []})
   as a page:      ${psql[*]} -U demo demo -Atc 'SELECT ondatra.report_html()' >/tmp/ondatra.html      (open it in a browser)
   server log:     $home/server.log
   stop:           make demo-stop
DONE
