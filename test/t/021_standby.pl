# A physical standby: there feature views are refused, quietly. Once it is promoted they are
# built from their tables, since the slot stayed behind, and what the primary's checkpoints
# had stored is of no use and does no harm. So it is when the primary comes back.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact wait_in_log);
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = feature_node('primary',
	conf => "feature_engine.checkpoint_interval = 1s\nmax_standby_streaming_delay = 0\nwal_log_hints = on");
sub sql { my ($node, $query) = @_; return $node->safe_psql('postgres', $query) }
sub log_since { my ($node, $from) = @_; return substr(slurp_file($node->logfile), $from) }

# What a command says when it is refused, with its code.
sub error_of
{
	my ($node, $query) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$query");
	return $rc ? $err : '';
}

sub change
{
	my ($node) = @_;
	sql($node, q{INSERT INTO orders (customer, total) SELECT n % 30, n FROM generate_series(1, 300) n;
		UPDATE orders SET customer = customer + 1 WHERE id % 7 = 0; DELETE FROM orders WHERE id % 11 = 3});
	return;
}

# Its last checkpoint begins at this position or later.
sub wait_for_checkpoint
{
	my ($node) = @_;
	my $lsn = sql($node, q{SELECT sync('90 s')});
	change($node);
	ok($node->poll_query_until('postgres',
		"SELECT coalesce(min(replay_lsn) >= '$lsn', false) FROM feature_engine.checkpoint"), 'a checkpoint is stored');
	return;
}

