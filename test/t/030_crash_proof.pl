# Crash proof: run workers, the postmaster and the destination die at random moments of runs, and between crash and recovery values go back (A, B, A), rows
# leave and return, syncs are edited. After recovery the destination equals the model, what was repeated had no recorded answer, and no newer version
# was overtaken by an older one, although old requests take effect up to three seconds after their sender has died. lib/Ondatra/Crash.pm has the rules.
#
# As part of the suite: 50 kills, or as many as 45 seconds allow. The long form, hundreds of kills in a few minutes:
#
#   ONDATRA_CRASH_ROUNDS=400 ONDATRA_TESTS=030 bash scripts/check.sh tap
#
# It prints its seed; ONDATRA_CRASH_SEED=<seed> makes the same plan again. ONDATRA_CRASH_SECONDS limits the time of the long form, too.

use strict;
use warnings FATAL => 'all';
use Ondatra::Crash;
use Test::More;
use Time::HiRes qw(time);

my $ROUNDS_A_SETTLEMENT = 10;

my $seed = $ENV{ONDATRA_CRASH_SEED} || 1 + int(time * 1000) % 1_000_000_000;
my $rounds = $ENV{ONDATRA_CRASH_ROUNDS} || 50;
my $seconds = $ENV{ONDATRA_CRASH_SECONDS} || ($ENV{ONDATRA_CRASH_ROUNDS} ? 86400 : 45);
note("seed $seed");

my $h = Ondatra::Crash->new(seed => $seed);
my $began = time;
while ($h->n_kills < $rounds && (time - $began < $seconds || $h->n_kills < $ROUNDS_A_SETTLEMENT)) {
    next if !$h->round;
    $h->settle if $h->n_kills % $ROUNDS_A_SETTLEMENT == 0;
}
$h->settle;
note(sprintf 'seed %d, %.0f s: %s', $seed, time - $began, $h->summary);
cmp_ok($h->n_kills, '>=', $ROUNDS_A_SETTLEMENT, 'there were kills');
done_testing;
