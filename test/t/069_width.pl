# Views for a person at a terminal: psql shows their rows in 120 columns, however long the texts behind them are.

use strict;
use utf8;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->destination('a_crm_of_twenty_char');
my %long = (name => 'customers_to_the_crm', status => 'customers_crm_eu1');
$t->sync($_, 'SELECT 1 AS id', 'a_crm_of_twenty_char', paused => 'true') for values %long;
my $words = 'connection to https://crm.example.com/v3/objects/contacts/batch/upsert failed: ' . 'the server closed it without a word ' x 40;

# Committed nowhere: what a server has after some years.
my $rows = <<"SQL";
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO ondatra.all_runs (run_id, sync_id, sync_name, owner, status, trigger, queued_at, started_at, finished_at, rows_scanned, rows_pending, deletes_pending, error_message)
  SELECT 1234560 + sync_id, sync_id, name, owner, 'interrupted', 'schedule', now(), now() - interval '1.3 s', now(), 4821000, 4820999, 4001, '$words' FROM ondatra.all_syncs;
UPDATE ondatra.all_syncs SET state = 'archived', last_run_id = 1234560 + sync_id, next_run_at = now() + interval '3 days';
INSERT INTO ondatra.all_failed_rows (sync_id, key, operation, error_class, error_message, attempts, first_failed_at, last_failed_at, run_id)
  SELECT sync_id, jsonb_build_object('id', i), 'update', 'unavailable', '$words', 12, now(), now(), 1 FROM ondatra.all_syncs, generate_series(1, 12000) i;
INSERT INTO ondatra.all_alerts (sync_id, problem, since, run_id, message, told, told_at, attempts, next_attempt_at, last_error)
  SELECT sync_id, 'partial', now(), 1234567, 'run 1234567 failed, as the 11 before it: $words', 'partial', now(), 1200, now(), '$words' FROM ondatra.all_syncs;
CREATE OR REPLACE FUNCTION ondatra.live_runs(
    OUT run_id bigint, OUT sync_id bigint, OUT pid int, OUT phase text, OUT rows_scanned bigint, OUT to_create bigint, OUT to_update bigint,
    OUT to_delete bigint, OUT sent bigint, OUT failed bigint, OUT in_flight bigint, OUT requests_per_s float8, OUT throttled_until timestamptz,
    OUT queued_at timestamptz, OUT started_at timestamptz)
  RETURNS SETOF record LANGUAGE sql AS \$\$
  SELECT 1234567, s.sync_id, 2345678, phase, 48210000, 21900000, 21900000, 1900000, 41900000, 123456, 64, 1234.56789,
         CASE WHEN phase = 'sending' THEN clock_timestamp() + interval '899.5 s' END, now(), now() - interval '23:59:01.5'
  FROM ondatra.all_syncs s, unnest('{starting,sending,finishing}'::text[]) phase WHERE s.name = '$long{name}' \$\$;
SQL

# Lines as psql prints them to a terminal, of a query in that transaction.
sub lines {
    my ($query, $width) = @_;
    my ($out, $err) = ('', '');
    my $script = "\\pset pager off\n\\o /dev/null\n${rows}SET TimeZone = 'Asia/Kolkata';\n\\o\n$query;\nROLLBACK;\n";
    utf8::encode($script);
    IPC::Run::run(['psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $t->node->connstr('postgres'), '-U', $t->superuser], '<', \$script, '>', \$out, '2>', \$err) or die $err;
    utf8::decode($out);
    return split /\n/, $out;
}

sub fits {
    my ($query, $n) = @_;
    my @lines = lines($query);
    my ($widest) = sort { $b <=> $a } map { length } @lines;
    is(scalar(grep { /\|/ } @lines), $n + 1, "$query: its rows are there") || diag(join "\n", @lines);
    return cmp_ok($widest, '<=', 120, "$query: fits 120 columns") || diag(join "\n", @lines);
}

fits("SELECT * FROM ondatra.sync_status WHERE name = '$long{status}'", 1);
fits('SELECT * FROM ondatra.run_progress', 3);
fits("SELECT * FROM ondatra.alerts WHERE sync_name = '$long{name}'", 1);
fits('SELECT * FROM ondatra.secrets', 0);
fits('SELECT name, problem, since, told FROM ondatra.sync_status JOIN ondatra.alerts ON sync_name = name', 2);

# What is cut there is whole elsewhere.
like(join("\n", lines('SELECT message FROM ondatra.alerts')), qr/^ run 1234567 failed, as the 11 before it:\.\.\.$/m, 'alerts: the message is cut');
is(scalar(grep { index($_, "before it: $words") > 0 } lines('SELECT message FROM ondatra.alert_messages')), 2, 'alert_messages: it is whole');
like(join("\n", lines('SELECT phase, to_send, per_s FROM ondatra.run_progress ORDER BY phase')), qr/finishing.*45700000.*1234\.6.*\n starting.*\n waits (899|900)s /,
    'run_progress: what it adds up, and how long a run waits');
like((lines("SELECT last_run_at = date_trunc('second', now() - interval '1.3 s') AND next_run_at > now() FROM ondatra.sync_status LIMIT 1"))[2], qr/^ t$/, 'sync_status: times are times of the session');
done_testing;
