# After a restart without checkpoints views are rebuilt from their tables; until one is caught
# up, reading it is an error that says so, never a wrong value.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server);
use PostgreSQL::Test::Utils;
use Test::More;

# without checkpoints: views are built from their tables again
my $node = feature_node('main', conf => 'feature_engine.checkpoint_interval = 0');
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }
sub error_of { my ($query) = @_; my ($rc, $out, $err) = $node->psql('postgres', $query); return $rc ? $err : '' }

orders_view($node, 'postgres');
is_exact($node, 'postgres', 'at first');

foreach my $mode ('fast', 'immediate')
{
	# one transaction is prepared and outlives the server
	sql("BEGIN; INSERT INTO orders (customer, total) SELECT n, n FROM generate_series(1, 30) n;
		DELETE FROM orders WHERE id % 10 = 2; PREPARE TRANSACTION '$mode'");
	sql('INSERT INTO orders (customer, total) SELECT n % 100, n FROM generate_series(1, 1000) n');
	set_server($node, 'feature_engine.inject_wait', 'backfill-lock');
	$node->stop($mode);
	$node->start;
	foreach my $read ('SELECT * FROM customer_features', q{SELECT get_features('customer_features', 7)})
	{
		like(error_of($read), qr/ERROR:  feature view "customer_features" is not caught up yet\nDETAIL:  Its existing rows are not being read yet/,
			"$mode restart: $read");
	}
	isnt(sql('SELECT state FROM status'), 'live', "$mode restart: not live");
	sql('UPDATE orders SET customer = customer + 1 WHERE id % 10 = 0');
	like(error_of(q{SELECT sync('200 ms')}), qr/timed out/, "$mode restart: sync() waits");

	# further on: the rows are about to be read
	set_server($node, 'feature_engine.inject_wait', 'backfill-scan');
	ok($node->poll_query_until('postgres', q{SELECT state = 'backfilling' FROM status}), "$mode restart: it begins");
	like(error_of('SELECT * FROM customer_features'), qr/is not caught up yet\nDETAIL:  Existing rows are being read: 0/,
		"$mode restart: the error says how far it is");
	is(error_of('SET feature_engine.allow_stale = on; SELECT * FROM customer_features'), '', "$mode restart: allow_stale");
	sql('DELETE FROM orders WHERE id % 10 = 5');
	set_server($node, 'feature_engine.inject_wait', undef);
	is_exact($node, 'postgres', "$mode restart");
	sql("COMMIT PREPARED '$mode'");
	is_exact($node, 'postgres', "$mode restart, prepared transaction committed");
}

# in the middle of reading existing rows
set_server($node, 'feature_engine.inject_wait', 'backfill-scan');
sql(q{SELECT create_feature_view('late', 'SELECT customer, count(*) AS n FROM orders GROUP BY customer')});
$node->poll_query_until('postgres', q{SELECT state = 'backfilling' FROM status WHERE name = 'late'});
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'feature_engine ingest'});
sql('INSERT INTO orders (customer, total) VALUES (1, 1)');
set_server($node, 'feature_engine.inject_wait', undef);
is_exact($node, 'postgres', 'ingest worker ended during a backfill');
is(sql('SELECT sum(n) FROM late'), sql('SELECT count(*) FROM orders'), 'and the new view is complete');

set_server($node, 'feature_engine.inject_wait', 'backfill-scan');
sql(q{SELECT refresh_feature_view('late')});
$node->poll_query_until('postgres', q{SELECT state = 'backfilling' FROM status WHERE name = 'late'});
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'feature_engine backfill'});
sql('DELETE FROM orders WHERE id % 13 = 0');
set_server($node, 'feature_engine.inject_wait', undef);
ok($node->poll_query_until('postgres', q{SELECT state = 'live' FROM status WHERE name = 'late'}), 'helper ended: it begins again');
is_exact($node, 'postgres', 'helper ended during a backfill');
is(sql('SELECT sum(n) FROM late'), sql('SELECT count(*) FROM orders'), 'and the refreshed view is complete');

$node->stop('fast');
done_testing();
