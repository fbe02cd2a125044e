# When feature_engine.memory is full, changes wait in the log: nothing is lost, everybody is
# told, and it goes on when there is room again.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server wait_in_log);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => "feature_engine.max_memory = '128MB'\nfeature_engine.memory = '4MB'");

sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }
sub poll { my ($query, $what) = @_; return ok($node->poll_query_until('postgres', $query), $what) }
sub error_of { my ($query) = @_; my ($rc, $out, $err) = $node->psql('postgres', $query); return $rc ? $err : '' }

orders_view($node, 'postgres');
is_exact($node, 'postgres', 'at first');

my $from = -s $node->logfile;
# 20 transactions, each whole or not at all
foreach my $i (1 .. 20)
{
	sql("INSERT INTO orders (customer, total) SELECT n, 10 FROM generate_series($i * 5000, $i * 5000 + 4999) n");
}
poll(q{SELECT worker = 'memory full' FROM status}, 'full: status says so');
wait_in_log($node, qr/WARNING:  feature views have stopped taking in changes: feature_engine.memory is full\n.*DETAIL:.*limit is 4 MB.*\n.*HINT:  Raise feature_engine.memory/,
	$from, 'full: the log says what to do');
like(error_of('SELECT sync()'), qr/feature_engine.memory is full\nHINT:  Raise feature_engine.memory/, 'full: so does sync()');
is(sql('SELECT count(*) % 5000 FROM customer_features'), 20, 'what can be read is whole transactions');
cmp_ok(sql('SELECT memory_bytes FROM status'), '<=', 4 * 1024 * 1024, 'the limit is kept');
is(sql('SELECT n FROM customer_features WHERE customer = 7'), 10, 'and the values of that position');

# waiting means waiting: no other worker, no rebuild
my $pid = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'feature_engine ingest'});
sql('UPDATE orders SET total = 11 WHERE customer = 7');
# a second view has no room either
sql(q{SELECT create_feature_view('second', 'SELECT customer, sum(total) AS s FROM orders GROUP BY customer')});
like(error_of('SELECT * FROM second'), qr/not caught up yet/, 'a new view waits');

# a little more is not enough, the rest is
set_server($node, 'feature_engine.memory', '5MB');
like(error_of(q{SELECT sync('2 s')}), qr/memory is full|timed out/, 'not enough');
set_server($node, 'feature_engine.memory', '100MB');
poll(q{SELECT bool_and(worker = 'running') FROM status}, 'raised: status says so');
is_exact($node, 'postgres', 'raised');
is(sql('SELECT count(*) FROM customer_features'), 100020, 'every entity is there');
# (given up in between, if the machine is slow, it is built after a pause)
poll(q{SELECT state = 'live' FROM status WHERE name = 'second'}, 'the new view is live');
is(sql(q{SELECT count(*) FROM second s FULL JOIN (SELECT customer, sum(total) AS s FROM orders GROUP BY customer) b USING (customer)
	WHERE s.s IS DISTINCT FROM b.s}), 0, 'in the new view, too');
wait_in_log($node, qr/LOG:  feature views take in changes again/, $from, 'raised: so does the log');
is(sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'feature_engine ingest'}), $pid, 'it was one worker all the time');
unlike(substr(slurp_file($node->logfile), $from), qr/are rebuilt/, 'and nothing was rebuilt');

# lowered below what is in use: deletes make room by themselves
set_server($node, 'feature_engine.memory', '8MB');
sql('INSERT INTO orders (customer, total) SELECT n, 1 FROM generate_series(200001, 210000) n');
poll(q{SELECT bool_and(worker = 'memory full') FROM status}, 'lowered: full again');
sql(q{SELECT drop_feature_view('second')});
set_server($node, 'feature_engine.memory', '60MB');
poll(q{SELECT worker = 'running' FROM status}, 'raised again');
sql('DELETE FROM orders WHERE customer > 1000');
is_exact($node, 'postgres', 'after mass deletion');
set_server($node, 'feature_engine.memory', '8MB');
sql('INSERT INTO orders (customer, total) SELECT n % 900, 1 FROM generate_series(1, 5000) n');
is_exact($node, 'postgres', 'what was freed can be used again');

# what counts is what state takes, not how many rows one transaction has
set_server($node, 'feature_engine.memory', '128MB');
sql('INSERT INTO orders (customer, total) SELECT n % 900, 1 FROM generate_series(1, 300000) n');
is_exact($node, 'postgres', '300,000 rows in one transaction');

# a new view that does not fit is given up after a while: the others go on, and its table
# is not held
set_server($node, 'feature_engine.memory', '24MB');
sql(q{CREATE TABLE wide AS SELECT n AS id, repeat('x', 500) || n AS note FROM generate_series(1, 100000) n;
	ALTER TABLE wide REPLICA IDENTITY FULL;
	SELECT create_feature_view('big', 'SELECT id, max(note) AS note FROM wide GROUP BY id')});
poll(q{SELECT state = 'failed' AND last_error LIKE 'feature_engine.memory is full%' FROM status WHERE name = 'big'},
	'a view too large: in status');
sql(q{INSERT INTO orders (customer, total) VALUES (7, 77); SELECT sync(view => 'customer_features')});
is(sql('SELECT n FROM customer_features WHERE customer = 7'), sql('SELECT count(*) FROM orders WHERE customer = 7'),
	'the other view goes on');
sql(q{BEGIN; SET LOCAL lock_timeout = '5s'; TRUNCATE wide; COMMIT;
	INSERT INTO wide VALUES (1, 'small')});
poll(q{SELECT state = 'live' FROM status WHERE name = 'big'}, 'and it comes back when it fits');
is(sql('SELECT note FROM big'), 'small', 'with the right value');
sql(q{SELECT drop_feature_view('big')});
set_server($node, 'feature_engine.memory', '128MB');

# the reservation is fixed at the start
my (undef, undef, $warning) = $node->psql('postgres', q{ALTER SYSTEM SET feature_engine.memory = '1GB'});
like($warning, qr/WARNING:  "feature_engine.memory" \(1024 MB\) is limited by "feature_engine.max_memory" \(128 MB\)/,
	'more than is reserved');

$node->stop('fast');
done_testing();
