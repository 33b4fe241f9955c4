#!/usr/bin/env bash
# make bench: builds, starts a private cluster and nginx in a directory of their own, measures, prints a table, ends and removes everything.
# What is compared runs in turns, several rounds; the table has medians and in brackets the lowest and the highest round. See bench/README.md.
#
#   BENCH_ROWS=5000000       rows of the model
#   BENCH_ROUNDS=5           rounds of each comparison
#   BENCH_REQUESTS=100000    requests of a single-row round
#   BENCH_SAMPLES=50         of the latency
#   BENCH_PARTS="diff changes single batches latency footprint"
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

rows=${BENCH_ROWS:-5000000} rounds=${BENCH_ROUNDS:-5} requests=${BENCH_REQUESTS:-100000} samples=${BENCH_SAMPLES:-50}
parts=${BENCH_PARTS:-diff changes single batches latency footprint}
concurrency=16
work_mem=256MB # what ondatra.work_mem is by default; the statements it is compared with get as much

columns="count(id), count(email), count(name), count(plan), count(country), count(mrr), count(seats), count(active), count(signup), count(updated_at)"
scan="SELECT $columns FROM bench.customers"
diff="SELECT * FROM ondatra.plan_sync('diff')"
md5="SELECT count(*) FROM (SELECT id, md5(c::text) AS hash FROM bench.customers c) m FULL JOIN bench.md5_state s USING (id) WHERE m.hash IS DISTINCT FROM s.hash"

finish() {
  [ -z "${home:-}" ] && return
  [ ! -f "$home/data/postmaster.pid" ] || as_server_user "$pg_bin/pg_ctl" -D "$home/data" -m fast -w stop >/dev/null || true
  [ ! -f "$home/nginx.pid" ] || kill "$(cat "$home/nginx.pid")" || true
  [ -n "${BENCH_KEEP:-}" ] || rm -rf "$home"
}

start_cluster() {
  as_server_user "$pg_bin/initdb" -D "$home/data" --auth=trust --username=postgres --encoding=UTF8 --locale=C.UTF-8 >"$home/initdb.log" 2>&1 ||
    { tail "$home/initdb.log" >&2; die "initdb failed"; }
  as_server_user tee -a "$home/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
unix_socket_directories = '$home'
port = $port
shared_preload_libraries = 'ondatra'
ondatra.allowed_hosts = '127.0.0.1'
shared_buffers = ${BENCH_SHARED_BUFFERS:-2GB}
max_wal_size = 8GB
CONF
  as_server_user "$pg_bin/pg_ctl" -D "$home/data" -l "$home/server.log" -w start >/dev/null || { tail "$home/server.log" >&2; die "the server did not start"; }
}

