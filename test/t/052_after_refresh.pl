# Chains of syncs (after) and materialized views under the model (refresh).

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql("CREATE TABLE mart.$_ (id int PRIMARY KEY, v text); INSERT INTO mart.$_ SELECT i, 'v' || i FROM generate_series(1, 10) i") for qw(a b c);
$t->destination($_, {object => {upsert => {method => 'PUT', path => "/$_/{{key}}"}}}) for qw(a b c);
$t->sync($_, "mart.$_", $_) for qw(a b);
sub runs { return $t->sql("SELECT coalesce(string_agg(trigger || ' ' || status, ', ' ORDER BY run_id), '') FROM ondatra.sync_runs WHERE sync_name = '$_[0]'") }
sub run_is_over { my ($name, $n, $what) = @_; return $t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = '$name' AND finished_at IS NOT NULL", $n, $what) }
# Something that a scheduler sees after everything before it: when it has run, what has not begun will not.
my $markers = 0;
sub marker { my $m = 'marker' . ++$markers; $t->sync($m, 'SELECT 1 AS id', 'a'); $t->sql("SELECT ondatra.trigger_sync('$m')"); return run_is_over($m, 1, 'a look at what is due') }

# --- words
for (['{"sync": "a"}', qr/it is a list of syncs/], ['[7]', qr/names no sync/], ['[{"accept": ["succeeded"]}]', qr/names no sync/], ['[{"sync": "a", "accept": []}]', qr/"accept" is empty/],
    ['[{"sync": "a", "accept": ["held"]}]', qr/"accept" has succeeded, partial and failed/], ['[{"sync": "a", "max_failed": "x"}]', qr/"max_failed" is a number/],
    ['[{"sync": "a", "when": 1}]', qr/there is no "when"/]) {
    $t->sql_fails(qq(SELECT ondatra.create_sync('c', 'mart.c', 'c', options => '{"after": $_->[0]}')), qr/invalid value for option "after": .*$_->[1].*HINT:  Use a list such as/s, "after: $_->[0]");
}
$t->sql_fails(q{SELECT ondatra.create_sync('c', 'mart.c', 'c', options => '{"after": ["nobody"]}')}, qr/sync "nobody", which the option after names, does not exist/, 'no such sync');
$t->admin('GRANT USAGE ON SCHEMA mart TO bob');
my (undef, undef, $err) = $t->psql_as('bob', qq(SELECT ondatra.create_destination('bobs', base_url => 'http://127.0.0.1:1'); SELECT ondatra.create_sync('bobs', 'SELECT 1 AS id', 'bobs', key => '{id}', options => '{"after": ["a"]}')));
like($err, qr/sync "a", which the option after names, does not exist/, 'a sync of another role is as missing');
$t->sql_fails(q{SELECT ondatra.update_sync('a', options => '{"after": ["a"]}')}, qr/sync "a" cannot run after itself/, 'itself');

# --- both have to finish well
$t->sync('c', 'mart.c', 'c', options => {after => [{sync => 'a'}, {sync => 'b', accept => ['succeeded', 'partial'], max_failed => '20%'}]});
$t->sync('d', 'mart.c', 'c', options => {after => ['c']});
$t->sql_fails(q{SELECT ondatra.update_sync('a', options => '{"after": ["d"]}')}, qr/sync "a" cannot run after "d": they would wait for each other.*The circle is a, d, c, a\./s, 'a circle');
sub waits { my ($sync) = @_; return ($t->psql_as('ann', "SELECT * FROM ondatra.plan_sync('$sync')"))[2] }
my $both = qr/^.*NOTICE:  sync "c" waits for the syncs that it runs after\nDETAIL:  Since it last ran \(\d{4}-[^)]*\): sync "a" has not ended as succeeded; sync "b" has not ended as /;
like(waits('c'), qr/${both}succeeded or partial with at most 20% rows failed\.\nHINT:  .*ondatra\.run_sync\('c'\)/, 'plan_sync says whom it waits for');
is(waits('a'), '', 'a sync that runs after none waits for none');
$t->run('a');
marker();
is(runs('c'), '', 'one of two is not enough');
like(waits('c'), qr/: sync "b" has not ended/, 'plan_sync: for the other one');
$t->run('b');
run_is_over('c', 1, 'both have finished: it runs');
is(runs('c'), 'after succeeded', 'trigger after');
run_is_over('d', 1, 'and so does what comes after it');
is($t->sql("SELECT requested_by FROM ondatra.sync_runs WHERE sync_name = 'd'"), 'ann', 'on behalf of its owner');
$t->run('b');
$t->run('b');
marker();
is(runs('c'), 'after succeeded', 'since its last run: the other one has not');

