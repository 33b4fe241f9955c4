package Ondatra::Test;

# A server with the extension, the scripted destination beside it, and the questions that tests ask of both.
#
#   my $t = Ondatra::Test->new;                         # or: conf => "...", tls => 1
#   $t->sql("CREATE TABLE ...");                        # as ann, who owns schema mart; admin(): as superuser
#   $t->destination('api', {object => {...}});          # base_url: the scripted destination
#   $t->script({method => 'PUT', answer => {...}});     # test/server/README.md
#   my $run = $t->run('sync');                          # run_sync: the row of sync_runs, its counts checked
#   $run = $t->retry('sync');                           # retry_failed, and a run
#
# Tests poll conditions, with poll_sql and poll; nothing sleeps for a fixed time. What is started here is stopped at the end of the test.

use strict;
use warnings FATAL => 'all';

use File::Temp ();
use FindBin;
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

our $SECONDS = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180;
my $json = JSON::PP->new->canonical->allow_nonref;
my $json_text = JSON::PP->new->utf8->canonical->allow_nonref;
my @children;
my $own_pid = $$;
# Names of tests may have any letter: what takes their output (PostgreSQL::Test::SimpleTee, from an INIT of PostgreSQL::Test::Utils) writes to these handles.
INIT {
    my %seen;
    for my $output (Test::More->builder->output, Test::More->builder->failure_output, Test::More->builder->todo_output) {
        my $tee = tied *$output;
        binmode $_, ':encoding(UTF-8)' for grep { !$seen{$_}++ } $tee ? @$tee : ();
    }
}
# A test that is told to end ends what it has started.
$SIG{TERM} = $SIG{INT} = sub { die "ended by a signal\n" };

sub new {
    my ($class, %args) = @_;
    my $self = bless {dir => File::Temp::tempdir('ondatra.XXXXXX', DIR => $PostgreSQL::Test::Utils::tmp_check), n => 0}, $class;
    my $node = $self->{node} = PostgreSQL::Test::Cluster->new($args{name} || 'main');
    my $certs = $args{tls} ? $self->certificates : undef;
    $node->init(extra => ['--encoding=UTF8', '--locale=C']);
    $node->append_conf('postgresql.conf', join "\n",
        "shared_preload_libraries = 'ondatra'", "ondatra.allowed_hosts = '127.0.0.1, localhost'", 'max_worker_processes = 24',
        $certs ? "ondatra.ca_file = '$certs->{ca}'" : '', $args{conf} || '', '');
    $node->start;
    $self->admin('CREATE EXTENSION ondatra');
    $self->admin('CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; CREATE SCHEMA mart AUTHORIZATION ann; GRANT USAGE ON SCHEMA ondatra TO ann, bob');
    $self->start_destination($certs ? ('--tls', $certs->{cert}, $certs->{key}) : ());
    return $self;
}

sub node { return $_[0]->{node} }
sub json_of { my (undef, $value) = @_; return $json->encode($value) }

# --- processes -----------------------------------------------------------------------------------------------

sub spawn {
    my ($log, @command) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        eval { open STDOUT, '>>', $log and open STDERR, '>&', \*STDOUT and exec @command };
        POSIX::_exit(127);
    }
    push @children, $pid;
    return $pid;
}

# A process that has ended will not become ready.
sub alive {
    my ($pid) = @_;
    return 1 if waitpid($pid, POSIX::WNOHANG) == 0;
    @children = grep { $_ != $pid } @children;
    return 0;
}

END {
    return if $$ != $own_pid;
    my $status = $?;
    kill 'TERM', @children;
    waitpid $_, 0 for @children;
    $? = $status;
}

sub stop_process {
    my ($self, $pid) = @_;
    kill 'TERM', $pid;
    waitpid $pid, 0;
    @children = grep { $_ != $pid } @children;
}

# After the postmaster was killed: as soon as its children are gone, too.
sub start_again {
    my ($self) = @_;
    my $node = $self->{node};
    return $self->poll(sub { $node->start(fail_ok => 1) || do { $node->{_pid} = undef; 0 } }) || die 'the server does not start';
}

# A process of somebody else's has ended: also when its parent died and nobody has taken note of its end yet.
sub has_ended {
    my ($pid) = @_;
    return !kill(0, $pid) || slurp("/proc/$pid/stat") =~ /\) Z /;
}

sub slurp {
    my ($path) = @_;
    open my $fh, '<', $path or return '';
    local $/;
    return scalar(<$fh>) // ''; # a process may end while its file in /proc is read
}