sub standby_of
{
	my ($of, $name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$of->backup($name);
	$node->init_from_backup($of, $name, has_streaming => 1);
	$node->start;
	return $node;
}

orders_view($primary, 'postgres');
wait_for_checkpoint($primary);
my $standby = standby_of($primary, 'standby');
change($primary);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

# ---- refused, and quietly ----
foreach my $read ('SELECT * FROM customer_features', 'SELECT n FROM customer_features WHERE customer = 7',
	q{SELECT get_features('customer_features', 7)}, q{SELECT * FROM get_features('customer_features', ARRAY[1, 2])},
	'SET feature_engine.allow_stale = on; SELECT * FROM customer_features',
	'SET feature_engine.read_your_writes = on; SELECT * FROM customer_features')
{
	like(error_of($standby, $read),
		qr/ERROR:  55000: feature views cannot be read on a standby\nDETAIL:  .*\nHINT:  Read them on the primary, or from Redis\./,
		"refused: $read");
}
my %calls = ('SELECT sync()' => 'sync', q{SELECT sync('1 s', redis => true)} => 'sync',
	q{SELECT * FROM check_feature_view('customer_features')} => 'sync', q{SELECT push_now('customer_features')} => 'push_now',
	q{SELECT backfill_history('customer_features', now() - interval '1 day', now(), '1 hour')} => 'backfill_history');
foreach my $call (sort keys %calls)
{
	like(error_of($standby, $call),
		qr/ERROR:  55000: feature_engine\.$calls{$call}\(\) cannot be used on a standby\nHINT:  Call it on the primary\./,
		"refused: $call");
}
foreach my $write (q{SELECT refresh_feature_view('customer_features')}, q{SELECT drop_feature_view('customer_features')},
	q{SELECT alter_feature_view('customer_features', ttl => '1 day')},
	q{SELECT create_feature_view('other', 'SELECT customer, count(*) AS n FROM orders GROUP BY customer')},
	q{SELECT create_feature_service('churn', ARRAY['customer_features:*'])}, q{SELECT drop_feature_service('churn')})
{
	like(error_of($standby, $write),
		qr/ERROR:  55000: feature views and services cannot be changed on a standby\nHINT:  Change them on the primary\./,
		"refused: $write");
}
is(sql($standby, 'SELECT name, state, worker FROM status'), 'customer_features|waiting|', 'status tells that nothing is built');
# training sets are read from histories, which are ordinary tables
sql($primary, q{SELECT create_feature_view('noted', 'SELECT id, total FROM orders', online => '{}', offline => true);
	SELECT sync('90 s', history => true); CREATE TABLE instants AS SELECT 150 AS id, feature_engine.now() AS event_timestamp});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(sql($standby, q{SELECT id, total FROM get_historical_features('TABLE instants', ARRAY['noted:total'])
	AS f(id int, event_timestamp timestamptz, total numeric(10,2))}), '150|150.00', 'a training set');
sql($primary, q{SELECT drop_feature_view('noted', history => true); DROP TABLE instants});
is(sql($standby, 'SELECT sum(n) FROM (SELECT customer, count(*) AS n FROM orders GROUP BY customer) q'),
	sql($primary, 'SELECT count(*) FROM orders'), 'the batch query works');
my $quiet = log_since($standby, 0);
unlike($quiet, qr/feature_engine (launcher|ingest|capture|checkpoint)|background worker "feature_engine/, 'no worker on the standby');
unlike($quiet, qr/^.*(WARNING|FATAL|PANIC):.*$/m, 'nor a complaint in its log');
is(sql($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'feature_engine%'}), 0, 'none is running');
is(sql($standby, 'SELECT count(*) FROM pg_replication_slots'), 0, 'no slot either');

# ---- promotion, the primary being lost ----
sub promoted_is_exact
{
	my ($node, $pattern, $from, $what) = @_;
	is_exact($node, 'postgres', $what);
	change($node);
	is_exact($node, 'postgres', "$what, with changes");
	wait_in_log($node, $pattern, $from, "$what: the log tells why");
	unlike(log_since($node, $from), qr/has been loaded/, "$what: nothing was loaded");
	unlike(log_since($node, $from), qr/could not map filenode|PANIC|terminated by signal/, "$what: without a failure");
	return;
}
my $not_reached = qr/WARNING:  feature view "customer_features" is built from its table: its stored state cannot be used\n.*DETAIL:  the replication slot does not reach back to it/;

# changes that the standby has and no checkpoint does
sql($primary, q{ALTER SYSTEM SET feature_engine.checkpoint_interval = '1h'; SELECT pg_reload_conf()});
change($primary);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
my $old = sql($standby, 'SELECT viewid, system_identifier, database, replay_lsn FROM feature_engine.checkpoint');
is($old, sql($primary, 'SELECT viewid, system_identifier, database, replay_lsn FROM feature_engine.checkpoint'),
	'the checkpoint has come to the standby');
$primary->stop('immediate');
my $from = -s $standby->logfile;
$standby->promote;
promoted_is_exact($standby, $not_reached, $from, 'promoted');
wait_for_checkpoint($standby);
$from = -s $standby->logfile;
$standby->stop('immediate');
$standby->start;
is_exact($standby, 'postgres', 'the promoted server, restarted');
like(log_since($standby, $from), qr/has been loaded with \d+ entities/, 'from a checkpoint of its own');

# ---- a server that was a primary and a standby, and has a slot from then ----
# A switchover and back: stopped in order, it follows the other for a while.
my $second = standby_of($standby, 'second');
wait_for_checkpoint($standby);
$standby->stop('fast');
$second->promote;
is_exact($second, 'postgres', 'switched over');
$standby->enable_streaming($second);
$standby->append_conf('postgresql.conf', q{recovery_target_timeline = 'latest'});
$standby->start;
is(sql($standby, 'SELECT count(*) FROM pg_replication_slots'), 1, 'the former primary still has its slot');
like(error_of($standby, 'SELECT * FROM customer_features'), qr/cannot be read on a standby/, 'and refuses to be read');
# catalog rows that decoding from there would need go away
sql($second, q{ALTER TABLE orders ADD COLUMN note text; ALTER TABLE orders ALTER COLUMN note TYPE varchar USING 'x'});
change($second);
sql($second, q{VACUUM FULL orders; VACUUM pg_class, pg_attribute, pg_type});
wait_for_checkpoint($second);
$second->wait_for_catchup($standby, 'replay', $second->lsn('insert'));
$second->stop('immediate');
$from = -s $standby->logfile;
$standby->promote;
promoted_is_exact($standby, $not_reached, $from, 'switched back');
if (sql($standby, 'SHOW server_version_num') < 160000)
{
	like(log_since($standby, $from), qr/WARNING:  replication slot "feature_engine_\d+" cannot be used any more\n.*DETAIL:  It is from a time before this server was promoted or restored\. It is dropped/,
		'the slot of former times was dropped');
}

$standby->stop('fast');
done_testing();
