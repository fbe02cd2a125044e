# Views over changes(): what an audit trigger has written down is what they have counted,
# whatever happened meanwhile; and where that cannot be, the gap is reported.
use strict;
use warnings;
use FeatureEngine::Test qw(feature_node wait_in_log eventually);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => q{
	track_commit_timestamp = on
	max_prepared_transactions = 5
	feature_engine.checkpoint_interval = 2
	restart_after_crash = on
	autovacuum = off});

sub sql { my ($text) = @_; return $node->safe_psql('postgres', "SET search_path = public, feature_engine;\n$text") }
sub refused { my ($text) = @_; return ($node->psql('postgres', "SET search_path = public, feature_engine;\n$text"))[2] }

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE orders (id int PRIMARY KEY, customer int, total numeric(10,2), status text,
		note text, created_at timestamptz);
	ALTER TABLE orders REPLICA IDENTITY FULL;
	CREATE TABLE audit (n bigserial PRIMARY KEY, op text, before orders, after orders);
	CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.audit (op, before, after) VALUES (
			CASE TG_OP WHEN 'INSERT' THEN 'c' WHEN 'UPDATE' THEN 'u' ELSE 'd' END,
			CASE WHEN TG_OP <> 'INSERT' THEN OLD END, CASE WHEN TG_OP <> 'DELETE' THEN NEW END);
		RETURN NULL;
	END $$;
	CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION audit();
	INSERT INTO orders SELECT n, n % 10, n, 'new', repeat('long', 2000), now() FROM generate_series(-20, -1) n;
	TRUNCATE audit});

# The same query over the stream and over what the trigger wrote.
my $query = q{
	SELECT coalesce((after).customer, (before).customer) AS customer,
	       count(*) AS n, count(*) FILTER (WHERE op = 'c') AS created,
	       count(*) FILTER (WHERE op = 'u') AS updated, count(*) FILTER (WHERE op = 'd') AS deleted,
	       sum((after).total) AS total, sum((before).total) AS total_before,
	       count(*) FILTER (WHERE op = 'u' AND (before).status IS DISTINCT FROM (after).status) AS transitions,
	       max(length((after).note)) AS longest, min(length((before).note)) AS shortest,
	       sum((after).total - (before).total) FILTER (WHERE rolling(committed_at, '1 hour')) AS moved,
	       max(committed_at) AS last_change, last((after).status, committed_at) AS last_status
	FROM %s WHERE op <> 'r'
	GROUP BY coalesce((after).customer, (before).customer)};
my $stream = sprintf $query, 'changes(NULL::orders)';
my $audit = '(SELECT *, pg_xact_commit_timestamp(xmin) AS committed_at FROM audit) a';
my $batch = sprintf $query, $audit;

# before_at: when the change before this one of the same row committed; none before it came to be.
my $times = q{
	SELECT (coalesce(after, before)).id %% 20 AS customer, count(before_at) AS n,
	       sum(extract(epoch FROM committed_at - before_at)) AS seconds,
	       max(committed_at - before_at) FILTER (WHERE op = 'd') AS longest, min(before_at) AS earliest,
	       avg(extract(epoch FROM committed_at - before_at)) FILTER (WHERE op = 'u' AND (before).status = 'paid'
	           AND (after).status = 'shipped') AS paid_to_shipped
	FROM %s WHERE op <> 'r' GROUP BY (coalesce(after, before)).id %% 20};
my $times_stream = sprintf $times, 'changes(NULL::orders)';
my $times_batch = sprintf $times, qq{(SELECT *, CASE WHEN op <> 'c' THEN lag(committed_at) OVER w END AS before_at
	FROM $audit WINDOW w AS (PARTITION BY (coalesce(after, before)).id ORDER BY n)) a};

sub is_history
{
	my ($what, $view, $batch_query) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$view //= 'history';
	$batch_query //= $batch;
	return is(sql(qq{
		SELECT sync('120 s', view => '$view') IS NOT NULL;
		SELECT count(*) || ' differ, e.g. streamed ' || coalesce(min(s::text), 'none') ||
		       ', batch ' || coalesce(min(b::text), 'none')
		FROM   $view s FULL JOIN ($batch_query) b USING (customer)
		WHERE  s::text IS DISTINCT FROM b::text}),
		"t\n0 differ, e.g. streamed none, batch none", "$what: the stream is what the trigger wrote");
}

