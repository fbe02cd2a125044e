# Redis equals SQL: what is written, when it goes, and what outages do not harm.
#
# Nothing here waits for time to pass: sync(redis => true) waits for what is
# committed, set_clock() moves the engine's clock, and the rest is polled.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use constant PUSHERS =>
  q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE '%pusher%'};
use constant COUNT => FeatureEngine::Test::Redis::COUNT;

my $redis = FeatureEngine::Test::Redis->start;
my $node = feature_node('main', redis => $redis);

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', "SET search_path = public, feature_engine;\n$query")
}
sub synced { sql("SELECT sync('60 s', redis => true)"); return }
sub clock { my ($at) = @_; sql($at ? "SELECT set_clock('$at')" : 'SELECT set_clock(NULL)'); return }

# Waits until code returns true.
sub eventually
{
	my ($what, $code) = @_;
	my $end = time + 60;
	my $ok;
	usleep(20_000) until ($ok = $code->()) || time > $end;
	return ok($ok, $what);
}

# A command that fails, and its message.
sub error_of
{
	my ($query) = @_;
	my ($rc, $out, $err) = $node->psql('postgres',
		"SET search_path = public, feature_engine;\n$query");
	return $rc ? $err : '';
}

# A hash without its _ts and _lsn, as text.
sub features
{
	my ($key) = @_;
	my $hash = $redis->hash($key);
	return join(' ', map { "$_=$hash->{$_}" } grep { !/^_/ } sort keys %$hash);
}

# All keys and features of a view with one key column, in Redis and in SQL.
sub in_redis { my ($prefix) = @_; return $redis->features($prefix) }

sub in_sql
{
	my ($view, $key, @columns) = @_;
	my @texts = map { "CASE WHEN $_ IS NOT NULL THEN format(' $_=%s', $_) END" } sort @columns;
	my $line = join(', ', @texts);
	return sql(qq{SELECT concat($key, $line) COLLATE "C" FROM $view ORDER BY 1});
}

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE events (id bigserial PRIMARY KEY, k int, x int, ts timestamptz, note text);
	ALTER TABLE events REPLICA IDENTITY FULL;
});

# Without a server to push to: a clear error, and nothing waits.
{
	my $alone = feature_node('alone');
	$alone->safe_psql('postgres', q{
		CREATE EXTENSION feature_engine;
		CREATE TABLE t (id int PRIMARY KEY, k int);
		ALTER TABLE t REPLICA IDENTITY FULL;
		SELECT feature_engine.create_feature_view('v', 'SELECT k, count(*) AS n FROM t GROUP BY k');
		SELECT feature_engine.sync('60 s');});
	my ($rc, $out, $err) = $alone->psql('postgres', q{SELECT feature_engine.push_now('v')});
	like($err, qr/features are not pushed to Redis.*redis_url/s, 'push_now without redis_url');
	($rc, $out, $err) = $alone->psql('postgres',
		q{SELECT feature_engine.sync('60 s', redis => true)});
	is($rc, 0, 'sync(redis => true) without redis_url waits for nothing');
	is($alone->safe_psql('postgres', PUSHERS), '0', 'no redis_url, no pusher');
	$alone->stop;
}

# What is written
sql(q{
	SELECT create_feature_view('v', $$
		SELECT k, count(*) AS n, sum(x) AS total, sum(x) / 3.0::float8 AS third,
			count(*) > 1 AS many, last(note, ts) AS note, max(ts) AS latest,
			decode(max(note), 'escape') AS raw
		FROM events GROUP BY k $$);
	INSERT INTO events (k, x, ts, note) VALUES (1, 1, '2026-01-15 01:02:03.5+01', 'a b');
});
synced();
is(features('v:1'),
	'latest=2026-01-15 00:02:03.5+00 many=f n=1 note=a b raw=\x612062 '
	  . 'third=0.3333333333333333 total=1',
	'a hash: a field a feature, in a fixed text form');
{
	my $hash = $redis->hash('v:1');
	like($hash->{_ts}, qr/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00$/,
		'_ts is the time of evaluation');
	like($hash->{_lsn}, qr{^[0-9A-F]+/[0-9A-F]+$}, '_lsn is the position of the last change');
	is($redis->cli('PTTL', 'v:1'), '-1', 'no ttl, no expiry');
}

sql(q{UPDATE events SET x = NULL, note = NULL WHERE k = 1});
synced();
is(features('v:1'), 'latest=2026-01-15 00:02:03.5+00 many=f n=1',
	'a NULL has no field, an old value is deleted');