# True as soon as the code returns true; after the time-out false, and the test says so.
sub poll {
    my ($self, $code, $name) = @_;
    my $end = time + $SECONDS;
    my $value;
    usleep(20_000) while !($value = $code->()) && time < $end;
    ok($value, $name) if defined $name;
    return $value;
}

# --- SQL: statements are characters, results are UTF-8 bytes unless they come by rows() -----------------------------------------------------------------------------------------------------

sub psql_as {
    my ($self, $role, $sql) = @_;
    utf8::encode($sql);
    return $self->psql_in('postgres', $role, $sql);
}

# Bytes to a database. A psql that could not connect may have ended before its SQL is written to it.
sub psql_in {
    my ($self, $database, $role, $sql, %more) = @_;
    my @ended = eval { $self->{node}->psql($database, $sql, extra_params => ['-U', $role], timeout => $SECONDS, %more) };
    return @ended if @ended;
    die $@ if $@ !~ /Broken pipe/;
    return (2, '', "connection to server: $@");
}

sub sql_as {
    my ($self, $role, $sql) = @_;
    my ($status, $out, $err) = $self->psql_as($role, $sql);
    die "$sql\n$err\n" if $status;
    note($err) if length $err;
    return $out;
}

sub superuser { return $_[0]->{superuser} ||= getpwuid $> }
sub admin { my ($self, $sql) = @_; return $self->sql_as($self->superuser, $sql) }
sub sql { my ($self, $sql) = @_; return $self->sql_as('ann', $sql) }

# A statement that must fail: its whole error text against a pattern.
sub sql_fails {
    my ($self, $sql, $pattern, $name) = @_;
    my ($status, undef, $err) = $self->psql_as('ann', $sql);
    return ok($status && $err =~ $pattern, $name) || diag("status $status: $err");
}

# A query's rows as hashes.
sub rows {
    my ($self, $query) = @_;
    return @{ $json_text->decode($self->sql("SELECT coalesce(json_agg(q), '[]') FROM ($query) q")) };
}

# While a server begins again after a crash it refuses connections, or ends them.
sub poll_sql {
    my ($self, $sql, $expected, $name) = @_;
    my ($status, $last, $err);
    my $ok = $self->poll(sub {
        ($status, $last, $err) = $self->psql_as('ann', $sql);
        die "$sql\n$err\n" if $status && $err !~ /connection to server|server closed the connection|terminating connection/;
        return !$status && $last eq $expected;
    });
    return is($ok ? $expected : $status ? $err : $last, $expected, $name || $sql);
}

sub literal {
    my ($value) = @_;
    return 'NULL' unless defined $value;
    $value = $json->encode($value) if ref $value;
    $value =~ s/'/''/g;
    return $value =~ /\\/ ? do { $value =~ s/\\/\\\\/g; "E'$value'" } : "'$value'";
}

sub arguments {
    my (%args) = @_;
    return join ', ', map {
        my $value = $args{$_};
        "$_ => " . (ref $value eq 'SCALAR' ? $$value : $_ eq 'key' && ref $value eq 'ARRAY' ? 'ARRAY[' . join(', ', map { literal($_) } @$value) . ']::text[]'
            : literal($value))
    } sort keys %args;
}

# --- destinations, syncs, runs -------------------------------------------------------------------------------

our $RETRY = {attempts => 3, base_ms => 10, max_ms => 50};
sub put_object { return {upsert => {method => 'PUT', path => '/contacts/{{key}}'}, delete => {method => 'DELETE', path => '/contacts/{{key}}'}} }

# options default to PUT and DELETE of /contacts/{{key}}, and to quick retries.
sub destination {
    my ($self, $name, $options, %args) = @_;
    my %options = (object => put_object(), retry => $RETRY, timeout_ms => 20000, %{ $options || {} });
    return $self->sql('SELECT ondatra.create_destination(' . arguments(name => $name, base_url => $self->url, options => \%options, %args) . ')');
}

# Models of tests are small and often emptied and edited: guards that would hold that are off, unless guards => 1.
# A shipped connector under another name, whose jobs are asked about every 20 ms.
sub hurried {
    my ($self, $connector) = @_;
    $self->sql(qq{SELECT ondatra.create_connector('${connector}_hurried', regexp_replace(spec::text, '"every_ms": [0-9]+', '"every_ms": 20', 'g')::jsonb) FROM ondatra.connectors WHERE name = '$connector'});
    return "${connector}_hurried";
}

