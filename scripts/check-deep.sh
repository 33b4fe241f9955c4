#!/usr/bin/env bash
# make check-deep: the suite on a server that checks itself, under valgrind, and with the extension built for the address and undefined-behaviour
# sanitizers. About an hour; the first time ten minutes more for the server. The last line is "N passed, N failed[, N skipped]"; what a tool reports
# about our code is a failure, as is what the server says of leaks in its log (check.sh looks).
#
#   scripts/check-deep.sh [part...]      assert asan valgrind; default: all of them
#   ONDATRA_DEEP_DIR=/var/tmp/…          where the server is built and kept, and what was reported
#   ONDATRA_TESTS=001,004                of tap: other files than the part's own choice
#
#   assert    everything, with --enable-cassert
#   valgrind  the server under valgrind: regress, and the files of tap that move the most kinds of values; several times slower than the rest
#   asan      everything with -fsanitize=address,undefined, leaks of allocated memory included; the unit tests are always built so
#
# The server comes from the original tarball in Debian's source package of the release's own version, never from Debian's patched tree: that one
# installs into the system's places whatever the prefix. Needs deb-src lists (fetched beside the system's), or a server that was built before.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

deep=${ONDATRA_DEEP_DIR:-/var/tmp/ondatra-deep}
server=$deep/server
valgrind_tests=001,002,003,004,010,013,014
passed=0 failed=0 skipped=0 table=''

# --- the server ----------------------------------------------------------------------------------------------