start_nginx() {
  nginx_port=$("$PYTHON" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
  sed -e "s|HOME|$home|g" -e "s|PORT|$nginx_port|" bench/nginx.conf | as_server_user tee "$home/nginx.conf" >/dev/null
  as_server_user nginx -e "$home/nginx.log" -c "$home/nginx.conf" || die "nginx did not start"
  url=http://127.0.0.1:$nginx_port
}

sql() { "${psql[@]}" -At -c "SET client_min_messages = error" "${@/#/-c}"; }

# One line a statement: wall and CPU milliseconds of its backend. Statements run in turns, $rounds times, after one round that does not count.
interleave() {
  local round statement
  {
    echo "SET client_min_messages = error; SET jit = off; SET work_mem = '$work_mem'; SET max_parallel_workers_per_gather = 0;"
    # shellcheck disable=SC2016
    echo 'SELECT pg_backend_pid() AS pid \gset'
    echo '\setenv BENCH_PID :pid'
    for round in $(seq 0 "$rounds"); do
      for statement in "$@"; do
        # shellcheck disable=SC2016
        echo '\! date +%s%N >"$BENCH_HOME/clock"; awk '\''{print $14 + $15}'\'' "/proc/$BENCH_PID/stat" >>"$BENCH_HOME/clock"'
        echo "\\o /dev/null"
        echo "$statement;"
        echo "\\o"
        # shellcheck disable=SC2016
        echo '\! "$BENCH_HOME/elapsed"'
      done
      echo '\echo'
    done
  } | BENCH_HOME=$home "${psql[@]}" -At >"$home/interleaved"
  awk -v n=$# '$0 == "" {next} {if (k++ >= n) print}' "$home/interleaved"
}

# spread: median [lowest to highest] of the numbers on stdin. $1: a printf format
spread() {
  sort -g | awk -v f="${1:-%.0f}" '{v[NR] = $1} END {m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2; printf f " [" f " to " f "]\n", m, v[1], v[NR]}'
}

# ratio COLUMN N A B: of lines that N sides gave in turns, column COLUMN of the A-th over that of the B-th, by round
ratio() {
  awk -v column="$1" -v n="$2" -v a="$3" -v b="$4" '{k = (NR - 1) % n + 1; v[k] = $column; if (k == n && v[b] > 0) printf "%.3f\n", v[a] / v[b]}' | spread %.2f
}

# numbers COLUMN N A: of the A-th of N lines
numbers() { awk -v column="$1" -v n="$2" -v a="$3" '(NR - 1) % n + 1 == a {print $column}' | spread; }

row() { printf '| %s | %s | %s |\n' "$1" "$2" "${3:-}"; }

# run NAME FIELDS: runs a sync and prints fields of its run
run() {
  sql "SELECT CASE WHEN status = 'succeeded' THEN concat_ws(' ', $2) ELSE 'failed: ' || concat_ws(' ', status, error_message) END FROM ondatra.run_sync('$1')" | tail -n 1 | tee "$home/run"
  ! grep -q failed "$home/run" || die "a run failed"
}

part_diff() {
  interleave "$scan" "$diff" "$md5" >"$home/diff"
  row "scan of the model, ms" "$(numbers 1 3 1 <"$home/diff")"
  row "diff, nothing changed, ms" "$(numbers 1 3 2 <"$home/diff")"
  row "FULL JOIN on md5(row::text), ms" "$(numbers 1 3 3 <"$home/diff")"
  row "diff / scan, by time" "$(ratio 1 3 2 1 <"$home/diff")" "<= 3.5"
  row "diff / scan, by CPU time" "$(ratio 2 3 2 1 <"$home/diff")"
  row "md5 / diff, by time" "$(ratio 1 3 3 2 <"$home/diff")" ">= 5"
  row "md5 / diff, by CPU time" "$(ratio 2 3 3 2 <"$home/diff")"
}

# Times in which what is found is also kept and sent: of the run rows.
part_changes() {
  local round
  : >"$home/changed"
  for round in $(seq "$rounds"); do
    sql "UPDATE bench.customers SET seats = seats + 1 WHERE id % 100 = $round" "VACUUM bench.customers" >/dev/null
    timed "$scan" >>"$home/changed"
    run diff "diff_ms" >>"$home/changed"
  done
  row "diff with 1 % changed / scan" "$(ratio 1 2 2 1 <"$home/changed")"
}

# Milliseconds of a statement.
timed() {
  "${psql[@]}" -At -c "SET jit = off" -c "SET max_parallel_workers_per_gather = 0" -c '\timing on' -c "$1" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -n 1
}

part_batches() {
  local round
  : >"$home/new"
  for round in $(seq "$((rounds < 3 ? rounds : 3))"); do
    sql "SELECT ondatra.create_sync('new', 'bench.customers', 'batches', key => '{id}', paused => true)" CHECKPOINT >/dev/null
    {
      timed "$scan" | tr '\n' ' '
      watch_worker
      run new "diff_ms, round(rows_created * 1000.0 / deliver_ms)" | tr '\n' ' '
      end_watch
      watched_cpu_us | awk -v n="$rows" '{print n * 1e6 / $1}'
    } >>"$home/new"
    sql "SELECT ondatra.drop_sync('new')" >/dev/null
  done
  row "diff with 100 % new / scan" "$(awk '{printf "%.3f\n", $2 / $1}' "$home/new" | spread %.2f)"
  row "batches of 1000, state kept: rows/s" "$(awk '{print $3}' "$home/new" | spread)" ">= 150000"
  row "the same: rows per second of the worker's CPU, diff included" "$(awk '{print $4}' "$home/new" | spread)"
}

part_single() {
  local round
  : >"$home/single"
  for round in $(seq "$rounds"); do
    sql "SELECT ondatra.create_sync('single', 'bench.single', 'single', key => '{id}', paused => true)" >/dev/null
    {
      "$home/curl_loop" "$url/one" "$requests" $concurrency
      watch_worker
      run single "round(rows_created * 1000.0 / deliver_ms)" | tr '\n' ' '
      end_watch
      watched_cpu_us | awk -v n="$requests" '{print $1 / n}'
      wrk -t 1 -c $concurrency -d 5s -s bench/put.lua "$url" | sed -n 's/^Requests\/sec: *//p'
    } >>"$home/single"
    sql "SELECT ondatra.drop_sync('single')" >/dev/null
  done
  row "single rows, state kept: requests/s" "$(numbers 1 3 2 <"$home/single")"
  row "bare libcurl multi loop: requests/s" "$(numbers 1 3 1 <"$home/single")"
  row "wrk: requests/s" "$(numbers 1 3 3 <"$home/single")"
  row "single rows / bare loop" "$(ratio 1 3 2 1 <"$home/single")" ">= 0.5"
  row "single rows / wrk" "$(ratio 1 3 2 3 <"$home/single")"
  row "CPU time of a request, all of the run, µs" "$(numbers 2 3 2 <"$home/single")"
  row "CPU time of a request, bare loop, µs" "$(numbers 2 3 1 <"$home/single")"
  row "bare loop / single rows, by CPU time" "$(ratio 2 3 1 2 <"$home/single")" ">= 0.5"
}

part_latency() {
  "$PYTHON" bench/latency.py "$samples" "${psql[@]}" 2>/dev/null >"$home/latency"
  row "COMMIT to first byte, cold: p50, ms" "$(sort -n "$home/latency" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}')" "<= 50"
  row "COMMIT to first byte, cold: p99, ms" "$(sort -n "$home/latency" | awk '{v[NR] = $1} END {print v[int(NR * 0.99 + 0.999)]}')"
}

# From here to watched_*: CPU ticks and peak of private memory (kB) of the run worker. Polled, for it is gone when its run is.
watch_worker() {
  rm -f "$home/watched"
  echo 0 0 >"$home/worker"
  poll_worker &
  watcher=$!
}

poll_worker() {
  local pid='' peak=0 name value stat
  while [ ! -e "$home/watched" ]; do
    [ -n "$pid" ] && [ -d "/proc/$pid" ] || pid=$(pgrep -P "$(head -n 1 "$home/data/postmaster.pid")" -f 'ondatra run' | head -n 1 || true)
    if [ -n "$pid" ]; then
      while read -r name value _; do
        [ "$name" = RssAnon: ] && [ "$value" -gt "$peak" ] && peak=$value
      done 2>/dev/null <"/proc/$pid/status" || true
      read -r stat 2>/dev/null <"/proc/$pid/stat" && [ -n "$stat" ] && echo "${stat##*) }" | awk -v peak="$peak" '{print $12 + $13, peak}' >"$home/worker"
    fi
    sleep 0.02
  done || true
}

end_watch() {
  touch "$home/watched"
  wait "$watcher" || true
}

watched_cpu_us() {
  awk -v hz="$(getconf CLK_TCK)" '{print $1 * 1000000 / hz}' "$home/worker"
}

part_footprint() {
  local before after
  run diff "rows_unchanged" >/dev/null
  sql CHECKPOINT
  run diff "rows_unchanged" >/dev/null # the first one after a checkpoint writes whole pages of catalogs and run rows
  before=$(sql "SELECT pg_current_wal_insert_lsn() - '0/0'" "SELECT temp_bytes FROM pg_stat_database WHERE datname = 'bench'" | tr '\n' ' ')
  watch_worker
  run diff "rows_unchanged" >/dev/null
  end_watch
  sleep 1 # statistics arrive
  after=$(sql "SELECT pg_current_wal_insert_lsn() - '0/0'" "SELECT temp_bytes FROM pg_stat_database WHERE datname = 'bench'" | tr '\n' ' ')
  # shellcheck disable=SC2086
  set -- $before $after
  row "unchanged run: WAL, bytes" "$(($3 - $1))" "the run's row"
  row "unchanged run: temporary files, bytes" "$(($4 - $2))"
  row "unchanged run: private memory of the worker at its peak, kB" "$(cut -d' ' -f2 "$home/worker")"
}

name_machine() {
  echo "$(nproc) cores ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), $(awk '/^MemTotal/ {printf "%.0f GB", $2 / 1048576}' /proc/meminfo)," \
    "PostgreSQL $(sql 'SHOW server_version' | tail -n 1), libcurl $(pkg-config --modversion libcurl), $(nginx -v 2>&1 | sed 's/.*: //');" \
    "load before: $(cut -d' ' -f1-3 /proc/loadavg)"
}

# shellcheck disable=SC2086
need required $build_packages nginx-light wrk procps
choose_server
choose_python
choose_user
home=$(mktemp -d "${TMPDIR:-/tmp}/ondatra-bench.XXXXXX")
trap finish EXIT
[ "$(id -u)" != 0 ] || chown "$server_user:" "$home"
chmod 755 "$home"
as_server_user mkdir "$home/tree"
copy_tree "$home/tree"
build_and_install "$home/tree" "$home/build.log"
gcc -O2 -o "$home/curl_loop" bench/curl_loop.c -lcurl
cat >"$home/elapsed" <<'ELAPSED'
#!/bin/sh
# wall and CPU milliseconds since "$BENCH_HOME/clock" was written
end=$(date +%s%N)
awk -v end="$end" 'NR == FNR {v[FNR] = $1; next} {printf "%.1f %d\n", (end - v[1]) / 1e6, ($14 + $15 - v[2]) * 10}' "$BENCH_HOME/clock" "/proc/$BENCH_PID/stat"
ELAPSED
chmod 755 "$home/elapsed"
port=$((20000 + RANDOM % 20000))
psql=("$pg_bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$home" -p "$port" -U postgres -d bench)
say "starting a cluster and nginx"
start_cluster
start_nginx
"$pg_bin/createdb" -h "$home" -p "$port" -U postgres bench
sql "CREATE EXTENSION ondatra" >/dev/null
machine=$(name_machine)
say "filling a model of $rows rows"
PGOPTIONS='-c client_min_messages=error' "${psql[@]}" -o /dev/null -v rows="$rows" -v requests="$requests" -v concurrency=$concurrency -v url="$url" -f bench/model.sql
cat <<HEAD

$rows rows, $rounds rounds; $machine

| | median [lowest to highest] | target |
|---|---|---|
HEAD
for part in $parts; do
  "part_$part"
done