sub sync {
    my ($self, $name, $model, $destination, %args) = @_;
    if (!delete $args{guards}) {
        my $options = $args{options} // {};
        $args{options} = {on_empty => 'run', on_config_change => 'resend', %{ ref $options ? $options : $json->decode($options) }};
    }
    return $self->sql('SELECT ondatra.create_sync(' . arguments(name => $name, model => $model, destination => $destination, key => ['id'], %args) . ')');
}

# Runs and waits; the run's row as a hash. Its counts have to add up.
sub run {
    my ($self, $name, %args) = @_;
    my $text = $self->sql('SELECT to_json(r) FROM ondatra.run_sync(' . arguments(name => $name, timeout => "$SECONDS seconds", %args) . ') r');
    my $run = $json_text->decode($text);
    note("run $run->{run_id} of $name: $run->{status}" . ($run->{error_message} ? ": $run->{error_message}" : ''));
    $self->check_counts($run->{run_id});
    return $run;
}

# retry_failed and a run. The server may have begun a run by itself in between: the counts of what was sent are summed over the runs since.
sub retry {
    my ($self, $name) = @_;
    my $last = $self->sql('SELECT coalesce(max(run_id), 0) FROM ondatra.sync_runs');
    my $released = $self->sql('SELECT ondatra.retry_failed(' . literal($name) . ')');
    my $run = $self->run($name);
    my $since = 'FROM ondatra.sync_runs WHERE run_id > ' . $last . ' AND sync_name = ' . literal($name);
    $self->poll(sub { $self->sql("SELECT count(*) $since AND finished_at IS NULL") eq '0' }) or die "a run of $name does not end";
    $self->check_counts($_) for grep { $_ != $run->{run_id} } split /\n/, $self->sql("SELECT run_id $since");
    my ($sums) = $self->rows('SELECT ' . join(', ', map { "sum($_)::bigint AS $_" } qw(rows_created rows_updated rows_deleted rows_failed requests retries)) . " $since");
    my ($end) = $self->rows("SELECT status, error_message, error_detail $since ORDER BY run_id DESC LIMIT 1");
    return {%$run, %$sums, %$end, released => $released};
}

# rows_scanned = unchanged + created + updated + failed + invalid + held_back + skipped + pending
sub check_counts {
    my ($self, $run_id) = @_;
    my $sum = join ' + ', map { "rows_$_" } qw(unchanged created updated failed invalid held_back skipped pending);
    my $row = $self->admin("SELECT rows_scanned || ' = ' || ($sum) || CASE WHEN rows_scanned = $sum THEN '' ELSE ' ' || to_json(r)::text END "
        . "FROM ondatra.sync_runs r WHERE run_id = $run_id");
    my ($scanned, $parts) = $row =~ /^(\d+) = (\d+)/;
    return ok(defined $scanned && $scanned == $parts, "the counts of run $run_id add up") || diag($row);
}

# Some columns of a run against what they should be.
sub run_is {
    my ($self, $run, $expected, $name) = @_;
    my %seen = map { $_ => $run->{$_} } keys %$expected;
    return is_deeply(\%seen, $expected, $name) || diag($json->encode($run));
}

sub failed_rows {
    my ($self, $sync) = @_;
    return $self->rows("SELECT * FROM ondatra.failed_rows WHERE sync_name = " . literal($sync) . ' ORDER BY key::text');
}

# --- the scripted destination --------------------------------------------------------------------------------

sub start_destination {
    my ($self, @arguments) = @_;
    my $dir = "$self->{dir}/destination" . ++$self->{n};
    mkdir $dir;
    my $program = "$FindBin::Bin/../server/destination.py";
    $self->{destination_pid} = spawn("$self->{dir}/destination.log", $ENV{PYTHON} || 'python3', $program, '--dir', $dir, @arguments);
    $self->poll(sub { -s "$dir/port" || !alive($self->{destination_pid}) });
    -s "$dir/port" or die 'the scripted destination did not start: ' . slurp("$self->{dir}/destination.log");
    chomp($self->{port} = slurp("$dir/port"));
    chomp($self->{tls_port} = slurp("$dir/tls_port")) if -s "$dir/tls_port";
    return;
}

sub url { return "http://127.0.0.1:$_[0]->{port}" }
sub tls_url { return "https://localhost:$_[0]->{tls_port}" }

sub control {
    my ($self, $method, $what, $content) = @_;
    my %options = defined $content ? (content => $json_text->encode($content), headers => {'content-type' => 'application/json'}) : ();
    my $answer = HTTP::Tiny->new(timeout => $SECONDS)->request($method, $self->url . "/_control/$what", \%options);
    die "$method $what: $answer->{status} $answer->{content}" unless $answer->{success};
    return $json_text->decode($answer->{content});
}