# The release's source package, through lists of its own: the system's sources stay as they are. The newest version that can be had.
fetch_source() {
  local apt=$deep/apt major version file
  major=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
  mkdir -p "$apt/lists/partial" "$apt/parts" "$deep/source"
  for file in /etc/apt/sources.list.d/*.sources; do
    [ ! -f "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" >"$apt/parts/${file##*/}"
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -f "$file" ] || sed -n 's/^deb /deb-src /p' "$file" >"$apt/parts/source-${file##*/}.list"
  done
  local options=(-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$apt/parts" -o "Dir::State::Lists=$apt/lists" -o APT::Sandbox::User=root
    -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache=)
  apt-get -qq "${options[@]}" update
  for version in $(apt-cache "${options[@]}" showsrc "postgresql-$major" | sed -n 's/^Version: //p' | sort -ruV); do
    rm -f "$deep/source"/*
    (cd "$deep/source" && apt-get -qq "${options[@]}" source --download-only "postgresql-$major=$version") && return 0
  done
  return 1
}

# valgrind wants to be told of the server's memory contexts (USE_VALGRIND); without valgrind that costs a few instructions.
build_server() {
  local log=$deep/build.log
  [ ! -e "$server/.complete" ] || return 0
  need required bzip2 xz-utils libxml2-dev libipc-run-perl
  rm -rf "$deep/source" "$server"
  say "fetching the server's source"
  fetch_source >"$log" 2>&1 || { tail -n 5 "$log" >&2; die "no source package of PostgreSQL could be had: $log"; }
  (cd "$deep/source" && tar -xf postgresql-*.orig.tar.* && rm -f postgresql-*.tar.* && mv postgresql-* tree)
  say "building the server with assertions (some minutes)"
  (cd "$deep/source/tree" &&
    ./configure --prefix="$server" --enable-cassert --enable-debug --enable-tap-tests --with-openssl --with-libxml --without-readline --without-icu \
      CFLAGS='-O1 -fno-omit-frame-pointer' CPPFLAGS=-DUSE_VALGRIND &&
    nice make -s -j"$(nproc)" -C src all && make -s -C src install && make -s -C config install && make -s -C contrib/pg_stat_statements install) >"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; die "the server could not be built: $log"; }
  cp "$deep/source/tree/src/tools/valgrind.supp" "$server/"
  rm -rf "$deep/source"
  touch "$server/.complete"
}

# wrapped NAME PROGRAM-TEXT: a copy of the server whose postgres runs by way of a script, which sees $real and the arguments. What only makes or
# describes a data directory is not looked at. "pg_ctl restart" starts what the running server calls itself.
wrapped() {
  local copy=$deep/$1
  rm -rf "$copy"
  cp -a "$server" "$copy"
  mv "$copy/bin/postgres" "$copy/bin/postgres.real"
  cat >"$copy/bin/postgres" <<WRAPPER
#!/bin/bash
real=$copy/bin/postgres.real
case "\${1:-}" in --boot | --check | --single | --describe-config | -V | --version | -C) exec "\$real" "\$@" ;; esac
$2
WRAPPER
  chmod 755 "$copy/bin/postgres"
}

# --- parts ---------------------------------------------------------------------------------------------------

# run_part NAME SUITES...: check.sh on the part's server; its counts are added.
run_part() {
  local name=$1 log=$deep/$1.log p=0 f=1 s=0 last
  shift
  say "$name"
  bash scripts/check.sh "$@" 2>&1 | tee "$log" || true
  last=$(tail -n 1 "$log" | grep -E '^[0-9]+ passed, [0-9]+ failed' || true)
  [ -z "$last" ] || { read -r p f s <<<"${last//[^0-9 ]/}"; s=${s:-0}; }
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  table+=$(printf '%-9s %s' "$name" "${last:-did not run to its end: $log}")$'\n'
}

# report NAME FILE: what a tool said, one block of lines each; a block is a failure.
report() {
  local count
  count=$(grep -c '^### ' "$2" || true)
  table+=$(printf '%-9s %s' "$1" "$count reports of its own")$'\n'
  if [ "$count" -gt 0 ]; then
    echo "----- $2"
    head -n 300 "$2"
    echo "-----"
    failed=$((failed + count))
  else
    passed=$((passed + 1))
  fi
}

reports_dir() {
  rm -rf "$deep/$1.reports"
  mkdir -p "$deep/$1.reports"
  [ "$(id -u)" != 0 ] || chown "$server_user:" "$deep/$1.reports"
}

part_assert() {
  PG_CONFIG=$server/bin/pg_config SANITIZE=1 run_part assert server unit regress isolation tap
}

part_valgrind() {
  need required valgrind libc6-dbg
  reports_dir valgrind
  wrapped valgrind "exec valgrind --quiet --vgdb=no --leak-check=no --error-limit=no --num-callers=30 --trace-children=yes \\
  --suppressions=$server/valgrind.supp --error-markers=REPORT,END --log-file=$deep/valgrind.reports/%p.log \"\$real\" \"\$@\""
  PG_CONFIG=$deep/valgrind/bin/pg_config PG_TEST_TIMEOUT_DEFAULT=900 PGCTLTIMEOUT=600 ONDATRA_TEST_TIMEOUT=7200 \
    ONDATRA_TESTS=${ONDATRA_TESTS:-$valgrind_tests} run_part valgrind regress tap
  # One of each: the same place reports in many processes.
  find "$deep/valgrind.reports" -name '*.log' -size +0 -exec cat {} + | awk '
    / REPORT/ { block = ""; key = ""; inside = 1; next }
    / END/ { if (inside && block != "" && !seen[key]++) print "### valgrind" block; inside = 0; next }
    inside { sub(/^[=0-9]+ ?/, ""); sub(/^\*\*[0-9]+\*\* ?/, ""); block = block "\n" $0; if ($0 ~ /^ +(at|by) /) { line = $0; sub(/0x[0-9A-F]+/, "", line); key = key line } }
  ' >"$deep/valgrind.reports/all"
  report valgrind "$deep/valgrind.reports/all"
}

part_asan() {
  local flags='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer'
  reports_dir asan
  # The server itself is as it was: the sanitizer's library comes first, for memory that is allocated anywhere.
  wrapped asan "LD_PRELOAD=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)
ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:exitcode=0:fast_unwind_on_malloc=0:malloc_context_size=16:log_path=$deep/asan.reports/report
LSAN_OPTIONS=exitcode=0:report_objects=0
UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1:log_path=$deep/asan.reports/report
export LD_PRELOAD ASAN_OPTIONS LSAN_OPTIONS UBSAN_OPTIONS
exec -a \"\$0\" \"\$real\" \"\$@\""
  ONDATRA_SANITIZED=1 PG_CONFIG=$deep/asan/bin/pg_config COPT=$flags SANITIZE=1 PG_TEST_TIMEOUT_DEFAULT=300 ONDATRA_TEST_TIMEOUT=3600 run_part asan regress isolation tap
  # Every error; of leaks those that went through our code, one of each place.
  find "$deep/asan.reports" -name 'report.*' -size +0 -exec cat {} + | awk -v ours='[ /]src/(api|catalog|connector|core|engine|http|worker)/[a-z_]+\\.c' '
    function end() { if (block != "" && (!leak || block ~ ours) && !seen[key]++) print "### sanitizer" block; block = "" }
    /^(==[0-9]+==ERROR: AddressSanitizer|.*runtime error:)/ { end(); leak = 0; key = $0; sub(/^==[0-9]+==/, "", key); block = "\n" $0; next }
    /^(Direct|Indirect) leak of/ { end(); leak = 1; key = ""; block = "\n" $0; next }
    /^==[0-9]+==ERROR: LeakSanitizer/ || /^SUMMARY:/ { end(); next }
    /^$/ { if (leak) end(); next }
    block != "" { block = block "\n" $0; line = $0; sub(/0x[0-9a-f]+/, "", line); if (leak) key = key line }
    END { end() }
  ' >"$deep/asan.reports/all"
  report asan "$deep/asan.reports/all"
}

server_user=$(id -un)
[ "$(id -u)" != 0 ] || server_user=${ONDATRA_USER:-postgres}
parts=${*:-assert asan valgrind}
for part in $parts; do
  case $part in
  assert | valgrind | asan) ;;
  *) die "no such part: $part (assert asan valgrind)" ;;
  esac
done
# shellcheck disable=SC2086
need required $build_packages perl
mkdir -p "$deep"
build_server
for part in $parts; do
  "part_$part"
done
echo
printf '%s' "$table"
[ "$skipped" -eq 0 ] && echo "$passed passed, $failed failed" || echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
