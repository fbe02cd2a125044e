# A standby that keeps the slot up to date (PostgreSQL 17): once it is promoted, feature views are
# loaded from the primary's last checkpoint and go on from there; nothing is built anew.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server eventually);
use PostgreSQL::Test::Utils;
use Test::More;

my ($version) = `postgres --version` =~ /\) (\d+)/;
plan skip_all => "standbys synchronize slots from PostgreSQL 17 on, this is $version" if $version < 17;

sub sql { my ($node, $query) = @_; return $node->safe_psql('postgres', $query) }
sub log_since { my ($node, $from) = @_; return substr(slurp_file($node->logfile), $from) }

sub change
{
	my ($node) = @_;
	sql($node, q{INSERT INTO orders (customer, total) SELECT n % 30, n FROM generate_series(1, 300) n;
		UPDATE orders SET customer = customer + 1 WHERE id % 7 = 0; DELETE FROM orders WHERE id % 11 = 3});
	return;
}

# Its last checkpoint begins at this position or later; returns where.
sub wait_for_checkpoint
{
	my ($node) = @_;
	my $lsn = sql($node, q{SELECT sync('90 s')});
	change($node);
	ok($node->poll_query_until('postgres',
		"SELECT coalesce(min(replay_lsn) >= '$lsn', false) FROM feature_engine.checkpoint"), 'a checkpoint is stored');
	return $lsn;
}

# A standby as docs/operations.md says: with a slot of its own on the primary, which ours waits for.
sub standby_of
{
	my ($of, $name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	sql($of, "SELECT pg_create_physical_replication_slot('$name', true)");
	$of->backup($name);
	$node->init_from_backup($of, $name, has_streaming => 1);
	$node->append_conf('postgresql.conf', "primary_slot_name = '$name'\nprimary_conninfo = '"
		. $of->connstr . " dbname=postgres'\nsync_replication_slots = on\nhot_standby_feedback = on\nsynchronized_standby_slots = ''");
	$node->start;
	set_server($of, 'synchronized_standby_slots', $name);
	return $node;
}

# The standby's copy of the slot is at this position or later, and would outlive a promotion.
sub wait_for_slot
{
	my ($primary, $standby, $lsn, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually($what, sub {
		# both servers let go of old log and old catalog rows only as time passes
		sql($primary, 'INSERT INTO orders (customer, total) VALUES (1, 1); SELECT pg_log_standby_snapshot()');
		return sql($standby, "SELECT synced AND NOT temporary AND failover AND confirmed_flush_lsn >= '$lsn'
			FROM pg_replication_slots WHERE slot_name LIKE 'feature_engine_%'") eq 't';
	});
	return;
}

sub promoted_is_loaded
{
	my ($node, $from, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_exact($node, 'postgres', $what);
	change($node);
	is_exact($node, 'postgres', "$what, with changes");
	like(log_since($node, $from), qr/feature view "customer_features" has been loaded with \d+ entities/, "$what: loaded");
	unlike(log_since($node, $from), qr/is built from its table|cannot be used|PANIC|terminated by signal/, "$what: nothing is built anew");
	is(sql($node, q{SELECT failover AND active FROM pg_replication_slots WHERE slot_name LIKE 'feature_engine_%'}), 't',
		"$what: with the slot that it brought");
	return;
}

my $primary = feature_node('primary', conf => 'feature_engine.checkpoint_interval = 1s');
orders_view($primary, 'postgres');
wait_for_checkpoint($primary);
is(sql($primary, q{SELECT failover FROM pg_replication_slots WHERE slot_name LIKE 'feature_engine_%'}), 't',
	'the slot is one that standbys may copy');
my $standby = standby_of($primary, 'standby');
wait_for_slot($primary, $standby, wait_for_checkpoint($primary), 'the standby has the slot');

# ---- on the standby nothing of ours stirs ----
like(($standby->psql('postgres', 'SELECT * FROM customer_features'))[2], qr/feature views cannot be read on a standby/, 'reading is refused');
is(sql($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'feature_engine%'}), 0, 'no worker');
unlike(log_since($standby, 0), qr/feature_engine (launcher|ingest|capture|checkpoint)/, 'nor was there one');

# ---- a standby that is away holds the slot, not the views ----
my $slot_at = q{SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name LIKE 'feature_engine_%'};
$standby->stop('fast');
my $missed = sql($primary, 'SELECT pg_current_wal_insert_lsn()');
wait_for_checkpoint($primary) foreach (1 .. 3);
is_exact($primary, 'postgres', 'the standby is away');
is(sql($primary, "SELECT ($slot_at) <= '$missed'"), 't', 'and the slot waits for it');
$standby->start;
eventually('it goes on when the standby is back', sub { return sql($primary, "SELECT ($slot_at) > '$missed'") eq 't' });

# ---- the primary is lost, with changes that are in no checkpoint ----
my $lsn = wait_for_checkpoint($primary);
wait_for_slot($primary, $standby, $lsn, 'the standby has the slot as of a later checkpoint');
set_server($primary, 'feature_engine.checkpoint_interval', '1h');
change($primary);
sql($primary, 'DELETE FROM orders WHERE customer = 3');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$primary->stop('immediate');
my $from = -s $standby->logfile;
$standby->promote;
promoted_is_loaded($standby, $from, 'promoted');
wait_for_checkpoint($standby);
$from = -s $standby->logfile;
$standby->stop('immediate');
$standby->start;
promoted_is_loaded($standby, $from, 'the promoted server after a crash');

# ---- a switchover: the primary stops in order ----
my $second = standby_of($standby, 'second');
wait_for_slot($standby, $second, wait_for_checkpoint($standby), 'the next standby has the slot');
change($standby);
$standby->stop('fast');
$from = -s $second->logfile;
$second->promote;
promoted_is_loaded($second, $from, 'switched over');
$second->stop('fast');
done_testing();
