# Windows in GROUP BY through crashes and restarts: the watermark is stored with checkpoints and
# moves on in replay as it did, so that the same rows are late; sessions that were over stay
# apart. And the online form: one hash a window, through retention, outages and restarts.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node eventually set_server);
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = FeatureEngine::Test::Redis->start;
my $node = feature_node('main', redis => $redis,
	conf => "restart_after_crash = on\nfeature_engine.checkpoint_interval = 1s");

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', "SET search_path = public, feature_engine; SET timezone = 'UTC';\n$query");
}
sub synced { sql(q{SELECT sync('90 s', redis => true)}); return }

my @views = qw(tumbled hopped visits marked);
sub contents
{
	synced();
	return join("\n", map { sql("SELECT '$_', v.*, watermark('$_') FROM $_ v ORDER BY k, w") } @views);
}

# Everything that is committed now is in the store.
sub wait_for_checkpoint
{
	my $lsn = sql(q{SELECT sync('90 s')});
	sql(q{INSERT INTO other VALUES (1)});
	$node->poll_query_until('postgres',
		"SELECT coalesce(min(replay_lsn) >= '$lsn', false) FROM feature_engine.checkpoint")
	  or die 'no checkpoint';
	return;
}

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE events (k int, ts timestamptz);
	CREATE TABLE other (k int);
	SELECT create_feature_view('tumbled', $$SELECT k, tumble(ts, '10 minutes') AS w, count(*) AS n FROM events GROUP BY k, w$$,
	       append_only => true, watermark => '10 minutes');
	SELECT create_feature_view('hopped', $$SELECT k, hop(ts, '10 minutes', '5 minutes') AS w, count(*) AS n FROM events GROUP BY k, w$$,
	       append_only => true, watermark => '10 minutes', redis_key => 'h:{k}:{window_start}');
	SELECT create_feature_view('visits', $$SELECT k, session(ts, '10 minutes') AS w, count(*) AS n FROM events GROUP BY k, w$$,
	       append_only => true, watermark => '10 minutes');
	SELECT create_feature_view('marked', $$SELECT k, tumble(ts, '1 hour') AS w, count(*) AS n, is_final(tumble(ts, '1 hour')) AS final
	       FROM events GROUP BY k, w$$, append_only => true, watermark => '10 minutes');
	SELECT create_feature_view('others', $$SELECT k, count(*) AS n FROM other GROUP BY k$$, append_only => true);
});
synced();

# An event moves the watermark, one is late, one is late for some windows, one begins a session
# beside one that is over. start: minutes after noon.
sub story
{
	my ($start) = @_;
	foreach my $minutes (0, 4, 21, 1, 8, 11.5, 5.5, 30)
	{
		my $at = $start + $minutes;
		sql("INSERT INTO events SELECT k, '2024-01-01 12:00+00'::timestamptz + $at * interval '1 minute' FROM generate_series(1, 20) k");
	}
	return;
}

story(0);
my $before = contents();
my $late = sql(q{SELECT string_agg(late::text, ' ' ORDER BY name) FROM status WHERE name IN ('tumbled', 'hopped', 'visits', 'marked')});
is($late, '20 0 60 20', 'rows were late: for hopped, tumbled and visits');

# ---- a crash: what was stored, and what is replayed ----
wait_for_checkpoint();
story(60);
my $after = contents();
isnt($after, $before, 'the second story is in');
my $from = -s $node->logfile;
$node->stop('immediate');
$node->start;
is(contents(), $after, 'after a crash: rows and watermarks are as before, late rows left out again');
my $log = substr(slurp_file($node->logfile), $from);
like($log, qr/feature view "visits" has been loaded/, 'it was loaded');
unlike($log, qr/cannot be used/, 'and not rebuilt');

# ---- a worker is killed, an orderly restart ----
sql(q{SELECT pg_terminate_backend(ingest_pid) FROM worker_status()});
is(contents(), $after, 'after the end of the worker');
$node->restart;
is(contents(), $after, 'after a restart');
story(120);
$after = contents();
$node->stop('immediate');
$node->start;
is(contents(), $after, 'after one more story and crash');