sql(q{UPDATE events SET k = 2 WHERE k = 1});
synced();
is($redis->cli('EXISTS', 'v:1'), '0', 'an entity that is gone has no key');
is($redis->cli('EXISTS', 'v:2'), '1', '... and its rows are with another');
sql(q{
	INSERT INTO events (k, x) VALUES (NULL, 1);
	TRUNCATE events;
	INSERT INTO events (k, x) VALUES (NULL, 1), (3, 1)});
synced();
is(join(' ', $redis->keys), 'v:3', 'after TRUNCATE; an entity whose key is NULL is not pushed');
sql(q{SELECT drop_feature_view('v')});
eventually('keys of a dropped view are removed', sub { $redis->count eq '0' });

# Chosen features; an error in one of them
sql(q{
	SELECT create_feature_view('chosen', $$
		SELECT k, count(*) AS n, 30 / sum(x) AS rate, sum(x) AS total, max(x) AS hidden
		FROM events GROUP BY k $$,
		redis_key => 'c{{{k}}}', online => ARRAY['n', 'rate', 'total']);
	TRUNCATE events;
	INSERT INTO events (k, x) SELECT i, i FROM generate_series(0, 600) i;
});
synced();
is(features('c{5}'), 'n=1 rate=6 total=5', 'chosen features under a template with braces');
is(features('c{0}'), 'n=1 total=0', 'a feature that raises an error is left out');
is($redis->count, '601', '... and everything else arrives');
sql(q{UPDATE events SET x = 3 WHERE k = 0; UPDATE events SET x = 0 WHERE k = 5});
synced();
is(features('c{0}'), 'n=1 rate=10 total=3', 'it comes back');
is(features('c{5}'), 'n=1 total=0', 'and goes');

# Options change
sql(q{SELECT alter_feature_view('chosen', online => ARRAY['n', 'hidden'])});
synced();
eventually('alter: other features', sub { features('c{9}') eq 'hidden=9 n=1' });
sql(q{SELECT alter_feature_view('chosen', ttl => '1 day')});
synced();
cmp_ok($redis->cli('TTL', 'c{9}'), '>', 86_000, 'alter: a ttl is set on existing keys');
sql(q{SELECT alter_feature_view('chosen', redis_key => 'd:{k}')});
synced();
is(features('d:9'), 'hidden=9 n=1', 'alter: another template');
eventually('... and the old keys go', sub { $redis->cli('KEYS', 'c*') eq '' });
sql(q{SELECT drop_feature_view('chosen')});
eventually('dropped', sub { $redis->count eq '0' });

# Expiry is renewed by the source, never by time
clock('2026-03-01 00:00+00');
sql(q{
	TRUNCATE events;
	SELECT create_feature_view('w', $$
		SELECT k, count(*) FILTER (WHERE rolling(ts, '1 hour', hop => '1 minute')) AS n
		FROM events GROUP BY k $$,
		ttl => '10 days');
	INSERT INTO events (k, ts) VALUES (1, '2026-02-28 23:30+00'), (1, '2026-02-28 23:40+00'), (2,
		'2026-02-28 23:30+00');
});
synced();
is(features('w:1'), 'n=2', 'before');
cmp_ok($redis->cli('TTL', 'w:1'), '>', 863_000, 'the ttl is set');
$redis->cli('EXPIRE', 'w:1', 5000);
$redis->cli('DEL', 'w:2');
clock('2026-03-01 00:35+00');
eventually('a row leaves the window: pushed', sub { features('w:1') eq 'n=1' });
cmp_ok($redis->cli('TTL', 'w:1'), '<=', 5000, '... the expiry is not renewed');
is($redis->cli('EXISTS', 'w:2'), '0', '... and a key that has expired does not come back');
sql(q{INSERT INTO events (k, ts) VALUES (1, '2026-03-01 00:34+00'), (2, '2026-03-01 00:34+00')});
synced();
is(features('w:1') . ' ' . features('w:2'), 'n=2 n=1', 'the source changes');
cmp_ok($redis->cli('TTL', $_), '>', 863_000,
	"... the expiry of $_ is renewed") foreach 'w:1', 'w:2';
sql(q{SELECT drop_feature_view('w')});

