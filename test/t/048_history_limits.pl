# What a history does where it cannot go on as usual: partitions that are too old while somebody reads
# them, a default partition, keys too wide for an index, a Redis that takes long to be connected to.
use strict;
use warnings;
use File::Basename;
use Fcntl qw(F_SETFL O_NONBLOCK);
use IO::Socket::INET;
use Socket qw(PF_INET SOCK_STREAM inet_aton sockaddr_in);
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node set_server eventually);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main');

sub sql { my ($query) = @_; return $node->safe_psql('postgres', "SET search_path = public, feature_engine;\n$query") }

# What was logged since a place in the log.
sub log_since { my ($from) = @_; return substr(slurp_file($node->logfile), $from) }

sub last_rows
{
	return sql(q{SELECT string_agg(format('%s=%s', left(customer, 5), n), ' ' ORDER BY customer)
		FROM (SELECT DISTINCT ON (customer) * FROM spend_history ORDER BY customer, event_timestamp DESC) h
		WHERE NOT is_deleted});
}

sub partitions
{
	return sql(q{SELECT string_agg(relid::text, ' ' ORDER BY relid::text) FROM pg_partition_tree('spend_history') WHERE isleaf});
}

sub at
{
	my ($time, $query) = @_;
	sql("SELECT set_clock('$time'); $query; SELECT sync('90 s', history => true)");
	return;
}

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE orders (id serial PRIMARY KEY, customer text, total int);
	ALTER TABLE orders REPLICA IDENTITY FULL;
	SELECT set_clock('2026-03-01 12:00Z');
	SELECT create_feature_view('spend', $$ SELECT customer, count(*) AS n FROM orders GROUP BY customer $$,
		offline => true, history_retention => '10 days')});
at('2026-03-01 12:00Z', q{INSERT INTO orders (customer) VALUES ('a'), ('b')});
at('2026-03-02 12:00Z', q{INSERT INTO orders (customer) VALUES ('b')});

# ---- a long query reads what is too old ----
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM spend_history');
at('2026-03-20 12:00Z', q{INSERT INTO orders (customer) VALUES ('a'), ('c')});
is(partitions(), 'spend_history_p20260301 spend_history_p20260302 spend_history_p20260320', 'a reader keeps its partitions');
is(sql('SELECT count(*) FROM pg_locks WHERE NOT granted'), 0, 'nobody waits for it');
is(sql(q{SELECT count(*) FROM spend_history}), 5, 'others read');
is(last_rows(), 'a=2 b=2 c=1', 'and the history goes on');
is(sql('SELECT history_failures FROM view_status()'), 0, 'that is no failure');
my $told = -s $node->logfile;
my $warning = qr/WARNING:  the history of feature view "spend" keeps partitions that are older than its history_retention/;
at('2026-03-20 12:04Z', '');
unlike(log_since($told), $warning, 'nor worth a word for some minutes');
at('2026-03-20 12:06Z', '');
eventually('then the log tells', sub { log_since($told) =~ $warning });
$reader->query_safe('COMMIT');
$reader->quit;
eventually('partitions go when he is gone', sub { partitions() eq 'spend_history_p20260310 spend_history_p20260320' });
is(last_rows(), 'a=2 b=2 c=1', 'what was last in them stays');

# ---- something depends on a partition: it stays, all else goes on ----
sql('CREATE VIEW of_a_day AS SELECT * FROM spend_history_p20260320');
my $from = -s $node->logfile;
at('2026-04-20 12:00Z', q{INSERT INTO orders (customer) VALUES ('c')});
is(partitions(), 'spend_history_p20260320 spend_history_p20260420', 'a partition that a view needs stays');
cmp_ok(sql('SELECT history_failures FROM view_status()'), '>=', 1, 'status tells');
unlike(log_since($from), qr/pauses/, 'nothing pauses for it');
sql('DROP VIEW of_a_day');
at('2026-04-20 12:05Z', '');
is(partitions(), 'spend_history_p20260410 spend_history_p20260420', 'it goes when nothing needs it');

# ---- a default partition takes what has no other, and is nobody's but the user's ----
sql('CREATE TABLE spend_rest PARTITION OF spend_history DEFAULT');
at('2026-05-01 12:00Z', q{INSERT INTO orders (customer) VALUES ('a')});
at('2026-05-02 12:00Z', q{INSERT INTO orders (customer) VALUES ('b')});
is(partitions(), 'spend_rest', 'no partitions are made beside a default one, and old ones go');
at('2026-05-30 12:00Z', q{INSERT INTO orders (customer) VALUES ('c')});
is(sql(q{SELECT min(event_timestamp) AT TIME ZONE 'UTC' FROM spend_rest}), '2026-04-21 00:00:00', 'nothing is dropped from it');
is(last_rows(), 'a=3 b=3 c=3', 'it has everything');
sql('DROP TABLE spend_rest');
at('2026-05-31 12:00Z', q{INSERT INTO orders (customer) VALUES ('a'), ('b'), ('c')});
is(partitions(), 'spend_history_p20260531', 'partitions are made when it is gone');
is(last_rows(), 'a=4 b=4 c=4', 'and the history goes on');

