# The manual's example of scripting: an API with Basic credentials, a cookie and a token that it hands out, and answers with a line for each row.

use strict;
use warnings FATAL => 'all';
use FindBin;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $page = Ondatra::Test::slurp("$FindBin::Bin/../../doc/scripting.md");
my ($sql) = $page =~ /^```sql\n(.*?)^```$/ms;
utf8::decode($sql);
$sql =~ s{http://127\.0\.0\.1:8765}{$t->url}e;
$t->admin('GRANT CREATE ON DATABASE postgres TO ann');
$t->sql($sql);
$t->sql("INSERT INTO crm.contacts SELECT i, 'u' || i || '\@example.com', 'free' FROM generate_series(1, 70) i");

# Sessions end: the API knows only the last one that it has given.
my $session = 0;
my %basic = (authorization => '^Basic YXBwOnRoZSBwYXNzd29yZA==$');
sub api {
    my (@more) = @_;
    $session++;
    my $inside = {%basic, cookie => "^SID=s$session; LB=b\$", 'x-csrf-token' => "^t$session\$"};
    return $t->script({method => 'GET', path => '^/session$', headers => {%basic, 'x-csrf-token' => '^Fetch$'}, answer => {json => {}, headers => {'X-CSRF-Token' => "t$session", 'Set-Cookie' => ["SID=s$session; Path=/; HttpOnly", 'LB=b']}}},
        @more, {method => 'POST', path => '^/contacts/(save|remove)$', headers => $inside, answer => {rows => {from => '/d/results', each => {line => '{/index}', type => 'S', oid => '{/row/id}'}, into => 'messages'}}},
        {path => '^/', answer => {status => 403, json => {error => 'token required'}, headers => {'X-CSRF-Token' => 'Required'}}});
}
sub last_run { my ($run) = $t->rows('SELECT * FROM ondatra.sync_runs ORDER BY run_id DESC LIMIT 1'); return $run }
my $state = 'ondatra.state_' . $t->sql('SELECT sync_id FROM ondatra.syncs');

api();
$t->sql('CALL crm.sync()');
$t->run_is(last_run(), {status => 'succeeded', rows_created => 70, requests => 2}, 'a login and a run');
is($t->count_requests(path => '^/session$'), 1, 'one login');
is($t->sql("SELECT count(*) FROM $state WHERE _remote_id = k1::text"), '70', 'the answers\' lines are the rows\'');
is($t->sql("SELECT string_agg(DISTINCT headers ->> 'Cookie', ' ') FROM ondatra.preview_sync('contacts')"), '', 'nothing is left to do');

# another session, a delete, a row that is refused
api({method => 'POST', path => '^/contacts/save$', json => {'/d/results/0/id' => 7}, answer => {json => {messages => [{line => 0, type => 'E', text => 'no such plan'}]}}});
$t->sql("UPDATE crm.contacts SET plan = 'odd' WHERE id = 7; DELETE FROM crm.contacts WHERE id = 9");
is($t->sql("SELECT headers ->> 'Cookie' FROM ondatra.preview_sync('contacts') LIMIT 1"), '***', 'a preview does not show the cookie');
$t->sql('CALL crm.sync()');
$t->run_is(last_run(), {status => 'partial', rows_deleted => 1, rows_failed => 1}, 'a delete is done, a row refused');
is(join(' ', map { "$_->{key}{id} $_->{error_class} $_->{error_message}" } $t->failed_rows('contacts')), '7 rejected no such plan', 'with the words of its line');

# the session ends: a run without a login gets nowhere, and loses nothing
api();
$t->sql("UPDATE crm.contacts SET plan = 'pro' WHERE id <= 3");
$t->run_is($t->run('contacts'), {status => 'failed', rows_failed => 3}, 'without a login nothing is accepted');
is(join(' ', map { "$_->{error_class} $_->{error_message}" } ($t->failed_rows('contacts'))[0]), 'throttled the session is over', 'and it is told why');
is($t->sql("SELECT state FROM ondatra.syncs WHERE name = 'contacts'"), 'active', 'a 403 that is no answer to the credentials does not stop the sync');
$t->sql('CALL crm.login()');
$t->retry('contacts');
is($t->sql("SELECT count(*) FROM ondatra.failed_rows WHERE error_message = 'the session is over'"), '0', 'with one they are delivered');
is($t->sql("SELECT count(*) FROM $state WHERE _doubt_op IS NOT NULL"), '0', 'and nothing is in doubt');

# wrong credentials
$t->sql("SELECT ondatra.set_secret('crm_password', 'another')");
$t->sql_fails('CALL crm.login()', qr/no session: HTTP 403.*token required/s, 'a login that is refused says so');
$t->sql(q{SELECT ondatra.set_secret('crm_password', 'the password'), ondatra.request('crm', 'GET', '/session', headers => '{"Cookie": "SID=old", "X-CSRF-Token": "Fetch"}')});
is(($t->requests(path => '^/session$', last => 1))[0]{headers}{cookie}, 'SID=old', 'request() may carry a cookie');
$t->no_violations;
done_testing();
