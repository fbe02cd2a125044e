# What may happen to a table under a live feature view. What the log does not tell stops the
# view with the reason, and it is rebuilt when the table is right again; whatever only gives
# the table another shape leaves the values as they are, also while others write.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main');
orders_view($node, 'postgres');

sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }
sub poll { my ($query, $what) = @_; return ok($node->poll_query_until('postgres', $query), $what) }
sub error_of { my ($query) = @_; my ($rc, $out, $err) = $node->psql('postgres', $query); return $rc ? $err : '' }

my $live = q{SELECT state = 'live' FROM status WHERE name = 'customer_features'};

# The view has stopped, for this reason, which every reader is told.
sub stopped
{
	my ($reason, $what) = @_;
	poll(qq{SELECT state = 'failed' AND last_error LIKE '%$reason%' FROM status WHERE name = 'customer_features'},
		"$what: the view stops");
	like(error_of('SELECT * FROM customer_features'), qr/feature view "customer_features" has stopped\nDETAIL:.*$reason/,
		"$what: readers are told why");
	return;
}

# ... and stays so, however often it is tried, until the table is right again.
sub comes_back
{
	my ($repair, $what) = @_;
	is(sql($live), 'f', "$what: not live before");
	sql($repair);
	poll($live, "$what: live again");
	is_exact($node, 'postgres', $what);
	sql('INSERT INTO orders (customer, total) VALUES (1, 10); UPDATE orders SET total = 11 WHERE customer = 2; DELETE FROM orders WHERE id % 10 = 7');
	is_exact($node, 'postgres', "$what, and goes on");
	return;
}

is_exact($node, 'postgres', 'at first');

# What the log does not tell

sql('ALTER TABLE orders SET UNLOGGED; INSERT INTO orders (customer, total) VALUES (1, 100)');
stopped('the table has been made unlogged', 'unlogged');
sql('UPDATE orders SET total = total + 1 WHERE customer = 3');
comes_back('ALTER TABLE orders SET LOGGED', 'logged again');

sql('ALTER TABLE orders REPLICA IDENTITY DEFAULT; INSERT INTO orders (customer, total) VALUES (1, 100)');
is_exact($node, 'postgres', 'without old rows in the log, inserts are enough');
sql('UPDATE orders SET total = total + 1 WHERE customer = 3');
stopped('needs REPLICA IDENTITY FULL', 'update without the old row');
sql('DELETE FROM orders WHERE customer = 4');
comes_back('ALTER TABLE orders REPLICA IDENTITY FULL', 'old rows in the log again');

sql('ALTER TABLE orders REPLICA IDENTITY NOTHING; DELETE FROM orders WHERE customer = 5 AND id > 100');
stopped('needs REPLICA IDENTITY FULL', 'delete without the old row');
comes_back('ALTER TABLE orders REPLICA IDENTITY FULL', 'old rows in the log once more');

# the batch query reads children, too
sql('CREATE TABLE special (extra int) INHERITS (orders); INSERT INTO special (customer, total) VALUES (1, 5000)');
stopped('other tables inherit from the table', 'a child table');
comes_back('ALTER TABLE special NO INHERIT orders; DROP TABLE special', 'no child table any more');

# What only changes the shape: writers go on meanwhile, through a view that follows renames.
# They hold a lock while they write, so that they can be halted for a comparison.

sql(q{
	ALTER TABLE orders ADD unused int DEFAULT 1;
	CREATE VIEW writable AS SELECT id, customer, total, at FROM orders;
	CREATE TABLE stop ();
	CREATE SEQUENCE written});
my $load = q{DO $$ BEGIN
	WHILE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'stop'::regclass AND attname = 'now') LOOP
		PERFORM pg_advisory_xact_lock_shared(1);
		INSERT INTO writable (customer, total) SELECT (random() * 30)::int, n FROM generate_series(1, 5) n;
		UPDATE writable SET customer = (customer + 1) % 30, total = total + 1, at = at - interval '1 day'
		WHERE  id = (SELECT max(id) - (random() * 100)::int FROM writable);
		DELETE FROM writable WHERE id = (SELECT min(id) FROM writable);
		PERFORM nextval('written');
		COMMIT;
	END LOOP;
END $$};
my @out = ('', '');
my @writers = map { IPC::Run::start(
		[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', $load ],
		'<', '/dev/null', '>', '/dev/null', '2>', \$out[$_], IPC::Run::timeout(170)) } 0, 1;

# The change is made under load, which then goes on for a while; the values equal those of
# the stored definition, which follows renames as the view does.
sub goes_on
{
	my ($command) = @_;
	sql($_) foreach split /;\s*/, $command;
	my $written = sql('SELECT last_value FROM written');
	$node->poll_query_until('postgres', "SELECT last_value > $written + 20 FROM written");
	my $definition = sql(q{SELECT definition FROM feature_views WHERE name = 'customer_features'});
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(sql(qq{
		SELECT FROM pg_advisory_lock(1);
		SELECT sync('90 s') > '0/0';
		SELECT count(*), count(*) FILTER (WHERE s IS NULL OR b IS NULL OR s::text <> b::text)
		FROM   customer_features s FULL JOIN $definition b USING (customer)}) =~ s/^\s+//r, "t\n31|0", $command);
}

goes_on('SELECT 1');
goes_on('ALTER TABLE orders ADD COLUMN n1 int DEFAULT 7');
goes_on('ALTER TABLE orders ADD COLUMN n2 float8 DEFAULT random()');
goes_on('ALTER TABLE orders DROP COLUMN n1');
goes_on('ALTER TABLE orders ALTER COLUMN unused TYPE bigint');
goes_on('ALTER TABLE orders RENAME COLUMN total TO amount');
goes_on('ALTER TABLE orders RENAME TO purchases');
goes_on('VACUUM FULL purchases');
goes_on('CLUSTER purchases USING orders_pkey');
goes_on('CREATE SCHEMA moved; ALTER TABLE purchases SET SCHEMA moved');
goes_on('ALTER TABLE moved.purchases ALTER COLUMN n2 SET NOT NULL; ALTER TABLE moved.purchases DROP COLUMN n2');
goes_on('CREATE INDEX ON moved.purchases (customer); REINDEX TABLE moved.purchases; VACUUM moved.purchases');
goes_on('ALTER TABLE moved.purchases SET SCHEMA public; ALTER TABLE purchases RENAME TO orders; ALTER TABLE orders RENAME COLUMN amount TO total');

sql('ALTER TABLE stop ADD now int');
$_->finish foreach @writers;
is("@out", ' ', 'no writer met an error');
is(sql(q{SELECT state || ' ' || coalesce(last_error, 'no error') FROM status}), 'live no error', 'nor did the view');
is_exact($node, 'postgres', 'at last');

sql('DROP VIEW writable');
# Columns that a view uses are as any view's.
like(error_of('ALTER TABLE orders DROP COLUMN total'), qr/cannot drop column total of table orders because other objects depend on it/,
	'a column in use is not dropped');
like(error_of('ALTER TABLE orders ALTER COLUMN customer TYPE bigint'), qr/cannot alter type of a column used by a view or rule/,
	'nor retyped');

$node->stop('fast');
done_testing();
