# Keys of a view that is dropped, redefined or taken offline go, whatever happens
# meanwhile: Redis down, the pusher ended, the server restarted, no view left.
#
# Redis is "down" here in a way that keeps its data (SAVE before the end), so that the keys
# are there again when it comes back.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node eventually set_server);
use Test::More;

use constant WORKERS => q{SELECT count(*) FROM pg_stat_activity
	WHERE backend_type ~ '^feature_engine (ingest|pusher)'};
use constant END_PUSHER =>
  q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type LIKE '%pusher%'};
use constant FOOTPRINTS => q{SELECT count(*) FROM online_footprint};

my $redis = FeatureEngine::Test::Redis->start;
my $node = feature_node('main', redis => $redis);

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', "SET search_path = public, feature_engine;\n$query");
}
sub synced { sql(q{SELECT sync('60 s', redis => true)}); return }
sub keys_like { my ($prefix) = @_; return scalar grep { /^\Q$prefix\E/ } $redis->keys }

# Runs code while Redis is down, and ends the pusher and the server in that time. Returns how
# many keys Redis has before the server is back.
sub without_redis
{
	my ($code) = @_;
	synced();
	$redis->save_and_stop;
	$code->();
	sql(END_PUSHER);
	$node->stop;
	$redis->start_again;
	my $count = $redis->count;
	$node->start;
	return $count;
}

sub count_view
{
	my ($name, $feature, $options) = @_;
	return "SELECT create_feature_view('$name', 'SELECT k, count(*) AS $feature FROM t GROUP BY k'"
	  . ($options ? ", $options" : '') . ')';
}

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE t (id bigserial PRIMARY KEY, k int);
	ALTER TABLE t REPLICA IDENTITY FULL;
	INSERT INTO t (k) SELECT i % 500 FROM generate_series(1, 2000) i;
});

# One of two
sql(count_view('stays', 'n') . ';' . count_view('goes', 'n'));
synced();
is($redis->count, 1000, 'two views');
is(sql(FOOTPRINTS), 2, 'what they write is on record');
is(without_redis(sub { sql(q{SELECT drop_feature_view('goes')}) }), 1000,
	'Redis comes back with the keys of a dropped view');
eventually('... which are removed', sub { keys_like('goes:') == 0 });
synced();
is(keys_like('stays:'), 500, '... and no others');
eventually('... and then forgotten', sub { sql(FOOTPRINTS) eq '1' });

# Other keys, other features, none at all
without_redis(sub { sql(q{SELECT alter_feature_view('stays', redis_key => 'new:{k}')}) });
eventually('another template: the old keys go', sub { keys_like('stays:') == 0 });
synced();
is(keys_like('new:'), 500, '... and the new ones are there');
without_redis(sub {
	sql(q{SELECT create_feature_view('stays',
		'SELECT k, count(*) AS n, max(id) AS m FROM t GROUP BY k',
		redis_key => 'new:{k}', online => ARRAY['m'], replace => true)}) });
synced();
eventually('other features: the old fields go', sub {
	$redis->cli('HEXISTS', 'new:7', 'n') eq '0' && $redis->cli('HEXISTS', 'new:7', 'm') eq '1' });
is(keys_like('new:'), 500, '... and the keys stay');
eventually('... one footprint is left', sub { sql(FOOTPRINTS) eq '1' });
without_redis(sub { sql(q{SELECT alter_feature_view('stays', online => '{}')}) });
eventually('taken offline: the keys go', sub { $redis->count eq '0' });
eventually('... and with them the last footprint', sub { sql(FOOTPRINTS) eq '0' });
eventually('... and the pusher, which takes its own key away',
	sub { $redis->cli('DBSIZE') eq '0' && sql(WORKERS) eq '1' });

# The last view
sql(q{SELECT alter_feature_view('stays', reset => ARRAY['online', 'redis_key'])});
is(without_redis(sub { sql(q{SELECT drop_feature_view('stays')}) }), 500,
	'the last view is dropped');
eventually('... its keys go', sub { $redis->cli('DBSIZE') eq '0' });
eventually('... then the workers', sub { sql(WORKERS) eq '0' });
is(sql(q{SELECT count(*) FROM pg_replication_slots}) . sql(FOOTPRINTS), '00',
	'... and nothing is left');

# Dropped with its table, while the server crashes
sql(q{CREATE TABLE t2 (LIKE t INCLUDING ALL); ALTER TABLE t2 REPLICA IDENTITY FULL;
	INSERT INTO t2 SELECT * FROM t;
	SELECT create_feature_view('of_t2', 'SELECT k, count(*) AS n FROM t2 GROUP BY k')});
synced();
$redis->save_and_stop;
sql(q{DROP TABLE t2 CASCADE});
$node->stop('immediate');
$redis->start_again;
is(keys_like('of_t2:'), 500, 'a view that went with its table has left keys');
$node->start;
eventually('... they go after the crash', sub { $redis->cli('DBSIZE') eq '0' });

# Templates that are no plain text
sql(q~
	SELECT create_feature_view('odd',
		'SELECT k, id % 2 AS p, count(*) AS n FROM t GROUP BY k, id % 2',
		redis_key => '{{{p}}}:*{k}[?]}}');
	SELECT create_feature_view('"50% {off}"', 'SELECT k AS "a}{b", count(*) AS "%s" FROM t GROUP BY k');
	SELECT create_feature_view('"50%"', 'SELECT k, id % 2 AS p, count(*) AS n FROM t GROUP BY k, id % 2')~);
