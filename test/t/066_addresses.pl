# Every process that opens a connection asks where the address lies: private ones are for hosts that a superuser lists, and for superusers' destinations. And what the
# server's environment and files hold is for whom, and where, a superuser's lists say.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

$ENV{ONDATRA_PROBE} = 'from-the-environment';
$ENV{ONDATRA_OTHER} = 'of-nobody';
my $t = Ondatra::Test->new;
my $superuser = $t->superuser;
my $list = {list => {method => 'GET', path => '/contacts', rows => '/rows', key => {id => '/id'}}};

# Everything that can open a socket for a destination.
sub set_up {
    my ($role) = @_;
    my $as = sub { my ($sql) = @_; return $t->sql_as($role, $sql) };
    my $destination = sub {
        my ($kind, %args) = @_;
        my %options = (object => {%{ Ondatra::Test::put_object() }, %$list}, retry => {attempts => 1}, timeout_ms => 20000);
        return $as->('SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => "${role}_$kind", base_url => $t->url, options => \%options, %args) . ')');
    };
    $as->("SET client_min_messages = error; CREATE TABLE mart.t_$role (id int PRIMARY KEY, v text); INSERT INTO mart.t_$role VALUES (1, 'a'); SELECT ondatra.set_secret('client', 'x')");
    $destination->('plain');
    $destination->('token', auth => {type => 'oauth2_client_credentials', token_url => $t->url . '/token', client_id => 'a', client_secret => {secret => 'client'}});
    $as->("SET client_min_messages = error; SELECT ondatra.create_sync('${role}_$_', 'mart.t_$role', '${role}_$_', options => '{\"error_after\": 100}') FROM (VALUES (1)) x") for 'plain', 'token';
    $as->("SET client_min_messages = error; SELECT ondatra.create_destination('${role}_alerts', base_url => '" . $t->url . "/alerts')");
    $as->("SET client_min_messages = error; SELECT ondatra.create_sync('${role}_broken', 'SELECT 1 AS id, 1 / (count(*) - count(*)) AS v FROM mart.t_$role', '${role}_plain', key => '{id}', "
        . "options => '{\"error_after\": 100, \"alert\": {\"destination\": \"${role}_alerts\", \"at_most_every\": \"0s\"}}')");
    return;
}
$t->admin('GRANT CREATE ON SCHEMA mart TO PUBLIC');
$t->script({method => 'POST', path => '^/token$', answer => {json => {access_token => 'good', token_type => 'Bearer', expires_in => 1}}},
    {method => 'GET', path => '^/contacts$', answer => {json => {rows => []}}}, {answer => {status => 200}});
set_up($_) for 'ann', $superuser;
$t->admin("ALTER SYSTEM SET ondatra.allowed_hosts = 'example.com, 10.0.0.1, 127.0.0.1:1'; SELECT pg_reload_conf()");
$t->poll(sub { $t->admin('SHOW ondatra.allowed_hosts') =~ /example/ }) or die 'not reloaded';

my $refused = qr/127\.0\.0\.1 resolves to a private or loopback address, which ondatra\.allowed_hosts does not name/;
my %calls = (
    'a run' => q{SELECT status FROM ondatra.run_sync('ROLE_plain'); SELECT error_message FROM ondatra.failed_rows WHERE sync_name = 'ROLE_plain'},
    'a run that needs a token' => q{SELECT status, error_message FROM ondatra.run_sync('ROLE_token')},
    'reconcile_sync' => q{SELECT * FROM ondatra.reconcile_sync('ROLE_plain')},
    'test_destination' => q{SELECT ok, message FROM ondatra.test_destination('ROLE_plain')},
    'test_destination with a token' => q{SELECT ok, message FROM ondatra.test_destination('ROLE_token')},
    'request' => q{SELECT status FROM ondatra.request('ROLE_plain', 'GET', '/contacts/1')},
    'request with a token' => q{SELECT status FROM ondatra.request('ROLE_token', 'GET', '/contacts/1')},
    'fetch' => q{SELECT * FROM ondatra.fetch('ROLE_plain', NULL, '{}'::jsonb)},
);
for my $call (sort keys %calls) {
    my (undef, $out, $err) = $t->psql_as('ann', $calls{$call} =~ s/ROLE/ann/gr);
    like("$out$err", $refused, "$call does not connect to a private address");
}
$t->psql_as('ann', q{SELECT ondatra.run_sync('ann_broken')});
$t->poll(sub { $t->admin(q{SELECT last_error FROM ondatra.alert_messages WHERE sync_name = 'ann_broken'}) =~ $refused }, 'nor does an alert');
is($t->count_requests, 0, 'no connection was made');
for my $call (sort keys %calls) {
    my $before = $t->count_requests;
    my (undef, $out, $err) = $t->psql_as($superuser, $calls{$call} =~ s/ROLE/$superuser/gr);
    unlike("$out$err", $refused, "$call for a superuser's destination does");
    cmp_ok($t->count_requests, '>', $before, "$call: it was asked");
}
$t->psql_as($superuser, "SELECT ondatra.run_sync('${superuser}_broken')");
$t->poll(sub { $t->count_requests(path => '^/alerts') > 0 }, 'so does an alert');

