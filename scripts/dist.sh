#!/usr/bin/env bash
# make dist: the PGXN archive, ondatra-VERSION.zip, of what is committed.
#
#   scripts/dist.sh [directory]     default: build
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

to=${1:-build}
version=$(sed -n 's/^EXTVERSION = //p' Makefile)
grep -q "^default_version = '$version'" ondatra.control || die "ondatra.control names another version than the Makefile ($version)"
[ "$(grep -c "\"version\": \"$version\"" META.json)" = 2 ] || die "META.json names another version than the Makefile ($version)"
grep -q "^ondatra ($version" debian/changelog || die "debian/changelog names another version than the Makefile ($version)"
mkdir -p "$to"
git archive --format zip --prefix "ondatra-$version/" --output "$to/ondatra-$version.zip" HEAD
say "$to/ondatra-$version.zip"
