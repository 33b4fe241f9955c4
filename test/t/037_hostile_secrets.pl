# A secret's value stays where it belongs: encrypted in its row, and in the requests. Destinations give it back in every spelling, the server logs all it can, and
# then everything is searched: tables, WAL, the server's log, dumps, activity, notifications and whatever a call shows.

use strict;
use warnings FATAL => 'all';
use File::Find;
use MIME::Base64 qw(encode_base64);
use Ondatra::Hostile;
use Ondatra::Sessions;
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Ondatra::Test->new(conf => join "\n", "log_statement = 'all'", "log_min_messages = 'debug1'", 'log_min_duration_statement = 0', 'log_duration = on', 'wal_level = logical',
    'debug_print_parse = on', 'debug_print_plan = on', 'log_error_verbosity = verbose',
    "shared_preload_libraries = 'ondatra, pg_stat_statements'", 'pg_stat_statements.track = all', "ondatra.log_requests = 'all'", '');
$t->admin('CREATE EXTENSION pg_stat_statements');
my $secret = 'q9Zs3cr3t/Val+ue"=%22\\zK7w';
my %spellings = (
    plain => $secret,
    'percent-encoded' => Ondatra::Test::encode_query($secret),
    'JSON-escaped' => substr($t->json_of($secret), 1, -1),
    'base64' => encode_base64($secret, '') =~ s/=+$//r,
    'base64 of user and password' => substr(encode_base64("user:$secret", ''), 8, 24),
    hexadecimal => unpack('H*', $secret),
    # of a parse tree: the bytes of a constant
    'bytes in numbers' => join(' ', map { ord } split //, $secret),
);
my $outputs = '';
sub kept { my (@texts) = @_; $outputs .= join "\n", map { $_ // '' } @texts, ''; return $texts[0] }
sub shown {
    my ($role, $sql) = @_;
    my (undef, $out, $err) = $t->psql_as($role, $sql);
    return kept($out, $err);
}

# The statement that sets it is SQL: in a session without logging of statements.
my $quiet = "SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_duration = off; SET debug_print_parse = off; SET debug_print_plan = off; SET log_min_error_statement = 'panic'; SET ROLE ann;";
$t->admin($quiet . " SELECT ondatra.set_secret('token', " . Ondatra::Test::literal($secret) . ')');
my %auth = (
    bearer => {type => 'bearer', token => {secret => 'token'}},
    basic => {type => 'basic', username => 'user', password => {secret => 'token'}},
    header => {type => 'header', headers => {'X-Key' => {secret => 'token'}}},
    query => {type => 'query', parameters => {key => {secret => 'token'}}},
    body => {type => 'none', values => {key => {secret => 'token'}}},
);
for my $kind (sort keys %auth) {
    my $path = "/$kind/{{key}}";
    my $upsert = {method => 'PUT', path => $path, result => {id => '/id'}, $kind eq 'body' ? (body => {'$merge' => ['$fields', {key => '{{auth.key}}'}]}) : ()};
    $t->destination($kind, {object => {upsert => $upsert}, timeout_ms => 60000}, auth => $auth{$kind});
    $t->sql("CREATE TABLE mart.$kind (id int PRIMARY KEY, v text); INSERT INTO mart.$kind SELECT i, 'CONTROLWORD value' FROM generate_series(1, 9) i");
    $t->sync($kind, "mart.$kind", $kind, options => {concurrency => 1, sync_log => 'all'});
}
my $echo = join ' ', 'CONTROLWORD answer', @spellings{'plain', 'percent-encoded', 'base64'}, 'x' x 1900, $secret;
$t->script(
    {path => '^/basic/1\b', answer => {status => 422, text => 'CONTROLWORD answer Basic ' . encode_base64("user:$secret", '')}},
    {path => '/1\b', answer => {status => 422, json => {error => {message => $echo, code => $secret}}}},
    {path => '/2\b', answer => {status => 422, text => "$echo $spellings{'JSON-escaped'}"}},
    {path => '/3\b', answer => {status => 422, echo => 1}},
    {path => '/4\b', answer => {status => 500, text => $echo}},
    {path => '/5\b', answer => {status => 200, json => {id => $secret}}},
    {path => '/6\b', answer => {status => 302, text => $echo, headers => {Location => "/elsewhere?key=$spellings{'percent-encoded'}", 'X-Error' => $secret, 'WWW-Authenticate' => "Bearer error=\"$spellings{base64}\""}}},
    {path => '/7\b', answer => {status => 200, misbehave => 'half_body', json => {id => $echo}}},
    {path => '/8\b', answer => {status => 429, text => $echo, headers => {'Retry-After' => $spellings{'percent-encoded'}}}},
    {path => '/9\b', answer => {status => 200, json => {id => 'CONTROLWORD id'}}},
    {answer => {status => 401, json => {message => $echo}}});
$t->sql('CREATE TABLE mart.done (); GRANT USAGE ON SCHEMA mart TO bob; GRANT SELECT ON mart.done TO bob');
my $listener = session($t, 'bob', "LISTEN ondatra;\nDO \$\$ BEGIN WHILE NOT EXISTS (SELECT FROM mart.done) LOOP PERFORM pg_sleep(0.02); END LOOP; END \$\$;\nSELECT 1;\n");
for my $kind (sort keys %auth) {
    shown('ann', "SELECT * FROM ondatra.run_sync('$kind')");
    my ($request) = $t->requests(path => "^/$kind/");
    my $sent = $t->json_of($request);
    my $carries = grep { index($sent, $spellings{$_}) >= 0 || index($sent, $t->json_of($spellings{$_}) =~ s/^"|"$//gr) >= 0 } keys %spellings;
    ok($carries, "$kind: the request carries the secret");
    shown($_, "SELECT * FROM ondatra.preview_sync('$kind', 20)") for 'ann', $t->superuser;
    shown('ann', "SELECT ondatra.explain_row('$kind', '{\"id\": $_}')") for 1 .. 9;
    shown('ann', "SELECT * FROM ondatra.plan_sync('$kind'); SELECT * FROM ondatra.explain_sync('$kind', true); SELECT * FROM ondatra.test_destination('$kind')");
    shown('ann', "SELECT * FROM ondatra.request('$kind', 'GET', '/$kind/$_')") for 1 .. 9;
    shown('ann', "SELECT * FROM ondatra.$_") for qw(failed_rows sync_runs syncs sync_status destinations destination_status destination_grants secrets requests sync_log held_runs arming);
    shown('ann', 'SELECT ondatra.export_config()');
}
like($outputs, qr/CONTROLWORD answer/, 'what the answers say is shown');
like($outputs, qr/\*\*\*/, 'what is secret is marked');

# A request that hangs: activity of everybody, as a superuser sees it.
$t->script({answer => {misbehave => 'hang'}});
my $hanging = session($t, 'ann', "SELECT ondatra.resend_sync('query'); SELECT * FROM ondatra.run_sync('query')");
$t->poll(sub { $t->state->{hanging} > 0 }, 'a request hangs');
kept($t->admin('SELECT a::text FROM pg_stat_activity a'), $t->admin('SELECT * FROM ondatra.run_progress'), $t->admin('SELECT * FROM ondatra.destination_status'));
my $processes = slurp_processes();
$t->script({answer => {status => 200, json => {id => $secret}}});
$t->release;
kept(finish($hanging));
# answers that are refused at the end: wrong credentials, an error without words
$t->script({answer => {status => 401, text => $echo}});
$t->sql("SELECT ondatra.resend_sync('bearer')");
kept(shown('ann', "SELECT * FROM ondatra.run_sync('bearer')"), $t->admin("SELECT state_reason FROM ondatra.all_syncs"));
$t->sql('INSERT INTO mart.done DEFAULT VALUES');
kept(finish($listener));

# What is wrong with a secret is said without it.
$t->script({answer => {status => 401, text => 'no'}});
$t->admin($quiet . " SELECT ondatra.set_secret('token', " . Ondatra::Test::literal($secret) . ' || chr(10) || chr(1))');
kept(shown('ann', "SELECT * FROM ondatra.test_destination('$_')")) for sort keys %auth;
$t->admin($quiet . " SELECT ondatra.set_secret('token', " . Ondatra::Test::literal($secret) . ')');

$t->admin('CHECKPOINT');
command_ok(['pg_dump', '-d', $t->node->connstr('postgres'), '-U', $t->superuser, '-f', "$t->{dir}/dump.sql"], 'pg_dump');
my %places = (
    'statements that were counted' => $t->admin('SELECT string_agg(query, chr(10)) FROM pg_stat_statements'),
    'what calls show' => $outputs,
    'the dump of everything' => Ondatra::Test::slurp("$t->{dir}/dump.sql"),
    'the log of the server' => Ondatra::Test::slurp($t->node->logfile),
    'titles of processes' => $processes,
    'files of the database, WAL among them' => files_of($t->node->data_dir),
);
like($places{$_}, qr/CONTROLWORD/, "$_: they were searched") for 'what calls show', 'the dump of everything', 'files of the database, WAL among them';
like($places{'statements that were counted'}, qr/set_secret.*all_secrets|all_secrets.*set_secret/s, 'statements that were counted: ours are among them');
like($places{'the log of the server'}, qr/preview_sync.*explain_row/s, 'the log of the server: it was searched');
for my $place (sort keys %places) {
    is(join(', ', grep { index($places{$place}, $spellings{$_}) >= 0 } sort keys %spellings), '', "the secret is not in $place");
}
is(sprintf('%o', (stat $t->node->data_dir . '/ondatra.key')[2] & 07777), '600', 'the key file is the server user\'s alone');
# the search finds what is there
$t->sql("SELECT ondatra.set_secret('logged', 'said in words')");
isnt(index(Ondatra::Test::slurp($t->node->logfile), 'said in words'), -1, 'as the manual says: with log_statement a set_secret in words is logged');
$t->sql('INSERT INTO mart.bearer VALUES (99, ' . Ondatra::Test::literal($secret) . ')');
isnt(index(files_of($t->node->data_dir), $secret), -1, 'a value in a table would be found in files');

sub files_of {
    my ($dir) = @_;
    my $all = '';
    find({no_chdir => 1, wanted => sub { $all .= Ondatra::Test::slurp($_) if -f && !m{/(?:ondatra\.key|logfile)$} && !m{/base/(?:1|4|5)/} }}, $dir);
    return $all;
}

sub slurp_processes { my $out = ''; IPC::Run::run(['ps', '-eo', 'args'], '>', \$out); return $out }
done_testing;
