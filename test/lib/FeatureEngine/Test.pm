# A PostgreSQL with feature_engine and a Redis, for the TAP tests in test/t.
#
#   use FeatureEngine::Test;
#   my $redis = FeatureEngine::Test::Redis->start;
#   my $node = feature_node('main', redis => $redis, conf => "feature_engine.memory = '64MB'");
#   $node->safe_psql('postgres', 'CREATE EXTENSION feature_engine');
#   is($redis->cli('HGET', 'customer:1:features', 'order_count_30d'), '1');
#   $redis->stop; $redis->start_again;
#
# $node is a PostgreSQL::Test::Cluster. Everything ends with the test. On request (use
# FeatureEngine::Test qw(feature_node orders_view is_exact)) there is a sample view, and a
# comparison with its batch query:
#
#   orders_view($node, 'postgres');
#   $node->safe_psql('postgres', 'INSERT INTO orders (customer, total) VALUES (1, 10)');
#   is_exact($node, 'postgres', 'after an insert');
package FeatureEngine::Test;

use strict;
use warnings;
use Exporter 'import';
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(feature_node);
our @EXPORT_OK = qw(orders_view is_exact set_server wait_in_log eventually);

# A running server with the settings of test/postgresql.conf, then those of
# conf. Options: redis (an object of the class below), conf (text), bin (the programs of
# another version), initdb (more arguments), stopped (it is not started).
sub feature_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, $options{bin} ? (install_path => dirname($options{bin})) : ());
	$node->init(allows_streaming => 'logical', extra => $options{initdb} // []);
	# what 18's PostgreSQL::Test sets for every server, and older ones do not know
	$node->adjust_conf('postgresql.conf', 'autovacuum_worker_slots', undef) if $options{bin};
	$node->append_conf('postgresql.conf', $_) foreach settings(%options);
	$node->start unless $options{stopped};
	return $node;
}

