# What others do while a run goes on: reload, replace, alter and drop the model, edit, drop and pause the sync, empty or drop its state table.
# Nothing is deleted or lost by it, nothing is half-done, nobody waits for ever.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Ondatra::Test->new(conf => 'max_prepared_transactions = 2');
$t->destination('api');

# Nothing that the other session did went wrong.
sub done_well {
    my ($session, $name) = @_;
    my (undef, $err) = finish($session);
    return unlike($err, qr/ERROR|FATAL/, "$name: the other session is done");
}

# SQL that goes on when a run waits for a lock on the table (or what had its name at the beginning).
sub wait_for_waiter {
    my ($table) = @_;
    my $oid = $t->admin("SELECT '$table'::regclass::oid");
    return "DO \$\$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE relation = $oid AND NOT granted) LOOP PERFORM pg_sleep(0.01); END LOOP; END \$\$;\n";
}

sub is_locked {
    my ($table) = @_;
    return $t->poll(sub { $t->admin("SELECT count(*) FROM pg_locks WHERE relation = '$table'::regclass AND mode = 'AccessExclusiveLock' AND granted") eq '1' })
        || die "nobody locks $table";
}

# Starts a run whose first request gets no answer; its number.
sub hang {
    my ($sync) = @_;
    $t->script({method => ['PUT', 'DELETE'], answer => {apply => \1, misbehave => 'hang'}});
    my $run_id = $t->sql("SELECT run_id FROM ondatra.run_sync('$sync', wait => false)");
    $t->poll(sub { $t->state->{hanging} > 0 }) or die "run $run_id does not send";
    return $run_id;
}

sub go_on {
    $t->script;
    $t->release;
    return;
}

