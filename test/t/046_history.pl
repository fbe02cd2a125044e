# The history through killed workers, crashes of the server, outages of Redis, no Redis at all, and
# dump and restore: whatever was read from Redis is in it, nothing is in it twice, and its last rows
# are what SQL says.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node set_server eventually);
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = FeatureEngine::Test::Redis->start;
my $node = feature_node('main', redis => $redis, conf => "feature_engine.checkpoint_interval = 1s\nrestart_after_crash = on");
my %seen;    # what was read from Redis: "customer n total _ts"

sub sql { my ($query, $db) = @_; return $node->safe_psql($db // 'postgres', "SET search_path = public, feature_engine;\n$query") }

sub workload
{
	$node->psql('postgres', q{SET search_path = public, feature_engine;
		INSERT INTO orders (customer, total) SELECT n % 17, n FROM generate_series(1, 40) n;
		UPDATE orders SET customer = (customer + 1) % 23, total = total + 1
		WHERE id % 7 = (SELECT max(id) FROM orders) % 7;
		DELETE FROM orders WHERE id % 11 = (SELECT max(id) FROM orders) % 11});
	return;
}

sub read_redis
{
	foreach my $customer (0 .. 22)
	{
		my $hash = $redis->hash("spend:$customer");
		$seen{"($customer, $hash->{n}, $hash->{total}, '$hash->{_ts}')"} = 1 if $hash->{_ts};
	}
	return;
}

my $last = q{SELECT customer, n, total FROM (SELECT DISTINCT ON (customer) * FROM spend_history
	ORDER BY customer, event_timestamp DESC) h WHERE NOT is_deleted};

# What there is to say after each event.
sub is_recorded
{
	my ($what, %options) = @_;
	my $db = $options{db} // 'postgres';
	sql(q{SELECT sync('90 s', history => true)}, $db);
	is(sql(qq{SELECT count(*) FROM ($last) h FULL JOIN (SELECT customer, count(*) AS n, sum(total) AS total FROM orders
		GROUP BY customer) b USING (customer) WHERE (h.n, h.total) IS DISTINCT FROM (b.n, b.total)}, $db), 0,
		"$what: the last rows are what SQL says");
	is(sql(q{SELECT string_agg(h::text, chr(10)) FROM (SELECT *, lag(event_timestamp) OVER w AS e0, lag(n) OVER w AS n0,
		lag(total) OVER w AS t0, lag(is_deleted) OVER w AS d0, lag(lsn) OVER w AS l0
		FROM spend_history WINDOW w AS (PARTITION BY customer ORDER BY event_timestamp)) h
		WHERE is_deleted AND d0 OR (n, total, lsn) IS NOT DISTINCT FROM (n0, t0, l0)}, $db), '', "$what: nothing is recorded twice");
	is(sql('SELECT count(*) FROM spend_history WHERE created > event_timestamp', $db), 0, "$what: nothing is known before it happened");
	return if !%seen;
	my $rows = join(', ', keys %seen);
	is(sql(qq{SELECT count(*), min(s::text) FROM (VALUES $rows) s (customer, n, total, ts) CROSS JOIN LATERAL
		(SELECT h.n, h.total FROM spend_history h WHERE h.customer = s.customer AND event_timestamp <= s.ts::timestamptz
		 ORDER BY event_timestamp DESC LIMIT 1) h WHERE (h.n, h.total) IS DISTINCT FROM (s.n, s.total)}, $db),
		'0|', "$what: what was read from Redis is in it");
	return;
}

sub is_held_at
{
	my ($point) = @_;
	return eventually("the pusher is held at $point",
		sub { sql(qq{SELECT count(*) FROM pg_stat_activity WHERE query = 'held at $point'}) });
}

sub back_again
{
	my ($what) = @_;
	$node->append_conf('postgresql.conf', "feature_engine.inject_crash = ''");
	return eventually("$what: the server is back", sub {
		$node->psql('postgres', 'ALTER SYSTEM RESET feature_engine.inject_crash') == 0
		  && $node->psql('postgres', 'SELECT pg_reload_conf()') == 0 });
}

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE orders (id serial PRIMARY KEY, customer int, total int);
	ALTER TABLE orders REPLICA IDENTITY FULL;
	SELECT create_feature_view('spend', $$ SELECT customer, count(*) AS n, sum(total) AS total FROM orders GROUP BY customer $$,
		offline => true)});
