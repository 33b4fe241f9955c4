# What others may see of bob: nothing, by any view, any function or any catalog; what a plain role finds out is enumerated from the catalogs, so that new ones are
# asked too. And mallory's cheap functions see no row that is not hers.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $mark = qr/BOBMARK/;
$t->admin('CREATE SCHEMA bob AUTHORIZATION bob; CREATE ROLE eve LOGIN; CREATE SCHEMA eve AUTHORIZATION eve');
my $options = Ondatra::Test::literal({object => Ondatra::Test::put_object(), retry => $Ondatra::Test::RETRY, timeout_ms => 3_600_000, headers => {'X-Mark' => 'BOBMARK header'}});

# bob has something everywhere: rows, failed rows, a state table, a held run, requests, an error of the destination, a connector of his own.
$t->script({method => 'PUT', path => '/2$', answer => {status => 422, json => {error => {message => 'BOBMARK answer'}}}});
$t->sql_as('bob', "CREATE TABLE bob.t (id text PRIMARY KEY, v text); INSERT INTO bob.t VALUES ('BOBMARK1', 'BOBMARK value'), ('2', 'BOBMARK refused');
    SELECT ondatra.set_secret('bobs_secret', 'BOBMARK secret');
    SELECT ondatra.create_connector('bobs_connector', '{\"title\": \"BOBMARK\", \"base_url\": \"https://bob.example.com\", \"objects\": {\"o\": {\"key\": \"id\", \"upsert\": {\"method\": \"PUT\", \"path\": \"/BOBMARK/{{key}}\"}}}}', 'BOBMARK');
    SELECT ondatra.create_destination('bobs', base_url => '" . $t->url . "/BOBMARK', auth => '{\"type\": \"bearer\", \"token\": {\"secret\": \"bobs_secret\"}}', options => $options);
    SELECT ondatra.grant_destination('bobs', 'bob');
    SELECT ondatra.create_sync('bobs', 'SELECT id, v, ''BOBMARK model'' AS m FROM bob.t', 'bobs', key => '{id}', options => '{\"sync_log\": \"all\"}');
    CREATE TABLE bob.h (id int PRIMARY KEY); INSERT INTO bob.h VALUES (1);
    SELECT ondatra.create_sync('bobs_held', 'bob.h', 'bobs', mode => 'mirror', options => '{\"alert\": {\"destination\": \"bobs\"}}')");
is($t->sql_as('bob', "SELECT status FROM ondatra.run_sync('bobs')"), 'partial', 'bob has runs, delivered rows and a failed row');
$t->sql_as('bob', "SELECT status FROM ondatra.run_sync('bobs_held'); DELETE FROM bob.h");
is($t->sql_as('bob', "SELECT status FROM ondatra.run_sync('bobs_held')"), 'held', 'and a held run');
$t->poll(sub { $t->admin('SELECT count(*) FROM ondatra.alerts') eq '1' }, 'and an alert');
my ($failed_run, $held_run) = split /\n/, $t->sql_as('bob', "SELECT max(run_id) FILTER (WHERE sync_name = 'bobs'), max(run_id) FILTER (WHERE status = 'held') FROM ondatra.sync_runs") =~ s/\|/\n/r;

# A run that goes on, and hangs in a request; and requests of runs after it.
$t->reset_destination;
$t->script({method => 'PUT', path => '/contacts/hang', answer => {misbehave => 'hang'}});
$t->sql_as('bob', "INSERT INTO bob.t VALUES ('hang', 'BOBMARK hangs')");
my $hanging = session($t, 'bob', "SELECT * FROM ondatra.run_sync('bobs')");
$t->poll(sub { $t->admin("SELECT count(*) FROM ondatra.run_progress WHERE in_flight > 0") eq '1' }, 'and a run that goes on');
my $live_run = $t->admin('SELECT run_id FROM ondatra.run_progress');
$t->sql_as('bob', "SELECT ondatra.trigger_sync('bobs')");

my @relations = split /\n/, $t->admin("SELECT relname FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace AND relkind IN ('r', 'v', 'S') ORDER BY 1");
my @views = split /\n/, $t->admin("SELECT relname FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace AND relkind = 'v' ORDER BY 1");
my $leak = "CREATE FUNCTION pg_temp.leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS \$\$ BEGIN RAISE NOTICE 'leak: %', \$1; RETURN true; END \$\$";
my %shared = (connectors => 1, arming => 1); # builtin ones are everybody's, and whether the database is armed
for my $view (@views) {
    my (undef, $out, $err) = $t->psql_as('bob', "$leak; SELECT count(*) FROM ondatra.$view v WHERE pg_temp.leak(v.*::text)");
    like("$out$err", qr/leak: /, "bob sees something in $view");
}
$t->admin('ANALYZE');

# --- every relation, view, function and what the catalogs say, as a role without anything and as a member of pg_read_all_data and pg_write_all_data
for my $more ('', 'pg_read_all_data, pg_write_all_data', 'pg_monitor') {
    $t->admin("GRANT $more TO eve") if $more;
    my $who = $more ? "a member of $more" : 'a role without anything';
    my $seen = '';
    for my $relation (@relations) {
        my ($status, $out, $err) = $t->psql_as('eve', "SELECT * FROM ondatra.$relation");
        # names and numbers, no words of rows or APIs: doc/monitoring.md
        next if $more eq 'pg_monitor' && $relation eq 'metrics' && $out =~ /bobs/ && $out !~ $mark;
        $seen .= "$relation: $out\n" if $out =~ $mark || "$out$err" =~ /bobs/;
        is($status || $relation =~ /_ids$/ ? '' : $out, '', "$who sees no row of $relation") unless $shared{$relation};
    }
    # rows before the filter: a function that costs nothing, over whole rows and over each column
    for my $view (@views) {
        my @columns = split /\n/, $t->admin("SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'ondatra.$view'::regclass AND attnum > 0");
        my $leaks = join ' AND ', map { "pg_temp.leak($_\::text)" } "v.*", map { "v.$_" } @columns;
        my (undef, $out, $err) = $t->psql_as('eve', "$leak; SELECT count(*) FROM ondatra.$view v WHERE $leaks; EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM ondatra.$view v WHERE $leaks");
        unlike("$out$err", $mark, "$who: a leaky function sees nothing in $view");
        unlike($err, qr/ERROR/, "$who: it could have seen $view");
    }
    my (undef, $statistics) = $t->psql_as('eve', "SELECT c::text FROM pg_stats c WHERE schemaname = 'ondatra'");
    unlike($statistics, qr/$mark|bob/, "$who finds nothing in statistics");
    my (undef, $activity) = $t->psql_as('eve', 'SELECT c::text FROM pg_stat_activity c');
    like($activity, qr/ondatra run/, "$who sees that a run goes on");
    unlike($activity, $more eq 'pg_monitor' ? $mark : qr/$mark|bobs/, "$who does not see which");
    is($seen, '', "$who finds bob in no relation");
    $t->admin("REVOKE $more FROM eve") if $more;
}

# Every function with every name and number of bob's; everything else as it may be. Nothing of his comes out, and nothing of his changes.
my %of = (
    name => [qw('bobs' 'bobs_held' 'bobs_secret' 'bobs_connector')], run_id => [$failed_run, $held_run, $live_run], value => [q('x')], key => [q('{"id": "BOBMARK1"}')],
    model => [q('bob.t'), q('SELECT 1 AS id')], destination => [q('bobs')], spec => [q('{}')], names => [q('{a}')], base => ['NULL::bob.t'],
    method => [q('GET')], path => [q('/')], object => [qw('o' NULL)], args => [q('{}'::jsonb), q('{}'::text)], fields => [q('{id}')],
    policy => [q('trust'), q('hold')], role => [qw('eve' 'bob')], level => [q('request')], config => [q('{"syncs": {"bobs": null}}'), q('{"destinations": {"bobs": {"base_url": "https://eve.example.com"}}}')],
    kind => [q('sync')], entry => [q('{}')], present => ['NULL', q('{}')], wanted => [q('{"model": "bob.t", "destination": "bobs"}')], search_path => [q('bob')], syncs => [q('{}')],
    dry_run => ['false', 'true'], schedule => [q('* * * * *')], after => ['now()'], new_name => [q('eves')],
);
my @tables = split /\n/, $t->admin("SELECT relname FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace AND relkind = 'r' ORDER BY 1");
sub snapshot { return join "\n", map { $t->admin("SELECT '$_', x::text FROM ondatra.$_ x ORDER BY 1, 2") } @tables }
my $before = snapshot();
my $functions = $t->admin("SELECT p.oid::regprocedure || '|' || p.proname || '|' || (p.pronargs - p.pronargdefaults) || '|' || coalesce(array_to_string(p.proargnames[1:p.pronargs], ','), '') || '|' || p.provariadic "
    . "FROM pg_proc p WHERE p.pronamespace = 'ondatra'::regnamespace ORDER BY 1");
my $asked = 0;
for my $function (split /\n/, $functions) {
    my ($signature, $name, $required, $arguments, $variadic) = split /\|/, $function;
    my @names = split /,/, $arguments;
    my @calls = ('');
    for my $i (0 .. $#names) {
        next if $i >= $required;
        my $values = $of{ $names[$i] } || ($names[$i] eq '' || $variadic ? ['NULL::text'] : undef);
        ok($values, "$signature: argument $names[$i] is known to this test") or next;
        @calls = map { my $call = $_; map { $call eq '' ? $_ : "$call, $_" } @$values } @calls;
    }
    for my $call (@calls) {
        my (undef, $out, $err) = $t->psql_as('eve', "SET statement_timeout = '60s'; SELECT * FROM ondatra.$name($call)");
        my $names_removed = "$out$err" =~ s/\{"id": "BOBMARK1"\}//gr;
        unlike($names_removed, $mark, "$name($call) shows nothing of bob's");
        $asked++;
    }
}
cmp_ok($asked, '>', 50, 'all functions were asked');
my @changed = grep { /bob|BOBMARK/ } lines_only_in($before, snapshot());
is_deeply(\@changed, [], 'and nothing of his is different');

sub lines_only_in {
    my ($old, $new) = @_;
    my %new = map { $_ => 1 } split /\n/, $new;
    return grep { !$new{$_} } split /\n/, $old;
}

# NOTIFY is for everybody: numbers and statuses only
$t->sql_as('eve', 'CREATE TABLE eve.heard ()');
my $listening = session($t, 'eve', "LISTEN ondatra;\nDO \$\$ BEGIN WHILE NOT EXISTS (SELECT FROM eve.heard) LOOP PERFORM pg_sleep(0.02); END LOOP; END \$\$;\nSELECT 1;\n");
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_stat_activity WHERE usename = 'eve' AND query LIKE 'DO %'") eq '1' }, 'eve listens');
$t->release;
finish($hanging);
$t->poll(sub { $t->admin("SELECT count(*) FROM ondatra.all_runs WHERE sync_name = 'bobs' AND finished_at IS NULL") eq '0' }, 'the run ends');
$t->sql_as('bob', "SELECT ondatra.reject_run($held_run); SELECT ondatra.pause_sync('bobs')");
$t->sql_as('eve', 'INSERT INTO eve.heard DEFAULT VALUES');
my ($heard) = finish($listening);
like($heard, qr/notification "ondatra" with payload .*"run_id"/, 'she hears of it');
unlike($heard, qr/bob|BOBMARK/i, 'notifications name nobody');

# --- what a lookup may reach: syncs of roles that the owner is a member of
$t->sql_as('eve', "CREATE TABLE eve.t (id text PRIMARY KEY); SELECT ondatra.create_destination('eves', base_url => '" . $t->url . "')");
for my $more ('', 'pg_read_all_data') {
    $t->admin("GRANT $more TO eve") if $more;
    my (undef, $out, $err) = $t->psql_as('eve', q{SELECT ondatra.create_sync('peeks', 'eve.t', 'eves', mapping => '{"x": {"lookup": {"sync": "bobs", "by": ["id"]}}}')});
    like($err, qr/sync "bobs", which the lookup of "x" names, does not exist/, 'a lookup cannot name his sync' . ($more ? " as a member of $more" : ''));
    $t->admin("REVOKE $more FROM eve") if $more;
}
# nor what was his sync's to share, when that is over
$t->admin('GRANT bob TO eve');
$t->sql_as('eve', q{SELECT ondatra.create_sync('peeked', 'eve.t', 'eves', mapping => '{"x": {"lookup": {"sync": "bobs", "by": ["id"]}}}')});
$t->admin('REVOKE bob FROM eve');
like($t->sql_as('eve', "SELECT status || ' ' || error_message FROM ondatra.run_sync('peeked')"), qr/^failed sync "bobs"/, 'nor can a run, once eve is no member of bob any more');
done_testing;
