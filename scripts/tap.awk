# Reads one program's TAP (or pg_regress' own output) and prints one line a test, then "# counts PASSED FAILED SKIPPED".
# -v suite=NAME: what the lines are prefixed with. A plan that does not fit, or none, is a failure: silence is not success.
function row(word, name) {
  gsub(/^[ \t]*(- )?/, "", name)
  printf "%-7s %s%s\n", word, suite, (name == "" ? "" : ": " name)
  fflush()
}
function skip(reason) { skipped++; row("skipped", reason) }
/^1\.\.0/ { planned = 0; has_plan = 1; reason = $0; sub(/^1\.\.0[ #]*([Ss][Kk][Ii][Pp][^ ]* *)?/, "", reason); skip(reason); next }
/^1\.\.[0-9]+/ { planned = substr($1, 4) + 0; has_plan = 1; next }
/^(not )?ok( |$)/ {
  line = $0
  bad = sub(/^not /, "", line)
  sub(/^ok *[0-9]*/, "", line)
  sub(/ +[0-9]+ ms$/, "", line)
  gsub(/  +/, " ", line)
  seen++
  if (line ~ /# *[Ss][Kk][Ii][Pp]/) { sub(/^.*# *[Ss][Kk][Ii][Pp] */, "", line); skip(line); next }
  if (bad && line !~ /# *TODO/) { failed++; row("FAILED", line) } else { passed++; row("ok", line) }
  next
}
/^Bail out!/ { seen++; failed++; row("FAILED", $0); next }
# pg_regress before 16: "test name ... ok   12 ms", "test name ... FAILED", "     name ... ok" in a parallel group.
/^(test| ) *[^ ]+ +\.\.\. / {
  name = ($1 == "test") ? $2 : $1
  seen++; has_plan = 1; planned = seen
  if ($0 ~ /\.\.\. ok/) { passed++; row("ok", name) } else { failed++; row("FAILED", name) }
}
END {
  if (!has_plan) { failed++; row("FAILED", "ended without a plan after " (seen + 0) " tests") }
  else if (planned != seen && planned > 0) { failed++; row("FAILED", "planned " planned " tests, ran " (seen + 0)) }
  print "# counts " (passed + 0) " " (failed + 0) " " (skipped + 0)
}