foreach (1 .. 5) { workload(); read_redis() }
is_recorded('changes');
cmp_ok(sql('SELECT count(*) FROM spend_history'), '>', 40, 'there is a history');

# ---- an entity that changes while others are taken off the list, and again before it is evaluated ----
set_server($node, 'feature_engine.inject_wait', 'taken');
sql('INSERT INTO orders (customer, total) VALUES (1, 1)');
is_held_at('taken');
sql('INSERT INTO orders (customer, total) VALUES (1, 2); SELECT sync()');
set_server($node, 'feature_engine.inject_wait', 'slice');
is_held_at('slice');
sql('INSERT INTO orders (customer, total) VALUES (1, 3); SELECT sync()');
set_server($node, 'feature_engine.inject_wait', undef);
is_recorded('changes meanwhile');

# ---- entities that change between the walk through the history and a look at them ----
set_server($node, 'feature_engine.inject_wait', 'suspects');
sql(q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE backend_type = 'feature_engine pusher'});
is_held_at('suspects');
sql('DELETE FROM orders WHERE customer IN (1, 6); UPDATE orders SET total = total + 1 WHERE customer = 2; SELECT sync()');
set_server($node, 'feature_engine.inject_wait', undef);
is_recorded('changes before the look');
is(sql(q{SELECT count(*) FROM (SELECT DISTINCT ON (customer) * FROM spend_history ORDER BY customer, event_timestamp DESC) h
	WHERE is_deleted AND customer IN (1, 6)}), 2, 'who vanished is recorded as deleted');