# Entities come and go with time; values that depend on T
clock('2026-03-01 00:00+00');
sql(q{
	TRUNCATE events;
	SELECT create_feature_view('recent', $$
		SELECT k, count(*) AS n, extract(epoch FROM now() - max(ts))::int / 60 AS minutes
		FROM events WHERE rolling(ts, '1 hour', hop => '0') GROUP BY k $$,
		time_refresh => '30 s', ttl => '1 day');
	INSERT INTO events (k, ts) VALUES (1, '2026-02-28 23:30+00'), (2, '2026-03-01 00:10+00');
});
synced();
is(in_redis('recent:'), '1 minutes=30 n=1', 'an event of the future waits');
clock('2026-03-01 00:10+00');
eventually('it enters when its time comes',
	sub { in_redis('recent:') eq "1 minutes=40 n=1\n2 minutes=0 n=1" });
cmp_ok($redis->cli('TTL', 'recent:2'), '>', 86_000, 'with an expiry');
clock('2026-03-01 00:12+00');
eventually('a value that depends on T is refreshed',
	sub { in_redis('recent:') eq "1 minutes=42 n=1\n2 minutes=2 n=1" });
clock('2026-03-01 01:00+00');
eventually('an entity goes with its last row', sub { in_redis('recent:') eq '2 minutes=50 n=1' });
clock(undef);
sql(q{SELECT drop_feature_view('recent')});
eventually('dropped', sub { $redis->count eq '0' });

# Views that share a key
sql(q{
	TRUNCATE events;
	INSERT INTO events (k, x) VALUES (1, 1), (2, 2), (3, -3);
	SELECT create_feature_view('a', 'SELECT k, count(*) AS a FROM events GROUP BY k',
		redis_key => 's:{k}', ttl => '1 day');
	SELECT create_feature_view('b',
		'SELECT k AS key, sum(x) AS b FROM events WHERE x > 0 GROUP BY k',
		redis_key => 's:{key}', ttl => '9 days');
});
synced();
is(in_redis('s:'), "1 a=1 b=1\n2 a=1 b=2\n3 a=1", 'both in one hash');
cmp_ok($redis->cli('TTL', 's:1'), '>', 8 * 86_400, 'the longest ttl wins');
cmp_ok($redis->cli('TTL', 's:3'), '<=', 86_400, '... of those that have the entity');
sql(q{INSERT INTO events (k, x) VALUES (1, 0)});
synced();
cmp_ok($redis->cli('TTL', 's:1'), '>', 8 * 86_400, 'a shorter one does not cut it');
sql(q{UPDATE events SET x = -1 WHERE k = 2; DELETE FROM events WHERE k = 3});
synced();
is(in_redis('s:'), "1 a=2 b=1\n2 a=1",
	'a view takes only its own fields away; the last one the key');
like(error_of(q{
		SELECT create_feature_view('c', 'SELECT k, max(x) AS a FROM events GROUP BY k',
			redis_key => 's:{k}')}),
	qr/\ba\b/, 'a name clash is refused');
sql(q{SELECT drop_feature_view('b')});
eventually('a dropped view leaves the other\'s fields', sub { in_redis('s:') eq "1 a=2\n2 a=1" });
sql(q{SELECT drop_feature_view('a')});
eventually('dropped', sub { $redis->count eq '0' });

