# While several sessions write, each row of a history is what was committed when it says so:
# the values are those of all transactions up to its position in the log and of none after, no
# row is there twice, none is dated before what it knows, and the last ones are the view's. The
# truth is told by a trigger and, for the order of transactions, by test_decoding. The
# pusher is killed in between.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node eventually);
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = FeatureEngine::Test::Redis->start;
my $node = feature_node('main', redis => $redis, conf => "track_commit_timestamp = on");

sub sql { my ($query) = @_; return $node->safe_psql('postgres', "SET search_path = public, feature_engine;\n$query") }

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE orders (id bigserial PRIMARY KEY, customer int, total int);
	ALTER TABLE orders REPLICA IDENTITY FULL;
	CREATE INDEX ON orders (customer);
	CREATE TABLE truth (xid xid, customer int, n int, total int);
	CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_OP <> 'INSERT' THEN
			INSERT INTO truth VALUES (pg_current_xact_id()::xid, OLD.customer, -1, -OLD.total);
		END IF;
		IF TG_OP <> 'DELETE' THEN
			INSERT INTO truth VALUES (pg_current_xact_id()::xid, NEW.customer, 1, NEW.total);
		END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION tell();
	SELECT create_feature_view('spend', 'SELECT customer, count(*) AS n, sum(total) AS total
		FROM orders GROUP BY customer', offline => true);
	SELECT sync();
	SELECT pg_create_logical_replication_slot('order_of_commits', 'test_decoding')});

# ---- the writers ----
my $script = $node->basedir . '/orders.sql';
append_to_file($script, q{
\set c random(1, 40)
\set d random(1, 40)
\set how random(1, 10)
BEGIN;
INSERT INTO orders (customer, total) VALUES (:c, :how);
SAVEPOINT s;
UPDATE orders SET customer = :d, total = total + 1 WHERE id IN (SELECT id FROM orders WHERE customer = :c LIMIT 2);
\if :how < 3
ROLLBACK TO s;
\endif
DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE customer = :d LIMIT :how / 4);
\if :how = 10
ROLLBACK;
\else
COMMIT;
\endif
});
my $bench = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '4', '-t', '500', '--max-tries=1000', '--random-seed=7', '-f', $script,
	  $node->connstr('postgres') ],
	'>', \my $said, '2>', \my $complaint);
eventually('rows are recorded', sub { sql('SELECT count(*) FROM spend_history') > 200 });
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'feature_engine pusher'});
ok($bench->finish, 'the writers are done') or diag("$said$complaint");
sql(q{SELECT sync('90 s', history => true)});

# ---- what they did ----
sql(q{
	CREATE TABLE commits AS
	SELECT lsn, xid, pg_xact_commit_timestamp(xid) AS at
	FROM   pg_logical_slot_get_changes('order_of_commits', NULL, NULL, 'skip-empty-xacts', '1')
	WHERE  data LIKE 'COMMIT%';
	CREATE TABLE changes AS
	SELECT customer, lsn, at, sum(n) AS n, sum(total) AS total FROM truth JOIN commits USING (xid) GROUP BY 1, 2, 3;
	CREATE TABLE was AS
	SELECT customer, lsn, at, lead(lsn) OVER w AS until, sum(n) OVER w AS n, sum(total) OVER w AS total
	FROM   changes WINDOW w AS (PARTITION BY customer ORDER BY lsn)});
cmp_ok(sql('SELECT count(*) FROM commits'), '>', 1000, 'transactions');
cmp_ok(sql('SELECT count(*) FROM spend_history'), '>', 200, 'rows of the history');
is(sql(q{SELECT count(*), min(h::text), min(w::text) FROM spend_history h LEFT JOIN was w
	ON w.customer = h.customer AND w.lsn <= h.lsn AND (w.until IS NULL OR w.until > h.lsn)
	WHERE (h.is_deleted, h.n, h.total)
		IS DISTINCT FROM (w.n = 0, NULLIF(w.n, 0), CASE WHEN w.n <> 0 THEN w.total END)}),
	'0||', 'each row has all that was committed up to its position, and nothing else');
is(sql(q{SELECT count(*), min(h::text) FROM spend_history h JOIN was w
	ON w.customer = h.customer AND w.lsn <= h.lsn AND (w.until IS NULL OR w.until > h.lsn)
	WHERE w.at > h.event_timestamp OR h.created > h.event_timestamp}),
	'0|', 'no row is dated before the commit of what it knows');
is(sql(q{SELECT count(*), min(h::text) FROM (SELECT *, lag(lsn) OVER v AS l0, lag(n) OVER v AS n0,
		lag(total) OVER v AS t0, lag(is_deleted) OVER v AS d0
	FROM spend_history WINDOW v AS (PARTITION BY customer ORDER BY event_timestamp)) h
	WHERE is_deleted AND d0 OR lsn < l0 OR (n, total, lsn) IS NOT DISTINCT FROM (n0, t0, l0)}),
	'0|', 'no row is there twice, and positions ascend with time');
is(sql(q{SELECT count(*)
	FROM (SELECT DISTINCT ON (customer) customer, n, total FROM was ORDER BY customer, lsn DESC) w
	FULL JOIN (SELECT DISTINCT ON (customer) * FROM spend_history ORDER BY customer, event_timestamp DESC) h
	USING (customer)
	WHERE (h.n, h.total) IS DISTINCT FROM (NULLIF(w.n, 0)::int8, CASE WHEN w.n <> 0 THEN w.total END)}),
	0, 'the last rows are what is there now');
$node->stop('fast');
done_testing();
