# A function of a view's owner that raises the error of a cancelled query stops its view, not the worker.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node eventually);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main');

sub sql { my ($query) = @_; return $node->safe_psql('postgres', "SET search_path = public, feature_engine;\n$query") }

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE orders (customer int, total int);
	ALTER TABLE orders REPLICA IDENTITY FULL;
	CREATE FUNCTION checked(code text, i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
		BEGIN IF i = 7 THEN RAISE EXCEPTION 'no sevens' USING ERRCODE = code; END IF; RETURN i; END $$;
	SELECT create_feature_view('spend', 'SELECT customer, sum(total) AS total FROM orders GROUP BY customer');
	SELECT create_feature_view('cancels', $$ SELECT customer, sum(checked('57014', total)) AS s FROM orders GROUP BY customer $$);
	SELECT create_feature_view('shuts_down', $$ SELECT customer, sum(checked('57P01', total)) AS s FROM orders GROUP BY customer $$);
	SELECT sync();
	INSERT INTO orders VALUES (1, 7)});
my ($rc, undef, $err) = $node->psql('postgres', q{SELECT feature_engine.sync('60 s', view => 'spend')});
is($rc, 0, 'other views go on') or diag($err);
is(sql('SELECT total FROM spend'), 7, '... and have what came');
eventually("$_ has stopped", sub { sql("SELECT state FROM status WHERE name = '$_'") eq 'failed' }) foreach ('cancels', 'shuts_down');

$node->stop('fast');
done_testing();
