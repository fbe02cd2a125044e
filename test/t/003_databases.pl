# Commands on whole databases work as if the engine were not there, and it is there again
# afterwards; nothing is left of what was dropped.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => 'allow_in_place_tablespaces = on');

sub sql { my ($query, $db) = @_; return $node->safe_psql($db // 'postgres', $query) }

# A command that must succeed at the first try.
sub works
{
	my ($command) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $command);
	return is("$rc$err", '0', $command);
}

# Databases that have a slot of ours.
sub slots
{
	return sql(q{SELECT coalesce(string_agg(database::text, ' ' ORDER BY database::text COLLATE "C"), '')
		FROM pg_replication_slots WHERE plugin = 'feature_engine'});
}

sub change
{
	my ($db, $n) = @_;
	sql("INSERT INTO orders (customer, total) SELECT n, $n FROM generate_series(1, 25) n; DELETE FROM orders WHERE id % 7 = $n % 7", $db);
	return;
}

# Two databases at once, each on its own

foreach my $db ('one', 'two')
{
	sql("CREATE DATABASE $db");
	orders_view($node, $db);
}
is_exact($node, $_, "database $_") foreach ('one', 'two');
change('one', 1);
change('two', 2);
is_exact($node, $_, "database $_, changed") foreach ('one', 'two');
is(slots(), 'one two', 'each has a slot');
is(sql(q{SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE backend_type = 'feature_engine ingest'}), 2,
	'each has a worker');

# RENAME, SET TABLESPACE, TEMPLATE

works('ALTER DATABASE one RENAME TO uno');
change('uno', 3);
is_exact($node, 'uno', 'renamed');

works(q{CREATE TABLESPACE elsewhere LOCATION ''});
works('ALTER DATABASE uno SET TABLESPACE elsewhere');
change('uno', 4);
is_exact($node, 'uno', 'moved');

works('CREATE DATABASE copy TEMPLATE uno');
sql('ALTER DATABASE copy SET search_path = public, feature_engine');
change('uno', 5);
is_exact($node, 'uno', 'copied');
# the copy has the definitions; its own worker builds its own state
ok($node->poll_query_until('copy', q{SELECT state = 'live' FROM status}), 'the copy comes alive by itself');
change('copy', 6);
is_exact($node, 'copy', 'copy');
is_exact($node, 'uno', 'copied, and the copy changed');
is(slots(), 'copy two uno', 'the copy has a slot of its own');

# A command that fails lets the workers come back.
my ($rc, $out, $err) = $node->psql('postgres', 'ALTER DATABASE uno RENAME TO two');
like($err, qr/database "two" already exists/, 'a rename that fails');
change('uno', 7);
is_exact($node, 'uno', 'rename failed');
# Somebody else is connected: it fails as it would without us, and the worker comes back.
my $other = $node->background_psql('two');
($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE two');
like($err, qr/is being accessed by other users/, 'DROP DATABASE in use');
change('two', 8);
is_exact($node, 'two', 'not dropped');
$other->quit;
# Who may not run the command cannot stop the workers with it.
sql('CREATE ROLE nobody_special LOGIN');
my $pid = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'feature_engine ingest' AND datname = 'two'});
foreach my $command ('DROP DATABASE two', 'ALTER DATABASE two RENAME TO three', 'CREATE DATABASE x TEMPLATE two')
{
	($rc, $out, $err) = $node->psql('postgres', "SET ROLE nobody_special; $command");
	like($err, qr/must be owner|permission denied/, "not allowed: $command");
}
is(sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'feature_engine ingest' AND datname = 'two'}), $pid,
	'the worker was left alone');

# DROP DATABASE

works('DROP DATABASE two');
is(slots(), 'copy uno', 'no slot of the dropped database');
works('DROP DATABASE copy WITH (FORCE)');
is(slots(), 'uno', 'nor of the other one');
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'feature_engine ingest'}), 1, 'one worker is left');
change('uno', 9);
is_exact($node, 'uno', 'the others dropped');
sql('CREATE DATABASE two');
orders_view($node, 'two');
is_exact($node, 'two', 'a new database of an old name');

# DROP EXTENSION

sql('DROP EXTENSION feature_engine CASCADE', 'two');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_replication_slots}), 'DROP EXTENSION leaves no slot');
ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'feature_engine%' AND datname = 'two'}),
	'and no worker');
is(sql(q{SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text LIKE 'feature_engine%'}, 'two'), 0, 'and no relation');
works('DROP DATABASE two');
# dropped and made again at once, in one transaction
sql('BEGIN; DROP EXTENSION feature_engine CASCADE; DROP TABLE orders; COMMIT', 'uno');
orders_view($node, 'uno');
is_exact($node, 'uno', 'the extension dropped and made again');
# not dropped after all
sql('BEGIN; DROP EXTENSION feature_engine CASCADE; ROLLBACK', 'uno');
change('uno', 10);
is_exact($node, 'uno', 'DROP EXTENSION rolled back');
works('DROP DATABASE uno');
is(slots(), '', 'nothing is left');

$node->stop('fast');
done_testing();
