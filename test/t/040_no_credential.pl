# A credential that is missing: whatever kind of authentication wants it, whatever place it should come from and whoever asks, nothing leaves without it, and
# the error names it.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $empty = "$t->{dir}/secrets";
mkdir $empty;
$t->node->append_conf('postgresql.conf', "ondatra.secret_env = 'ONDATRA_ABSENT=ann\@127.0.0.1'\nondatra.secret_dir = '$empty=ann\@127.0.0.1'\n");
$t->node->reload;
$t->poll(sub { $t->admin('SHOW ondatra.secret_dir') ne '' }, 'places of secrets are allowed');
$t->sql("CREATE TABLE mart.m AS SELECT i AS id, 'v' || i AS v FROM generate_series(1, 3) i; SELECT ondatra.set_secret('there', 'as it should be')");
my %object = (%{ Ondatra::Test::put_object() }, list => {method => 'GET', path => '/contacts', rows => '/items', key => '/id'});
my ($missing, $there) = ({secret => 'absent'}, {secret => 'there'});
my %token = (token_url => $t->url . '/token', client_id => 'a');
my %kinds = (
    bearer => {type => 'bearer', token => $missing},
    'a variable of the environment' => {type => 'bearer', token => {env => 'ONDATRA_ABSENT'}},
    'a file' => {type => 'bearer', token => {file => "$empty/absent"}},
    basic => {type => 'basic', username => 'a', password => $missing},
    digest => {type => 'digest', username => 'a', password => $missing},
    'one header of two' => {type => 'header', headers => {'X-Account' => $there, 'X-Key' => $missing}},
    query => {type => 'query', parameters => {account => $there, key => $missing}},
    'a value that no request uses' => {type => 'none', values => {key => $missing}},
    'beside a token that is there' => {type => 'bearer', token => $there, values => {key => $missing}},
    aws_sigv4 => {type => 'aws_sigv4', region => 'eu-central-1', service => 's3', access_key => $there, secret_key => $missing},
    'one of two secrets of hmac' => {type => 'hmac', secret => [$there, $missing]},
    oauth2_client_credentials => {type => 'oauth2_client_credentials', %token, client_secret => $missing},
    oauth2_refresh_token => {type => 'oauth2_refresh_token', %token, client_secret => $there, refresh_token => $missing},
    jwt_bearer => {type => 'jwt_bearer', token_url => $t->url . '/token', issuer => 'a@example.com', key => $missing},
);

my $n = 0;
for my $kind (sort keys %kinds) {
    my $name = 'd' . ++$n;
    $t->destination($name, {object => \%object}, auth => $kinds{$kind});
    $t->sync($name, 'mart.m', $name, mode => 'mirror');
    my %calls = (
        test_destination => "SELECT * FROM ondatra.test_destination('$name')",
        request => "SELECT * FROM ondatra.request('$name', 'GET', '/contacts/1')",
        fetch => "SELECT * FROM ondatra.fetch('$name', NULL)",
        reconcile_sync => "SELECT * FROM ondatra.reconcile_sync('$name')",
    );
    $t->sql_fails($calls{$_}, qr/absent/i, "$kind: $_") for sort keys %calls;
    my $run = $t->run($name);
    $t->run_is($run, {status => 'failed', error_code => '28000', requests => 0, rows_created => 0}, "$kind: a run");
    like(join(' ', map { $_ // '' } @$run{qw(error_message error_detail)}), qr/absent/i, "$kind: says which");
    is($t->count_requests, 0, "$kind: nothing was sent");
}

# --- also not to tell somebody of a problem
$t->sync('told', 'mart.m', 'd1', options => {alert => {destination => 'd1'}});
$t->run('told');
$t->poll_sql(q{SELECT bool_and(attempts > 0 AND last_error ~* 'absent') FROM ondatra.alert_messages}, 't', 'an alert waits, with the reason');
is($t->count_requests, 0, 'it was not sent either');

# --- a secret that is there and cannot be read any more: the key file is another one
$t->destination('api', {object => \%object}, auth => {type => 'bearer', token => $there});
$t->sync('api', 'mart.m', 'api');
$t->run_is($t->run('api', keys => {id => 1}), {status => 'succeeded', requests => 1}, 'with its key a secret is read');
$t->node->stop;
rename $t->node->data_dir . '/ondatra.key', "$t->{dir}/lost.key" or die "rename: $!";
$t->node->start;
$t->run_is($t->run('api'), {status => 'failed', error_code => '28000', requests => 0}, 'without it the run fails');
$t->sql_fails("SELECT * FROM ondatra.request('api', 'GET', '/contacts/1')", qr/key file .* does not exist/, 'and so does a call');
is($t->count_requests, 1, 'nothing was sent');
$t->no_violations;
done_testing;
