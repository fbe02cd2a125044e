# Somebody empties Redis; two databases write to the same keys; names that do not resolve;
# the password stays secret.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node eventually set_server wait_in_log);
use PostgreSQL::Test::Utils;
use Test::More;

use constant COUNT => FeatureEngine::Test::Redis::COUNT;
use constant PUSHER => q{SELECT pid FROM pg_stat_activity
	WHERE backend_type LIKE '%pusher%' AND datname = 'postgres'};

my $redis = FeatureEngine::Test::Redis->start;
my $node = feature_node('main', redis => $redis);

sub sql_in
{
	my ($db, $query) = @_;
	return $node->safe_psql($db, "SET search_path = public, feature_engine;\n$query");
}
sub sql { return sql_in('postgres', $_[0]) }
sub synced { sql(q{SELECT sync('60 s', redis => true)}); return }
sub log_end { return length slurp_file($node->logfile) }

my $setup = q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE t (id bigserial PRIMARY KEY, k int);
	ALTER TABLE t REPLICA IDENTITY FULL;
	INSERT INTO t (k) SELECT i % 1000 FROM generate_series(1, 3000) i};
sql("$setup; SELECT create_feature_view('v', 'SELECT k, count(*) AS n FROM t GROUP BY k')");
synced();

# Flushed
is($redis->count, 1000, 'before');
my $pushes = sql(q{SELECT pushes FROM worker_status()});
foreach my $flush (qw(FLUSHALL FLUSHDB))
{
	$redis->cli($flush);
	eventually("$flush is noticed", sub { $redis->count eq '1000' });
}
cmp_ok(sql(q{SELECT pushes FROM worker_status()}), '>=', $pushes + 2000, '... and filled again');

# Flushed while there is work all the time
$redis->cli('FLUSHALL');
eventually('a flush under changes', sub {
	sql(q{UPDATE t SET k = k WHERE k = 7});
	return $redis->count eq '1000' });
synced();
is($redis->cli('HGET', 'v:7', 'n'), 3, '... with the right values');

# Others' flushes are no concern of ours
$pushes = sql(q{SELECT pushes FROM worker_status()});
my ($stat) = $redis->cli('INFO', 'commandstats') =~ /cmdstat_get:calls=(\d+)/;
$redis->cli('-n', '5', 'FLUSHDB');
eventually('... the sentinel is looked at again', sub {
	$redis->cli('INFO', 'commandstats') =~ /cmdstat_get:calls=(\d+)/ && $1 > $stat });
synced();
is(sql(q{SELECT pushes FROM worker_status()}), $pushes, 'another logical database is flushed: nothing is pushed');

# A user that may not see the sentinel
{
	my $from = log_end();
	$redis->cli('ACL', 'SETUSER', 'narrow', 'on', 'nopass', '~v:*', '+@all');
	set_server($node, 'feature_engine.redis_url', 'unix://narrow@' . $redis->socket_path);
	wait_in_log($node, qr/will not be noticed when somebody empties Redis.*NOPERM/, $from,
		'a user without the right to the sentinel: the log says so');
	sql(q{INSERT INTO t (k) VALUES (1000)});
	synced();
	is($redis->count, 1001, '... and everything else works');
	set_server($node, 'feature_engine.redis_url', undef);
	synced();
}

# Two databases, the same template
{
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	my $from = log_end();
	sql_in('other', "$setup; SELECT create_feature_view('v', 'SELECT k, count(*) AS m FROM t GROUP BY k')");
	wait_in_log($node,
		qr/WARNING:  feature view "v" of database "other" and feature view "v" of database "postgres" write to the same Redis keys/,
		$from, 'two databases write to the same keys: a warning');
	foreach my $db ('other', 'postgres')
	{
		like(sql_in($db, q{SELECT last_error FROM status}), qr/write to the same Redis keys/,
			"... and in the status of $db");
	}
	$from = log_end();
	sql_in('other', q{SELECT alter_feature_view('v', redis_key => 'other:{k}');
		SELECT sync('60 s', redis => true)});
	is(scalar(grep { /^other:/ } $redis->keys), 1000, 'with another template ...');
	sql(q{SELECT push_now('v')});
	synced();
	unlike(substr(slurp_file($node->logfile), $from), qr/same Redis keys/, '... there is no warning');
	$node->safe_psql('postgres', 'DROP DATABASE other');
}

# Names
{
	my $from = log_end();
	set_server($node, 'feature_engine.redis_url', 'redis://no-such-host.invalid');
	wait_in_log($node, qr/could not resolve Redis host name "no-such-host\.invalid"/, $from,
		'a name that does not resolve');
	my $pid = sql(PUSHER);
	is(sql("SELECT pg_terminate_backend($pid, 20000)"), 't', '... does not keep the pusher from listening');
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $tcp = FeatureEngine::Test::Redis->start('--port', $port, '--bind', '127.0.0.1');
	set_server($node, 'feature_engine.redis_url', "redis://localhost:$port/1");
	synced();
	is($tcp->cli('-n', '1', 'EVAL', COUNT, 0), 1001, 'a name that does');
	set_server($node, 'feature_engine.redis_url', undef);
}

# The password: in no message of any process
{
	my $from = log_end();
	set_server($node, 'log_min_messages', 'debug3');
	set_server($node, 'feature_engine.redis_url', 'unix://:top-secret@' . $redis->socket_path);
	eventually('a wrong password is reported', sub {
		sql(q{SELECT redis_error FROM worker_status()}) =~ /password/i });
	set_server($node, 'feature_engine.redis_url', 'redis://:top-secret@localhost:99999999');
	eventually('a wrong url, too', sub {
		sql(q{SELECT redis_error FROM worker_status()}) =~ /invalid port/ });
	set_server($node, 'log_min_messages', undef);
	my $log = substr(slurp_file($node->logfile), $from);
	$log =~ s/^.*ALTER SYSTEM.*$//mg;    # the command's text is the user's own
	unlike($log, qr/top-secret/, '... and nobody has logged the password');
	like($log, qr/parameter "feature_engine\.redis_url" changed\n/, '... only that it has changed');
	like(sql(q{SELECT coalesce(last_error, '') FROM status}), qr/^(?!.*top-secret)/s,
		'... nor shows it in status');
	set_server($node, 'feature_engine.redis_url', undef);
	synced();
}

$node->stop;
done_testing();