sub gaps { return sql(q{SELECT name, gaps FROM status ORDER BY 1}) }

sql(qq{
	SELECT create_feature_view('history', \$\$ $stream \$\$);
	SELECT create_feature_view('later', \$\$ $stream \$\$, snapshot => false);
	SELECT create_feature_view('times', \$\$ $times_stream \$\$);
	SELECT create_feature_view('firsts', \$\$
		SELECT (after).customer, count(*) AS n, count(committed_at) AS dated, sum((after).total) AS total
		FROM changes(NULL::orders) WHERE op = 'r' GROUP BY (after).customer \$\$);
	SELECT create_feature_view('rows_now', \$\$ SELECT customer, count(*) AS n, sum(total) AS total FROM orders GROUP BY customer \$\$);
	SELECT sync()});
is(sql('SELECT sum(n), sum(dated), sum(total) FROM firsts'), '20|0|-210.00', 'rows that were there are read once');

# Several sessions: inserts, updates that leave the long value alone or change the key,
# deletes, savepoints and rollbacks.
my $script = $node->basedir . '/workload.sql';
append_to_file($script, q{
\set id random(1, 400)
\set other random(1, 400)
\set how random(1, 10)
BEGIN;
INSERT INTO orders VALUES (:id, :id % 10, :id, 'new', repeat('x', 10 * :id), now()) ON CONFLICT (id) DO UPDATE SET total = orders.total + 1, status = 'paid';
SAVEPOINT a;
UPDATE orders SET status = 'shipped', customer = :how WHERE id = :other;
\if :how <= 3
ROLLBACK TO a;
\endif
UPDATE orders SET note = repeat('y', 5 * :other) WHERE id = :other AND :how = 5;
DELETE FROM orders WHERE id = :id AND :how >= 8;
\if :how = 7
ROLLBACK;
\else
COMMIT;
\endif
});
sub workload
{
	my ($n) = @_;
	# a server that crashes meanwhile is what some tests want
	IPC::Run::run([ 'pgbench', '-n', '-f', $script, '-c', 4, '-t', $n, '--max-tries=10', '-h', $node->host,
			'-p', $node->port, 'postgres' ], '>', \my $out, '2>', \my $err);
	return;
}

workload(300);
is_history('concurrent sessions');
is_history('the same without first rows', 'later');
is_history('times between changes', 'times', $times_batch);

sql(q{
	BEGIN; INSERT INTO orders SELECT n, 3, 1, 'new', 'copied', now() FROM generate_series(1001, 1300) n; COMMIT;
	COPY (SELECT id + 1000, customer, total, status, note, created_at FROM orders WHERE id > 1000) TO '/tmp/fe_changes_copy_test' });
sql(q{COPY orders FROM '/tmp/fe_changes_copy_test'});
unlink '/tmp/fe_changes_copy_test';
sql(q{
	BEGIN; UPDATE orders SET total = total * 2 WHERE id > 2000; PREPARE TRANSACTION 'p'});
workload(50);
sql(q{COMMIT PREPARED 'p'});
is_history('COPY, a prepared transaction');
sql(q{TRUNCATE orders; INSERT INTO orders VALUES (1, 1, 1, 'new', 'after', now())});
is_history('TRUNCATE logs no changes of rows');
eventually('nor are rows remembered that it removed',
	sub { return sql(q{SELECT count(*) FROM change_time}) == 1 });

# ---- crash and restart -----------------------------------------------------------