# Texts are data
{
	my @keys = ("a b", "line\nbreak", "\r\nFLUSHALL\r\n", '*', '%41', 'x:y', "q\"u'o", '{z}',
		'$1', "\\x", '[a-z]?', "\x{c3}\x{a4}", 'x' x 3000, '');
	sql(q{
		CREATE TABLE texts (id serial PRIMARY KEY, a text, b text, v text);
		ALTER TABLE texts REPLICA IDENTITY FULL;
		SELECT create_feature_view('one',
			'SELECT a, count(*) AS n, max(v) AS v FROM texts GROUP BY a',
			redis_key => '{a}:o*?[x]');
		SELECT create_feature_view('two',
			'SELECT a, b, count(*) AS m FROM texts GROUP BY a, b',
			redis_key => 't:{b}:{a}');});
	my $array = join(', ', map { my $t = $_; $t =~ s/'/''/g; "'$t'" } @keys);
	sql(qq{
		INSERT INTO texts (a, b, v)
		SELECT x, y, x || y FROM unnest(ARRAY[$array]) x, unnest(ARRAY[$array]) y});
	synced();
	is($redis->count, @keys + @keys**2, 'different keys never collide');
	foreach my $key (@keys)
	{
		my $name = substr(quote($key), 0, 20);
		is($redis->cli('HGET', "$key:o*?[x]", 'n'), scalar @keys, "key $name");
	}
	is($redis->cli('HGET', 't:x%3Ay:%2541', 'm'), '1',
		'two placeholders: literal characters of the template are encoded');
	sql(q{SELECT push_now('one'), push_now('two')});
	synced();
	is($redis->count, @keys + @keys**2,
		'a refill reads all of its keys back and deletes none');
	sql(q{DELETE FROM texts});
	synced();
	is($redis->count, '0', 'deleted');
	sql(q{SELECT drop_feature_view('one'), drop_feature_view('two')});
}

sub quote { my ($t) = @_; $t =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ge; return $t }

# Keys that should not be there, and keys that are none of ours
sql(q{
	TRUNCATE events;
	INSERT INTO events (k, x) SELECT i, i FROM generate_series(1, 3) i;
	SELECT create_feature_view('p', 'SELECT k, count(*) AS n FROM events GROUP BY k');
});
synced();
$redis->cli('HSET', 'p:77', 'n', 1, '_lsn', '0/1');
$redis->cli('HSET', 'p:1', 'n', 'wrong');
$redis->cli('HSET', 'p:88', 'mine', 1);
$redis->cli('SET', 'p:99', 'mine');
$redis->cli('HSET', 'p:x', '_lsn', 'mine');
$redis->cli('HSET', 'p:01', '_other', 'mine');
sql(q{SELECT push_now('p')});
synced();
eventually('push_now removes keys of no entity', sub { $redis->cli('EXISTS', 'p:77') eq '0' });
is(features('p:1'), 'n=1', '... and writes everything');
is($redis->cli('EXISTS', 'p:88', 'p:99', 'p:x', 'p:01'), '4',
	'... but leaves alone what is not ours');
$redis->cli('DEL', 'p:88', 'p:99', 'p:x', 'p:01');

# A key that holds something else harms no other entity
$redis->cli('SET', 'p:4', 'mine');
sql(q{INSERT INTO events (k, x) SELECT i, i FROM generate_series(4, 6) i});
eventually('others arrive', sub { features('p:6') eq 'n=1' });
is($redis->cli('GET', 'p:4') . $redis->cli('PTTL', 'p:4'), 'mine-1',
	'the foreign key is as it was');
like(error_of(q{SELECT sync('200 ms', redis => true)}), qr/time/,
	'sync does not say that everything is there');
$redis->cli('DEL', 'p:4');
sql(q{SELECT push_now('p')});
synced();
is(features('p:4'), 'n=1', 'the entity arrives when the key is free');

# The fence: a refill does not overwrite what is newer, unless it is of another history
my $lsn = $redis->cli('HGET', 'p:1', '_lsn');
my $newer = sql('SELECT pg_current_wal_insert_lsn()');
$redis->cli('HSET', 'p:1', '_lsn', $newer, 'n', 'newer');
$redis->cli('HSET', 'p:2', '_lsn', 'FFFFFF/0', 'n', 'other history');
sql(q{SELECT push_now('p')});
synced();
is(features('p:1') . ' ' . features('p:2'), 'n=newer n=1',
	'refill: newer stays, another history is overwritten');
sql(q{INSERT INTO events (k) VALUES (1)});
synced();
is(features('p:1'), 'n=2', 'the next change is written');

# Outages under load
sub start_load
{
	my ($seed) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/load$seed.sql";
	append_to_file($file, q{
		\set k random(1, 3000)
		\set x random(1, 9)
		INSERT INTO events (k, x) VALUES (:k, :x);
		UPDATE events SET x = :x WHERE id = (SELECT max(id) FROM events);
		DELETE FROM events WHERE k = (:k * 7) % 3000 AND :x = 5;
	});
	return IPC::Run::start(
		[   'pgbench', '-n', '-c', 3, '-t', 1500, '-f', $file, '-h', $node->host,
			'-p', $node->port, 'postgres' ],
		'>', \my $out, '2>', \my $err);
}

sub compare
{
	my ($what) = @_;
	synced();
	is(in_redis('p:'), in_sql('p', 'k', 'n'), $what);
	return;
}

sql(q{CREATE INDEX ON events (k)});
my $load = start_load(1);
foreach (1 .. 10)
{
	usleep(50_000);
	$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal');
}
$load->finish;
compare('connections that break under load');

$load = start_load(2);
usleep(100_000);
$redis->signal('STOP');
usleep(300_000);
is(sql(q{SELECT count(*) > 0 FROM p}), 't', 'SQL answers while Redis hangs');
sql(q{INSERT INTO events (k, x) SELECT i, i FROM generate_series(10000, 40000) i;
	SELECT sync('60 s')});
$redis->signal('CONT');
$load->finish;
compare('more changes than may be on their way at once');
$load = start_load(3);
usleep(100_000);
$redis->stop;
sql(q{SELECT sync('60 s')});
pass('sync() does not wait for Redis');
$load->finish;
sql(q{DELETE FROM events WHERE k % 10 = 1});
$redis->start_again;
compare('a server that came back empty is filled');

# The pusher dies; the server restarts; what it left in Redis is put right
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE '%pusher%'});
sql(q{DELETE FROM events WHERE k % 10 = 2});
compare('pusher terminated');
$node->stop;
$redis->cli('HSET', 'p:5000', 'n', 1, '_lsn', '0/1');
$node->start;
sql(q{DELETE FROM events WHERE k % 10 = 3});
synced();
eventually('keys of no entity are removed', sub { in_redis('p:') eq in_sql('p', 'k', 'n') });
is($redis->cli('EXISTS', 'p:5000'), '0', '... all of them');
compare('server restarted');
sql(q{SELECT refresh_feature_view('p')});
compare('refreshed');

