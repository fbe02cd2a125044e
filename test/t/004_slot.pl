# The replication slot: what the server must offer, that an idle source holds nothing back,
# and that the primary's disk comes first.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server wait_in_log);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => 'max_replication_slots = 1');

sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }
sub poll { my ($query, $what) = @_; return ok($node->poll_query_until('postgres', $query), $what) }

# Restarts with other settings; the last line of a file counts.
sub restart_with
{
	$node->append_conf('postgresql.conf', join("\n", @_));
	$node->restart;
	return;
}

# Message of the command; '' when it succeeds.
sub error_of
{
	my ($command) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $command);
	return $rc ? $err : '';
}

# What the server must offer: each message names the setting to change

my $create = q{SELECT feature_engine.create_feature_view('v', 'SELECT k, count(*) AS n FROM t GROUP BY k', append_only => true)};
sql('CREATE TABLE t (k int); CREATE EXTENSION feature_engine');

restart_with(q{shared_preload_libraries = ''});
like(error_of($create), qr/ERROR:  feature_engine must be loaded via "shared_preload_libraries"\n.*HINT:  Add "shared_preload_libraries = 'feature_engine'" to postgresql.conf.*restart/s,
	'library not preloaded');
like(error_of('SELECT feature_engine.sync()'), qr/shared_preload_libraries/, 'nor can there be sync()');
is(error_of(q{SELECT 1 WHERE feature_engine.rolling(now(), '1 day')}), '', 'window functions work in batch queries');

restart_with(q{shared_preload_libraries = 'feature_engine'}, 'wal_level = replica');
like(error_of($create), qr/ERROR:  feature views need wal_level = logical\n.*HINT:  ALTER SYSTEM SET wal_level = logical; then restart/s,
	'wal_level too low');

restart_with('wal_level = logical');
sql(q{SELECT pg_create_physical_replication_slot('taken')});
sql($create);
poll(q{SELECT last_error LIKE 'no replication slot is free%max_replication_slots is 1%HINT: Set max_replication_slots = 2%' FROM feature_engine.status},
	'no free slot: status says so');
like(error_of('SELECT * FROM v'), qr/feature view "v" is not caught up yet/, 'and the view cannot be read');
sql(q{SELECT pg_drop_replication_slot('taken')});
poll(q{SELECT state = 'live' FROM feature_engine.status}, 'a slot is free again');
sql(q{SELECT feature_engine.drop_feature_view('v')});
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_replication_slots');
sql('DROP EXTENSION feature_engine');

# An idle source holds no WAL back: the slot moves with everybody else's

orders_view($node, 'postgres');
is_exact($node, 'postgres', 'at first');
my $lsn = sql(q{CREATE TABLE other AS SELECT n FROM generate_series(1, 10000) n; SELECT pg_current_wal_lsn()});
poll("SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots", 'idle source: confirmed_flush_lsn advances');
sql('CHECKPOINT; INSERT INTO other VALUES (1)');
poll("SELECT restart_lsn >= '$lsn' FROM pg_replication_slots", 'idle source: restart_lsn advances');

# The slot is dropped behind our back

sub without_worker
{
	my ($code) = @_;
	set_server($node, 'feature_engine.inject_error', 'ingest');
	$node->poll_query_until('postgres', 'SELECT NOT active FROM pg_replication_slots');
	$code->();
	set_server($node, 'feature_engine.inject_error', undef);
	return;
}
my $from = -s $node->logfile;
without_worker(sub {
	sql(q{INSERT INTO orders (customer, total) VALUES (50, 1); SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots;
		INSERT INTO orders (customer, total) VALUES (51, 1); DELETE FROM orders WHERE customer = 3}) });
is_exact($node, 'postgres', 'slot dropped by hand');
wait_in_log($node, qr/state of the feature views of this database is discarded: their replication slot is gone/, $from, 'the log tells');

# ... and moved
$from = -s $node->logfile;
without_worker(sub {
	sql(q{INSERT INTO orders (customer, total) VALUES (52, 1); SELECT pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) FROM pg_replication_slots;
		INSERT INTO orders (customer, total) VALUES (53, 1)}) });
is_exact($node, 'postgres', 'slot moved by hand');
wait_in_log($node, qr/state of the feature views of this database is discarded: their replication slot was moved/, $from, 'the log tells');

# max_wal_lag: better no features than a full disk

sub much_wal
{
	my ($mb) = @_;
	sql("SELECT count(pg_logical_emit_message(false, 'x', repeat('x', 1000000))) FROM generate_series(1, $mb); INSERT INTO orders (customer, total) VALUES (60, 1)");
	return;
}
my $given_up = qr/WARNING:  giving up replication slot "feature_engine_\d+" of database \d+\n.*DETAIL:  It holds back \d+ MB of write-ahead log, more than "feature_engine.max_wal_lag" \(16 MB\)/;

set_server($node, 'feature_engine.max_wal_lag', '16MB');
$from = -s $node->logfile;
without_worker(sub {
	much_wal(40);
	poll('SELECT count(*) = 0 FROM pg_replication_slots', 'a worker that fails: the slot is given up');
	is(sql('SELECT worker FROM status'), 'slot given up', 'status says so');
	wait_in_log($node, $given_up, $from, 'the log warns');
	sql('UPDATE orders SET total = total + 1 WHERE customer = 5');
});
is_exact($node, 'postgres', 'slot given up, worker well again');

# a worker that lives and does not get on
$from = -s $node->logfile;
set_server($node, 'feature_engine.inject_wait', 'ingest');
much_wal(40);
poll('SELECT count(*) = 0 FROM pg_replication_slots', 'a worker that hangs: the slot is given up');
wait_in_log($node, $given_up, $from, 'the log warns');
set_server($node, 'feature_engine.inject_wait', undef);
is_exact($node, 'postgres', 'slot given up, worker goes on');
much_wal(40);
is_exact($node, 'postgres', 'a worker that keeps up keeps its slot');

$node->stop('fast');
done_testing();
