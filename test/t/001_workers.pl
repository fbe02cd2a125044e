# Workers come when they are needed, come back after whatever ends them, say what was wrong,
# and go when there is nothing left to do.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server wait_in_log);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $redis = FeatureEngine::Test::Redis->start;
my $node = feature_node('main', redis => $redis);

sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }
sub poll { my ($query, $what) = @_; return ok($node->poll_query_until('postgres', $query), $what) }

sub pid_of
{
	my ($role) = @_;
	my $query = "SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'feature_engine $role'";
	$node->poll_query_until('postgres', "SELECT ($query) IS NOT NULL") or return;
	return sql($query);
}

# What Redis holds of a customer is what SQL says.
sub redis_is_exact
{
	my ($what) = @_;
	sql(q{SELECT sync('60 s', redis => true)});
	my $in_sql = sql('SELECT n, total FROM customer_features WHERE customer = 7');
	my $hash = $redis->hash('customer_features:7');
	return is("$hash->{n}|$hash->{total}", $in_sql, "$what: Redis = SQL");
}

# Workers appear without a restart

is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'feature_engine launcher'}),
	1, 'the launcher runs from the start');
orders_view($node, 'postgres');
is_exact($node, 'postgres', 'the first view');
is(sql(q{SELECT count(*) FROM pg_replication_slots WHERE plugin = 'feature_engine'}), 1, 'it has a slot');
is(sql('SELECT state, worker, backfill_pct FROM status'), 'live|running|100', 'status says so');
redis_is_exact('the first view');

# SIGTERM

my $pid = pid_of('ingest');
sql("SELECT pg_terminate_backend($pid)");
sql('INSERT INTO orders (customer, total) VALUES (7, 1000); UPDATE orders SET customer = 7 WHERE customer = 8');
is_exact($node, 'postgres', 'ingest worker ended');
isnt(pid_of('ingest'), $pid, 'there is a new one');

$pid = pid_of('pusher');
sql("SELECT pg_terminate_backend($pid)");
sql('INSERT INTO orders (customer, total) VALUES (7, 2000)');
redis_is_exact('pusher ended');
isnt(pid_of('pusher'), $pid, 'there is a new one');

$pid = pid_of('capture');
sql("SELECT pg_terminate_backend($pid)");
sql('INSERT INTO orders (customer, total) VALUES (7, 2500)');
is_exact($node, 'postgres', 'capture worker ended');

$pid = pid_of('launcher');
sql("SELECT pg_terminate_backend($pid)");
sql('INSERT INTO orders (customer, total) VALUES (7, 3000)');
is_exact($node, 'postgres', 'launcher ended');

# Errors, here injected: the worker is started again, more and more seldom, and the error
# is readable. What can be read is what there was; sync() does not lie.

foreach my $point ('ingest', 'merge', 'capture')
{
	my $from = -s $node->logfile;
	my $n = sql('SELECT n FROM customer_features WHERE customer = 7');
	set_server($node, 'feature_engine.inject_error', $point);
	sql('INSERT INTO orders (customer, total) VALUES (7, 5); DELETE FROM orders WHERE customer = 3 AND id % 3 = 0');
	poll("SELECT last_error LIKE 'injected error at \"$point\"%' FROM status", "error at $point: in status");
	poll('SELECT failures >= 3 FROM worker_status()', "error at $point: tried again");
	wait_in_log($node, qr/ERROR:  injected error at "$point"/, $from, "error at $point: in the log");
	is(sql('SELECT n FROM customer_features WHERE customer = 7'), $n, "error at $point: the old values");
	my ($rc, $out, $err) = $node->psql('postgres', q{SELECT sync('100 ms')});
	like($err, qr/timed out/, "error at $point: sync() fails");
	set_server($node, 'feature_engine.inject_error', undef);
	is_exact($node, 'postgres', "error at $point is gone");
	poll('SELECT failures = 0 FROM worker_status()', "error at $point: forgotten");
}