sub settings
{
	my (%options) = @_;
	return (
		slurp_file(dirname(__FILE__) . '/../../postgresql.conf'),
		allow_plugin($options{bin}),
		$options{redis} ? "feature_engine.redis_url = '" . $options{redis}->url . "'" : '',
		$options{conf} // '');
}

my $definition = q{
	SELECT customer, count(*) AS n, sum(total) AS total, max(total) AS highest,
	       count(*) FILTER (WHERE rolling(at, '7 days')) AS n7,
	       avg(total) FILTER (WHERE rolling(at, '30 days')) AS mean30
	FROM orders GROUP BY customer};

# In a database: the extension, a table with 200 orders of 20 customers, and the
# feature view customer_features over it.
sub orders_view
{
	my ($node, $db) = @_;
	$node->safe_psql(
		$db, qq{
		CREATE EXTENSION feature_engine;
		ALTER DATABASE "$db" SET search_path = public, feature_engine;
		SET search_path = public, feature_engine;
		CREATE TABLE orders (id bigserial PRIMARY KEY, customer int, total numeric(10,2),
		                     at timestamptz DEFAULT now() - random() * interval '40 days');
		ALTER TABLE orders REPLICA IDENTITY FULL;
		INSERT INTO orders (customer, total) SELECT n % 20, n FROM generate_series(1, 200) n;
		SELECT create_feature_view('customer_features', \$\$ $definition \$\$)});
	return;
}

# One test: once everything committed is visible, every entity of customer_features
# equals the batch query at the same instant.
sub is_exact
{
	my ($node, $db, $what) = @_;
	my ($rc, $out, $err) = $node->psql(
		$db, qq{
		SELECT sync('90 s') IS NOT NULL;
		SELECT count(*) || ' differ, e.g. streamed ' || coalesce(min(s::text), 'none') ||
		       ', batch ' || coalesce(min(b::text), 'none')
		FROM   customer_features s FULL JOIN ($definition) b USING (customer)
		WHERE  s::text IS DISTINCT FROM b::text});
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is("$out$err", "t\n0 differ, e.g. streamed none, batch none", "$what: streamed = batch");
}

# Changes a setting of the running server; NULL resets it. New sessions and workers have it
# at once, running ones as soon as they look.
sub set_server
{
	my ($node, $name, $value) = @_;
	$node->safe_psql('postgres',
		defined $value ? "ALTER SYSTEM SET $name = '$value'" : "ALTER SYSTEM RESET $name");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return;
}

# One test: a line of the server's log, written after position $from, matches.
sub wait_in_log
{
	my ($node, $pattern, $from, $what) = @_;
	my $end = time + 60;
	my $found;
	select(undef, undef, undef, 0.05)
	  until ($found = substr(slurp_file($node->logfile), $from) =~ $pattern) || time > $end;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($found, $what);
}

# One test: code returns true, within a minute.
sub eventually
{
	my ($what, $code) = @_;
	my $end = time + 60;
	my $ok;
	select(undef, undef, undef, 0.02) until ($ok = $code->()) || time > $end;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($ok, $what);
}

# The setting that allows our output plugin, where the server has it.
sub allow_plugin
{
	my ($bin) = @_;
	my $postgres = $bin ? "$bin/postgres" : 'postgres';
	my $settings = `$postgres --describe-config`;
	return $settings =~ /^output_plugin_libraries\t/m
	  ? "output_plugin_libraries = 'pgoutput, test_decoding, feature_engine'"
	  : '';
}

package FeatureEngine::Test::Redis;

use strict;
use warnings;
use File::Temp;
use IPC::Run;
use Time::HiRes qw(usleep);

# A running server with a unix socket of its own; arguments are redis-server options.
sub start
{
	my ($class, @options) = @_;
	my $self = bless { options => \@options, dir => File::Temp->newdir }, $class;
	return $self->start_again;
}

sub socket_path { return $_[0]->{dir} . '/redis.sock' }
sub url { return 'unix://' . $_[0]->socket_path }

# After stop(); the new server holds what SAVE has written since the first start, else
# nothing.
sub start_again
{
	my ($self) = @_;
	$self->{process} = IPC::Run::start(
		[   $ENV{FE_REDIS_SERVER} // 'redis-server', '--port', 0, '--save', '',
			'--dir', $self->{dir}, '--unixsocket', $self->socket_path,
			'--logfile', 'redis.log', @{ $self->{options} } ],
		'<', '/dev/null');
	foreach (1 .. 200)
	{
		return $self if $self->cli('PING') eq 'PONG';
		usleep(50_000);
	}
	die 'Redis did not start';
}

# Output of redis-cli, without the last newline; '' when there is no server.
sub cli
{
	my ($self, @command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{FE_REDIS_CLI} // 'redis-cli', '-s', $self->socket_path, @command ],
		'<', '/dev/null', '>', \$out, '2>', \$err);
	chomp $out;
	return $out;
}

# Keys of features, without the engine's own (feature_engine:...), and their number.
use constant COUNT =>
  "local n = 0; for _, k in ipairs(redis.call('KEYS', '*')) do "
  . "if string.sub(k, 1, 15) ~= 'feature_engine:' then n = n + 1 end end; return n";

sub keys { my ($self) = @_; return grep { !/^feature_engine:/ } sort split /\n/, $self->cli('KEYS', '*') }
sub count { my ($self) = @_; return $self->cli('EVAL', COUNT, 0) }

# All fields of a hash.
sub hash { my ($self, $key) = @_; return { split /\n/, $self->cli('HGETALL', $key) } }

# Every hash of a prefix, a line each, as SQL might show it: the rest of the key, and the
# fields in alphabetical order without the engine's own.
sub features
{
	my ($self, $prefix) = @_;
	my $script = q{
		local result = {}
		for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
			local hash, line = redis.call('HGETALL', key), {}
			for i = 1, #hash, 2 do
				if string.sub(hash[i], 1, 1) ~= '_' then
					line[#line + 1] = hash[i] .. '=' .. hash[i + 1]
				end
			end
			table.sort(line)
			result[#result + 1] = string.sub(key, #ARGV[1] + 1) .. ' ' .. table.concat(line, ' ')
		end
		table.sort(result)
		return table.concat(result, '\n')};
	return $self->cli('EVAL', $script, 0, $prefix);
}

# Signal is TERM, KILL, STOP or CONT.
sub signal { my ($self, $signal) = @_; return $self->{process}->signal($signal) }

# Its data is saved first; no client sees the difference to a server that died.
sub save_and_stop { my ($self) = @_; $self->cli('SAVE'); return $self->stop }

sub stop
{
	my ($self) = @_;
	return unless $self->{process};
	$self->{process}->kill_kill(grace => 5);
	unlink $self->socket_path;
	delete $self->{process};
	return;
}

sub DESTROY { my ($self) = @_; local $?; return $self->stop }

1;
