# Another name for a sync: everything that names it follows, and nothing is sent again.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Ondatra::Sessions;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql(<<'SQL');
CREATE TABLE mart.companies (id int PRIMARY KEY, name text, parent int);
CREATE TABLE mart.people (id int PRIMARY KEY, name text, company int);
INSERT INTO mart.companies VALUES (1, 'one', NULL), (2, 'two', 1), (3, 'three', 1);
INSERT INTO mart.people SELECT i, 'p' || i, 1 + i % 3 FROM generate_series(1, 30) i;
SQL
$t->destination('companies', {object => {upsert => {method => 'PUT', path => '/companies/{{key}}', result => {id => '/id'}}}});
$t->destination('people');
my $by = sub { return {lookup => {sync => 'companies', by => [$_[0]], missing => 'null'}} };
$t->sync('companies', 'mart.companies', 'companies', schedule => '30 days', mapping => {name => 'name'});
$t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'companies' AND status = 'succeeded'", '1', 'it runs');
$t->sql('SELECT ondatra.update_sync(' . Ondatra::Test::arguments(name => 'companies', mapping => {name => 'name', parent => $by->('parent')}) . ')');
$t->run('companies') for 1 .. 2;
$t->sync('people', 'mart.people', 'people', guards => 1, options => {after => ['other', {sync => 'companies', accept => ['succeeded', 'partial']}]},
    mapping => {company => $by->('company'), name => 'name', note => {const => {lookup => {sync => 'companies'}}}}) if $t->sync('other', 'SELECT 1 AS id', 'people');
$t->sync('list', 'SELECT id, name, company FROM mart.people WHERE id < 4', 'people', guards => 1, key => ['id'], options => {after => ['companies']},
    mapping => [{source => $by->('company'), destination => 'company'}, {source => 'name', destination => 'name'}]);
$t->run($_) for qw(people list);
my $before = $t->sql("SELECT string_agg(concat_ws(' ', sync_id, state, schedule, next_run_at, last_run_id), '; ' ORDER BY sync_id) FROM ondatra.syncs");
my $versions = $t->admin('SELECT string_agg(version::text, \' \' ORDER BY sync_id) FROM ondatra.all_syncs');

# --- what is no name, or somebody's
$t->sql_fails("SELECT ondatra.rename_sync('companies', 'people')", qr/sync "people" already exists.*HINT:  Use another name/s, 'a name that is taken');
$t->sql_fails("SELECT ondatra.rename_sync('companies', '$_->[0]')", $_->[1], "no name: $_->[0]") for ['', qr/name/], ['x' x 64, qr/63/];
$t->sql_fails("SELECT ondatra.rename_sync('companies', NULL)", qr/argument "new_name" must not be NULL/, 'none');
$t->sql_fails("SELECT ondatra.rename_sync('nobody', 'x')", qr/sync "nobody" does not exist/, 'a sync that is not there');
like(($t->psql_as('bob', "SELECT ondatra.rename_sync('companies', 'mine')"))[2], qr/sync "companies" does not exist/, 'somebody else\'s');

# --- it follows
$t->sql("SELECT ondatra.rename_sync('companies', 'firms \"x\"')");
is($t->sql("SELECT string_agg(concat_ws(' ', sync_id, state, schedule, next_run_at, last_run_id), '; ' ORDER BY sync_id) FROM ondatra.syncs"), $before, 'number, state and schedule stay');
is($t->admin('SELECT string_agg(version::text, \' \' ORDER BY sync_id) FROM ondatra.all_syncs'), $versions, 'and it is no edit');
is($t->sql("SELECT string_agg(DISTINCT sync_name, ',') FROM ondatra.sync_runs WHERE sync_id = (SELECT min(sync_id) FROM ondatra.syncs)"), 'firms "x"', 'its runs have the new name');
is($t->sql("SELECT mapping #>> '{parent,lookup,sync}' FROM ondatra.syncs WHERE name = 'firms \"x\"'"), 'firms "x"', 'a lookup in itself');
is($t->sql("SELECT mapping::text || options FROM ondatra.syncs WHERE name = 'people'"),
    '{"name": "name", "note": {"const": {"lookup": {"sync": "companies"}}}, "company": {"lookup": {"by": ["company"], "sync": "firms \"x\"", "missing": "null"}}}'
    . '{"after": ["other", {"sync": "firms \"x\"", "accept": ["succeeded", "partial"]}]}', 'lookups and chains of others; what only looks like one stays');
