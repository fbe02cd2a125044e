# What a server has room for, by settings of its start: feature views, databases, slots. Who finds
# no room is told which setting to raise, and gets in when somebody leaves.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node eventually);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => "feature_engine.max_feature_views = 2\nfeature_engine.max_databases = 1");

sub sql { my ($query, $db) = @_; return $node->safe_psql($db // 'postgres', "SET search_path = public, feature_engine;\n$query") }

sub error_of
{
	my ($query, $db) = @_;
	my ($rc, $out, $err) = $node->psql($db // 'postgres', "SET search_path = public, feature_engine;\n$query");
	return $rc ? $err : '';
}

sub create { return "SELECT create_feature_view('$_[0]', 'SELECT k, count(*) AS n FROM t GROUP BY k', append_only => true)" }

my $setup = 'CREATE EXTENSION feature_engine; CREATE TABLE t (k int); INSERT INTO t VALUES (1)';
sql($setup);
sql(create('a'));
sql(create('b'));
sql('SELECT sync()');

# ---- one view too many is refused; the others go on ----
my $full = qr/ERROR:  too many feature views\n.*DETAIL:  Of 2 places for feature views of this server 2 are in use, and this one takes 1\.\n.*HINT:  Increase feature_engine\.max_feature_views/;
like(error_of(create('c')), $full, 'no place for another view');
like(error_of(create('a') =~ s/true\)/true, replace => true)/r), $full, 'nor for another definition, which is built beside the old one');
sql('INSERT INTO t VALUES (1); SELECT sync()');
is(sql('SELECT n FROM a'), 2, 'the others go on');
sql(q{SELECT drop_feature_view('b')});
eventually('there is one when a view is dropped', sub { error_of(create('c')) eq '' });
sql('SELECT sync()');
is(sql('SELECT n FROM c'), 2, 'and its values are right');
sql(q{SELECT drop_feature_view('a'); SELECT drop_feature_view('c')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_replication_slots'), 'all leave');
like(error_of('BEGIN; ' . join('; ', map { create($_) } qw(a b c)) . '; COMMIT'), $full, 'those of the same transaction count');
like(error_of(q{ALTER TABLE t REPLICA IDENTITY FULL; CREATE TABLE d (id int PRIMARY KEY); ALTER TABLE d REPLICA IDENTITY FULL;
	SELECT create_feature_view('j', 'SELECT k, count(*) AS n FROM t JOIN d ON d.id = t.k GROUP BY k')}),
	qr/Of 2 places for feature views of this server 0 are in use, and this one takes 3\./, 'a join takes several');
sql(create('a'));

# ---- one database too many ----
sql('CREATE DATABASE other');
sql($setup, 'other');
like(error_of(create('a'), 'other'), qr/ERROR:  too many databases use feature_engine\n.*DETAIL:  All 1 places are taken\.\n.*HINT:  Raise "feature_engine\.max_databases"/,
	'no place for another database');
sql(q{SELECT drop_feature_view('a')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_replication_slots'), 'the first one leaves');
eventually('the other comes in', sub { error_of(create('a'), 'other') eq '' });
sql('SELECT sync()', 'other');
is(sql('SELECT n FROM a', 'other'), 1, 'and has its values');

# ---- a server without slots ----
sql(q{SELECT drop_feature_view('a')}, 'other');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_replication_slots');
$node->append_conf('postgresql.conf', "max_replication_slots = 0\nmax_wal_senders = 0");
$node->restart;
like(error_of(create('a')), qr/ERROR:  feature views need a replication slot, and max_replication_slots is 0\n.*HINT:  ALTER SYSTEM SET max_replication_slots/,
	'no slots at all');

$node->stop('fast');
done_testing();