# ---- an error after some windows of an entity ----
sql(q{
	CREATE TABLE visits (customer int, at timestamptz, pages int);
	ALTER TABLE visits REPLICA IDENTITY FULL;
	INSERT INTO visits VALUES (1, '2026-01-01Z', 5), (1, '2026-01-02Z', 0), (1, '2026-01-03Z', 2);
	SELECT create_feature_view('by_day', 'SELECT customer, tumble(at, ''1 day'') AS day, 10 / sum(pages) AS x
		FROM visits GROUP BY 1, 2', redis_key => 'by_day:{customer}:{window_start}', offline => true);
	SELECT sync('60 s', history => true)});
is(sql(q{SELECT string_agg(format('%s %s', lower(day)::date, coalesce(x::text, 'none')), ', ' ORDER BY event_timestamp, day) FROM by_day_history}),
	'2026-01-01 2, 2026-01-02 none, 2026-01-03 5', 'windows are recorded once, also those before an error');
sql(q{SELECT drop_feature_view('by_day', history => true); DROP TABLE visits});

# ---- at most one row for each interval, also of who comes and goes ----
sql(q{
	CREATE TABLE stays (guest int, nights int);
	ALTER TABLE stays REPLICA IDENTITY FULL;
	SELECT create_feature_view('stay', 'SELECT guest, sum(nights) AS nights FROM stays GROUP BY guest',
		offline => true, history_interval => '10 s')});
my $interval = q{floor(extract(epoch FROM clock_timestamp()) / 10)};
sql(q{SELECT pg_sleep(10 - extract(epoch FROM clock_timestamp())::numeric % 10)});
my $began = sql("SELECT $interval");
sql('INSERT INTO stays VALUES (1, 1); SELECT sync(history => true)');
foreach my $nights (2, 3)
{
	sql('DELETE FROM stays; SELECT sync(history => true)');
	sql("INSERT INTO stays VALUES (1, $nights); SELECT sync(history => true)");
}
sql('DELETE FROM stays; SELECT sync(history => true)');
SKIP:
{
	skip('too slow for one interval', 2) if sql("SELECT $interval") ne $began;
	eventually('the next interval has the deletion', sub { sql('SELECT bool_or(is_deleted) FROM stay_history') eq 't' });
	sql('INSERT INTO stays VALUES (2, 2); SELECT sync(history => true); SELECT pg_sleep(0.5)');
	is(sql('SELECT string_agg(is_deleted::text, chr(32) ORDER BY event_timestamp) FROM stay_history WHERE guest = 1'),
		'false true', 'who came back and vanished again is recorded as deleted once');
}
sql(q{SELECT drop_feature_view('stay', history => true); DROP TABLE stays});

sql(q{
	SELECT set_clock('2026-01-05 10:00Z');
	CREATE TABLE visits (customer int, at timestamptz, pages int);
	ALTER TABLE visits REPLICA IDENTITY FULL;
	INSERT INTO visits VALUES (1, '2026-01-01Z', 5), (1, '2026-01-02Z', 1);
	SELECT create_feature_view('by_day', 'SELECT customer, tumble(at, ''1 day'') AS day, sum(pages) AS pages
		FROM visits GROUP BY 1, 2', redis_key => 'by_day:{customer}:{window_start}', offline => true, history_interval => '1 hour');
	SELECT sync('60 s', history => true)});
foreach ([ '11:00', 'DELETE FROM visits WHERE pages = 5' ], [ '11:10', q{INSERT INTO visits VALUES (1, '2026-01-01Z', 5)} ],
	[ '11:20', 'DELETE FROM visits WHERE pages = 5' ], [ '12:00', '' ], [ '13:00', '' ])
{
	my ($at, $change) = @$_;
	sql(qq{SELECT set_clock('2026-01-05 ${at}Z'); $change; SELECT sync('60 s', history => true)});
}
is(sql(q{SELECT string_agg(format('%s %s', to_char(event_timestamp AT TIME ZONE 'UTC', 'HH24:MI'), coalesce(pages::text, 'gone')), ', ' ORDER BY event_timestamp)
	FROM by_day_history WHERE lower(day) = '2026-01-01Z'}), '10:00 5, 11:00 gone',
	'a window that came back within the interval of its deletion, and vanished, is recorded as deleted once');
sql(q{SELECT drop_feature_view('by_day', history => true); DROP TABLE visits});

# ---- an entity of which nothing can be computed for a while ----
sql(q{
	SELECT set_clock('2026-01-05 10:00:00Z');
	CREATE TABLE readings (sensor int, at timestamptz, x float8);
	ALTER TABLE readings REPLICA IDENTITY FULL;
	INSERT INTO readings VALUES (1, '2026-01-05 10:00:02Z', 1e308), (1, '2026-01-05 10:00:03Z', 1e308);
	SELECT create_feature_view('heat', 'SELECT sensor, sum(x) FILTER (WHERE rolling(at, ''4 s'')) AS heat FROM readings GROUP BY sensor',
		offline => true);
	SELECT sync('60 s', history => true)});
sql(qq{SELECT set_clock('2026-01-05 10:00:${_}Z'); SELECT sync('60 s', history => true)}) foreach ('02.5', '03.5', '06.5', '08');
is(sql(q{SELECT coalesce(heat::text, 'none') FROM heat_history ORDER BY event_timestamp DESC LIMIT 1}), 'none', 'its values are followed afterwards');
sql(q{SELECT drop_feature_view('heat', history => true); DROP TABLE readings; SELECT set_clock(NULL)});

# ---- a row that is too wide for an index, and then none ----
sql(q{
	CREATE TABLE notes (id int, note text);
	ALTER TABLE notes REPLICA IDENTITY FULL;
	INSERT INTO notes VALUES (1, 'short');
	SELECT create_feature_view('note', 'SELECT id, max(note) AS note FROM notes GROUP BY id', offline => true);
	CREATE INDEX ON note_history (note);
	SELECT sync('60 s', history => true);
	UPDATE notes SET note = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n);
	SELECT sync('60 s', history => true);
	DELETE FROM notes;
	SELECT sync('60 s', history => true)});
is(sql(q{SELECT string_agg(coalesce(note, 'gone'), ', ' ORDER BY event_timestamp) FROM note_history}), 'short, gone',
	'an entity whose last row was left out is recorded as deleted');
sql(q{SELECT drop_feature_view('note', history => true); DROP TABLE notes});

# ---- workers that are killed, at the worst moments ----
foreach my $point ('history', 'history_committed', 'pushed')
{
	set_server($node, 'feature_engine.inject_crash', $point);
	workload() for 1 .. 2;
	back_again("crash at $point");
	foreach (1 .. 2) { workload(); read_redis() }
	is_recorded("crash at $point");
}
workload();
$node->stop('immediate');
$node->start;
is_recorded('the server was killed');

# ---- who vanishes while nobody looks ----
set_server($node, 'feature_engine.inject_wait', 'pusher');
sql(q{DELETE FROM orders WHERE customer IN (3, 4); SELECT sync()});
$node->stop('immediate');
$node->append_conf('postgresql.conf', "feature_engine.inject_wait = ''");
$node->start;
set_server($node, 'feature_engine.inject_wait', undef);
is_recorded('entities vanished unseen');
is(sql(q{SELECT count(*) FROM (SELECT DISTINCT ON (customer) * FROM spend_history ORDER BY customer, event_timestamp DESC) h
	WHERE is_deleted AND customer IN (3, 4)}), 2, 'they are recorded as deleted');

# ---- errors of the history: Redis goes on, and nothing is lost ----
set_server($node, 'feature_engine.inject_error', 'history');
workload();
sql(q{SELECT sync('90 s', redis => true)});
is($redis->hash('spend:1')->{n}, sql('SELECT count(*) FROM orders WHERE customer = 1'), 'Redis has what the history has not');
like(sql(q{SELECT last_error FROM status WHERE name = 'spend'}), qr/history: /, 'status tells why');
set_server($node, 'feature_engine.inject_error', undef);
is_recorded('errors are over');
is(sql(q{SELECT history_error FROM view_status()}), '', 'and so says status');
sql('BEGIN; ALTER TABLE spend_history RENAME n TO other; COMMIT');
workload();
eventually('a column has another name', sub { sql(q{SELECT last_error FROM status WHERE name = 'spend'}) =~ /history: / });
sql('ALTER TABLE spend_history RENAME other TO n');
is_recorded('and the old one again');

# ---- Redis is away, and there is none at all ----
$redis->stop;
workload() for 1 .. 3;
sql('DELETE FROM orders WHERE customer = 5');
is_recorded('Redis is away');
$redis->start_again;
sql(q{SELECT sync('90 s', redis => true)});
is($redis->features('spend:'), sql(q{SELECT concat(customer, ' n=' || n, ' total=' || total) COLLATE "C" FROM spend ORDER BY 1}),
	'Redis has everything when it is back');
read_redis();
is_recorded('Redis is back');
set_server($node, 'feature_engine.redis_url', '');
workload();
is_recorded('without Redis');
$node->restart;
workload();
is_recorded('without Redis from the start');

# ---- dump and restore ----
my $dump = $node->basedir . '/history.dump';
my $rows = sql('SELECT count(*), sum(hashtext(h::text)) FROM spend_history h');
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'postgres' ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'restored', $dump ], 'pg_restore');
is_recorded('restored', db => 'restored');
is(sql('SELECT count(*), sum(hashtext(h::text)) FROM spend_history h', 'restored'), $rows, 'the history is what it was');
is(sql(q{SELECT history FROM feature_views}, 'restored'), 'spend_history', 'and the view knows its table');
sql('INSERT INTO orders (customer, total) VALUES (1, 1), (99, 1)', 'restored');
is_recorded('and goes on', db => 'restored');

$node->stop('fast');
done_testing();