is($t->sql("SELECT mapping #>> '{0,source,lookup,sync}' || (options ->> 'after') FROM ondatra.syncs WHERE name = 'list'"), 'firms "x"["firms \"x\""]', 'also in the list form');
is($t->admin("SELECT count(*) FROM ondatra.all_syncs WHERE name IN ('people', 'list') AND sent_mapping = mapping::text"), '2', 'no run will take it for another mapping');
is($t->sql("SELECT count(*) FROM ondatra.plan_sync('people') WHERE guard IS NULL AND unchanged = 30"), '1', 'plan_sync: nothing to send, no guard');
my $sent = $t->count_requests;
$t->run_is($t->run('firms "x"'), {status => 'succeeded', rows_unchanged => 3, requests => 0}, 'it sends nothing again');
$t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'list' AND trigger = 'after' AND status = 'succeeded'", '1', 'what comes after it still does');
$t->run_is($t->run('people'), {status => 'succeeded', rows_unchanged => 30, requests => 0}, 'nor do the others');
is($t->count_requests, $sent, 'the API has heard of nothing');
$t->sql("INSERT INTO mart.people VALUES (31, 'p31', 2)");
$t->run_is($t->run('people'), {rows_created => 1}, 'a lookup goes on');
is($t->json_of($t->control('GET', 'records?collection=contacts&id=31')->{value}), '{"company":"2","name":"p31","note":{"lookup":{"sync":"companies"}}}', 'finding what it found');
$t->sql_fails("SELECT ondatra.drop_sync('firms \"x\"')", qr/cannot be dropped: sync "list" runs after it/, 'its chains hold');
is($t->sql("SELECT count(*) FROM ondatra.apply_config(ondatra.export_config())"), '0', 'what is exported is what is there');

# --- beside a run, and held runs
$t->sql("UPDATE mart.people SET name = name || '!'");
$t->script({path => '^/contacts/', answer => {apply => \1, misbehave => 'hang'}});
my $run_id = $t->sql("SELECT run_id FROM ondatra.run_sync('people', wait => false)");
$t->poll(sub { $t->state->{hanging} > 0 }, 'a run sends');
$t->sql_fails("SELECT ondatra.rename_sync('people', 'x')", qr/sync "people" is running.*Run $run_id is going on/s, 'a sync that runs keeps its name');
$t->sql("SELECT ondatra.rename_sync('firms \"x\"', 'firms')");
$t->script;
$t->release;
$t->poll_sql("SELECT status || rows_updated FROM ondatra.sync_runs WHERE run_id = $run_id", 'succeeded31', 'a run whose lookup was renamed meanwhile ends well');
$t->sql("DELETE FROM mart.people");
$t->run_is($t->run('people'), {status => 'held'}, 'a run is held');
$t->sql("SELECT ondatra.rename_sync('people', 'folk')");
is($t->sql('SELECT sync_name FROM ondatra.held_runs'), 'folk', 'its held run has the new name');
like($t->sql('SELECT ondatra.report_html()'), qr/approve_run\(\d+\)/, 'the page finds it');
$t->sql('SELECT ondatra.approve_run(run_id) FROM ondatra.held_runs');
$t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'folk' AND finished_at IS NULL", '0', 'and it can be approved');
is($t->sql("SELECT status FROM ondatra.sync_runs WHERE sync_name = 'folk' ORDER BY run_id DESC LIMIT 1"), 'succeeded', 'as what it was');

# --- two at once: one after the other
my @both = map { session($t, 'ann', "SELECT ondatra.rename_sync('folk', '$_')") } qw(left right);
my @errors = grep { length } map { (finish($_))[1] } @both;
ok(@errors == 1 && $errors[0] =~ /sync "folk" does not exist/, 'of two that rename one sync, one does') || diag(explain(\@errors));
$t->no_violations;
done_testing;