# --- who lists the host lets everybody
$t->admin("ALTER SYSTEM SET ondatra.allowed_hosts = '127.0.0.1:$t->{port}'; SELECT pg_reload_conf()");
$t->poll(sub { $t->sql(q{SELECT ok FROM ondatra.test_destination('ann_plain')}) eq 't' }, 'a host that is listed is allowed, here with its port');
$t->admin("ALTER SYSTEM SET ondatra.allowed_hosts = '127.0.0.1, localhost'; SELECT pg_reload_conf()");

# --- environment and files: the entry's name, its role, its host
my $dir = "$t->{dir}/server";
mkdir $_ or die "$_: $!" for $dir, "$dir/secrets", "$dir/secrets2";
for my $file ('secrets/token', 'secrets2/token', 'other') {
    open my $out, '>', "$dir/$file" or die "$file: $!";
    print $out "of-the-file-$file\n";
    close $out;
}
symlink "$dir/other", "$dir/secrets/link" or die "link: $!";
$t->admin("ALTER SYSTEM SET ondatra.secret_env = 'ONDATRA_PROBE=ann\@127.0.0.1'; ALTER SYSTEM SET ondatra.secret_dir = '$dir/secrets=ann\@127.0.0.1'; SELECT pg_reload_conf()");
$t->poll(sub { $t->admin('SHOW ondatra.secret_dir') ne '' }) or die 'not reloaded';
sub asks {
    my ($role, $host, $reference, %more) = @_;
    my $auth = %more ? \%more : {type => 'bearer', token => $reference};
    my $name = 'x' . ++$t->{asked};
    $t->reset_destination;
    my (undef, $out, $err) = $t->psql_as($role, 'SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => $name, base_url => "http://$host:$t->{port}", auth => $auth)
        . "); SELECT ok FROM ondatra.test_destination('$name')");
    my ($request) = $t->requests(path => '^/$');
    return defined $request ? $request->{headers}{authorization} // 'nothing' : $err =~ /ERROR:  (.*)/ ? $1 : "$out$err";
}
is(asks('ann', '127.0.0.1', {env => 'ONDATRA_PROBE'}), 'Bearer from-the-environment', 'a variable that is listed');
is(asks('bob', '127.0.0.1', {env => 'ONDATRA_PROBE'}), 'environment variable "ONDATRA_PROBE" may not be used by role "bob" for host "127.0.0.1"', 'not for another role');
is(asks('ann', 'localhost', {env => 'ONDATRA_PROBE'}), 'environment variable "ONDATRA_PROBE" may not be used by role "ann" for host "localhost"', 'nor for another host');
is(asks('ann', '127.0.0.1', {env => 'ONDATRA_OTHER'}), 'environment variable "ONDATRA_OTHER" may not be used by role "ann" for host "127.0.0.1"', 'nor another variable');
is(asks('ann', '127.0.0.1', {file => "$dir/secrets/token"}), 'Bearer of-the-file-secrets/token', 'a file below a directory that is listed');
for my $case (['bob', '127.0.0.1', 'secrets/token', 'not for another role'], ['ann', 'localhost', 'secrets/token', 'nor for another host'], ['ann', '127.0.0.1', 'secrets2/token', 'nor in a directory whose name begins so'],
    ['ann', '127.0.0.1', 'secrets/../other', 'nor by way of ..'], ['ann', '127.0.0.1', 'secrets/link', 'nor by a link'], ['ann', '127.0.0.1', 'secrets/none', 'nor is told which files there are']) {
    my ($role, $host, $file, $name) = @$case;
    is(asks($role, $host, {file => "$dir/$file"}), "file \"$dir/$file\" may not be used by role \"$role\" for host \"$host\"", "a file: $name");
}
# what the token endpoint gets is allowed for its host
my %token = (type => 'oauth2_client_credentials', client_id => 'a', client_secret => {env => 'ONDATRA_PROBE'});
is(asks('ann', '127.0.0.1', undef, %token, token_url => "http://localhost:$t->{port}/token") =~ s/^.*?(?=environment)//r,
    'environment variable "ONDATRA_PROBE" may not be used by role "ann" for host "localhost"', 'what is for a token endpoint is allowed by its host');

# --- the key of stored secrets is the server user's alone
my $key_file = $t->node->data_dir . '/ondatra.key';
is(asks('ann', '127.0.0.1', {secret => 'client'}), 'Bearer x', 'a stored secret');
chmod 0640, $key_file or die "$key_file: $!";
is(asks('ann', '127.0.0.1', {secret => 'client'}), 'key file "ondatra.key" may be read by others than the server\'s user', 'not with a key file that others may read');
chmod 0600, $key_file or die "$key_file: $!";
is(asks('ann', '127.0.0.1', {secret => 'client'}), 'Bearer x', 'until nobody else may');
done_testing;
