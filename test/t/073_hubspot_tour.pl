# The tutorial's HubSpot, pasted: its mock is Prism, made of HubSpot's description as the page says.
#
# needs npm: @stoplight/prism-cli@5.14.2
#
# ONDATRA_APIS names the folder that has the description, as for 050_contracts.pl.

use strict;
use warnings FATAL => 'all';
use FindBin;
use IO::Socket::INET;
use Ondatra::Test;
use Test::More;

my $apis = $ENV{ONDATRA_APIS};
plan skip_all => 'no description of HubSpot: set ONDATRA_APIS to a folder that has hubspot.json' unless defined $apis && -f "$apis/hubspot.json";
my ($prism) = grep { -f } map { "$_/node_modules/\@stoplight/prism-cli/dist/index.js" } $ENV{ONDATRA_NPM_DIR} || '/var/tmp/ondatra-npm';
plan skip_all => 'npm has not installed prism' unless $prism;

my $t = Ondatra::Test->new;
my $page = Ondatra::Test::slurp("$FindBin::Bin/../../doc/tutorial.md");
my ($prepare) = $page =~ /^```sh hubspot\n(.*?)^```$/ms;
my $script = join '', $page =~ /^```sql(?: hubspot)?\n(.*?)^```$/msg;

open my $in, '>', "$t->{dir}/hubspot.json" or die $!;
print $in Ondatra::Test::slurp("$apis/hubspot.json");
close $in;
is(system('sh', '-c', "cd '$t->{dir}' && $prepare"), 0, 'the description gets its examples');
my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "socket: $!";
my $port = $socket->sockport;
close $socket;
my $log = "$t->{dir}/prism.log";
my $pid = Ondatra::Test::spawn($log, 'node', $prism, 'mock', '-h', '127.0.0.1', '-p', $port, "$t->{dir}/mock.json");
$t->poll(sub { Ondatra::Test::slurp($log) =~ /Prism is listening/ || !Ondatra::Test::alive($pid) });

$script =~ s{http://127\.0\.0\.1:4010}{http://127.0.0.1:$port}g or die 'doc/tutorial.md has no address to replace';
$t->admin('CREATE DATABASE tour OWNER ann');
$t->node->safe_psql('tour', 'CREATE EXTENSION ondatra');
my ($out, $err) = ('', '');
my $status = $t->node->psql('tour', $script, extra_params => ['-U', 'ann'], stdout => \$out, stderr => \$err, timeout => $Ondatra::Test::SECONDS);
ok(!$status && $err !~ /ERROR|WARNING/, 'its SQL runs') || diag($err);
like($out, qr/^partial\|247\|2\|1$/m, 'three rows fail as it shows');
like($out, qr/^user1\@example\.com\|rejected\|422\|.+\nuser2\@example\.com\|rejected\|422\|.+\n\|invalid\|\|a column of the key is NULL$/m, 'and say why');
like($out, qr/^succeeded\|3\n1\|user1\@example\.com\n/m, 'mended rows are sent, and records come back in FROM');
like($out, qr/^\{"email": "user250\@example\.com"\}\|missing\nsucceeded\|1$/m, 'what the list lacks is found and sent again');
$t->stop_process($pid);
done_testing;
