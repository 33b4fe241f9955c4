# The clock: time zones and summer time move no due time of an interval; a clock that is set forward is made up for by one run, one that is set back is waited for.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;

# --- summer time: due times are in UTC, whatever zone the server, the database, the owner or the one who asks lives in
my $year = 1 + (gmtime)[5] + 1900 - 2;
my %anchors = (winter => "$year-01-15 01:30:00+00", summer => "$year-07-15 01:30:00+00"); # from now, one of them is on the other side of a change
quick_sync($t, 'lives', schedule => '1 day');
sub ran { my ($name, $n) = @_; return $t->poll_sql("SELECT count(*) >= $n FROM ondatra.sync_runs WHERE sync_name = '$name' AND finished_at IS NOT NULL", 't') }
ran('lives', 1);
for my $zone ('Europe/Berlin', 'America/St_Johns', 'Australia/Lord_Howe') {
    $t->admin("ALTER SYSTEM SET TimeZone = '$zone'; ALTER DATABASE postgres SET TimeZone = '$zone'; ALTER ROLE ann SET TimeZone = '$zone'");
    $t->node->reload;
    for my $season (sort keys %anchors) {
        for my $schedule ('1 day', '1 week', '1 month') {
            # the schedule as it would be had it been made then, and late by now
            $t->sql("SELECT ondatra.update_sync('lives', schedule => '$schedule')");
            my $runs = $t->admin("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'lives'");
            $t->admin("UPDATE ondatra.all_syncs SET anchor = '$anchors{$season}', next_run_at = now() - interval '1 second' WHERE name = 'lives'");
            $t->sql("SELECT ondatra.trigger_sync('lives')");
            $t->poll_sql("SELECT next_run_at > now() AND (SELECT count(*) > $runs FROM ondatra.sync_runs r WHERE r.sync_name = 'lives' AND r.finished_at IS NOT NULL) FROM ondatra.syncs WHERE name = 'lives'", 't');
            my $due = $t->sql("SET TimeZone = 'Asia/Kolkata'; SELECT to_char(next_run_at AT TIME ZONE 'UTC', 'HH24:MI:SS.US') FROM ondatra.syncs WHERE name = 'lives'");
            is($due, '01:30:00.000000', "$schedule, made in $season, of somebody in $zone: at the same time in Greenwich");
        }
    }
    is($t->admin("SELECT mod(extract(epoch FROM next_run_at - anchor)::bigint, 3600) FROM ondatra.all_syncs WHERE name = 'lives'"), '0', "$zone: by whole hours from where it began");
}
$t->sql("SET TimeZone = 'Pacific/Auckland'; SELECT ondatra.update_sync('lives', schedule => '1 day')");
my $before = $t->admin("SELECT to_char(next_run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM ondatra.all_syncs WHERE name = 'lives'");
$t->admin('ALTER SYSTEM RESET TimeZone; ALTER DATABASE postgres RESET TimeZone; ALTER ROLE ann RESET TimeZone');
$t->node->restart;
is($t->admin("SELECT to_char(next_run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM ondatra.all_syncs WHERE name = 'lives'"), $before, 'another zone at the next start moves nothing');
$t->sql("SELECT ondatra.pause_sync('lives')");

# --- a clock that is set: seen from the catalog, all times move the other way. Whatever has the scheduler look makes it see that.
my $move = sub {
    $t->admin("UPDATE ondatra.all_syncs SET anchor = anchor $_[0], next_run_at = next_run_at $_[0] WHERE name = 'hourly';
        UPDATE ondatra.all_runs SET queued_at = queued_at $_[0], started_at = started_at $_[0], finished_at = finished_at $_[0] WHERE sync_name = 'hourly'");
    $t->run('marker');
};
quick_sync($t, $_) for 'marker';
quick_sync($t, 'hourly', schedule => '1 hour');
ran('hourly', 1);
my $runs = "SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'hourly'";
my $anchored = "SELECT mod(extract(epoch FROM next_run_at - anchor)::bigint, 3600) = 0 AND next_run_at > now() AND next_run_at <= now() + interval '1 hour' FROM ondatra.all_syncs WHERE name = 'hourly'";
is($t->admin($anchored), 't', 'it has run, and is due in an hour');
$move->("- interval '5 hours 20 minutes'");
$t->poll_sql("$runs AND finished_at IS NOT NULL AND trigger = 'schedule'", '2', 'the clock is set forward by five hours: what fell due is made up for');
is($t->admin($anchored), 't', 'the next is where it would have been');
$t->run('marker');
is($t->admin($runs), '2', 'by one run');
$move->("+ interval '3 hours'");
is($t->admin("SELECT next_run_at > now() + interval '3 hours' FROM ondatra.all_syncs WHERE name = 'hourly'"), 't', 'the clock is set back by three hours: it waits for the time that was due');
$t->run('marker');
is($t->admin($runs), '2', 'nothing runs by itself');
$t->sql("UPDATE mart.hourly SET v = 'new' WHERE id = 1");
$t->run_is($t->run('hourly'), {status => 'succeeded', rows_updated => 1}, 'a run that somebody asks for');
is($t->admin($anchored), 't', 'after which it is due within the hour again');
$t->no_violations;
done_testing;
