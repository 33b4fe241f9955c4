#!/bin/sh
# scripts/connectors.sh FILE.json...: the SQL that makes these documents the builtin connectors, named like their files. It does the same for
# an installation (they are new) and for an upgrade (what changed is replaced); connectors of people are other rows. POSIX sh, run by make.
set -eu

[ $# -gt 0 ] || { echo "no connectors given" >&2; exit 1; }
echo "-- Builtin connectors, from sql/connectors/*.json."
for file in "$@"; do
  name=$(basename "$file" .json)
  case $name in *[!a-z0-9_]* | '') echo "$file: a builtin connector's name has a-z, 0-9 and _" >&2; exit 1 ;; esac
  ! grep -qF '$connector$' "$file" || { echo "$file: \$connector\$ cannot stand in a document" >&2; exit 1; }
  # the install script is read in the encoding of whatever database it runs in
  ! LC_ALL=C grep -n '[^ -~]' "$file" >&2 || { echo "$file: not ASCII" >&2; exit 1; }
  printf "INSERT INTO ondatra.all_connectors AS c (name, builtin, spec) VALUES ('%s', true, \$connector\$" "$name"
  cat "$file"
  cat <<'SQL'
$connector$)
  ON CONFLICT (name, builtin) DO UPDATE
  SET spec = excluded.spec, version = c.version OPERATOR(pg_catalog.+) 1, updated_at = pg_catalog.now()
  WHERE c.spec::text OPERATOR(pg_catalog.<>) excluded.spec::text;
SQL
done
