# A commit that waits for a synchronous standby is in the log, and so decoded, but no
# snapshot sees it yet. Existing rows must not be read under such a snapshot: the
# transaction's rows would come neither from there nor from the log.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main');
# everybody but the writer below commits without standbys
$ENV{PGOPTIONS} = '-c synchronous_commit=local';
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }
sub poll { my ($query, $what) = @_; return ok($node->poll_query_until('postgres', $query), $what) }

orders_view($node, 'postgres');
is_exact($node, 'postgres', 'at first');

set_server($node, 'synchronous_standby_names', 'there_is_none');
sql('CHECKPOINT');	# it is the checkpointer that lets commits wait, from its next look at the settings
my $writer = IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c',
		'SET synchronous_commit = on', '-c', "INSERT INTO orders (customer, total) VALUES (7, 777), (77, 777)" ],
	'<', '/dev/null', '>', '/dev/null', '2>', '/dev/null');
poll(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'}, 'a commit waits for a standby');
poll('SELECT count(*) = 1 FROM customer_features WHERE customer = 77', 'it is decoded: the view has its rows');
is(sql('SELECT count(*) FROM orders WHERE customer = 77'), 0, 'it is not visible in the table');

# A view that is built now
sql(q{SELECT create_feature_view('late', 'SELECT customer, count(*) AS n, sum(total) AS total FROM orders GROUP BY customer')});
poll(q{SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
	WHERE relation = 'orders'::regclass AND granted AND backend_type = 'feature_engine backfill'}, 'the helper has its lock');
my $before = sql('SELECT pg_current_wal_insert_lsn()');
# every other view goes on meanwhile
foreach my $i (1 .. 20)
{
	sql("INSERT INTO orders (customer, total) VALUES (8, $i)");
	$node->poll_query_until('postgres', q{SELECT highest = (SELECT max(total) FROM orders WHERE customer = 8) FROM customer_features WHERE customer = 8});
}
is(sql('SELECT n FROM customer_features WHERE customer = 8'), sql('SELECT count(*) FROM orders WHERE customer = 8'),
	'the other view goes on');
is(sql(q{SELECT state FROM status WHERE name = 'late'}), 'waiting', 'no row is read under a snapshot that misses it');
cmp_ok(sql("SELECT pg_current_wal_insert_lsn() - '$before'"), '<', 1_000_000, 'and waiting costs little WAL');

# The standby is given up
set_server($node, 'synchronous_standby_names', undef);
$writer->finish;
is_exact($node, 'postgres', 'visible at last');
is(sql(q{SELECT count(*) FROM late s FULL JOIN (SELECT customer, count(*) AS n, sum(total) AS total FROM orders GROUP BY customer) b
	USING (customer) WHERE (s.n, s.total) IS DISTINCT FROM (b.n, b.total)}), 0, 'the new view has it, once');
is(sql('SELECT n, total FROM late WHERE customer = 77'), '1|777.00', 'indeed');

$node->stop('fast');
done_testing();