# Password, ACL user, database number
my $secured = FeatureEngine::Test::Redis->start;
$secured->cli('CONFIG', 'SET', 'requirepass', 'all for one');
sub use_url
{
	my ($url) = @_;
	$node->adjust_conf('postgresql.conf', 'feature_engine.redis_url', "'$url'");
	$node->reload;
	$node->poll_query_until('postgres',
		"SELECT current_setting('feature_engine.redis_url') = '$url'");
	return;
}
sub with_auth
{
	my (@command) = @_;
	return $secured->cli('--no-auth-warning', '-a', 'all for one', @command)
}

my $path = $secured->socket_path;
use_url("unix://:wrong-secret\@$path");
like(error_of(q{SELECT sync('500 ms', redis => true)}), qr/time/,
	'a wrong password: nothing is pushed');
$node->wait_for_log(qr/pushing features to Redis is interrupted: .*password/);
{
	my $log = slurp_file($node->logfile);
	unlike($log, qr/wrong-secret/, 'no password in the log');
	like($log, qr/parameter "feature_engine.redis_url" changed\n/, '... though the change is there');
}
use_url("unix://:all%20for%20one\@$path?db=3");
synced();
is(with_auth('-n', '3', 'EVAL', COUNT, 0), sql('SELECT count(*) FROM p'), 'password and database number');
is(with_auth('DBSIZE'), '0', '... and no other');

with_auth('ACL', 'SETUSER', 'pusher', 'on', '>s3:c/r@t', '~p:*', '+@all', '-@dangerous', '-keys');
use_url("unix://pusher:s3%3Ac%2Fr%40t\@$path?db=4");
synced();
is(with_auth('-n', '4', 'EVAL', COUNT, 0), sql('SELECT count(*) FROM p'), 'ACL user without INFO');
with_auth('ACL', 'SETUSER', 'pusher', 'resetkeys');
sql(q{INSERT INTO events (k) VALUES (6)});
like(error_of(q{SELECT sync('300 ms', redis => true)}), qr/time/, 'a permission is taken away');
with_auth('ACL', 'SETUSER', 'pusher', '~p:*');
synced();
is(with_auth('-n', '4', 'HGET', 'p:6', 'n'), sql('SELECT n FROM p WHERE k = 6'),
	'... and given back');

# A restarted Redis without data in the way, by TCP as well
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $tcp = FeatureEngine::Test::Redis->start('--port', $port, '--bind', '127.0.0.1');
use_url("redis://127.0.0.1:$port/2");
synced();
is($tcp->cli('-n', '2', 'EVAL', COUNT, 0), sql('SELECT count(*) FROM p'), 'TCP');
use_url("redis://localhost:$port/1");
synced();
is($tcp->cli('-n', '1', 'EVAL', COUNT, 0), sql('SELECT count(*) FROM p'), 'TCP by name');
use_url('');
eventually('redis_url taken away: the pusher ends',
	sub { sql(PUSHERS) eq '0' });
use_url($redis->url);
compare('... and back: it starts again');

$node->stop;
done_testing();
