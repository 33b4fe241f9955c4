# What the documentation says: what it pastes runs, and what there is has its line in it.
#
# Blocks of README.md and doc/*.md by the words behind their fence:
#   sql                              run as role app, all of a page in one session and a database of its own, against the scripted destination
#   sql superuser                    the same as superuser
#   sql couchdb                      run by 008_couchdb.pl
#   sh hubspot, sql hubspot          run by 073_hubspot_tour.pl
#   json upsert|create|update|delete an operation, json object, options, auth, mapping: accepted in its place
#   json answer accepted=1 …         what the API answers to the operation before it, and what becomes of two rows then
#   signature                        functions, exactly as they are
# README.md is pasted whole, as a superuser would.

use strict;
use utf8;
use warnings FATAL => 'all';
use FindBin;
use JSON::PP ();
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::Bin/../..";
my $t = Ondatra::Test->new;
my %pages = map { my $path = $_; $path =~ s{^\Q$root\E/}{}; $path => text_of($_) } "$root/README.md", sort glob "$root/doc/*.md";

# Characters, not bytes: psql_as encodes.
sub text_of { my $text = Ondatra::Test::slurp($_[0]); utf8::decode($text) or die "$_[0] is not UTF-8"; return $text }

# Blocks of a page: {words, text, line}.
sub blocks {
    my ($page) = @_;
    my @found;
    while ($pages{$page} =~ /^```([^\n]*)\n(.*?)^```$/msg) {
        push @found, {words => $1, text => $2, line => 1 + (substr($pages{$page}, 0, $-[0]) =~ tr/\n//)};
    }
    return @found;
}

sub in_database {
    my ($database, $role, $sql) = @_;
    utf8::encode($sql);
    my ($out, $err);
    my $status = $t->node->psql($database, $sql, extra_params => ['-U', $role], stdout => \$out, stderr => \$err, timeout => $Ondatra::Test::SECONDS);
    return ($status, $out, $err);
}

sub admin_in { my ($status, $out, $err) = in_database($_[0], $t->superuser, $_[1]); die "$_[1]\n$err" if $status; return $out }

# --- pages that run --------------------------------------------------------------------------------------------

# The API of the tour answers as its curl tells it to.
my ($rules) = $pages{'README.md'} =~ m{_control/script \\\s+-d '(.*?)'\n}s;
$t->control('POST', 'script', JSON::PP::decode_json($rules));

sub run_page {
    my ($page) = @_;
    (my $database = lc "page_$page") =~ s/\W+/_/g;
    my @sql = grep { $_->{words} =~ /^sql(?: superuser)?$/ } blocks($page) or return;
    my $tour = $page eq 'README.md';
    my $script = join '', map { ($tour ? '' : $_->{words} =~ /superuser/ ? "RESET ROLE;\n" : "SET ROLE app;\n") . $_->{text} } @sql;
    my $url = $t->url;

    $script =~ s{http://127\.0\.0\.1:8765}{$url}g;
    $t->admin("CREATE DATABASE $database" . ($tour ? '' : ' OWNER app'));
    admin_in($database, 'CREATE EXTENSION ondatra') unless $tour;
    my ($status, undef, $err) = in_database($database, $t->superuser, $script);
    ok(!$status && $err !~ /^psql:.*(ERROR|WARNING)/m, "$page: its SQL runs") || diag($err);
    return $database;
}

my $tour = run_page('README.md');
is(admin_in($tour, "SELECT string_agg(status, ' ' ORDER BY run_id) FROM (SELECT * FROM ondatra.sync_runs ORDER BY run_id LIMIT 4) r"),
    'partial succeeded succeeded partial', 'README.md: its runs end as it shows');
$t->poll(sub { admin_in($tour, "SELECT count(*) || ' ' || count(*) FILTER (WHERE status = 'succeeded') FROM ondatra.sync_runs") eq '5 3' }, 'README.md: and the one that it asks for');
is(admin_in($tour, 'SELECT count(*) FROM ondatra.failed_rows'), '0', 'README.md: the refused row is sent when it has changed');
is(scalar keys %{ $t->records('contacts') }, 199, 'README.md: the API has what the model has');
$t->reset_destination;
run_page($_) for grep { $_ ne 'README.md' } sort keys %pages;
is(admin_in('page_doc_going_live_md', "SELECT string_agg(concat_ws(' ', rows_created, rows_updated, rows_unchanged), ', ' ORDER BY run_id) FROM (SELECT * FROM ondatra.sync_runs
    WHERE trigger = 'manual' ORDER BY run_id LIMIT 2) r"), '1 1 0, 5 0 51', 'doc/going-live.md: adopt and canary leave what it says');
is(admin_in('page_doc_going_live_md', "SELECT string_agg(problem || key, ' ') FROM mart.found"), 'different{"id": 7}', 'doc/going-live.md: what is different is found');
is(scalar(grep { $_->{plan} eq 'free' } values %{ $t->records('old_contacts') }), 60, 'doc/going-live.md: and in the end all is there');

# --- documents -------------------------------------------------------------------------------------------------

my $database = 'documents';
$t->admin("CREATE DATABASE $database OWNER app");
admin_in($database, 'CREATE EXTENSION ondatra');
in_database($database, 'app', <<'SQL');
CREATE SCHEMA mart;
CREATE TABLE mart.customers (id int PRIMARY KEY, email text, plan text, mrr numeric(10, 2), seen_at timestamptz);
INSERT INTO mart.customers VALUES (1, 'ann@example.com', 'pro', 49), (2, 'bob@example.com', 'free', 0);
SQL
my $n = 0;

# The arguments of create_destination and create_sync with the document in its place.
sub place {
    my ($kind, $text) = @_;
    return ('', '', $text) if $kind eq 'mapping';
    return ('', $text, '') if $kind eq 'auth';
    return ($text, '', '') if $kind eq 'options';
    return ("{\"object\": $text}", '', '') if $kind eq 'object';
    return ("{\"retry\": {\"attempts\": 2, \"base_ms\": 1, \"max_ms\": 5}, \"object\": {\"$kind\": $text}}", '', '');
}

sub try_document {
    my ($page, $block, $kind) = @_;
    my ($options, $auth, $mapping) = place($kind, $block->{text});
    my $name = 'd' . ++$n;
    my $sql = "SELECT ondatra.create_destination('$name', base_url => '" . $t->url . "'" . ($options && ", options => \$\$$options\$\$") . ($auth && ", auth => \$\$$auth\$\$") . ");\n";
    $sql .= "SELECT ondatra.create_sync('$name', 'mart.customers', '$name'" . ($mapping && ", mapping => \$\$$mapping\$\$") . ");\n" unless $kind eq 'delete';
    my ($status, undef, $err) = in_database($database, 'app', $sql);
    ok(!$status, "$page:$block->{line}: $kind is accepted") || diag($err);
    return $name;
}

sub try_answer {
    my ($page, $block, $name) = @_;
    my %expected = (accepted => 0, rejected => 0, throttled => 0, unconfirmed => 0, $block->{words} =~ /(\w+)=(\d+)/g);
    $t->script({answer => {text => $block->{text}, content_type => 'application/json'}});
    my (undef, $out, $err) = in_database($database, 'app', "SELECT rows_created + rows_updated, rows_unconfirmed FROM ondatra.run_sync('$name')");
    my ($accepted, $unconfirmed) = $out =~ /^(\d+)\|(\d+)/;
    my %seen = (accepted => $accepted, unconfirmed => $unconfirmed, map { my $class = $_;
        $class => admin_in($database, "SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = '$name' AND error_class = '$class'") } qw(rejected throttled));
    is_deeply(\%seen, \%expected, "$page:$block->{line}: the answer is read so") || diag(explain(\%seen), $err);
}

for my $page (sort keys %pages) {
    my $name;
    for my $block (grep { $_->{words} =~ /^json\b/ } blocks($page)) {
        my ($kind) = $block->{words} =~ /^json (\w+)/;
        if (!defined $kind) { ok(eval { JSON::PP->new->decode($block->{text}) }, "$page:$block->{line}: is JSON") }
        elsif ($kind eq 'answer') { try_answer($page, $block, $name) }
        else { $name = try_document($page, $block, $kind) }
    }
}

# --- types -----------------------------------------------------------------------------------------------------

# | type | example | form |, both as code, or the words of a refusal.
my @examples = map { /^\| [^|]*\| `(.+?)` \| (?:`(.+)`|((?:invalid|refused): .*?)) \|$/ ? [$1, $2 // $3] : () } split /\n/, ($pages{'doc/types.md'} =~ s/^## Keys.*//msr);
cmp_ok(scalar @examples, '>', 80, 'doc/types.md: has examples');
my $values = join ",\n", map { "(\$e\$$_->[0]\$e\$, \$e\$$_->[1]\$e\$)" } @examples;
my ($status, $wrong, $err) = in_database($database, 'app', <<"SQL");
SELECT ondatra.create_destination('nowhere', base_url => 'http://127.0.0.1:9') > 0;
CREATE FUNCTION pg_temp.form(expression text) RETURNS text LANGUAGE plpgsql AS \$f\$
DECLARE
  form text;
BEGIN
  PERFORM ondatra.create_sync('t', format('SELECT 1 AS id, %s AS v', expression), 'nowhere', key => '{id}', mapping => '{"v": "v"}');
  SELECT substr(body, 6, length(body) - 6) INTO form FROM ondatra.preview_sync('t');
  IF NOT FOUND THEN
    form := 'invalid: ' || (ondatra.explain_row('t', '{"id": 1}') ->> 'problem');
  END IF;
  PERFORM ondatra.drop_sync('t');
  RETURN form;
EXCEPTION WHEN datatype_mismatch THEN
  RETURN 'refused: ' || SQLERRM;
END
\$f\$;
SELECT format('%s is %s, not %s', e, pg_temp.form(e), f) FROM (VALUES $values) v (e, f) WHERE pg_temp.form(e) <> f;
SQL
is($wrong, 't', 'doc/types.md: its examples are so') || diag($err);
my @types = split /\n/, admin_in($database, "SELECT format_type(oid, -1) FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') "
    . "AND NOT (typelem <> 0 AND typname LIKE '\\_%')");
my %short = ('"bit"' => 'bit', 'character varying' => 'varchar', 'character' => 'char(n)', 'bpchar' => 'char(n)', 'bit varying' => 'varbit', 'timestamp without time zone' => 'timestamp',
    'timestamp with time zone' => 'timestamptz', 'time without time zone' => 'time', 'time with time zone' => 'timetz');
is_deeply([grep { index($pages{'doc/types.md'}, '`' . ($short{$_} // $_) . '`') < 0 } @types], [], 'doc/types.md: names every built-in type');

# --- the reference ---------------------------------------------------------------------------------------------

my $reference = $pages{'doc/reference.md'};
my @said = map { split /\n/, $_->{text} } grep { $_->{words} eq 'signature' } blocks('doc/reference.md');
my @functions = map { utf8::decode($_); $_ } split /\n/, admin_in($database, <<'SQL');
SELECT format('ondatra.%s(%s) → %s', p.proname, coalesce(i.list, ''), CASE WHEN o.list IS NOT NULL THEN o.list WHEN p.proretset THEN 'SETOF ' ELSE '' END
         || CASE WHEN o.list IS NULL THEN format_type(p.prorettype, NULL) ELSE '' END)
FROM pg_proc p
CROSS JOIN LATERAL (
  SELECT string_agg(CASE a.mode WHEN 'v' THEN 'VARIADIC ' ELSE '' END || coalesce(nullif(a.name, '') || ' ', '') || format_type(a.type, NULL)
           || coalesce(' DEFAULT ' || regexp_replace(pg_get_function_arg_default(p.oid, a.n::int), '::[a-z ]+(\[\])?$', ''), ''), ', ' ORDER BY a.n) AS list
  FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargnames, p.proargmodes) WITH ORDINALITY a (type, name, mode, n)
  WHERE a.type IS NOT NULL AND coalesce(a.mode, 'i') IN ('i', 'v')) i
CROSS JOIN LATERAL (
  SELECT string_agg(a.name || ' ' || format_type(a.type, NULL), ', ' ORDER BY a.n) AS list
  FROM unnest(p.proallargtypes, p.proargnames, p.proargmodes) WITH ORDINALITY a (type, name, mode, n) WHERE a.mode IN ('o', 't')) o
WHERE p.pronamespace = 'ondatra'::regnamespace
SQL
is_deeply([sort @said], [sort @functions], 'doc/reference.md: functions are as it says');

# Under "### `view`", each column in backticks.
for my $view (split /\n/, admin_in($database, "SELECT relname FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace AND relkind = 'v' ORDER BY 1")) {
    my ($section) = $reference =~ /^### `\Q$view\E`\n(.*?)(?=^##|\z)/ms;
    my @columns = split /\n/, admin_in($database, "SELECT attname FROM pg_attribute WHERE attrelid = 'ondatra.$view'::regclass AND attnum > 0 ORDER BY attnum");
    is_deeply([grep { ($section // '') !~ /^\|[^|]*`$_`/m } @columns], [], "doc/reference.md: columns of $view");
}

# | `setting` | default | takes effect |, here and in operations.md
my @settings = split /\n/, admin_in($database, <<'SQL');
SELECT format('| `%s` | %s | %s |', name, coalesce(nullif(CASE WHEN unit IS NULL THEN boot_val WHEN unit = 'kB' THEN boot_val::int / 1024 || 'MB' WHEN unit = 's' THEN boot_val::int / 60 || 'min' ELSE boot_val::int / 1440 || 'd' END, ''), 'empty'),
              CASE context WHEN 'postmaster' THEN 'start' WHEN 'sighup' THEN 'reload' ELSE context END)
FROM pg_settings WHERE name LIKE 'ondatra.%' ORDER BY name
SQL
for my $page ('doc/reference.md', 'doc/operations.md') {
    is_deeply([sort grep { /\S/ } $pages{$page} =~ /^(\| `ondatra\.\w+` \| [^|]+ \| \w+ \|)/mg], [sort @settings], "$page: settings, defaults and when they count");
}

# Names in a hint: "Valid options are a, b." of a statement that fails.
sub valid_names {
    my ($sql) = @_;
    my (undef, undef, $message) = in_database($database, 'app', $sql);
    my ($names) = $message =~ /HINT:\s+Valid \w+ are (.*?)\.$/m or die $message;
    return split /,\s+|\s+and\s+/, $names;
}

sub row_for { my ($page, @names) = @_; return [grep { $pages{$page} !~ /^\| [^|]*`$_`/m } @names] }

is_deeply(row_for('doc/reference.md', valid_names("SELECT ondatra.create_sync('x', 'mart.customers', 'nowhere', options => '{\"?\": 1}')")), [], 'doc/reference.md: options of a sync');
my %members = (
    'a destination' => '{"?": 1}',
    'an object' => '{"object": {"?": 1}}',
    'an operation' => '{"object": {"upsert": {"?": 1}}}',
    'a batch' => '{"object": {"upsert": {"method": "PUT", "batch": {"?": 1}}}}',
    'a result' => '{"object": {"upsert": {"method": "PUT", "result": {"?": 1}}}}',
    'errors' => '{"object": {"upsert": {"method": "PUT", "result": {"errors": {"?": 1}}}}}',
    'a match' => '{"object": {"upsert": {"method": "PUT", "result": {"match": {"?": 1}}}}}',
    'counts' => '{"object": {"upsert": {"method": "PUT", "result": {"counts": {"?": 1}}}}}',
    'idempotency' => '{"object": {"upsert": {"method": "PUT", "idempotency": {"?": 1}}}}',
    'a condition' => '{"object": {"upsert": {"method": "PUT", "ok": {"?": 1}}}}',
    'retry' => '{"retry": {"?": 1}}',
    'check' => '{"check": {"?": 1}}',
    'gzip' => '{"gzip": {"?": 1}}');
for my $place (sort keys %members) {
    my @names = valid_names("SELECT ondatra.create_destination('x', base_url => 'https://api.example.com', options => '$members{$place}')");
    is_deeply([grep { $pages{'doc/http.md'} !~ /[`"]$_[`"]/ } @names], [], "doc/http.md: members of $place");
}

# Words that columns may hold.
my %checks = (
    'all_runs.status' => 'Statuses of a run', 'all_runs.trigger' => 'Triggers', 'all_failed_rows.error_class' => 'Error classes', 'all_syncs.state' => 'States of a sync',
    'all_syncs.mode' => 'Syncs');
for my $check (sort keys %checks) {
    my ($table, $column) = split /\./, $check;
    my ($section) = $reference =~ /^## \Q$checks{$check}\E\n(.*?)(?=^## |\z)/ms;
    my ($words) = admin_in($database, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'ondatra.$table'::regclass AND conname = '${table}_${column}_check'") =~ /\{(.*?)\}/;
    is_deeply([grep { ($section // '') !~ /`$_`/ } split /,/, $words // 'no words'], [], "doc/reference.md: words of $check");
}

# --- links -----------------------------------------------------------------------------------------------------

sub anchor { my ($heading) = @_; (my $anchor = lc $heading) =~ s/[^\w\- ]//g; $anchor =~ tr/ /-/; return $anchor }

my @broken;
for my $page (sort keys %pages) {
    (my $prose = $pages{$page}) =~ s/^```.*?^```$//msg;
    $prose =~ s/`[^`\n]*`//g;
    while ($prose =~ /\]\(([^)#\s]*)(?:#([^)\s]+))?\)/g) {
        my ($target, $anchor) = ($1, $2);
        next if $target =~ m{^https?://};
        my $path = $target eq '' ? $page : $page =~ m{^(.*/)} ? "$1$target" : $target;
        $path = $1 . $2 while $path =~ m{^(.*?)[^/]+/\.\./(.*)$};
        push @broken, "$page: $path" if !-e "$root/$path";
        push @broken, "$page: $path#$anchor" if defined $anchor && !grep { anchor($_) eq $anchor } ($pages{$path} // '') =~ /^#+ (.*)$/mg;
    }
}
is_deeply(\@broken, [], 'links lead somewhere');
my $python = $ENV{PYTHON} || 'python3';
is(scalar(`$python scripts/connector_docs.py`), do { open my $fh, '<', 'doc/shipped-connectors.md' or die; local $/; <$fh> }, 'doc/shipped-connectors.md is what the connectors are');
is($t->look('violations')->{count}, 0, 'the destination saw nothing wrong');
# --- every SQLSTATE that our code names is in the reference's table, and none is there that no code names
{
    chomp(my $share = `"@{[$ENV{PG_CONFIG} || 'pg_config']}" --sharedir`);
    my %state = map { /^(\w{5})\s+\w\s+(ERRCODE_\w+)/ ? ($2 => $1) : () } split /\n/, Ondatra::Test::slurp("$share/errcodes.txt");
    my (%named, %written);
    for my $file (glob "$root/src/*/*.c") {
        my $text = Ondatra::Test::slurp($file);
        my $raised = join ' ', $text =~ /\b(?:errcode|obstacle)\(((?:[^()]|\([^()]*\))*)\)/g;
        $named{ $state{$_} || $_ } = $file for $raised =~ /\b(ERRCODE_\w+)/g;
        $named{$_} = $file for $text =~ /"(\d\d[0-9A-Z]{3})"/g;
    }
    my ($table) = $pages{'doc/reference.md'} =~ /^\| SQLSTATE \| when \|\n\|---\|---\|\n((?:\|.*\n)+)/m;
    for my $line (split /\n/, $table) {
        my ($codes) = $line =~ /^\| ([^|]*) \|/;
        $written{$_}++ for split /, /, $codes;
    }
    is_deeply([sort grep { !$written{$_} } keys %named], [], 'doc/reference.md has every SQLSTATE that is raised') or diag(explain(\%named));
    is_deeply([sort grep { !$named{$_} } keys %written], ['25006'], q{and no other but one of the server's});
}
done_testing;