# ---- keys too wide for an index ----
my $failures = sql('SELECT history_failures FROM view_status()');
$from = -s $node->logfile;
at('2026-05-31 12:01Z', q{INSERT INTO orders (customer) SELECT 'wide' || string_agg(md5(n::text), '') FROM generate_series(1, 200) n;
	INSERT INTO orders (customer) SELECT 'wider' || string_agg(md5(n::text), '') FROM generate_series(1, 1000) n;
	INSERT INTO orders (customer) SELECT 'd' || n FROM generate_series(1, 300) n});
is(sql('SELECT count(*) FROM spend'), 305, 'all entities are in the view');
is(sql(q{SELECT count(*) FROM spend_history WHERE customer LIKE 'd%'}), 300, 'those beside them are recorded');
is(sql(q{SELECT count(*) FROM spend_history WHERE customer LIKE 'wide%'}), 0, 'those too wide are left out');
is(sql('SELECT history_failures FROM view_status()'), $failures + 2, 'and counted');
at('2026-05-31 12:02Z', q{UPDATE orders SET total = 1 WHERE customer LIKE 'wide%'; INSERT INTO orders (customer) VALUES ('a')});
at('2026-05-31 12:03Z', q{DELETE FROM orders WHERE customer LIKE 'wider%' OR customer LIKE 'd%'});
is(last_rows(), 'a=5 b=4 c=4', 'others change and go');
my @told = log_since($from) =~ /leaves an entity out: index row/g;
is(scalar @told, 1, 'the log tells once');
unlike(log_since($from), qr/pauses/, 'nothing pauses');
$node->restart;
at('2026-05-31 12:04Z', q{INSERT INTO orders (customer) VALUES ('a'), ('e')});
is(last_rows(), 'a=6 b=4 c=4 e=1', 'so it is after a restart');
at('2026-05-31 12:05Z', q{DELETE FROM orders WHERE customer LIKE 'wide%' OR customer = 'e'; INSERT INTO orders (customer) VALUES ('b')});
is(last_rows(), 'a=6 b=5 c=4', 'and when the last one is gone');

# ---- connecting to Redis takes a while ----
# A server that takes the connection and never replies, and one that takes none: its
# queue is full, and the kernel lets the attempt wait.
sub listener { return IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => $_[0], ReuseAddr => 1) }

# A row was recorded while an attempt to connect was still under way: none has failed meanwhile.
sub recorded_while
{
	my ($connecting, $port) = @_;
	my $failures = q{SELECT push_failures FROM worker_status()};
	set_server($node, 'feature_engine.redis_url', "redis://127.0.0.1:$port");
	eventually('the pusher tries to connect', $connecting);
	my $before = sql($failures);
	sql(q{INSERT INTO orders (customer) VALUES ('a'); SELECT sync('90 s', history => true)});
	my $after = sql($failures);
	set_server($node, 'feature_engine.redis_url', undef);
	return $before == $after;
}

# A connection that is begun, and not waited for.
sub attempt
{
	my ($port) = @_;
	socket(my $socket, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
	fcntl($socket, F_SETFL, O_NONBLOCK) or die "fcntl: $!";
	connect($socket, sockaddr_in($port, inet_aton('127.0.0.1')));
	return $socket;
}

my $mute = listener(8);
my $taken;
ok(recorded_while(sub { $mute->blocking(0); $taken = $mute->accept }, $mute->sockport),
	'the history goes on while a server does not reply');
close $_ foreach grep { $_ } $mute, $taken;
is(last_rows(), 'a=7 b=5 c=4', 'the row is there');

SKIP:
{
	my $full = listener(1);
	my $port = $full->sockport;
	my @fill = map { attempt($port) } 1 .. 4;
	my $waiting = sprintf(':%04X 02 ', $port);    # SYN_SENT to it
	my $waits = sub { my $n = () = slurp_file('/proc/net/tcp') =~ /$waiting/g; return $n };
	skip 'no full queue can be made here', 3 unless -r '/proc/net/tcp' && $waits->() > 0;
	my $others = $waits->();
	ok(recorded_while(sub { $waits->() > $others }, $port), 'the history goes on while a connection is not taken');
	is(last_rows(), 'a=8 b=5 c=4', 'the row is there');
}

$node->stop('fast');
done_testing();