# --- what is accepted
$t->script({method => 'PUT', path => '^/b/[1-3]$', answer => {status => 422}});
$t->sql("UPDATE mart.b SET v = 'x' || v; UPDATE mart.a SET v = 'x' || v");
$t->run_is($t->run('b'), {status => 'partial', rows_failed => 3}, 'three of ten fail');
$t->run('a');
marker();
is(runs('c'), 'after succeeded, after succeeded', 'good runs since count, whatever came later');
run_is_over('d', 2, 'the chain goes on');
$t->script({method => 'PUT', path => '^/b/[1-3]$', answer => {status => 422}});
$t->sql("UPDATE mart.b SET v = 'y' || v");
$t->run_is($t->run('b'), {status => 'partial', rows_failed => 3}, 'three of ten fail again');
$t->run('a');
marker();
is(runs('c'), 'after succeeded, after succeeded', 'more than max_failed');
like(waits('c'), qr/: sync "b" has not ended as succeeded or partial with at most 20% rows failed \(its run \d+ ended as partial\)\./, 'plan_sync: the run that did not do');
$t->script({method => 'PUT', path => '^/b/1$', answer => {status => 422}});
$t->sql("UPDATE mart.b SET v = 'z' || v");
$t->run_is($t->run('b'), {status => 'partial', rows_failed => 1}, 'one of ten fails');
run_is_over('c', 3, 'within max_failed');
run_is_over('d', 3, 'and on');
$t->script();
$t->run('b', max_rows => 1);
$t->run('a', keys => '{"id": 1}');
marker();
is(runs('c'), join(', ', ('after succeeded') x 3), 'a run of a few rows starts nothing');