for my $round (1 .. 3)
{
	my $victim = sql('SELECT ingest_pid FROM worker_status()');
	my $bench = IPC::Run::start([ 'pgbench', '-n', '-f', $script, '-c', 2, '-t', 400, '-h', $node->host,
			'-p', $node->port, 'postgres' ], '>', \my $out, '2>', \my $err);
	select(undef, undef, undef, 0.3 * $round);
	kill 'KILL', $victim if $round != 2;
	$node->stop('immediate') if $round == 2;
	$bench->finish;
	$node->start if $round == 2;
	eventually('the server is up', sub { return ($node->psql('postgres', 'SELECT 1'))[0] == 0 });
	is_history($round == 2 ? 'the server stopped at once' : 'kill -9 of the worker');
	is_history('times between changes', 'times', $times_batch);
}
$node->restart;
is_history('restart');
is_history('restart, without first rows', 'later');
is_history('restart, times between changes', 'times', $times_batch);
is(gaps(), "firsts|0\nhistory|0\nlater|0\nrows_now|\ntimes|0", 'no gap so far');
eventually('of each row only the last time is kept',
	sub { return sql(q{SELECT count(*) - count(DISTINCT key) FROM change_time}) == 0 });

# ---- a view that begins while rows change ---------------------------------------------

# What comes minus what goes is what is there, if no change is missing and none is twice.
sql('TRUNCATE orders; INSERT INTO orders SELECT n, n % 10, n, $$new$$, $$$$, now() FROM generate_series(1, 300) n');
for my $round (1 .. 3)
{
	my $bench = IPC::Run::start([ 'pgbench', '-n', '-f', $script, '-c', 3, '-t', 300, '-h', $node->host,
			'-p', $node->port, 'postgres' ], '>', \my $out, '2>', \my $err);
	select(undef, undef, undef, 0.1 * $round);
	sql(qq{SELECT create_feature_view('net', \$\$
		SELECT customer, sum(n) AS n, sum(total) AS total FROM (
			SELECT (after).customer, 1 AS n, (after).total FROM changes(NULL::orders) WHERE op IN ('c', 'u', 'r')
			UNION ALL
			SELECT (before).customer, -1, -(before).total FROM changes(NULL::orders) WHERE op IN ('u', 'd')) c
		GROUP BY customer \$\$)});
	$bench->finish;
	is(sql(q{SELECT sync(view => 'net') IS NOT NULL;
		SELECT count(*) FROM (SELECT * FROM net WHERE n <> 0) s FULL JOIN
		(SELECT customer, count(*) AS n, sum(total) AS total FROM orders GROUP BY customer) b USING (customer)
		WHERE s::text IS DISTINCT FROM b::text}), "t\n0", 'a view that begins among changes has each of them once');
	sql(q{SELECT drop_feature_view('net')});
}

# ---- an error in an expression -----------------------------------------------------

sql(qq{SELECT create_feature_view('inverse', \$\$
	SELECT (after).customer, count(*) AS n, sum(100 / (after).total) AS inverse
	FROM changes(NULL::orders) WHERE op <> 'd' GROUP BY (after).customer \$\$, snapshot => false);
	SELECT sync()});
sql(q{INSERT INTO orders VALUES (5001, 77, 10, 'new', '', now())});
is(sql(q{SELECT sync() IS NOT NULL; SELECT n, inverse::int FROM inverse WHERE customer = 77}), "t\n1|10", 'a view with a division');
sql(q{BEGIN; INSERT INTO orders VALUES (5002, 77, 20, 'new', '', now()); INSERT INTO orders VALUES (5003, 77, 0, 'new', '', now()); COMMIT;
	INSERT INTO orders VALUES (5004, 77, 50, 'new', '', now())});
like(refused(q{SELECT sync(view => 'inverse')}), qr/division by zero/, 'an error stops it');
workload(100);
is_history('the others go on');
like(refused(q{SELECT * FROM inverse}), qr/division by zero/, 'it stays stopped when it is tried again');
sql(q{SELECT alter_feature_view('inverse', on_error => 'skip')});
eventually('with on_error => skip it goes on where it stopped',
	sub { return sql(q{SELECT state FROM status WHERE name = 'inverse'}) eq 'live' });
is(sql(q{SELECT sync() IS NOT NULL; SELECT n, inverse::int FROM inverse WHERE customer = 77}), "t\n3|17",
	'and only the row with the error is missing');