synced();
is($redis->cli('HGET', '{1}:*7[?]}', 'n'), 4, 'a template with braces and wildcards');
$redis->cli('HSET', '{1}:x7[?]}', 'n', 1, '_lsn', '0/1');
cmp_ok(without_redis(sub { sql(q{SELECT drop_feature_view('odd');
	SELECT drop_feature_view('"50% {off}"'); SELECT drop_feature_view('"50%"')}) }), '>', 1000,
	'views with odd names and templates are dropped');
eventually('... and all of their keys go', sub { sql(FOOTPRINTS) eq '0' });
is(join(' ', $redis->keys), '{1}:x7[?]}', '... and nothing else');
$redis->cli('DEL', '{1}:x7[?]}');

# Sharing keys
sql(count_view('a', 'na', q{redis_key => 's:{k}'}) . ';'
	  . count_view('b', 'nb', q{redis_key => 's:{k}', ttl => '9 days'}));
without_redis(sub { sql(q{SELECT drop_feature_view('a')}) });
eventually('a shared key: only its own fields go', sub {
	$redis->cli('HEXISTS', 's:7', 'na') eq '0' && $redis->cli('HGET', 's:7', 'nb') eq '4' });
synced();
is($redis->count, 500, '... of all keys there are');
cmp_ok($redis->cli('TTL', 's:7'), '>', 8 * 86_400, '... and the other view\'s ttl holds now');
eventually('... and are forgotten', sub { sql(FOOTPRINTS) eq '1' });

# Back again before anything could be removed
without_redis(sub {
	sql(q{SELECT drop_feature_view('b'); DELETE FROM t WHERE k >= 400});
	sql(count_view('b', 'nb', q{redis_key => 's:{k}'})) });
synced();
eventually('the same view made again: only stale keys go', sub { $redis->count eq '400' });
is($redis->cli('PTTL', 's:7'), '-1', '... and it is the new one');
is(sql(FOOTPRINTS), 1, '... one footprint');
$node->poll_query_until('postgres', q{SELECT ttl = 0 FROM feature_engine.online_footprint});

# A ttl that is changed meanwhile holds for the keys there are
without_redis(sub { sql(q{SELECT alter_feature_view('b', ttl => '3 days')}) });
eventually('a ttl set meanwhile', sub { $redis->cli('TTL', 's:7') > 2 * 86_400 });
sql(count_view('b', 'nb', q{redis_key => 's:{k}', ttl => '5 days', replace => true}));
eventually('a ttl set by a replacement', sub { $redis->cli('TTL', 's:9') > 4 * 86_400 });
sql(q{SELECT create_feature_view('b', 'SELECT k, count(*) AS nb FROM t WHERE id > 0 GROUP BY k',
	redis_key => 's:{k}', replace => true)});
eventually('... and taken away by one that builds its state anew',
	sub { $redis->cli('TTL', 's:9') eq '-1' });

# Not allowed to look for keys: tried again
$redis->cli('ACL', 'SETUSER', 'default', '-scan');
sql(q{SELECT drop_feature_view('b')});
$node->poll_query_until('postgres',
	q{SELECT redis_error LIKE '%NOPERM%' FROM feature_engine.worker_status()});
is($redis->count, 400, 'SCAN is not allowed: the keys stay');
is(sql(FOOTPRINTS), 1, '... and are remembered');
$redis->cli('ACL', 'SETUSER', 'default', '+scan');
eventually('... until it is', sub { $redis->cli('DBSIZE') eq '0' });

# No redis_url: nothing is done; the next pusher does it
sql(count_view('c', 'n'));
synced();
set_server($node, 'feature_engine.redis_url', '');
eventually('no redis_url, no pusher', sub {
	sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE '%pusher%'}) eq '0' });
sql(q{SELECT drop_feature_view('c')});
eventually('... and nobody waits for it', sub { sql(WORKERS) eq '0' });
is(sql(FOOTPRINTS), 1, '... but it is remembered');
set_server($node, 'feature_engine.redis_url', undef);
sql(count_view('d', 'n'));
eventually('the next pusher removes the keys', sub { keys_like('c:') == 0 });
synced();
is(keys_like('d:'), 400, '... only those');

# A view that is dropped while the pusher reads the catalogue
my $pusher = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE '%pusher%'});
set_server($node, 'feature_engine.inject_wait', 'pusher_load');
$node->poll_query_until('postgres',
	q{SELECT current_setting('feature_engine.inject_wait') = 'pusher_load'});
sql(count_view('short', 'n'));
$node->poll_query_until('postgres', qq{SELECT backend_xmin IS NOT NULL FROM pg_stat_activity
	WHERE pid = $pusher});
sql(q{SELECT drop_feature_view('short')});
set_server($node, 'feature_engine.inject_wait', undef);
sql(count_view('long', 'n'));
synced();
is(keys_like('long:'), 400, 'a view dropped while its plan is loaded stops no other');
is(sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE '%pusher%'}), $pusher,
	'... nor the pusher');

# The extension goes: what can be done is done
sql(q{SET client_min_messages = warning; DROP EXTENSION feature_engine CASCADE});
eventually('DROP EXTENSION: the keys go while there is somebody to do it',
	sub { $redis->cli('DBSIZE') eq '0' });
eventually('... and all workers end', sub { $node->safe_psql('postgres', WORKERS) eq '0' });

$node->stop;
done_testing();