# The pauses double: 0.1, 0.2, 0.4, ... s. (The time is the server's, from its log.)
{
	my $from = -s $node->logfile;
	set_server($node, 'feature_engine.inject_error', 'ingest');
	poll('SELECT failures >= 5 FROM worker_status()', 'five failures in a row');
	my @times = substr(slurp_file($node->logfile), $from) =~
	  /^\S+ (\d+:\d+:[\d.]+) .*ERROR:  injected error at "ingest"/mg;
	my @seconds = map { my ($h, $m, $s) = split /:/; ($h * 60 + $m) * 60 + $s } @times;
	my @pauses = map { $seconds[$_ + 1] - $seconds[$_] } 0 .. $#seconds - 1;
	cmp_ok($pauses[3], '>=', 0.8, 'the fourth pause is at least 0.8 s');
	set_server($node, 'feature_engine.inject_error', undef);
	is_exact($node, 'postgres', 'after five failures');
}

# An error in the pusher does not concern SQL.

set_server($node, 'feature_engine.inject_error', 'pusher');
sql('INSERT INTO orders (customer, total) VALUES (7, 6)');
is_exact($node, 'postgres', 'error in the pusher');
set_server($node, 'feature_engine.inject_error', undef);
redis_is_exact('error in the pusher is gone');

# An error in the helper that reads existing rows: the view waits, the others go on.

set_server($node, 'feature_engine.inject_error', 'backfill');
sql(q{SELECT create_feature_view('late', 'SELECT customer, count(*) AS n FROM orders GROUP BY customer')});
poll(q{SELECT state = 'failed' AND last_error LIKE 'reading the table%' FROM status WHERE name = 'late'},
	'error in the helper: in status');
is(sql(q{SELECT state FROM status WHERE name = 'customer_features'}), 'live', 'the other view is live');
my (undef, undef, $message) = $node->psql('postgres', 'SELECT * FROM late');
like($message, qr/feature view "late" has stopped/, 'reading it is an error');
set_server($node, 'feature_engine.inject_error', undef);
poll(q{SELECT state = 'live' FROM status WHERE name = 'late'}, 'error in the helper is gone');
is(sql('SELECT sum(n) FROM late'), sql('SELECT count(*) FROM orders'), 'and it has every row');
sql(q{SELECT drop_feature_view('late')});

# An error in a view's own expression stops this view, until the row is gone.

sql(q{SELECT create_feature_view('fragile', 'SELECT customer, sum(1 / (total - 13)) AS s FROM orders WHERE id > 100 GROUP BY customer');
	SELECT sync()});
sql('INSERT INTO orders (customer, total) VALUES (7, 13)');
poll(q{SELECT state = 'failed' AND last_error = 'division by zero' FROM status WHERE name = 'fragile'},
	'division by zero: in status');
$node->poll_query_until('postgres', q{SELECT worker = 'running' FROM status WHERE name = 'fragile'});
(undef, undef, $message) = $node->psql('postgres', 'SELECT * FROM fragile');
like($message, qr/feature view "fragile" has stopped.*division by zero/s, 'reading it is an error that says why');
$node->poll_query_until('postgres', q{SELECT n = (SELECT count(*) FROM orders WHERE customer = 7)
	FROM customer_features WHERE customer = 7});
is(sql('SELECT n FROM customer_features WHERE customer = 7'),
	sql('SELECT count(*) FROM orders WHERE customer = 7'), 'the other view takes the row');
sql('DELETE FROM orders WHERE total = 13');
poll(q{SELECT state = 'live' FROM status WHERE name = 'fragile'}, 'it comes back when the row is gone');
is(sql(q{SELECT count(*) FROM fragile s FULL JOIN
	(SELECT customer, sum(1 / (total - 13)) AS s FROM orders WHERE id > 100 GROUP BY customer) b USING (customer)
	WHERE s.s IS DISTINCT FROM b.s}), 0, 'with the right values');
sql(q{SELECT drop_feature_view('fragile')});
is_exact($node, 'postgres', 'after all that');

# Nothing left to do

sql(q{SELECT drop_feature_view('customer_features')});
poll(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('feature_engine ingest', 'feature_engine pusher')},
	'no view: no worker');
is(sql('SELECT count(*) FROM pg_replication_slots'), 0, 'and no slot');
sql('DROP TABLE orders; DROP EXTENSION feature_engine');
orders_view($node, 'postgres');
is_exact($node, 'postgres', 'installed again');

my $start = time;
$node->stop('fast');
cmp_ok(time - $start, '<', 60, 'the server stops and waits for nobody');

done_testing();