is_history('the others counted nothing twice');
is_history('so with times between changes', 'times', $times_batch);
is(sql(q{SELECT skipped, gaps FROM status WHERE name = 'inverse'}), '1|0', 'it says so');
is(sql(q{SELECT sync(view => 'rows_now') IS NOT NULL;
	SELECT count(*) FROM rows_now s FULL JOIN
	(SELECT customer, count(*) AS n, sum(total) AS total FROM orders GROUP BY customer) b USING (customer) WHERE s::text IS DISTINCT FROM b::text}), "t\n0", 'so for a view over rows');

# Where the error comes before anything of a view is stored, a restart must find it, too: it
# counts an update of a row that was there, which no table tells any more.
sql(q{CREATE TABLE odd (id int PRIMARY KEY, x int); ALTER TABLE odd REPLICA IDENTITY FULL});
for my $how ('fast', 'immediate')
{
	sql(q{TRUNCATE odd; INSERT INTO odd VALUES (1, 5);
		SELECT create_feature_view('stopped', $$
			SELECT (after).id, count(*) AS n, sum(10 / (after).x) AS s FROM changes(NULL::odd) GROUP BY 1 $$)});
	sql(q{SELECT sync(view => 'stopped'); UPDATE odd SET x = 2; INSERT INTO odd VALUES (2, 0);
		UPDATE odd SET x = 1 WHERE id = 1});
	eventually('a view stops early',
		sub { return sql(q{SELECT last_error FROM status WHERE name = 'stopped'}) eq 'division by zero' });
	eventually('it is stored', sub { return sql(q{SELECT count(*) FROM checkpoint
		JOIN feature_view_catalog c USING (viewid) WHERE relation = 'stopped'::regclass}) eq '1' })
		if $how eq 'immediate';
	$node->stop($how);
	$node->start;
	sql(q{SELECT alter_feature_view('stopped', on_error => 'skip')});
	eventually('it goes on', sub { return sql(q{SELECT state FROM status WHERE name = 'stopped'}) eq 'live' });
	is(sql(q{SELECT sync() IS NOT NULL; SELECT * FROM stopped; SELECT gaps FROM status WHERE name = 'stopped'}),
		"t\n1|3|17\n0", "stopped before it was stored, then a restart ($how): it has all it had");
	sql(q{SELECT drop_feature_view('stopped')});
}

# ---- the slot is lost ----------------------------------------------------------------

my $slot = sql(q{SELECT slot_name FROM pg_replication_slots});
sql(q{SELECT sync()});
my $before = sql(q{SELECT n FROM history ORDER BY n DESC, customer LIMIT 1});
my $log = -s $node->logfile;
$node->stop;
unlink glob($node->data_dir . "/pg_replslot/$slot/*");
rmdir $node->data_dir . "/pg_replslot/$slot";
# changes that nobody will ever see
$node->start;
is(sql(q{SELECT sync() IS NOT NULL; SELECT n FROM history ORDER BY n DESC, customer LIMIT 1}), "t\n$before",
	'the slot is lost: what was counted is still there');
wait_in_log($node, qr/feature view "history" has missed the changes that committed between/, $log, 'the log tells of the gap');
is(sql(q{SELECT name, gaps, gap_from < gap_to FROM status WHERE name IN ('history', 'later') ORDER BY 1}),
	"history|1|t\nlater|1|t", 'status tells of the gap');
sql(q{SELECT refresh_feature_view('history'); TRUNCATE audit});
sql(q{SELECT sync()});
workload(50);
is_history('refreshed: a new history');
is(sql(q{SELECT gaps FROM status WHERE name = 'history'}), '0', 'and no gap');

# a crash as soon as the gap is written down does not make a second one
is(sql(q{SELECT gaps FROM status WHERE name = 'later'}), '1', 'one gap is one gap');
$node->stop('immediate');
$node->start;
is_history('crash', 'history');
is(sql(q{SELECT sum(gaps) FROM status WHERE name IN ('history', 'later')}), '1', 'no other gap');

$node->stop;
done_testing();