# The row of a run, when it has ended.
sub ended {
    my ($run_id) = @_;
    $t->poll(sub { $t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE run_id = $run_id AND finished_at IS NOT NULL") eq '1' }) or die "run $run_id does not end";
    $t->check_counts($run_id);
    my ($run) = $t->rows("SELECT * FROM ondatra.sync_runs WHERE run_id = $run_id");
    return $run;
}

# A mirror of 20 rows that are delivered.
sub delivered_mirror {
    my ($name, $columns, $model, %options) = @_;
    $t->reset_destination;
    $t->sql("CREATE TABLE mart.$name ($columns)") if $columns;
    $t->sql("INSERT INTO mart.$name SELECT i, 'v' FROM generate_series(90, 109) i");
    $t->sync($name, $model || "mart.$name", 'api', mode => 'mirror', options => {in_doubt_wait => '1ms', %options});
    $t->run_is($t->run($name), {rows_created => 20}, "$name: 20 rows are delivered");
    return 'state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = '$name'");
}

# --- reloads: a table that is truncated and filled again in one transaction is never empty for a run
$t->sql('CREATE TABLE mart.parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE mart.parts_a PARTITION OF mart.parts FOR VALUES FROM (0) TO (100); '
    . 'CREATE TABLE mart.parts_b PARTITION OF mart.parts FOR VALUES FROM (100) TO (200)');
delivered_mirror('parts');
$t->sql("CREATE TABLE mart.deep (id int PRIMARY KEY, v text); CREATE FUNCTION mart.read_deep() RETURNS TABLE (id int, v text) STABLE LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT i.id, i.v FROM mart.deep i; END'");
delivered_mirror('deep', undef, 'SELECT id, v FROM mart.read_deep() f');
for my $case (['parts', 'parts_b', 'a partition that is reloaded', 'TRUNCATE mart.parts_b; INSERT INTO mart.parts_b SELECT * FROM kept'],
    ['deep', 'deep', 'a table inside of a function that is reloaded', 'TRUNCATE mart.deep; INSERT INTO mart.deep SELECT * FROM kept'],
    ['deep', 'deep', 'a table that another one takes the place of',
        'CREATE TABLE mart.fresh AS SELECT * FROM kept; ALTER TABLE mart.deep RENAME TO shallow; ALTER TABLE mart.fresh RENAME TO deep']) {
    my ($sync, $table, $name, $reload) = @$case;
    my $loader = session($t, 'ann', "CREATE TEMP TABLE kept AS SELECT * FROM mart.$table; BEGIN; $reload;\n" . wait_for_waiter("mart.$table") . 'COMMIT;');
    is_locked("mart.$table");
    $t->run_is($t->run($sync), {status => 'succeeded', rows_unchanged => 20, rows_deleted => 0}, "$name is not empty");
    done_well($loader, $name);
}
{
    # Again and again: each loader takes the table when the run has read it in vain, and lets go when the next one is behind the run.
    my $waits = "FROM pg_locks WHERE relation = 'mart.parts_b'::regclass AND NOT granted AND mode";
    my $load = sub {
        return session($t, 'ann', "CREATE TEMP TABLE kept AS SELECT id, 'v' AS v FROM generate_series(100, 109) id; BEGIN; TRUNCATE mart.parts_b; INSERT INTO mart.parts_b SELECT * FROM kept;\n"
            . "DO \$\$ BEGIN WHILE NOT EXISTS (SELECT FROM ondatra.sync_runs WHERE sync_name = 'parts' AND status = 'failed') AND NOT (EXISTS (SELECT $waits = 'AccessShareLock') "
            . "AND EXISTS (SELECT $waits = 'AccessExclusiveLock')) LOOP PERFORM pg_sleep(0.01); END LOOP; END \$\$;\nCOMMIT;");
    };
    my @loaders = ($load->());
    is_locked('mart.parts_b');
    my $run_id = $t->sql("SELECT run_id FROM ondatra.run_sync('parts', wait => false)");
    for (1 .. 5) {
        $t->poll(sub { $t->admin("SELECT count(*) $waits = 'AccessShareLock'") eq '1' }) or die 'the run does not wait';
        push @loaders, $load->();
        $t->poll(sub { !is_running($loaders[-2]) }) or die 'the loader does not end';
    }
    my $run = ended($run_id);
    $t->run_is($run, {status => 'failed', error_code => '40001', requests => 0}, 'a model that is replaced all the time cannot be read');
    like($run->{error_message}, qr/replaced again and again/, 'the run says so');
    done_well($_, 'a loader') for @loaders;
    $t->run_is($t->run('parts'), {status => 'succeeded', rows_unchanged => 20}, 'and the sync goes on');
    is(scalar keys %{ $t->records }, 20, 'nothing was deleted');
}

# --- columns that change between the look at the model and its reading. The look is over when the run waits for the send windows.
{
    my $columns = 'id int PRIMARY KEY, v text';
    for my $case (['narrowed', "ALTER TABLE mart.narrowed ALTER v TYPE int USING 7", {status => 'failed', error_code => '42804'}, qr/"v" .* changed its type from text to integer/],
        ['renamed', 'ALTER TABLE mart.renamed RENAME v TO w', {status => 'failed', error_code => '42703'}, qr/\bv\b.* does not exist/],
        ['dropped', 'DROP TABLE mart.dropped', {status => 'failed', error_code => '42P01'}, qr/mart\.dropped/],
        ['widened', 'ALTER TABLE mart.widened ALTER id TYPE bigint', {status => 'failed', error_code => '42804'}, qr/"id"/],
        ['grown', "ALTER TABLE mart.grown ADD w int DEFAULT 7; ALTER TABLE mart.grown ALTER v TYPE varchar(5)", {status => 'succeeded', rows_updated => 20}, qr/^$/]) {
        my ($name, $ddl, $want, $message) = @$case;
        delivered_mirror($name, $columns);
        my $other = session($t, $t->superuser, "BEGIN; LOCK TABLE ondatra.send_windows IN ACCESS EXCLUSIVE MODE;\n" . wait_for_waiter('ondatra.send_windows') . "$ddl; COMMIT;");
        is_locked('ondatra.send_windows');
        my $run = $t->run($name);
        $t->run_is($run, {rows_deleted => 0, %$want}, "a table that is $name under the run");
        like($run->{error_message} // '', $message, "$name: what the run says");
        done_well($other, $name);
        is(scalar keys %{ $t->records }, 20, "$name: nothing was deleted");
    }
}

# --- the model is dropped while its rows are read, and while they are sent
{
    delivered_mirror('base', 'id int PRIMARY KEY, v text');
    $t->sql("CREATE TABLE mart.gate (); CREATE FUNCTION mart.slow(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM 1 FROM mart.gate; RETURN \$1; END'; "
        . 'CREATE VIEW mart.shown AS SELECT mart.slow(id) AS id, v FROM mart.base');
    $t->sync('shown', 'mart.shown', 'api', mode => 'mirror');
    my $gate = session($t, 'ann', "BEGIN; LOCK TABLE mart.gate IN ACCESS EXCLUSIVE MODE;\n" . wait_for_waiter('mart.gate') . wait_for_waiter('mart.shown') . 'COMMIT;');
    is_locked('mart.gate');
    my $run_id = $t->sql("SELECT run_id FROM ondatra.run_sync('shown', wait => false)");
    $t->poll(sub { $t->admin("SELECT count(*) FROM pg_locks WHERE relation = 'mart.gate'::regclass AND NOT granted") eq '1' }, 'a run reads its model');
    finish(session($t, 'ann', 'DROP VIEW mart.shown'));
    done_well($gate, 'the gate');
    $t->run_is(ended($run_id), {status => 'succeeded', rows_created => 20}, 'DROP waits for the reading, the run ends as it would have');
    my $run = $t->run('shown');
    $t->run_is($run, {status => 'failed', error_code => '42P01', requests => 0}, 'the next one fails');
    like($run->{error_message}, qr/model "mart.shown" does not exist/, 'and says why');
    $t->sql("UPDATE mart.base SET v = 'w'");
    $run_id = hang('base');
    $t->sql('DROP TABLE mart.base');
    go_on();
    $t->run_is(ended($run_id), {status => 'succeeded', rows_updated => 20, rows_deleted => 0}, 'a table that is dropped while its rows are sent');
    $t->run_is($t->run('base'), {status => 'failed', error_code => '42P01', rows_deleted => 0, requests => 0}, 'later it is missing, and nothing is deleted');
}

# --- edits beside a run: refused with the way out, or done at once; nothing is half-done
{
    my $state = delivered_mirror('edited', 'id int PRIMARY KEY, v text');
    $t->sql("UPDATE mart.edited SET v = 'w'");
    my $run_id = hang('edited');
    my $before = $t->sql("SELECT to_jsonb(s) - 'state' FROM ondatra.syncs s WHERE name = 'edited'");
    for my $edit ("update_sync('edited', options => '{\"batch_size\": 3}')", "update_sync('edited', key => '{v}', delivered => 'forget')", "rebase_sync('edited')",
        "resend_sync('edited')", "retry_failed('edited')", "discard_failed('edited')", "update_destination('api', base_url => 'http://127.0.0.1:9', delivered => 'forget')") {
        $t->sql_fails("SELECT ondatra.$edit", qr/sync "edited" is running.*DETAIL:  Run $run_id is going on.*HINT: .*cancel_run\($run_id\)/s, "beside a run: $edit");
    }
    $t->sql($_) for "SELECT * FROM ondatra.plan_sync('edited')", "SELECT * FROM ondatra.preview_sync('edited')", q{SELECT ondatra.explain_row('edited', '{"id": 90}')};
    is($t->sql("SELECT to_jsonb(s) - 'state' FROM ondatra.syncs s WHERE name = 'edited'"), $before, 'looking works, and nothing has changed');
    $t->sql("SELECT ondatra.trigger_sync('edited')");
    $t->sql("UPDATE mart.edited SET v = 'x' WHERE id = 90; SELECT ondatra.pause_sync('edited')");
    go_on();
    $t->run_is(ended($run_id), {status => 'succeeded', rows_updated => 20}, 'a paused sync ends its run');
    is($t->sql("SELECT state FROM ondatra.syncs WHERE name = 'edited'"), 'paused', 'and stays paused');
    quick_sync($t, 'other', options => {in_doubt_wait => '1ms'});
    $t->sql("SELECT ondatra.trigger_sync('other')");
    $t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'other' AND status = 'succeeded'", '1', 'others run');
    is($t->records->{90}{v}, 'w', 'what was asked for before the pause waits');
    $t->sql("SELECT ondatra.resume_sync('edited')");
    $t->poll(sub { $t->records->{90}{v} eq 'x' }, 'until somebody resumes the sync');
    $t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'nothing runs');

    # pause and drop in one transaction: the run that is cancelled wants to write what this transaction has locked
    $t->sql('CREATE TABLE mart.heard ()');
    my $listener = session($t, 'ann', "LISTEN ondatra;\nDO \$\$ BEGIN WHILE NOT EXISTS (SELECT FROM mart.heard) LOOP PERFORM pg_sleep(0.02); END LOOP; END \$\$;\nSELECT 1;\n");
    $t->poll_sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %mart.heard%'", '1', 'somebody listens');
    $t->sql("UPDATE mart.edited SET v = 'y'");
    $run_id = hang('edited');
    $t->sql("BEGIN; SELECT ondatra.pause_sync('edited'); SELECT ondatra.drop_sync('edited'); COMMIT");
    is($t->admin("SELECT count(*) FROM ondatra.syncs WHERE name = 'edited'") . $t->admin("SELECT count(*) FROM pg_class WHERE relname = '$state'"), '00', 'pause and drop in one transaction, beside a run');
    is($t->sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $run_id"), 'cancelled', 'its run is cancelled');
    go_on();
    quick_sync($t, 'told');
    my $other_id = hang('told');
    $t->sql("SELECT ondatra.drop_sync('told')");
    go_on();
    $t->sql('INSERT INTO mart.heard DEFAULT VALUES');
    my ($heard) = finish($listener);
    like($heard, qr/"run_id": $_, "sync_id": \d+, "status": "cancelled"/, 'and its end is told, as that of any run') for $run_id, $other_id;
    $t->sql_fails("BEGIN; SELECT ondatra.update_sync('other', options => '{\"batch_size\": 3}'); PREPARE TRANSACTION 'x'", qr/cannot PREPARE/, 'an edit cannot be left to a prepared transaction');
}

# --- requests: what commits while a run goes on is covered by another; a canary answers for nobody
{
    $t->reset_destination;
    my $late = session($t, 'ann', "BEGIN; UPDATE mart.other SET v = 'late' WHERE id = 2; SELECT ondatra.trigger_sync('other');\n" . wait_for_lock('mart.gate') . 'COMMIT;');
    $t->poll(sub { $t->admin("SELECT count(*) FROM pg_locks WHERE relation = 'mart.other'::regclass AND mode = 'RowExclusiveLock' AND granted") eq '1' });
    $t->script({method => 'PUT', times => 1, answer => {apply => \1, misbehave => 'hang'}});
    $t->sql("UPDATE mart.other SET v = 'early' WHERE id = 1; SELECT ondatra.trigger_sync('other')");
    $t->poll(sub { $t->state->{hanging} > 0 }, 'a run sends, while a transaction that is older than its snapshot has changed and triggered');
    $t->sql('BEGIN; LOCK TABLE mart.gate IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.1); COMMIT') while is_running($late);
    go_on();
    $t->poll(sub { my $r = $t->records; ($r->{1}{v} // '') eq 'early' && ($r->{2}{v} // '') eq 'late' }, 'both changes arrive');
    $t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'nothing runs');

    $t->admin("INSERT INTO ondatra.run_requests (sync_id, trigger, requested_by) SELECT sync_id, 'manual', 'ann' FROM ondatra.all_syncs WHERE name = 'other'");
    $t->sql("UPDATE mart.other SET v = 'asked for'");
    my $canary = $t->sql("SELECT run_id FROM ondatra.run_sync('other', keys => '{\"id\": 1}')");
    $t->sql("SELECT ondatra.run_sync('other', max_rows => 1)");
    $t->poll(sub { $t->records->{2}{v} eq 'asked for' }, 'a request that was there before a canary is answered');
    $t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'other' AND run_id > $canary AND rows_scanned = 2 AND finished_at IS NOT NULL AND requested_by = 'ann'", '2', 'by a run of its own');
}

# --- a run that was held and approved is nobody's canary
{
    delivered_mirror('approved', 'id int PRIMARY KEY, v text', undef, max_deletes => 1);
    $t->sql('DELETE FROM mart.approved WHERE id < 95');
    my $held = $t->sql("SELECT run_id FROM ondatra.run_sync('approved') WHERE status = 'held'");
    $t->admin("UPDATE ondatra.all_runs SET approved_by = 'ann' WHERE run_id = $held");
    $t->sql_fails("SELECT ondatra.run_sync('approved', $_)", qr/run $held of sync "approved" was approved/, "a run with $_ does not go on with it") for "keys => '{\"id\": 90}'", 'max_rows => 1';
    $t->run_is($t->run('approved'), {run_id => $held, status => 'succeeded', rows_deleted => 5}, 'a whole one does');
}

# --- four at once: one after the other
{
    my $last = $t->sql('SELECT max(run_id) FROM ondatra.sync_runs');
    my @callers = map { session($t, 'ann', "SELECT status FROM ondatra.run_sync('other')") } 1 .. 4;
    is(join(' ', map { (finish($_))[0] } @callers), 'succeeded ' x 3 . 'succeeded', 'four run_sync at once all get a run');
    is($t->admin("SELECT count(*) FROM ondatra.all_runs WHERE run_id > $last AND sync_name = 'other'"), '4', 'each its own');
    is($t->admin('SELECT count(*) FROM ondatra.all_runs a JOIN ondatra.all_runs b ON a.sync_id = b.sync_id AND a.run_id < b.run_id '
        . "AND tstzrange(a.started_at, a.finished_at) && tstzrange(b.started_at, b.finished_at) WHERE a.run_id > $last"), '0', 'none beside another');
}

# --- one sync's row in an open transaction does not keep others from running
{
    $t->sql("UPDATE mart.other SET v = 'again'");
    quick_sync($t, 'third', destination => {object => {upsert => {method => 'PUT', path => '/third/{{key}}'}}});
    my $run_id = hang('other');
    my $holder = session($t, 'ann', "BEGIN; SELECT ondatra.pause_sync('other');\n" . wait_for_lock('mart.gate') . 'ROLLBACK;');
    $t->poll(sub { $t->admin("SELECT count(*) FROM pg_locks WHERE relation = 'ondatra.all_syncs'::regclass AND mode = 'RowExclusiveLock' AND granted") ne '0' });
    $t->admin('SELECT pg_terminate_backend(pid) FROM ondatra.live_runs()');
    $t->poll(sub { !background_workers($t, 'run') });
    go_on();
    $t->sql("SELECT ondatra.trigger_sync('third')");
    $t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'third' AND status = 'succeeded'", '1', 'a run that died and cannot be recorded yet holds up nobody else');
    is($t->sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $run_id"), 'running', 'its row is still open');
    $t->sql('BEGIN; LOCK TABLE mart.gate IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.1); COMMIT') while is_running($holder);
    $t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $run_id", 'interrupted', 'it is recorded when it can be');
    $t->poll_sql("SELECT bool_or(status = 'succeeded') FROM ondatra.sync_runs WHERE sync_name = 'other' AND trigger = 'recovery' AND run_id > $run_id", 't', 'and resumed');
    $t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'nothing runs');
}

# --- locks of the model that a run has to wait for: also of nobody's who could let go
{
    $t->sql("BEGIN; LOCK TABLE mart.other IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'x'");
    $t->sql_fails("SELECT ondatra.run_sync('other', timeout => '1 second')", qr/did not end within/, 'a model that a prepared transaction has locked: the wait can end');
    is($t->sql('SELECT ondatra.cancel_run(run_id) FROM ondatra.run_progress'), 't', 'and so can the run');
    $t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'at once');
    $t->sql("ROLLBACK PREPARED 'x'");
}

# --- the state table: emptied or dropped by a superuser
{
    my $state = delivered_mirror('state', 'id int PRIMARY KEY, v text');
    $t->sql('DELETE FROM mart.state WHERE id = 90');
    $t->admin("TRUNCATE ondatra.$state");
    $t->run_is($t->run('state'), {status => 'succeeded', rows_created => 19, rows_deleted => 0}, 'an emptied state table: everything is sent again, nothing is deleted');
    $t->admin("DELETE FROM ondatra.$state WHERE k1 < 100");
    $t->sql('DELETE FROM mart.state WHERE id IN (91, 100)');
    $t->run_is($t->run('state'), {status => 'succeeded', rows_created => 8, rows_unchanged => 9, rows_deleted => 1}, 'a part of it is gone: only keys that it has are deleted');
    $t->sql("UPDATE mart.state SET v = 'w'");
    my $run_id = hang('state');
    $t->admin("TRUNCATE ondatra.$state");
    go_on();
    $t->run_is(ended($run_id), {status => 'succeeded', rows_updated => 17}, 'emptied under a run that sends');
    is($t->admin("SELECT count(*) FROM ondatra.$state"), '17', 'which records what it sent');
    $t->sql("UPDATE mart.state SET v = 'x'");
    $run_id = hang('state');
    $t->admin("DROP TABLE ondatra.$state");
    go_on();
    my $run = ended($run_id);
    $t->run_is($run, {status => 'failed', error_code => '42P01'}, 'dropped under a run');
    like($run->{error_message}, qr/answers could not be recorded.*$state/, 'the run says so');
    my $missing = qr/state table ondatra.$state is missing.*HINT/s;
    $run = $t->run('state');
    $t->run_is($run, {status => 'failed', error_code => '42P01', requests => 0}, 'without it nothing is sent');
    like("$run->{error_message} $run->{error_detail}", qr/state table ondatra.$state is missing.*Drop the sync and create it again/, 'and the run says what to do');
    $t->sql_fails("SELECT * FROM ondatra.$_", $missing, "without it: $_") for "plan_sync('state')", "preview_sync('state')", "explain_sync('state')",
        q{explain_row('state', '{"id": 1}')}, "update_sync('state', schedule => '1 day')", "update_sync('state', key => '{v}', delivered => 'forget')", "rebase_sync('state')",
        "retry_failed('state')", "discard_failed('state')";
    $t->sql("SELECT ondatra.drop_sync('state')");
    is($t->sql("SELECT count(*) FROM ondatra.syncs WHERE name = 'state'"), '0', 'the sync can be dropped');
}

# --- the order of locks: a sync's row before those of its runs. A session that has the first and comes to want the second meets nobody who has them the other way round.
{
    delivered_mirror('queue', 'id int PRIMARY KEY, v text');
    $t->admin("UPDATE ondatra.all_syncs SET options = options || '{\"max_deletes\": 0}' WHERE name = 'queue'");
    my $orderly = sub {
        my ($run_id) = @_;
        my $other = session($t, $t->superuser, "BEGIN; SELECT FROM ondatra.all_syncs WHERE name = 'queue' FOR UPDATE;\n"
            . "DO \$\$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype IN ('tuple', 'transactionid') AND NOT granted) LOOP PERFORM pg_sleep(0.01); END LOOP; END \$\$;\n"
            . "UPDATE ondatra.all_runs SET trigger = trigger WHERE run_id = $run_id; COMMIT;");
        $t->poll(sub { $t->admin("SELECT count(*) FROM pg_locks WHERE relation = 'ondatra.all_syncs'::regclass AND mode = 'RowShareLock' AND granted") ne '0' }) or die 'no lock';
        return $other;
    };
    $t->sql("UPDATE mart.queue SET v = 'w'");
    my $run_id = hang('queue');
    my $other = $orderly->($run_id);
    go_on();
    $t->run_is(ended($run_id), {status => 'succeeded', rows_updated => 20}, 'a run that ends');
    done_well($other, 'a run that ends');
    for my $word ("approve_run", "reject_run", "drop_sync('queue')") {
        $t->sql(q{DELETE FROM mart.queue WHERE id = (SELECT max(id) FROM mart.queue)}) if $word =~ /approve/;
        my $held = $t->run('queue');
        is($held->{status}, 'held', "before $word a run is held");
        $other = $orderly->($held->{run_id});
        $t->sql($word =~ /drop/ ? "SELECT ondatra.$word" : "SELECT ondatra.$word($held->{run_id})");
        done_well($other, $word);
        next if $word =~ /drop/;
        $t->poll(sub { $t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE run_id = $held->{run_id} AND finished_at IS NOT NULL") eq '1' }, "$word: the run ends");
        $t->sql("INSERT INTO mart.queue VALUES (109, 'v')") if $word =~ /approve/;
        $t->run('queue') if $word =~ /approve/;
        $t->sql(q{DELETE FROM mart.queue WHERE id = (SELECT max(id) FROM mart.queue)}) if $word =~ /approve/;
        $t->sql("SELECT ondatra.resume_sync('queue')") if $word =~ /reject/;
    }
}

# --- owners and dumps beside a run
{
    $t->reset_destination;
    $t->sql("UPDATE mart.other SET v = 'owner'");
    my $run_id = hang('other');
    $t->admin('ALTER ROLE ann RENAME TO anna');
    my $dump = "$t->{dir}/dump.sql";
    command_ok(['pg_dump', '-f', $dump, '-d', $t->node->connstr('postgres')], 'pg_dump does not wait for a run');
    my $reader = session($t, $t->superuser, "BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE ondatra.all_runs, ondatra.all_syncs, ondatra.all_failed_rows, ondatra.send_windows, "
        . 'ondatra.run_requests, mart.other IN ACCESS SHARE MODE; SELECT count(*) FROM ondatra.all_runs;' . "\n" . wait_for_lock('mart.gate') . 'COMMIT;');
    $t->poll(sub { $t->admin("SELECT count(*) FROM pg_locks WHERE relation = 'ondatra.send_windows'::regclass AND mode = 'AccessShareLock' AND granted") ne '0' });
    go_on();
    $t->poll(sub { $t->admin("SELECT status FROM ondatra.sync_runs WHERE run_id = $run_id") eq 'succeeded' }, 'nor a run for a dump, nor for a new name of its owner');
    $t->admin('BEGIN; LOCK TABLE mart.gate IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.1); COMMIT') while is_running($reader);
    is($t->admin("SELECT DISTINCT owner FROM ondatra.syncs"), 'anna', 'the syncs are hers');
    $t->admin('ALTER ROLE anna RENAME TO ann');
    $t->sql("UPDATE mart.other SET v = 'bob'");
    $run_id = hang('other');
    $t->admin('CREATE ROLE carl; ALTER TABLE mart.other OWNER TO carl; REVOKE ALL ON mart.other FROM ann');
    go_on();
    $t->run_is(ended($run_id), {status => 'succeeded', rows_updated => 2}, 'a model that is given to another role while its rows are sent');
    my $run = $t->run('other');
    $t->run_is($run, {status => 'failed', error_code => '42501', requests => 0}, 'cannot be read by the next run');
    like($run->{error_message}, qr/permission denied for table other/, 'which says so');
}
$t->no_violations;
done_testing;