# ---- Redis: a hash for each window ----
sub hashes_are_right
{
	my ($what) = @_;
	my $want = sql(q{SELECT string_agg(key || ' ' || n, E'\n' ORDER BY key COLLATE "C")
		FROM (SELECT format('h:%s:%s', k, extract(epoch FROM lower(w))::bigint) AS key, n FROM hopped) h});
	my $have;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually($what, sub {
		$have = join("\n", map { "$_ " . $redis->cli('HGET', $_, 'n') } sort grep { /^h:/ } $redis->keys);
		return $have eq $want;
	});
}
hashes_are_right('one hash for each window');
$redis->save_and_stop;
story(180);
sql(q{SELECT pg_terminate_backend(pusher_pid) FROM worker_status()});
$redis->start_again;
synced();
hashes_are_right('after an outage');
$redis->cli('SET', 'h:1:1704110401', 'x');
$redis->cli('DEL', 'h:1:1704110401');
$redis->cli('FLUSHALL');
sql(q{SELECT push_now('hopped')});
synced();
hashes_are_right('after a flush');

# ---- retention: hashes and memory go when their time has come ----
sql(q{
	CREATE TABLE orders (id serial PRIMARY KEY, k int, ts timestamptz);
	ALTER TABLE orders REPLICA IDENTITY FULL;
	SELECT set_clock('2024-02-01 00:30+00');
	SELECT create_feature_view('hourly', $$SELECT k, tumble(ts, '1 hour') AS w, count(*) AS n FROM orders GROUP BY k, w$$,
	       retention => '3 hours', redis_key => 'r:{k}:{window_start}');
	SELECT create_feature_view('newest', $$SELECT k, tumble(ts, '1 hour') AS w, count(*) AS n FROM orders GROUP BY k, w$$,
	       retention => '3 hours');
	INSERT INTO orders (k, ts) SELECT k, '2024-02-01 00:15+00'::timestamptz + h * interval '1 hour'
	FROM generate_series(1, 10) k, generate_series(-5, 2) h;
});
synced();
sub count_of { my ($pattern) = @_; return scalar grep { /$pattern/ } $redis->keys }
is(count_of('^r:'), 10 * 6, 'windows of 3 hours past, this one, and two to come');
is($redis->cli('HGET', 'newest:1', 'w'), '["2024-02-01 00:00:00+00","2024-02-01 01:00:00+00")', 'the newest that has begun');
sql(q{SELECT set_clock('2024-02-01 01:00+00')});
eventually('an hour later the oldest window has gone from Redis', sub { count_of('^r:') == 10 * 5 });
eventually('and the next one is the newest',
	sub { $redis->cli('HGET', 'newest:1', 'w') eq '["2024-02-01 01:00:00+00","2024-02-01 02:00:00+00")' });
is($redis->cli('EXISTS', 'r:1:' . 1706734800), 0, 'that of 21:00 is gone');
sql(q{UPDATE orders SET ts = ts + interval '1 hour' WHERE k = 1; DELETE FROM orders WHERE k = 2});
synced();
is(count_of('^r:2:'), 0, 'windows of an entity that is gone');
is(count_of('^r:1:'), 6, 'rows moved to other windows');
sql(q{SELECT set_clock('2024-02-01 23:00+00')});
eventually('when all windows are over no key is left', sub { count_of('^(r|newest):') == 0 });
$node->poll_query_until('postgres',
	q{SELECT sum(panes) = 0 AND sum(entities) = 0 FROM feature_engine.status WHERE name IN ('hourly', 'newest')})
  or fail('memory is free');
pass('and no memory is held');

# The extension goes, with windows in Redis.
sql(q{SELECT drop_feature_view(name) FROM feature_views});
eventually('no key is left after the last drop', sub { scalar($redis->keys) == 0 });
$node->stop;
$redis->stop;
done_testing();