# --- paused, restarted, dropped
$t->sql("SELECT ondatra.pause_sync('c')");
$t->run('a');
$t->sql("SELECT ondatra.pause_sync('b')");
like(waits('c'), qr/: sync "b" has not ended .* \(it is in state paused\)\./, 'plan_sync: a parent that rests');
$t->sql("SELECT ondatra.resume_sync('b')");
$t->run('b');
marker();
is(waits('c'), '', 'it waits for none of them any more');
is(runs('c'), join(', ', ('after succeeded') x 3), 'paused: it waits');
$t->node->restart;
$t->sql("SELECT ondatra.resume_sync('c')");
run_is_over('c', 4, 'resumed: it is made up, also after a restart');
run_is_over('d', 4, 'the chain goes on');
my $last_c = $t->sql("SELECT max(run_id) FROM ondatra.sync_runs WHERE sync_name = 'c'");
$t->admin("UPDATE ondatra.all_runs SET finished_at = now() + interval '1 day' WHERE run_id = $last_c");
marker();
is(runs('d'), join(', ', ('after succeeded') x 4), 'a clock that was set back: it does not run again and again');
$t->admin("UPDATE ondatra.all_runs SET finished_at = now() WHERE run_id = $last_c");
marker();
run_is_over('d', 5, 'but when that time has come');
$t->sql_fails("SELECT ondatra.drop_sync('a')", qr/sync "a" cannot be dropped: sync "c" runs after it.*HINT:  Change its option after first: ondatra\.update_sync\('c'/s, 'a parent is not dropped');
$t->sql(q{SELECT ondatra.update_sync('c', options => '{"after": null}'); SELECT ondatra.drop_sync('a')});
$t->run('b');
marker();
is(runs('c'), join(', ', ('after succeeded') x 4), 'it is no chain any more');

# --- refresh: in the order of dependencies
$t->sql(<<'SQL');
CREATE TABLE mart.base (id int PRIMARY KEY, v int);
INSERT INTO mart.base SELECT i, i FROM generate_series(1, 5) i;
CREATE MATERIALIZED VIEW mart.zlow AS SELECT id, v * 10 AS v FROM mart.base;
CREATE UNIQUE INDEX ON mart.zlow (id);
CREATE VIEW mart.between AS SELECT * FROM mart.zlow;
CREATE MATERIALIZED VIEW mart.high AS SELECT id, v + 1 AS v FROM mart.between WITH NO DATA;
CREATE VIEW mart.top AS SELECT * FROM mart.high;
SQL
$t->destination('m', {object => {upsert => {method => 'PUT', path => '/m/{{key}}'}}});
$t->sql_fails(q{SELECT ondatra.create_sync('m', 'mart.base', 'm', options => '{"refresh": true}')}, qr/option "refresh" has nothing to do: there is no materialized view under the model/, 'nothing to refresh');
$t->sql_fails(q{SELECT ondatra.create_sync('m', 'mart.base', 'm', options => '{"refresh": "all"}')}, qr/invalid value for option "refresh".*Use true or false/s, 'a word');
$t->sync('m', 'SELECT t.id, t.v FROM mart.top t WHERE EXISTS (SELECT FROM mart.base b WHERE b.id = t.id)', 'm', options => {refresh => JSON::PP::true()});
$t->run_is($t->run('m'), {status => 'succeeded', rows_created => 5}, 'one without data is filled');
is($t->records('m')->{3}{v}, 31, 'from the other one');
$t->sql('UPDATE mart.base SET v = 7 WHERE id = 3; CREATE UNIQUE INDEX ON mart.high (id)');
is($t->sql("SELECT updates FROM ondatra.plan_sync('m')"), '0', 'a look refreshes nothing');
$t->run_is($t->run('m'), {status => 'succeeded', rows_updated => 1}, 'the run sees what is new');
is($t->records('m')->{3}{v}, 71, 'through both');

# --- CONCURRENTLY: a reader does not wait, and is not waited for
my $reader = $t->node->background_psql('postgres', on_error_stop => 0, extra_params => ['-U', 'ann']);
$reader->query_safe('BEGIN; SELECT count(*) FROM mart.high');
$t->sql('UPDATE mart.base SET v = 8 WHERE id = 3');
$t->run_is($t->run('m'), {status => 'succeeded', rows_updated => 1}, 'a transaction that has read it does not hold the run up');
$reader->query_safe('COMMIT');
$reader->quit;

# --- errors say what they are about
$t->sql('INSERT INTO mart.base VALUES (6, 2147483647)');
my $run = $t->run('m');
$t->run_is($run, {status => 'failed', error_code => '22003', requests => 0}, 'a view that cannot be refreshed');
is($run->{error_message}, 'materialized view mart.zlow could not be refreshed: integer out of range', 'which, and why');
$t->sql('DELETE FROM mart.base WHERE id = 6');
$t->admin('ALTER MATERIALIZED VIEW mart.zlow OWNER TO bob; GRANT SELECT ON mart.zlow TO ann');
$run = $t->run('m');
$t->run_is($run, {status => 'failed', error_code => '42501'}, 'one that the owner may not refresh');
is($t->sql("SELECT state FROM ondatra.syncs WHERE name = 'm'"), 'error', 'stops the sync');
$t->admin('ALTER MATERIALIZED VIEW mart.zlow OWNER TO ann');

# --- what its query does stays within the rights and the time of the refresh
$t->sql(<<'SQL');
CREATE TABLE mart.seen (what text);
GRANT INSERT ON mart.seen TO PUBLIC;
CREATE FUNCTION mart.nasty() RETURNS int LANGUAGE plpgsql AS $f$
DECLARE
  attempt text;
BEGIN
  INSERT INTO mart.seen SELECT session_user || ' ' || current_user;
  FOREACH attempt IN ARRAY '{SET ROLE bob,RESET SESSION AUTHORIZATION,CREATE TEMP TABLE x (i int),UPDATE ondatra.all_syncs SET owner = 10,SELECT ondatra.pause_sync(''b''),SELECT ondatra.create_sync(''x'', ''SELECT 1 AS id'', ''m'')}'::text[] LOOP
    BEGIN
      EXECUTE attempt;
      INSERT INTO mart.seen VALUES ('did: ' || attempt);
    EXCEPTION WHEN OTHERS THEN
      NULL;
    END;
  END LOOP;
  PERFORM set_config('search_path', 'mart', false);
  RETURN 1;
END
$f$;
CREATE MATERIALIZED VIEW mart.hostile AS SELECT 1 AS id, mart.nasty() AS v WITH NO DATA;
SQL
$t->sync('h', 'mart.hostile', 'm', options => {refresh => JSON::PP::true()});
$t->run_is($t->run('h'), {status => 'succeeded', rows_created => 1}, 'a hostile query');
is($t->sql('SELECT string_agg(DISTINCT what, E\'\n\') FROM mart.seen'), 'ann ann', 'runs as the owner, and gets no further');
$t->sql('CREATE FUNCTION mart.slow() RETURNS int LANGUAGE sql AS $$ SELECT 1 FROM pg_sleep(600) $$; CREATE MATERIALIZED VIEW mart.long AS SELECT 1 AS id, mart.slow() AS v WITH NO DATA');
$t->sync('l', 'mart.long', 'm', options => {refresh => JSON::PP::true(), statement_timeout => '200ms'});
$t->run_is($t->run('l'), {status => 'failed', error_code => '57014'}, 'statement_timeout counts');
$t->sql(q{SELECT ondatra.update_sync('l', options => '{"statement_timeout": null}')});
my $slow = $t->sql("SELECT run_id FROM ondatra.run_sync('l', wait => false)");
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'ondatra run' AND wait_event = 'PgSleep'") eq '1' }, 'it refreshes');
$t->sql("SELECT ondatra.cancel_run($slow)");
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $slow", 'cancelled', 'a run that refreshes can be cancelled');
$t->no_violations;
done_testing;
