# A view over changes() that has stopped is tried again at once after ALTER: sync() waits for
# the outcome, also where the worker has not begun yet. And a worker that finds the extension
# gone while it waits for the catalogue ends in order.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node set_server eventually);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => 'feature_engine.checkpoint_interval = 0');
sub sql { my ($text) = @_; return $node->safe_psql('postgres', "SET search_path = public, feature_engine;\n$text") }
sub state { return sql(q{SELECT state FROM status WHERE name = 'quotients'}) }

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE orders (id int PRIMARY KEY, customer int, total int);
	ALTER TABLE orders REPLICA IDENTITY FULL;
	SELECT create_feature_view('quotients', 'SELECT (after).customer, sum(100 / (after).total) AS q
		FROM changes(NULL::orders) GROUP BY (after).customer');
	SELECT sync()});
sql(q{INSERT INTO orders VALUES (1, 1, 5), (2, 1, 0)});

# ---- sync() and a view that is about to be tried again ----
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT feature_engine.sync()');
like($err, qr/feature view "quotients" has stopped/, 'a view that has stopped fails sync()');
is(state(), 'failed', 'it has stopped');

# Polls; true as soon as the condition is.
sub soon
{
	my ($seconds, $code) = @_;
	my $end = time + $seconds;
	my $ok;
	select(undef, undef, undef, 0.02) until ($ok = $code->()) || time > $end;
	return $ok;
}

# The worker stands before it reads, and the view has stopped.
sub stand
{
	set_server($node, 'feature_engine.inject_wait', 'read');
	# while it goes on, sync() says that the view has stopped
	return 1 if soon(10, sub { ($node->psql('postgres', q{SELECT feature_engine.sync('0.1 s')}))[2] =~ /timed out/ })
	  && state() eq 'failed';
	set_server($node, 'feature_engine.inject_wait', undef);
	return 0;
}

# Then the catalogue changes, and a mark for sync() is written. The worker reads both, tells
# that the mark is reached, and stands before it tries the view. Where it had not got both to
# read (they are decoded in another process), that is no news, and it is done again.
my $reached = 0;
for my $round (1 .. 10)
{
	soon(60, \&stand) or die 'the worker does not stand';
	sql(q{SELECT alter_feature_view('quotients', on_error => 'skip')});
	my ($in, $sync_out, $sync_err) = ('', '', '');
	my $sync = IPC::Run::start(
		[ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-c',
		  "SELECT feature_engine.sync('60 s') > '0/0'" ], '<', \$in, '>', \$sync_out, '2>', \$sync_err);
	soon(10, sub { sql(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sync(%' AND pid <> pg_backend_pid()
		AND wait_event = 'Extension'}) });
	my $mark = sql('SELECT pg_current_wal_lsn()');
	soon(2, sub { sql(q{SELECT count(*) FROM pg_stat_activity JOIN worker_status() ON pid = capture_pid
		WHERE wait_event = 'Extension'}) });
	set_server($node, 'feature_engine.inject_wait', 'ingest');
	$reached = soon(2, sub { sql("SELECT applied_lsn >= '$mark' FROM worker_status()") eq 't' }) && state() eq 'failed';
	$sync->pump_nb for 1 .. 3;
	ok($sync->pumpable, 'the mark is reached, the view not tried yet: sync() waits') if $reached;
	set_server($node, 'feature_engine.inject_wait', undef);
	$sync->finish;
	is("$sync_out$sync_err", "t\n", 'it goes on: sync() returns');
	last if $reached;
	sql(q{SELECT alter_feature_view('quotients', on_error => 'stop'); INSERT INTO orders VALUES (1000 + (SELECT max(id) FROM orders), 1, 0)});
	$node->psql('postgres', 'SELECT feature_engine.sync()');
}
ok($reached, 'that was so once');
is(sql('SELECT customer, q FROM quotients'), '1|20', 'what raised the error is left out');

# ---- DROP EXTENSION ----
my $log = -s $node->logfile;
my $pid = sql('SELECT ingest_pid FROM worker_status()');
my $dropper = $node->background_psql('postgres');
$dropper->query_safe(q{SET client_min_messages = warning; BEGIN});
$dropper->query('DROP EXTENSION feature_engine CASCADE');
$node->safe_psql('postgres', 'ALTER TABLE orders ADD COLUMN more int');
eventually('the worker waits for the catalogue', sub { $node->safe_psql('postgres',
	"SELECT count(*) FROM pg_locks WHERE pid = $pid AND NOT granted") });
$dropper->query_safe('COMMIT');
$dropper->quit;
eventually('the worker ends', sub { !$node->safe_psql('postgres',
	"SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") });
eventually('and leaves no slot', sub { !$node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots') });
unlike(substr(slurp_file($node->logfile), $log), qr{ingest +(ERROR|FATAL)}, 'without an error');

$node->stop;
done_testing();
