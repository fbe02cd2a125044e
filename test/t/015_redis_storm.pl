# Redis at its worst: killed again and again under load, back empty or with old data, slow,
# silent, talking nonsense. Afterwards every hash equals SQL, and the pusher has not grown.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Proxy;
use FeatureEngine::Test qw(feature_node eventually set_server wait_in_log);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $redis = FeatureEngine::Test::Redis->start;
my $node = feature_node('main', redis => $redis);

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', "SET search_path = public, feature_engine;\n$query");
}
sub synced { sql(q{SELECT sync('90 s', redis => true)}); return }
sub pusher { return sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE '%pusher%'}) }

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE events (id bigserial PRIMARY KEY, k int, x int, ts timestamptz DEFAULT now());
	ALTER TABLE events REPLICA IDENTITY FULL;
	CREATE INDEX ON events (k);
	INSERT INTO events (k, x) SELECT i % 5000, i % 10 FROM generate_series(1, 20000) i;
	SELECT create_feature_view('plain', 'SELECT k, count(*) AS n, sum(x) AS total, min(x) AS low
		FROM events GROUP BY k');
	SELECT create_feature_view('expires',
		'SELECT k, count(*) FILTER (WHERE rolling(ts, ''1 day'')) AS n, max(x) AS high
		FROM events WHERE x > 2 GROUP BY k', redis_key => 'e:{k}', ttl => '1 day');
});

sub in_redis { my ($prefix) = @_; return $redis->features($prefix) }

# Lines of the first text that the second has not.
sub only_in
{
	my ($text, $other) = @_;
	my %there = map { $_ => 1 } split /\n/, $other;
	return grep { !$there{$_} } split /\n/, $text;
}

# Four tests, two for each view: what sync() promises, every entity as it is; and a moment
# later the keys of no entity, with which an old Redis may have come back, are gone.
sub equal
{
	my ($what) = @_;
	synced();
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach (
		[ 'plain:', q{format('%s low=%s n=%s total=%s', k, low, n, total)}, 'plain' ],
		[ 'e:', q{format('%s high=%s n=%s', k, high, n)}, 'expires' ])
	{
		my ($prefix, $line, $view) = @$_;
		my $sql = sql(qq{SELECT $line COLLATE "C" FROM $view ORDER BY 1});
		is(join("\n", only_in($sql, in_redis($prefix))), '', "$what: every entity of $view is there");
		eventually('... and no other', sub { in_redis($prefix) eq $sql });
	}
	return;
}

sub start_load
{
	my ($transactions) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/storm.sql";
	unlink $file;
	append_to_file($file, q{
		\set k random(1, 6000)
		\set x random(1, 9)
		INSERT INTO events (k, x) VALUES (:k, :x);
		DELETE FROM events WHERE k = (:k * 7) % 6000 AND :x > 5;
	});
	return IPC::Run::start(
		[   'pgbench', '-n', '-c', 2, '-t', $transactions, '-f', $file, '-h', $node->host,
			'-p', $node->port, 'postgres' ],
		'>', \my $out, '2>', \my $err);
}

equal('at first');

# Killed, and back empty
my $load = start_load(4000);
foreach (1 .. 6)
{
	usleep(150_000);
	$redis->signal('KILL');
	$redis->stop;
	$redis->start_again;
}
$load->finish;
equal('killed six times, back empty');

# Killed, and back with the data of some time ago, or with the pusher gone as well
$redis->cli('SAVE');
$load = start_load(4000);
foreach my $round (1 .. 5)
{
	usleep(100_000);
	$redis->cli('SAVE') if $round == 3;
	$redis->signal('KILL');
	$redis->stop;
	sql('SELECT pg_terminate_backend(' . pusher() . ')') if $round % 2 && pusher();
	$redis->start_again;
}
$load->finish;
equal('killed five times, back with old data');

# Behind a proxy
my $proxy = FeatureEngine::Proxy->start($redis);
set_server($node, 'feature_engine.redis_url', $proxy->url);
equal('behind a proxy');
$load = start_load(2000);
foreach (1 .. 5)
{
	$proxy->mode('cut');
	usleep(100_000);
	$proxy->mode('pass');
	usleep(50_000);
}
$load->finish;
equal('connections cut in mid-command');

sub touch_all { sql(q{UPDATE events SET x = x % 9 + 1; SELECT sync('60 s')}); return }
sub memory_kb
{
	my ($pid) = @_;
	my ($rss) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
	return $rss;
}
sub last_error { return sql(q{SELECT coalesce(redis_error, '') FROM worker_status()}) }

my $pid = pusher();
my $before = memory_kb($pid);
my $worst = 0;

sub watch_memory { my $now = memory_kb($pid); $worst = $now if $now > $worst; return }

# It takes commands and never answers
$proxy->mode('swallow');
touch_all();
watch_memory();
eventually('commands are taken and not answered: the connection is given up', sub {
	watch_memory();
	last_error() =~ /did not reply within/ });
is(pusher(), $pid, '... the pusher lives');
$proxy->mode('pass');
equal('... and everything arrives afterwards');

# It accepts connections and reads nothing
$proxy->mode('deaf');
touch_all();
watch_memory();
cmp_ok(sql(q{SELECT count(*) FROM plain}), '>', 0, 'a server that reads nothing: SQL does not wait');
cmp_ok(sql(q{SELECT sum(dirty) FROM status}), '>', 0, '... what it does not take is shown in status');
touch_all();
watch_memory();
$proxy->mode('pass');
equal('... and everything arrives afterwards');

# No Redis at all
$proxy->mode('garbage');
touch_all();
eventually('nonsense is understood as such', sub { last_error() =~ /understand|closed|Protocol/i });
$proxy->mode('pass');
equal('... and everything arrives afterwards');

# Slow
$proxy->mode('slow');
touch_all();
watch_memory();
equal('slow');
is(pusher(), $pid, 'all that was one and the same pusher');
watch_memory();
cmp_ok($worst - $before, '<', 32 * 1024, 'it has grown by less than 32 MB')
  or diag("from $before kB to $worst kB");

# Asked to end while it waits for a silent server
$proxy->mode('deaf');
sql("SELECT pg_terminate_backend($pid, 20000)");
eventually('a new pusher waits for its first reply', sub { (pusher() || $pid) ne $pid });
my $from = -s $node->logfile;
$node->stop('fast');
unlike(substr(slurp_file($node->logfile), $from), qr/did not reply within/, '... and the server stops without waiting for Redis');

done_testing();