sub look {
    my ($self, $what, %query) = @_;
    my $query = join '&', map { "$_=" . encode_query($query{$_}) } sort keys %query;
    return $self->control('GET', $query ? "$what?$query" : $what);
}

sub encode_query { my ($text) = @_; utf8::encode($text); $text =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge; return $text }

# Rules replace the ones before; a leading hash with "rules" is a whole program.
sub script {
    my ($self, @rules) = @_;
    return $self->control('POST', 'script', @rules == 1 && $rules[0]{rules} ? $rules[0] : {rules => \@rules});
}

sub requests { my ($self, %query) = @_; return @{ $self->look('requests', %query)->{requests} } }
sub count_requests { my ($self, %query) = @_; return $self->look('requests', %query, count => 1)->{count} }
sub state { return $_[0]->look('state') }
sub records { my ($self, $collection) = @_; return $self->look('records', collection => $collection || 'contacts') }
sub release { return $_[0]->control('POST', 'release') }
sub reset_destination { return $_[0]->control('POST', 'reset') }

sub no_violations {
    my ($self, $name) = @_;
    my $found = $self->look('violations');
    return is($found->{count}, 0, $name || 'the destination saw nothing wrong') || diag(explain($found->{violations}));
}

# --- TLS and nginx -------------------------------------------------------------------------------------------

# An authority of our own, and what it signed: cert/key for localhost and 127.0.0.1, other_cert for another name, stranger signed by nobody.
sub certificates {
    my ($self) = @_;
    return $self->{certs} if $self->{certs};
    my $dir = "$self->{dir}/certs";
    mkdir $dir;
    my %made = (ca => "$dir/ca.pem", key => "$dir/key.pem");
    my @new_key = qw(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3);
    openssl('req', '-x509', @new_key, '-subj', '/CN=Test authority', '-keyout', "$dir/ca.key", '-out', $made{ca});
    openssl('req', @new_key[0 .. 4], '-subj', '/CN=localhost', '-keyout', $made{key}, '-out', "$dir/request.pem");
    for my $one (['cert', 'DNS:localhost,IP:127.0.0.1'], ['other_cert', 'DNS:other.example.com']) {
        my ($name, $names) = @$one;
        $made{$name} = "$dir/$name.pem";
        append_to_file("$dir/$name.ext", "subjectAltName=$names\n");
        openssl('x509', '-req', '-in', "$dir/request.pem", '-CA', $made{ca}, '-CAkey', "$dir/ca.key", '-CAcreateserial', '-days', 3, '-extfile',
            "$dir/$name.ext", '-out', $made{$name});
    }
    $made{stranger} = "$dir/stranger.pem";
    openssl('req', '-x509', '-key', $made{key}, '-days', 3, '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-out', $made{stranger});
    return $self->{certs} = \%made;
}

sub openssl {
    my @command = ('openssl', @_);
    my $out = '';
    IPC::Run::run(\@command, '>', \$out, '2>', \$out) or die "@command: $out";
    return;
}

sub nginx_program { my ($found) = grep { -x } qw(/usr/sbin/nginx /usr/bin/nginx /usr/local/sbin/nginx); return $found }
sub free_port { return PostgreSQL::Test::Cluster::get_free_port() }

# Starts nginx with the given contents of http {}; every port named there must be listening before this returns. %args: ports => [...].
sub start_nginx {
    my ($self, $http, %args) = @_;
    my $dir = "$self->{dir}/nginx" . ++$self->{n};
    mkdir $dir;
    my $temp = join "\n", map { "  ${_}_temp_path $dir/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    append_to_file("$dir/nginx.conf", <<"CONF");
daemon off;
worker_processes 1;
pid $dir/nginx.pid;
error_log $dir/error.log;
events { worker_connections 256; }
http {
  log_format protocol '\$server_protocol \$request_method \$uri \$status \$connection';
  access_log $dir/access.log protocol;
$temp
$http
}
CONF
    my $pid = spawn("$dir/output.log", nginx_program(), '-e', "$dir/error.log", '-p', $dir, '-c', "$dir/nginx.conf");
    for my $port (@{ $args{ports} }) {
        my $answers = sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 2) };
        $self->poll(sub { $answers->() || !alive($pid) });
        $answers->() or die 'nginx did not start: ' . slurp("$dir/output.log") . slurp("$dir/error.log");
    }
    return {pid => $pid, dir => $dir, access_log => "$dir/access.log"};
}

1;
