#!/usr/bin/env bash
# make check: from a bare machine to the last line "N passed, N failed[, N skipped]". Exit status 1 when a test failed or none ran.
#
#   scripts/check.sh [suite...]      server unit fuzz regress isolation tap; default: all of them
#   ONDATRA_TESTS=001,004            of tap: only files whose name contains one of these
#   ONDATRA_NPM_DIR=/var/tmp/…       where packages of npm are kept for later runs
#   ONDATRA_KEEP=1                   keep the working directory also on success
#   ONDATRA_TEST_TIMEOUT=900         seconds that one program may take
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

suites=${*:-server unit fuzz regress isolation tap}
passed=0 failed=0 skipped=0

# What a server writes to its log only when its code, or ours, is wrong: a failure, whatever the test thought of the answers. Signal 9 is not
# among them: tests send it.
server_faults="TRAP: |PANIC: |[Rr]eference leak: |refcount leak: |(file|memory|context) leak: |resource was not closed: |terminated by signal (4|6|7|8|11):?\
|you don't own a lock|non-empty SPI stack|snapshot 0x[0-9a-f]+ still active|problem in alloc set|write past chunk end|StartTransaction while in\
|AbortTransaction while in|CommitTransaction while in"

# run_test SUITE NAME COMMAND...: runs it as the server's user, its output to a log, its tests to the screen and the counts.
run_test() {
  local suite=$1 name=$2 status=0 log counts p f s faults
  shift 2
  log=$work/log/$suite-${name//\//_}.log
  touch "$work/began"
  as_server_user env -C "$tree" timeout --kill-after=20 "${ONDATRA_TEST_TIMEOUT:-900}" "$@" >"$log" 2>&1 || status=$?
  counts=$(awk -v suite="$suite/$name" -f scripts/tap.awk "$log")
  echo "$counts" | sed '/^# counts/d'
  read -r p f s <<<"$(echo "$counts" | sed -n 's/^# counts //p')"
  if [ $status -ne 0 ] && [ "$f" -eq 0 ]; then
    f=1
    printf '%-7s %s\n' FAILED "$suite/$name: exit status $status"
  fi
  faults=$(find "$tree" -name '*.log' -newer "$work/began" -exec grep -hE "$server_faults" {} + | head -n 20 || true)
  if [ -n "$faults" ]; then
    f=$((f + 1))
    printf '%-7s %s\n%s\n' FAILED "$suite/$name: the server's log" "$faults"
  fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  [ "$f" -eq 0 ] || show_failure "$log" "$name"
}

show_failure() {
  local log=$1 name=$2 diffs own
  diffs=$(ls "$tree"/regression.diffs "$tree"/test/isolation/{output_iso/,}regression.diffs 2>/dev/null || true)
  echo "----- the end of $log"
  grep -vE '^ok ' "$log" | tail -n 60 || true
  # What a perl test prints beside its TAP: errors it died of, commands, SQL.
  for own in "$tree/tmp_check/$name"/tmp_check/log/regress_log_* "$tree/tmp_check/$name"/log/regress_log_*; do
    [ -f "$own" ] || continue
    echo "----- the end of $own"
    tail -n 30 "$own"
  done
  for log in $diffs; do
    echo "----- $log"
    head -n 200 "$log"
    mv "$log" "$work/log/$(date +%s%N).diffs"
  done
  echo "-----"
}

suite_server() {
  run_test server destination "$PYTHON" test/server/run_tests.py
}

# A program that does not build is one that fails: the others run all the same.
suite_unit() {
  local program
  as_server_user make -k -C "$tree" -j"$(nproc)" PG_CONFIG="$PG_CONFIG" unit >"$work/log/unit-build.log" 2>&1 ||
    grep -nE ' error: |Error ' "$work/log/unit-build.log" | head -n 20
  for program in $(make -s -C "$tree" PG_CONFIG="$PG_CONFIG" print-unit-tests); do
    run_test unit "$(basename "$program")" "./$program"
  done
}

# Some seconds a target; ONDATRA_FUZZ_SECONDS for more.
suite_fuzz() {
  local seconds=${ONDATRA_FUZZ_SECONDS:-3}
  ONDATRA_FUZZ_SEED=${ONDATRA_FUZZ_SEED:-1} ONDATRA_TEST_TIMEOUT=$((seconds * 30 + 900)) run_test fuzz targets scripts/fuzz.sh "$seconds"
}

# A temporary server per suite: pg_regress starts it, on a socket of its own.
regress_binary() {
  echo "$(dirname "$("$PG_CONFIG" --pgxs)")/../test/$1"
}

suite_regress() {
  local names
  names=$(make -s -C "$tree" PG_CONFIG="$PG_CONFIG" print-regress)
  [ -n "$names" ] || return 0
  # shellcheck disable=SC2086
  run_test regress sql "$(regress_binary regress/pg_regress)" --bindir="$pg_bin" --temp-instance="$tree/tmp_check/regress" \
    --temp-config="$tree/test/test.conf" --no-locale --encoding=UTF8 --inputdir=test --outputdir=. --dbname=ondatra_regress $names
}

suite_isolation() {
  local names expected=
  names=$(cd "$tree/test/isolation/specs" 2>/dev/null && ls -- *.spec 2>/dev/null | sed 's/\.spec$//') || true
  [ -n "$names" ] || return 0
  [ "$pg_version" -lt 16 ] || expected=--expecteddir=test/isolation
  # shellcheck disable=SC2086
  run_test isolation specs "$(regress_binary isolation/pg_isolation_regress)" --bindir="$pg_bin" --temp-instance="$tree/tmp_check/isolation" \
    --temp-config="$tree/test/test.conf" --no-locale --encoding=UTF8 --inputdir=test/isolation --outputdir=test/isolation $expected \
    --dbname=ondatra_isolation $names
}

wanted() {
  local part
  [ -n "${ONDATRA_TESTS:-}" ] || return 0
  for part in ${ONDATRA_TESTS//,/ }; do
    case $1 in *"$part"*) return 0 ;; esac
  done
  return 1
}

suite_tap() {
  local file name
  for file in test/t/*.pl; do
    name=$(basename "$file" .pl)
    wanted "$name" || continue
    as_server_user mkdir -p "$tree/tmp_check/$name/data" "$tree/tmp_check/$name/log"
    run_test tap "$name" env PATH="$pg_bin:$PATH" PGPORT=65432 TESTDIR="$tree/tmp_check/$name" TESTDATADIR="$tree/tmp_check/$name/data" \
      TESTLOGDIR="$tree/tmp_check/$name/log" PG_REGRESS="$(regress_binary regress/pg_regress)" \
      perl -I "$(regress_binary perl)" -I test/t/lib "$file"
  done
}

# Of the fuzz suite; without it that is skipped.
needs_compiler() {
  case " $suites " in *" fuzz "*) echo clang libclang-rt-dev ;; esac
}

# needs KIND: what the tests that will run want beside the build. They say it: "# needs package: nginx-light", "# needs npm: name@version",
# "# needs server package: cron" for postgresql-15-cron and its like.
needs() {
  local file
  case " $suites " in *" tap "*) ;; *) return 0 ;; esac
  for file in test/t/*.pl; do
    wanted "$(basename "$file" .pl)" && sed -n "s/^# needs $1: //p" "$file"
  done | sort -u
}

# Descriptions of APIs that connectors are tested against; they are not the project's. Absent: those tests are skipped, visibly.
[ -n "${ONDATRA_APIS:-}" ] || [ ! -d ../shared/apis ] || ONDATRA_APIS=$(cd ../shared/apis && pwd)
export ONDATRA_APIS=${ONDATRA_APIS:-}
export ONDATRA_NPM_DIR=${ONDATRA_NPM_DIR:-/var/tmp/ondatra-npm}
# shellcheck disable=SC2086,SC2046
{
  need required $build_packages perl libipc-run-perl curl ca-certificates
  need optional $(needs package) $(needs_compiler)
  need_npm "$ONDATRA_NPM_DIR" $(needs npm)
}
choose_server
# shellcheck disable=SC2046
need optional $(needs "server package" | sed "s/^/postgresql-$pg_version-/")
choose_python
choose_user

work=$(mktemp -d "${TMPDIR:-/tmp}/ondatra-check.XXXXXX")
tree=$work/tree
# A killed test may leave its server behind: stop it by its own data directory. The last line on the screen stays the last.
finish() {
  local status=$? pid_file
  find "$tree" -name postmaster.pid 2>/dev/null | while read -r pid_file; do
    as_server_user "$pg_bin/pg_ctl" -D "$(dirname "$pid_file")" -m immediate -w stop >/dev/null 2>&1 || true
  done
  [ $status -ne 0 ] || [ -n "${ONDATRA_KEEP:-}" ] || rm -rf "$work"
}
trap finish EXIT
mkdir -p "$tree" "$work/log"
chmod 755 "$work"
copy_tree "$tree"
build_and_install "$tree" "$work/log/build.log"
as_server_user mkdir -p "$tree/tmp_check"

for suite in $suites; do
  case $suite in
  server | unit | fuzz | regress | isolation | tap) "suite_$suite" ;;
  *) die "no such suite: $suite (server unit fuzz regress isolation tap)" ;;
  esac
done

[ "$failed" -eq 0 ] && [ -z "${ONDATRA_KEEP:-}" ] || say "logs and data stay in $work"
[ "$skipped" -eq 0 ] && echo "$passed passed, $failed failed" || echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
