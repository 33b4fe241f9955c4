#!/usr/bin/env bash
# make fuzz: fuzz targets over everything in src/core, src/http and src/connector that reads bytes from outside. Prints TAP.
#
#   scripts/fuzz.sh [seconds] [target...]    seconds each (default 3); targets are test/fuzz/fuzz_TARGET.c, default: all of them
#   ONDATRA_FUZZ_JOBS=2                      targets at once; default: one a processor
#   ONDATRA_FUZZ_SEED=7                      libFuzzer's seed; default: another one each time, printed. make check takes the same one always:
#                                            what it says of a change does not depend on luck, and new findings are for the long runs
#
# The last target is the canary: a planted bug that must be found, else nothing here can be trusted (at least 20 seconds are given to it).
# Starts from test/fuzz/corpus/TARGET; what is new goes to build/fuzz/corpus/TARGET and is used again by the next run, a finding to
# build/fuzz/found. A finding becomes a unit test, or a file of the corpus. Installs clang as root on Debian; without one it skips.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

seconds=${1:-3}
[ $# -eq 0 ] || shift
case $seconds in '' | *[!0-9]*) die "usage: scripts/fuzz.sh [seconds] [target...]" ;; esac
canary_seconds=20
[ "$seconds" -le $canary_seconds ] || canary_seconds=$seconds
dir=build/fuzz
seed=${ONDATRA_FUZZ_SEED:-$((RANDOM * 32768 + RANDOM + 1))}

all_targets() {
  local file
  for file in test/fuzz/fuzz_*.c; do
    file=${file#test/fuzz/fuzz_}
    [ "$file" = canary.c ] || echo "${file%.c}"
  done
  echo canary
}

# The compiler and its runtime: libclang-rt is a package of its own.
can_fuzz() {
  echo 'extern int LLVMFuzzerTestOneInput(const char *d, long n); int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }' |
    clang -fsanitize=fuzzer,address,undefined -x c - -o "$dir/probe" 2>/dev/null
}

# run_target NAME: its libFuzzer, output to a log. Status 0: nothing was found.
run_target() {
  local name=$1 for_seconds=$seconds dict=test/fuzz/$1.dict
  [ "$name" != canary ] || for_seconds=$canary_seconds
  mkdir -p "$dir/corpus/$name" "$dir/found" "test/fuzz/corpus/$name" 2>/dev/null || true
  [ "$name" != canary ] || rm -rf "$dir/corpus/canary"/*
  "$dir/$name" -seed="$seed" -max_total_time="$for_seconds" -timeout=20 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 -use_value_profile=1 \
    -artifact_prefix="$dir/found/$name-" $([ -f "$dict" ] && echo "-dict=$dict") "$dir/corpus/$name" $(ls -d "test/fuzz/corpus/$name" 2>/dev/null) \
    >"$dir/$name.log" 2>&1
}

# report NUMBER NAME: the TAP line of a target that ended, and why.
report() {
  local number=$1 name=$2 status runs
  status=$(cat "$dir/$name.status")
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$dir/$name.log")
  if [ "$name" = canary ]; then
    if [ "$status" != 0 ] && grep -q 'ERROR: AddressSanitizer: heap-buffer-overflow' "$dir/$name.log"; then
      echo "ok $number - canary: the planted bug was found"
      rm -f "$dir"/found/canary-*
    else
      echo "not ok $number - canary: the planted bug was NOT found in $canary_seconds s"
      tail -n 5 "$dir/$name.log" | sed 's/^/# /'
    fi
  elif [ "$status" = 0 ]; then
    echo "ok $number - $name"
    echo "# $name: ${runs:-?} inputs"
  else
    echo "not ok $number - $name"
    grep -aE 'broken:|runtime error|ERROR: |Test unit written|^    #[0-9] ' "$dir/$name.log" | head -n 25 | sed 's/^/# /'
  fi
}

targets=${*:-$(all_targets)}
mkdir -p "$dir"
command -v clang >/dev/null && can_fuzz || need optional clang libclang-rt-dev >&2
if ! command -v clang >/dev/null || ! can_fuzz; then
  echo "1..0 # skip no clang with libFuzzer here (Debian: clang, libclang-rt-dev)"
  exit 0
fi
make -s -j"$(nproc)" -f test/fuzz/fuzz.mk $(for name in $targets; do echo "$dir/$name"; done) >&2

jobs=${ONDATRA_FUZZ_JOBS:-$(nproc)}
number=0 running=0 status=0
for name in $targets; do
  rm -f "$dir/$name.status"
  { result=0; run_target "$name" || result=$?; echo $result >"$dir/$name.status"; } &
  running=$((running + 1))
  [ $running -lt "$jobs" ] || { wait -n; running=$((running - 1)); }
done
wait
echo "# seed $seed"
for name in $targets; do
  number=$((number + 1))
  line=$(report $number "$name")
  echo "$line"
  case $line in "not ok"*) status=1 ;; esac
done
echo "1..$number"
exit $status
