# redis_layout => 'feast': Redis holds, byte for byte, what Feast's own client reads, and
# nothing of entities and views that are gone; what others write to the same hashes stays.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node eventually);
use Test::More;

my $redis = FeatureEngine::Test::Redis->start;
my $node = feature_node('main', redis => $redis, initdb => ['--encoding=UTF8']);

sub sql
{
	my ($query, $db) = @_;
	return $node->safe_psql($db // 'postgres', "SET search_path = public, feature_engine;\n$query");
}
sub synced { sql(q{SELECT sync('60 s', redis => true)}, @_); return }

# ---- Feast's bytes, written here once more (as hex digits) --------------------------------

sub u32 { return unpack('H*', pack('V', $_[0])) }
sub i64 { return unpack('H*', pack('q<', $_[0])) }
sub with_length { my ($bytes) = @_; return u32(length($bytes)) . unpack('H*', $bytes) }
sub int64_key { return u32(4) . u32(8) . i64($_[0]) }
sub int32_key { return u32(3) . u32(4) . unpack('H*', pack('l<', $_[0])) }
sub text_key { return u32(2) . with_length($_[0]) }

# Names and values of the join keys in the order of their names, then the project.
sub key
{
	my ($names, $values, $project) = @_;
	return u32(scalar @$names) . join('', map { u32(2) . with_length($_) } @$names)
	  . join('', @$values) . unpack('H*', $project // 'demo');
}
sub customer { my ($id, $project) = @_; return key(['customer_id'], [ int64_key($id) ], $project) }

# Scripts get keys and fields as hex digits, and give them back so: fields that are no names
# as hex, values too, but for positions in the log.
use constant HEX => q{
	local function bytes(h) return (string.gsub(h, '..', function(x) return string.char(tonumber(x, 16)) end)) end
	local function hex(s) return (string.gsub(s, '.', function(c) return string.format('%02x', string.byte(c)) end)) end
};
sub lua { my ($script, @arguments) = @_; return $redis->cli('EVAL', HEX . $script, 0, @arguments) }

sub all_keys
{
	return join "\n", sort split /\n/, lua(q{
		local r = {}
		for _, k in ipairs(redis.call('KEYS', '*')) do
			if string.sub(k, 1, 15) ~= 'feature_engine:' then r[#r + 1] = hex(k) end
		end
		return table.concat(r, '\n')});
}

# field=value, sorted, then the views' times; without _lsn, if all is well with it
sub fields
{
	my ($key) = @_;
	return lua(q{
		local h, r, times = redis.call('HGETALL', bytes(ARGV[1])), {}, {}
		for i = 1, #h, 2 do
			if string.sub(h[i], 1, 1) ~= '_' then r[#r + 1] = hex(h[i]) .. '=' .. hex(h[i + 1])
			elseif string.sub(h[i], 1, 4) == '_ts:' then times[#times + 1] = h[i] .. '=' .. hex(h[i + 1])
			elseif not string.match(h[i + 1], '^%x+/%x+$') then r[#r + 1] = h[i] end
		end
		table.sort(r)
		table.sort(times)
		for _, time in ipairs(times) do r[#r + 1] = time end
		return table.concat(r, ' ')}, $key);
}
sub field { my ($key, $field) = @_; return lua(q{return hex(redis.call('HGET', bytes(ARGV[1]), bytes(ARGV[2])) or '')}, $key, $field) }
sub ttl { return lua(q{return redis.call('PTTL', bytes(ARGV[1]))}, $_[0]) }
sub present { return lua(q{return redis.call('EXISTS', bytes(ARGV[1]))}, $_[0]) }

# The field of a feature: MurmurHash3 (32 bits, seed 0) of view:feature.
sub murmur
{
	my ($text) = @_;
	my @bytes = unpack('C*', $text);
	my $h = 0;
	use integer;
	my $m = 0xffffffff;
	my $rot = sub { my ($x, $n) = @_; no integer; return (($x << $n) | ($x >> (32 - $n))) & $m };
	my $mul = sub {
		my ($x, $y) = @_;
		no integer;
		return ((($x & 0xffff) * $y) + (((($x >> 16) * $y) & 0xffff) << 16)) & $m;
	};
	my $mix = sub { my ($k) = @_; return $mul->($rot->($mul->($k, 0xcc9e2d51), 15), 0x1b873593) };
	while (@bytes >= 4)
	{
		my @b = splice(@bytes, 0, 4);
		my $k = $b[0] | $b[1] << 8 | $b[2] << 16 | $b[3] << 24;
		$h = ($mul->($rot->($h ^ $mix->($k), 13), 5) + 0xe6546b64) & $m;
	}
	my $tail = 0;
	$tail |= $bytes[$_] << (8 * $_) foreach 0 .. $#bytes;
	$h ^= $mix->($tail);
	$h ^= length($text);
	$h = $mul->($h ^ ($h >> 16), 0x85ebca6b);
	$h = $mul->($h ^ ($h >> 13), 0xc2b2ae35);
	$h ^= $h >> 16;
	return unpack('H*', pack('V', $h));
}

use constant TS => '0880dca0cb06';    # 2026-01-15 00:00:00Z
sub set_clock { sql(q{SELECT set_clock('2026-01-15 00:00:00Z')}); return }

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, merchant text, total float8,
	                     status text, at timestamptz);
	ALTER TABLE orders REPLICA IDENTITY FULL;
	INSERT INTO orders (customer_id, merchant, total, status, at) VALUES
		(1, 'ACME', 10, 'paid', '2026-01-14'), (1, 'ACME', 20, 'new', '2026-01-14 12:00Z'),
		(-1, 'ACME', 5, NULL, '2026-01-01');
	SELECT create_feature_view('keeper', 'SELECT id, total FROM orders', online => '{}')});
set_clock();

# ---- the worked examples -------------------------------------------------------------------

sql(q{
	SELECT create_feature_view('customer_features',
		'SELECT customer_id, count(*) AS order_count_30d FROM orders GROUP BY customer_id',
		redis_layout => 'feast', feast_project => 'demo');
	SELECT create_feature_view('pair_features',
		'SELECT merchant, customer_id, sum(total) AS total FROM orders GROUP BY 1, 2',
		redis_layout => 'feast', feast_project => 'demo')});
synced();
my $one = '01000000020000000b000000637573746f6d65725f69640400000008000000010000000000000064656d6f';
my $pair = '02000000020000000b000000637573746f6d65725f696402000000080000006d65726368616e74'
  . '0400000008000000ffffffffffffffff020000000400000041434d4564656d6f';
is(customer(1), $one, 'this test writes keys as Feast does');
is(murmur('customer_features:order_count_30d'), '792f1254', '... and fields');
is(all_keys(), join("\n", sort $one, customer(-1), $pair, key([ 'customer_id', 'merchant' ], [ int64_key(1), text_key('ACME') ])),
	'keys');
is(fields($one), '792f1254=2002 _ts:customer_features=' . TS, 'a feature and the time of its view');
is(fields($pair), murmur('pair_features:total') . '=290000000000001440 _ts:pair_features=' . TS,
	'... of two join keys');

sql(q{INSERT INTO orders (customer_id, merchant, total, at) VALUES (1, 'ACME', 1, '2026-01-14')});
synced();
is(field($one, '792f1254'), '2003', 'a change arrives');

# ---- several views in one hash, NULLs --------------------------------------------------------

sql(q{
	SELECT create_feature_view('statuses', $$SELECT customer_id, last(status, at) AS last_status,
			max(total) AS highest FROM orders GROUP BY 1$$,
		redis_layout => 'feast', feast_project => 'demo')});
synced();
my %status = map { $_ => murmur("statuses:$_") } qw(last_status highest);
is(fields($one), join(' ', sort("792f1254=2003", "$status{last_status}=12036e6577",
		"$status{highest}=290000000000003440"), map { "_ts:$_=" . TS } qw(customer_features statuses)),
	'two views in one hash, each with its time');
is(field(customer(-1), $status{last_status}), '', 'NULL is no field');
sql(q{UPDATE orders SET status = 'gone' WHERE customer_id = -1});
synced();
is(field(customer(-1), $status{last_status}), '1204676f6e65', '... until there is a value');
sql(q{UPDATE orders SET status = NULL WHERE customer_id = -1});
synced();
is(field(customer(-1), $status{last_status}), '', '... and then again');

# ---- entities that go -----------------------------------------------------------------------

sql(q{
	CREATE TABLE notes (id int PRIMARY KEY, customer_id bigint);
	ALTER TABLE notes REPLICA IDENTITY FULL;
	INSERT INTO notes VALUES (1, 1), (2, 77);
	SELECT create_feature_view('note_features', 'SELECT customer_id, count(*) AS n FROM notes GROUP BY 1',
		redis_layout => 'feast', feast_project => 'demo')});
synced();
my $notes = murmur('note_features:n');
like(fields($one), qr/$notes=2001/, 'a third view');
lua(q{redis.call('HSET', bytes(ARGV[1]), 'theirs', 'x', '_ts:batch', '')}, customer(77));
sql(q{DELETE FROM notes});
synced();
unlike(fields($one), qr/$notes|note_features/, 'an entity of one view is gone: so are its fields');
like(fields($one), qr/792f1254=2003/, '... and no others');
is(fields(customer(77)), unpack('H*', 'theirs') . '=78 _ts:batch=',
	'what Feast itself has written to a hash stays');
sql(q{DELETE FROM orders WHERE customer_id = -1});
synced();
is(present(customer(-1)), 0, 'a hash without fields is no key');
is(present($pair), 0, '... of any view');

# ---- stale keys: gone while nobody looked ------------------------------------------------------

sql(q{INSERT INTO orders (customer_id, merchant, total, at) VALUES (5, 'x', 1, '2026-01-14')});
synced();
$redis->save_and_stop;
sql(q{DELETE FROM orders WHERE customer_id = 5; SELECT sync()});
sql(q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type LIKE '%pusher%'});
$node->restart;
set_clock();
$redis->start_again;
synced();
eventually('an entity deleted meanwhile leaves Redis', sub { !present(customer(5)) });
like(fields($one), qr/792f1254=2003/, '... and the others stay');

# ---- what came from another history, and what is newer ------------------------------------------

# (a former primary's pusher may write late: a refill must not take newer values back)
sub refill_over
{
	my ($lsn) = @_;
	lua(q{redis.call('HSET', bytes(ARGV[1]), bytes(ARGV[2]), 'other', '_lsn:customer_features', ARGV[3])},
		$one, '792f1254', $lsn);
	sql(q{SELECT push_now('customer_features')});
	synced();
	return field($one, '792f1254');
}
my $now = sql('SELECT pg_current_wal_insert_lsn()');
is(refill_over($now), unpack('H*', 'other'), 'a newer value is left alone by a refill');
is(refill_over('FFFF/0'), '2003', 'one of another history is not');
is(refill_over('0/1'), '2003', '... nor is an older one');

# ---- FLUSHALL ---------------------------------------------------------------------------------

my $before = all_keys();
$redis->cli('FLUSHALL');
eventually('after FLUSHALL all is there again', sub { all_keys() eq join("\n", grep { $_ ne customer(77) } split /\n/, $before) });
synced();
like(fields($one), qr/792f1254=2003.*_ts:customer_features=@{[TS]}/, '... with its values');

# ---- expiry: the longest counts ------------------------------------------------------------------

sql(q{
	SELECT create_feature_view('short', 'SELECT id, count(*) AS n FROM orders GROUP BY id',
		redis_layout => 'feast', feast_project => 'ttls', ttl => '100 s')});
synced();
my $id1 = key(['id'], [ int64_key(1) ], 'ttls');
cmp_ok(ttl($id1), '<=', 100_000, 'ttl');
cmp_ok(ttl($id1), '>', 50_000, '... is set');
sql(q{
	SELECT create_feature_view('long', 'SELECT id, max(total) AS m FROM orders GROUP BY id',
		redis_layout => 'feast', feast_project => 'ttls', ttl => '1000 s')});
synced();
cmp_ok(ttl($id1), '>', 500_000, 'of two views the longer one');
sql(q{SELECT alter_feature_view('long', reset => ARRAY['ttl'])});
synced();
eventually('one without: the key stays', sub { ttl($id1) == -1 });
sql(q{SELECT drop_feature_view('long')});
eventually('when it is dropped the other one counts', sub { my $t = ttl($id1); $t > 0 && $t <= 100_000 });
is(fields($id1), murmur('short:n') . '=2001 _ts:short=' . TS, '... and only its fields are left');
sql(q{SELECT drop_feature_view('short')});
eventually('... and nothing of either', sub { !present($id1) });

# ---- another layout, another project, other features ------------------------------------------------

sql(q{SELECT drop_feature_view('statuses'); SELECT drop_feature_view('pair_features'); SELECT drop_feature_view('note_features')});
synced();
eventually('dropped views leave only what is not theirs',
	sub { all_keys() eq $one && fields($one) eq '792f1254=2003 _ts:customer_features=' . TS });
sql(q{SELECT alter_feature_view('customer_features', feast_project => 'other')});
synced();
eventually('another project: other keys', sub { all_keys() eq customer(1, 'other') });
sql(q{SELECT alter_feature_view('customer_features', redis_layout => 'hash')});
synced();
eventually('the plain layout', sub { all_keys() eq unpack('H*', 'customer_features:1') });
is($redis->cli('HGET', 'customer_features:1', 'order_count_30d'), '3', '... with its texts');
sql(q{SELECT alter_feature_view('customer_features', redis_layout => 'feast', feast_project => 'demo')});
synced();
eventually('and back', sub { all_keys() eq $one });
sql(q{SELECT create_feature_view('customer_features',
	'SELECT customer_id, count(*) AS order_count_30d, max(status) AS s FROM orders GROUP BY customer_id',
	redis_layout => 'feast', feast_project => 'demo', replace => true)});
eventually('more features', sub { fields($one) =~ /@{[murmur('customer_features:s')]}=120470616964/ });
sql(q{SELECT alter_feature_view('customer_features', online => ARRAY['s'])});
synced();
eventually('fewer features', sub { fields($one) eq murmur('customer_features:s') . '=120470616964 _ts:customer_features=' . TS });
eventually('all of it is tidied up', sub { sql('SELECT count(*) FROM online_footprint') eq '1' });
sql(q{SELECT drop_feature_view('customer_features')});
eventually('nothing is left', sub { all_keys() eq '' });

# ---- every type -----------------------------------------------------------------------------------------

sql(q{CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN small AS int2; CREATE DOMAIN smalls AS small[]});
my @types = (
	[ 'bool', 'true', '3801' ], [ 'bool', 'false', '3800' ],
	[ 'int2', '-1', '18ffffffffffffffffff01' ], [ 'int4', '0', '1800' ], [ 'int8', '300', '20ac02' ],
	[ 'float4', '1.5', '350000c03f' ], [ 'float8', '0', '290000000000000000' ],
	[ 'float8', q{'Infinity'}, '29000000000000f07f' ], [ 'float8', q{'NaN'}, '29000000000000f87f' ],
	[ 'text', q{''}, '1200' ], [ 'text', q{E'\\u00e9*?['}, '1205c3a92a3f5b' ], [ 'varchar(9)', q{'abc'}, '1203616263' ],
	[ 'char(4)', q{'ab'}, '120461622020' ], [ 'name', q{'abc'}, '1203616263' ], [ 'mood', q{'bad'}, '1203626164' ],
	[ 'small', '2', '1802' ], [ 'bytea', q{'\\x0102'}, '0a020102' ],
	[ 'timestamptz', q{'2026-01-15 00:00:00.999Z'}, '40' . substr(TS, 2) ], [ 'date', q{'2026-01-15'}, '40' . substr(TS, 2) ],
	[ 'timestamp', q{'1969-12-31 23:59:59.5'}, '40ffffffffffffffffff01' ], [ 'timestamptz', q{'infinity'}, '' ],
	[ 'int8[]', q{'{1,2,300}'}, '72060a040102ac02' ], [ 'int4[]', q{'{}'}, '6a00' ], [ 'smalls', q{'{1}'}, '6a030a0101' ],
	[ 'float8[]', q{'{1.5}'}, '7a0a0a08000000000000f83f' ], [ 'text[]', q{'{a,bc}'}, '62070a01610a026263' ],
	[ 'bool[]', q{'{t,f}'}, '8a01040a020100' ], [ 'bytea[]', q{ARRAY['\\x01'::bytea]}, '5a030a0101' ],
	[ 'date[]', q{'{1970-01-02}'}, '9201050a0380a305' ],
	[ 'int4[]', q{'{1,NULL}'}, '' ], [ 'int4[]', q{'{{1,2},{3,4}}'}, '' ], [ 'int4', 'NULL', '' ]);
my @columns = map { "x$_" } 0 .. $#types;
sql('CREATE TABLE one (k int PRIMARY KEY, ' . join(', ', map { "$columns[$_] $types[$_][0]" } 0 .. $#types) . q{);
	ALTER TABLE one REPLICA IDENTITY FULL;
	INSERT INTO one VALUES (1, } . join(', ', map { $_->[1] } @types) . q{);
	SELECT create_feature_view('current', 'SELECT * FROM one', redis_layout => 'feast', feast_project => 'demo')});
synced();
is(field(key(['k'], [ int32_key(1) ]), murmur("current:$columns[$_]")), $types[$_][2], "$types[$_][0] $types[$_][1]")
  foreach 0 .. $#types;
cmp_ok(sql('SELECT push_field_errors FROM worker_status()'), '>=', 3, 'what has no form is counted');
like(sql('SELECT redis_error FROM worker_status()'), qr/feature "x\d+" of feature view "current": an array .* has no form/,
	'... and told');
sql(q{SELECT drop_feature_view('current')});
eventually('... and goes with its view', sub { all_keys() eq '' });

# ---- hostile keys -------------------------------------------------------------------------------------------

sql(q{
	CREATE TABLE hostile (id int PRIMARY KEY, "a ""key"" of *[?]\ - and 42 bytes in all:{x}" text, b bytea, d date, s timestamptz(0));
	ALTER TABLE hostile REPLICA IDENTITY FULL;
	INSERT INTO hostile VALUES (1, '*', '\x00ff64656d6f', '2026-01-15', '2026-01-15'),
		(2, E'\u00e9[^a]{}\\\\?', '\x', '1969-12-31', NULL),
		(3, 'demo', '\x01000000', '0001-01-01', '2026-01-15 00:00:01Z');
	SELECT create_feature_view('hostile_features', $$SELECT "a ""key"" of *[?]\ - and 42 bytes in all:{x}", b, d, count(*) AS n
		FROM hostile GROUP BY 1, 2, 3$$, redis_layout => 'feast', feast_project => 'demo');
	SELECT create_feature_view('moments', $$SELECT s, count(*) AS n FROM hostile WHERE s IS NOT NULL GROUP BY 1$$,
		redis_layout => 'feast', feast_project => 'demo')});
synced();
my $names = [ 'a "key" of *[?]\\ - and 42 bytes in all:{x}', 'b', 'd' ];
my $bytes = sub { return u32(1) . with_length($_[0]) };
my $seconds = sub { return u32(8) . u32(8) . i64($_[0]) };
my @hostile = (
	key($names, [ text_key('*'), $bytes->("\0\xffdemo"), $seconds->(1768435200) ]),
	key($names, [ text_key("\xc3\xa9[^a]{}\\?"), $bytes->(''), $seconds->(-86400) ]),
	key($names, [ text_key('demo'), $bytes->("\1\0\0\0"), $seconds->(-62135596800) ]));
my @moments = map { key(['s'], [ $seconds->($_) ]) } 1768435200, 1768435201;
is(length $names->[0], 42, 'a length that is a *');
is(all_keys(), join("\n", sort @hostile, @moments), 'keys of any bytes');

# other keys like ours, which are not: of another project, of other types, cut off, of no form
my @foreign = (
	key(['s'], [ $seconds->(1) ], 'xdemo'), key(['s'], [ int64_key(1) ]), key(['s'], [ text_key("a\0b") ]),
	unpack('H*', "\1\0\0\0\2\0\0\0\1\0\0\0sdemo"), key([ 's', 't' ], [ $seconds->(1), int32_key(1) ]));
lua(q{for _, k in ipairs(ARGV) do redis.call('HSET', bytes(k), '_ts:moments', 'x') end}, @foreign);
my $stale = key(['s'], [ $seconds->(1) ]);
lua(q{redis.call('HSET', bytes(ARGV[1]), '_ts:moments', 'x', '_lsn:moments', '0/1')}, $stale);
sql(q{SELECT push_now('moments'); SELECT push_now('hostile_features')});
synced();
eventually('a stale key is found', sub { !present($stale) });
is(all_keys(), join("\n", sort @hostile, @moments, @foreign), '... and no other is touched');
sql(q{DELETE FROM hostile WHERE id = 2; SELECT drop_feature_view('moments')});
synced();
eventually('keys go one by one, and with their view', sub { all_keys() eq join("\n", sort @hostile[ 0, 2 ], @foreign) });
sql(q{SELECT drop_feature_view('hostile_features')});
eventually('all of them', sub { all_keys() eq join("\n", sort @foreign) });
$redis->cli('FLUSHALL');

# ---- what has no form in Redis is recorded all the same --------------------------------------------------------

sql(q{
	CREATE TABLE spans (d date PRIMARY KEY, x int[]);
	ALTER TABLE spans REPLICA IDENTITY FULL;
	INSERT INTO spans VALUES ('2026-01-15', '{{1,2}}'), ('infinity', '{3}');
	SELECT create_feature_view('spans_now', 'SELECT d, x FROM spans', redis_layout => 'feast', feast_project => 'demo',
		offline => true);
	SELECT sync('60 s', history => true)});
synced();
is(all_keys(), key(['d'], [ $seconds->(1768435200) ]), 'a key without a form is in no hash');
is(sql(q{SELECT string_agg(d || ' ' || x::text, ', ' ORDER BY d) FROM spans_now_history}), '2026-01-15 {{1,2}}, infinity {3}',
	'... and in the history, like a value without one');
sql(q{SELECT drop_feature_view('spans_now', history => true)});
eventually('dropped', sub { all_keys() eq '' });

# ---- windows in GROUP BY: the newest is served -----------------------------------------------------------------

sql(q{
	SELECT create_feature_view('daily', $$SELECT customer_id, tumble(at, '1 day') AS day, count(*) AS n
		FROM orders GROUP BY 1, 2$$, redis_layout => 'feast', feast_project => 'demo', online => ARRAY['n']);
	INSERT INTO orders (customer_id, at) VALUES (1, '2026-01-14 13:00Z'), (1, '2026-01-02'), (1, '2026-02-01')});
synced();
is(fields($one), murmur('daily:n') . '=2004 _ts:daily=' . TS, 'the newest window that has begun');
sql(q{SELECT drop_feature_view('daily')});
eventually('... is gone', sub { all_keys() eq '' });

# ---- a database in another encoding ----------------------------------------------------------------------------

$node->safe_psql('postgres', q{CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
sql(q{
	SET client_encoding = 'UTF8';
	CREATE EXTENSION feature_engine;
	CREATE TABLE t (id int PRIMARY KEY, "größe" text, zz int);
	ALTER TABLE t REPLICA IDENTITY FULL;
	INSERT INTO t VALUES (1, 'naïve', 7);
	SELECT set_clock('2026-01-15 00:00:00Z');
	SELECT create_feature_view('ältere', $$SELECT "größe", zz, max("größe") AS "höchste" FROM t GROUP BY 1, 2$$,
		redis_layout => 'feast')}, 'latin');
synced('latin');
my $latin = key([ "gr\xc3\xb6\xc3\x9fe", 'zz' ], [ text_key("na\xc3\xafve"), int32_key(7) ], 'latin');
is(all_keys(), $latin, 'UTF-8 in Redis, under the name of the database');
is(field($latin, murmur("\xc3\xa4ltere:h\xc3\xb6chste")), '1206' . unpack('H*', "na\xc3\xafve"), '... in names of fields and values');
sql(q{SET client_encoding = 'UTF8'; SELECT push_now('ältere')}, 'latin');
synced('latin');
is(all_keys(), $latin, '... and read back from there');
sql(q{DELETE FROM t}, 'latin');
synced('latin');
is(all_keys(), '', 'deleted');

done_testing();
