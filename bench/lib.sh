# What the benchmarks share: a private server tuned for measuring, one database
# a run, timing, medians. Sourced by the programs of this directory after their head comment.
#
# Figures go to stdout as markdown tables, progress to stderr.

# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR source=../scripts/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/env.sh"

BENCH=$(dirname "${BASH_SOURCE[0]}")
RUNS=${BENCH_RUNS:-3}       # how often each measurement is repeated
MEMORY=${BENCH_MEMORY:-4GB} # for feature state

note() { printf '# %s\n' "$*" >&2; }

# ---- server ----

# bench_setup NAME: home and build; the benchmark's directories get that name.
bench_setup() {
	bench_name=bench-$1
	unset FE_REDIS_URL
	fe_setup "$bench_name"
	OUT=$FE_HOME/$bench_name.out
}

# bench_start ['name = value'...]
bench_start() {
	fe_start_pg "$FE_RUN/$bench_name" 'shared_buffers = 1GB' 'max_wal_size = 16GB' \
		'checkpoint_timeout = 1h' 'autovacuum = off' 'synchronous_commit = off' 'jit = off' \
		"feature_engine.max_memory = $MEMORY" "feature_engine.memory = $MEMORY" "$@"
}

# Before bench_start: the engine pushes to a Redis of its own.
bench_redis() { fe_start_redis "$FE_RUN/$bench_name-redis"; }

# A new, empty database with the extension, for one run.
bench_database() {
	PGDATABASE=postgres createdb "$1"
	export PGDATABASE=$1
	query "CREATE EXTENSION feature_engine" \
		"ALTER DATABASE $1 SET search_path = public, feature_engine"
	fe_wait psql -Xq -v ON_ERROR_STOP=1 -f "$BENCH/orders.sql"
}

# Drops it, workers and slots included.
bench_drop_database() {
	local name=$PGDATABASE
	query "SET client_min_messages = warning" "DROP EXTENSION feature_engine CASCADE"
	PGDATABASE=postgres
	query "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots
		WHERE database = '$name' AND NOT active" "DROP DATABASE $name WITH (FORCE)" >/dev/null
}

# Each argument is a statement of its own.
query() {
	local statement arguments=()
	for statement; do arguments+=(-c "$statement"); done
	psql -XqAt -v ON_ERROR_STOP=1 "${arguments[@]}"
}

# The view of the README, live: caught up with all rows there are.
create_view() {
	fe_wait psql -XqAt -v ON_ERROR_STOP=1 -v view=customer_features -v source=orders \
		-f "$BENCH/customer_features.sql" >/dev/null
	wait_live
}

wait_live() { fe_wait psql -XqAt -v ON_ERROR_STOP=1 -c "SELECT sync('1 hour')" >/dev/null; }

# setting NAME [VALUE]: of the running server; without a value it is reset.
setting() {
	if (($# > 1)); then
		query "ALTER SYSTEM SET $1 = '$2'" "SELECT pg_reload_conf()" >/dev/null
	else
		query "ALTER SYSTEM RESET $1" "SELECT pg_reload_conf()" >/dev/null
	fi
}

# ---- workers ----

# Pid of this database's worker of a role (ingest, pusher).
worker_pid() {
	query "SELECT pid FROM pg_stat_activity
		WHERE datname = current_database() AND backend_type = 'feature_engine $1'"
}

# CPU seconds that process $1 has used; 0 where it is none.
cpu_seconds() {
	[[ -r /proc/${1:-none}/stat ]] || { echo 0 && return; }
	sed 's/.*) //' "/proc/$1/stat" | awk -v tick="$(getconf CLK_TCK)" \
		'{ printf "%.2f", ($12 + $13) / tick }'
}

# ---- pgbench ----

# run_pgbench ARGUMENTS: its report goes to $OUT.
run_pgbench() {
	fe_wait pgbench -n "$@" >"$OUT" 2>&1 || {
		cat "$OUT" >&2
		fe_fail "pgbench failed"
	}
}

pgbench_tps() { sed -n 's/^tps = \([0-9]*\).*/\1/p' "$OUT"; }

# ---- a backlog of orders ----

BACKLOG_PORTIONS=4 # one-row and bulk transactions alternate so often
BACKLOG_BULK=1000  # rows of a bulk insert

# Nothing is decoded from now on, until it is released.
hold_capture() {
	setting feature_engine.inject_wait capture
	sleep 0.5
}

release_capture() { setting feature_engine.inject_wait; }

# insert_statement ROWS CUSTOMERS
insert_statement() {
	cat <<-END
		INSERT INTO orders (customer_id, total, status)
		SELECT 1 + (random() * ($2 - 1))::int, (5 + random() * 300)::numeric(10,2),
		       (ARRAY['new', 'paid', 'shipped', 'cancelled'])[ceil(random() * 3.2)]
		FROM   generate_series(1, $1);
	END
}

# write_backlog_scripts CUSTOMERS: uniformly so many. The one-row script draws its values
# in pgbench, so that the statement stays cheap.
write_backlog_scripts() {
	insert_statement "$BACKLOG_BULK" "$1" >"$FE_HOME/bulk.sql"
	cat >"$FE_HOME/single.sql" <<-END
		\\set customer random(1, $1)
		\\set cents random(500, 30500)
		\\set status random(1, 32) / 10
		INSERT INTO orders (customer_id, total, status) VALUES (:customer, :cents / 100.0,
		    (ARRAY['new', 'paid', 'shipped', 'cancelled'])[1 + :status]);
	END
}

# write_backlog ROWS: half of them in one-row transactions. Sets end_lsn, up to which all is flushed.
write_backlog() {
	local rows=$1 portion
	note "writing $rows rows"
	for ((portion = 0; portion < BACKLOG_PORTIONS; portion++)); do
		run_pgbench -M prepared -c 2 -j 2 \
			-t $((rows / 2 / BACKLOG_BULK / BACKLOG_PORTIONS / 2)) -f "$FE_HOME/bulk.sql"
		run_pgbench -M prepared -c 2 -j 2 -t $((rows / 2 / BACKLOG_PORTIONS / 2)) \
			-f "$FE_HOME/single.sql"
	done
	# a synchronous commit flushes all that is before it
	end_lsn=$(query "SET synchronous_commit = on" "SELECT pg_current_xact_id()" \
		"SELECT pg_current_wal_flush_lsn()" | tail -n 1)
}

# The whole difference of two positions, in bytes.
wal_between() { query "SELECT ('$2'::pg_lsn - '$1'::pg_lsn)::bigint"; }

wal_position() { query "SELECT pg_current_wal_insert_lsn()"; }

# ---- figures ----

microseconds() { echo "${EPOCHREALTIME/./}"; }

# Seconds since $1 (from microseconds).
seconds_since() { calc "($(microseconds) - $1) / 1e6" %.3f; }

# calc EXPRESSION [FORMAT]
calc() { awk "BEGIN { printf \"${2:-%.2f}\", $1 }"; }

median() {
	printf '%s\n' "$@" | sort -g | awk '{ v[NR] = $1 }
		END { printf "%.10g", (v[int((NR + 1) / 2)] + v[int((NR + 2) / 2)]) / 2 }'
}

# 1234567 -> 1235k; below 10,000 as it is.
short() {
	if ((${1%.*} < 10000)); then echo "${1%.*}"; else calc "$1 / 1000" %.0fk; fi
}
