# Copies of a server: a base backup, a recovery to a point in time, a cold copy of the data
# directory. Views of the copies have right values, from a checkpoint where the slot came
# along, else from their tables, with a warning.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact wait_in_log);
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => "feature_engine.checkpoint_interval = 1s\nsynchronous_commit = on");
sub sql { my ($of, $query) = @_; return $of->safe_psql('postgres', $query) }
sub log_of { my ($of) = @_; return slurp_file($of->logfile) }

sub change
{
	my ($of) = @_;
	sql($of, q{INSERT INTO orders (customer, total) SELECT n % 30, n FROM generate_series(1, 300) n;
		UPDATE orders SET customer = customer + 1 WHERE id % 7 = 0; DELETE FROM orders WHERE id % 11 = 3});
	return;
}

# Its last checkpoint begins at this position or later.
sub wait_for_checkpoint
{
	my $lsn = sql($node, q{SELECT sync('90 s')});
	change($node);
	ok($node->poll_query_until('postgres',
		"SELECT coalesce(min(replay_lsn) >= '$lsn', false) FROM feature_engine.checkpoint"), 'a checkpoint is stored');
	return;
}

sub copy_named { my ($name) = @_; return PostgreSQL::Test::Cluster->new($name) }

# A copy that could not bring the slot.
sub is_rebuilt
{
	my ($copy, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_exact($copy, 'postgres', $what);
	change($copy);
	is_exact($copy, 'postgres', "$what, with changes");
	like(log_of($copy), qr/WARNING:  feature view "customer_features" is built from its table: its stored state cannot be used\n.*DETAIL:  the replication slot does not reach back to it/,
		"$what: told why");
	unlike(log_of($copy), qr/has been loaded with|PANIC|terminated by signal/, "$what: nothing was loaded, nothing failed");
	return;
}

$node->enable_archiving;
$node->restart;
orders_view($node, 'postgres');
wait_for_checkpoint();

# ---- a base backup, taken under changes, with checkpoints in it ----
$node->backup('base');
sql($node, 'INSERT INTO orders (customer, total) VALUES (99, 1)');
my $copy = copy_named('from_backup');
$copy->init_from_backup($node, 'base');
$copy->start;
is_rebuilt($copy, 'base backup');
is(sql($copy, 'SELECT count(*) FROM customer_features WHERE customer = 99'), 0, 'nothing of what the original did since');
$copy->stop('fast');
$copy->start;
is_exact($copy, 'postgres', 'the base backup, restarted');
like(log_of($copy), qr/has been loaded with \d+ entities/, 'from a checkpoint of its own');
$copy->stop('fast');

# ---- a point in time: checkpoints are replayed up to there, and what came later never was ----
wait_for_checkpoint();
my $rows = sql($node, 'SELECT count(*), sum(total) FROM orders');
my $target = sql($node, 'SELECT pg_current_wal_insert_lsn()');
my $stored = sql($node, 'SELECT max(cycle) FROM feature_engine.checkpoint');
sql($node, 'DELETE FROM orders WHERE customer < 10; TRUNCATE orders');
wait_for_checkpoint();
sql($node, 'SELECT pg_switch_wal()');
my $file = sql($node, 'SELECT pg_walfile_name(pg_current_wal_lsn())');
sql($node, q{INSERT INTO orders (customer, total) VALUES (1, 1); SELECT pg_switch_wal()});
ok($node->poll_query_until('postgres', "SELECT last_archived_wal >= '$file' FROM pg_stat_archiver"), 'the log is archived');
$copy = copy_named('point_in_time');
$copy->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
$copy->append_conf('postgresql.conf', "recovery_target_lsn = '$target'\nrecovery_target_action = promote\narchive_mode = off");
$copy->start;
$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is(sql($copy, 'SELECT count(*), sum(total) FROM orders'), $rows, 'rows are those of that time');
is_rebuilt($copy, 'point in time');
$copy->stop('fast');

# ---- a cold copy, slot included ----
sub cold_copy
{
	my ($name) = @_;
	my $new = copy_named($name);
	PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir, $new->data_dir);
	chmod 0700, $new->data_dir or die 'the copy cannot be used';
	$new->append_conf('postgresql.conf',
		"port = " . $new->port . "\nunix_socket_directories = '" . $new->host . "'\narchive_mode = off");
	return $new;
}
change($node);
sql($node, q{SELECT sync('90 s')});
$node->stop('fast');
my $cold = cold_copy('cold');
my $restored = cold_copy('restored');
$cold->start;
is_exact($cold, 'postgres', 'cold copy');
change($cold);
is_exact($cold, 'postgres', 'cold copy, with changes');
like(log_of($cold), qr/has been loaded with \d+ entities/, 'cold copy: from the checkpoint');
unlike(log_of($cold), qr/is built from its table/, 'cold copy: not rebuilt');
$cold->stop('fast');

# the original has not noticed
$node->start;
is_exact($node, 'postgres', 'the original');
change($node);
is_exact($node, 'postgres', 'the original, with changes');

# ---- a cold copy that reads the archive on: its slot is from before ----
wait_for_checkpoint();
sql($node, 'TRUNCATE orders');
change($node);
wait_for_checkpoint();
$rows = sql($node, 'SELECT count(*), sum(total) FROM orders');
$node->stop('fast');
$restored->enable_restoring($node, 0);
$restored->start;
$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is(sql($restored, 'SELECT count(*), sum(total) FROM orders'), $rows, 'a copy brought up to date from the archive');
is_rebuilt($restored, 'cold copy and archive');
$restored->stop('fast');
done_testing();
