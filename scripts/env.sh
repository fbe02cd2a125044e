# Private PostgreSQL and Redis for tests, demo, benchmarks and developers: a bash library.
#
#   . scripts/env.sh
#   fe_setup bench                          # packages, private home, build, install
#   fe_start_redis "$FE_RUN/redis"          # sets FE_REDIS_SOCK, FE_REDIS_URL
#   fe_start_pg "$FE_RUN/pg" "shared_buffers = 1GB"   # sets PGHOST, PGPORT, PGUSER, PGDATABASE
#   psql -c 'CREATE EXTENSION feature_engine'
#
# All is stopped and removed when the script ends, also by Ctrl-C.
#
# A *home* (FE_HOME) is a directory outside of the checkout that holds
#   src/      a snapshot of the checkout, built in place
#   prefix/   a relocated copy of the system's PostgreSQL with our extension in it:
#             the system's installation is never written, and no root is needed
#   run/      (FE_RUN) data directories, sockets, logs; private to the running user
# Servers run as the invoking user, or as FE_USER (nobody) when that is root. Because
# server binaries are copies in the home, any process that runs one is ours: this
# is how the last clean-up finds processes, whoever started them.
#
# Which PostgreSQL: that of PG_CONFIG, version PGVERSION, the newest that is installed with what
# building needs, or the release's own (fe_pg_major).
#
# A script may run inside another's home (FE_HOME is set): then nothing is built,
# and at its end only what itself started is stopped.

# shellcheck shell=bash
set -euo pipefail

FE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
FE_USER=${FE_USER:-nobody}
FE_HOME_OWNER=		# set where this process made FE_HOME, and so removes it
FE_STARTED_PG=()	# data directories
FE_STARTED_REDIS=() # pid files
FE_CHILD=			# process group that fe_wait waits for
FE_WATCHDOG=		# and the one that limits its time
FE_BESIDE=			# process group of fe_beside

# ---- messages ----

fe_say() { printf '%s\n' "$@"; }
fe_fail() {
	printf 'feature_engine: %s\n' "$*" >&2
	return 1
}

# ---- running commands ----

# Runs a command as the user that servers run as.
fe_as_user() (
	cd "${FE_HOME:-/}"
	if ((EUID == 0)); then
		exec setpriv --reuid="$FE_USER" --regid="$(id -g "$FE_USER")" --clear-groups \
			--inh-caps=-all env HOME="$FE_RUN" "$@"
	fi
	exec "$@"
)

# Runs a command (or function) in its own process group, so that signals to this
# script are handled at once and the command's children can be ended with it. After
# FE_TIMEOUT seconds, where set, the group is ended.
fe_wait() {
	local rc=0
	set -m
	"$@" </dev/null &
	FE_CHILD=$!
	if [[ -n ${FE_TIMEOUT:-} ]]; then
		fe_watchdog "$FE_CHILD" &
		FE_WATCHDOG=$!
	fi
	set +m
	wait "$FE_CHILD" || rc=$?
	fe_end_group "$FE_WATCHDOG"
	fe_end_group "$FE_CHILD"
	FE_CHILD='' FE_WATCHDOG=''
	return "$rc"
}

# Runs a command (or function) beside this script, at whose end it is ended. One at a time.
fe_beside() {
	set -m
	"$@" </dev/null >/dev/null 2>&1 &
	FE_BESIDE=$!
	set +m
}

fe_watchdog() {
	sleep "$FE_TIMEOUT"
	fe_fail "took longer than $FE_TIMEOUT s, ended" || true
	fe_end_group "$1"
}

# Ends what is left of a process group, within five seconds.
fe_end_group() {
	[[ -n $1 ]] || return 0
	kill -TERM -- "-$1" 2>/dev/null || return 0
	for _ in {1..50}; do
		fe_group_lives "$1" || return 0
		sleep 0.1
	done
	kill -KILL -- "-$1" 2>/dev/null || true
}

# Zombies do not count: nobody may be there to reap them.
fe_group_lives() {
	sed 's/.*) //' /proc/[0-9]*/stat 2>/dev/null |
		awk -v group="$1" '$3 == group && $1 != "Z" { n++ } END { exit !n }'
}

# ---- which PostgreSQL ----

# Versions that are installed with server and headers, in order.
fe_installed_pg() {
	local dir
	for dir in /usr/lib/postgresql/*; do
		[[ -x $dir/bin/postgres && -f $dir/lib/pgxs/src/makefiles/pgxs.mk ]] || continue
		basename "$dir"
	done | sort -n
}

# Those that are older than the one in use.
fe_older_pg() {
	local version current
	current=$("$FE_PG_CONFIG" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
	for version in $(fe_installed_pg); do
		((version >= current)) || echo "$version"
	done
}

# The version that the release calls "postgresql", as far as apt's lists know.
fe_release_pg() {
	LC_ALL=C apt-cache policy postgresql 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*\).*/\1/p'
}

# The major version to use; empty when apt's lists have to be fetched first.
fe_pg_major() {
	local major=${PGVERSION:-}
	if [[ -z $major && -n ${PG_CONFIG:-} ]]; then
		major=$("$PG_CONFIG" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
	fi
	[[ -n $major ]] || major=$(fe_installed_pg | tail -n 1)
	[[ -n $major ]] || major=$(fe_release_pg)
	echo "$major"
}

# Sets FE_PG_CONFIG. A script inside a home has it from there.
fe_find_pg() {
	FE_PG_CONFIG=${FE_PG_CONFIG:-${PG_CONFIG:-/usr/lib/postgresql/$(fe_pg_major)/bin/pg_config}}
	[[ -n $(type -P "$FE_PG_CONFIG") ]] || fe_fail "there is no $FE_PG_CONFIG"
	export FE_PG_CONFIG
}

# ---- the home ----

# The first directory that is short (sockets!), writable and lets programs run.
fe_tmp_base() {
	local dir probe
	for dir in ${FE_TMP:+"$FE_TMP"} /tmp /var/tmp; do
		probe=$(mktemp "$dir/fe.XXXXXX" 2>/dev/null) || continue
		printf '#!/bin/sh\n' >"$probe"
		chmod 700 "$probe"
		if "$probe" 2>/dev/null; then
			rm -f "$probe"
			echo "$dir"
			return
		fi
		rm -f "$probe"
	done
	fe_fail "no temporary directory that allows programs to run; set FE_TMP"
}

# Makes or adopts the home directory $1, and its run/ for the running user.
fe_home() {
	FE_HOME=$1
	FE_SRC=$FE_HOME/src
	FE_RUN=$FE_HOME/run
	FE_PREFIX=$FE_HOME/prefix
	mkdir -p "$FE_HOME"
	[[ -O $FE_HOME && ! -L $FE_HOME ]] || fe_fail "$FE_HOME belongs to someone else"
	chmod 755 "$FE_HOME"
	mkdir -p "$FE_RUN/tmp"
	chmod 700 "$FE_RUN" "$FE_RUN/tmp"
	if ((EUID == 0)); then
		chown "$FE_USER:$(id -g "$FE_USER")" "$FE_RUN" "$FE_RUN/tmp"
	fi
	export FE_HOME FE_SRC FE_RUN FE_PREFIX
}

# Environment of everything that runs in the home: private binaries first, and
# nothing of the user's own configuration of PostgreSQL, Redis, make and Python.
fe_environment() {
	local name
	for name in PGDATA PGSERVICE PGSERVICEFILE PGPASSFILE PGPASSWORD PGOPTIONS PGHOSTADDR \
		PGSSLMODE PGTZ PGDATESTYLE REDISCLI_AUTH REDISCLI_RCFILE COPT PROFILE \
		MAKEFLAGS MAKELEVEL MFLAGS PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONOPTIMIZE \
		PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX; do
		unset "$name"
	done
	fe_find_pg
	FE_BIN=$FE_PREFIX$("$FE_PG_CONFIG" --bindir)
	FE_PGXS_TEST=$("$FE_PG_CONFIG" --pkglibdir)/pgxs/src/test
	FE_REDIS_SERVER=$FE_PREFIX/usr/bin/redis-server
	FE_REDIS_CLI=$FE_PREFIX/usr/bin/redis-cli
	PATH=$FE_BIN:$FE_PREFIX/usr/bin:$PATH
	PG_REGRESS=$FE_PGXS_TEST/regress/pg_regress
	LC_ALL=C.UTF-8 TMPDIR=$FE_RUN/tmp PSQLRC=/dev/null
	export FE_BIN FE_PGXS_TEST FE_REDIS_SERVER FE_REDIS_CLI PATH PG_REGRESS LC_ALL TMPDIR PSQLRC
	umask 022
}

# Copies the checkout into directory $1. Only files whose content differs are
# written, and they get the present time: what make then rebuilds is right even
# when a file was saved while an earlier build ran.
fe_snapshot() {
	local target=$1
	mkdir -p "$target"
	rsync -rlpc --delete --exclude=/.git --exclude=/build --exclude='*.o' --exclude='*.d' \
		--exclude='*.so' --exclude=__pycache__ --chmod=a+rX "$FE_ROOT/" "$target/"
}

# Builds the snapshot; arguments go to make. Other arguments than the last time rebuild all.
fe_build() {
	if [[ "$*" != "$(cat "$FE_HOME/build-arguments" 2>/dev/null)" ]]; then
		find "$FE_SRC/src" -name '*.o' -delete
		printf '%s' "$*" >"$FE_HOME/build-arguments"
	fi
	fe_wait make -s -C "$FE_SRC" -j "$(nproc)" PG_CONFIG="$FE_PG_CONFIG" "$@" all
}

# PostgreSQL finds its files relative to its own binary, so copied binaries with
# links to everything else are a complete installation of their own.
fe_private_prefix() {
	local dir
	[[ $FE_BIN/postgres -nt $("$FE_PG_CONFIG" --bindir)/postgres ]] && return
	rm -rf "$FE_PREFIX"
	mkdir -p "$FE_PREFIX/usr/bin" "$FE_BIN"
	cp -L "$("$FE_PG_CONFIG" --bindir)"/* "$FE_BIN/"
	for dir in "$("$FE_PG_CONFIG" --pkglibdir)" "$("$FE_PG_CONFIG" --sharedir)"; do
		mkdir -p "$FE_PREFIX$dir"
		cp -rs "$dir/." "$FE_PREFIX$dir/"
	done
	cp -L /usr/bin/redis-check-rdb "$FE_REDIS_SERVER"
	cp -L /usr/bin/redis-cli "$FE_REDIS_CLI"
}

# Installs the build into the prefix, in place of any earlier or system-wide one.
fe_install() {
	find "$FE_PREFIX" -name 'feature_engine*' \( -type f -o -type l \) -delete
	make -s -C "$FE_SRC" PG_CONFIG="$FE_PG_CONFIG" DESTDIR="$FE_PREFIX" install >/dev/null
}

# The same for another version that is installed, $1, in the home of a script whose own is
# another. Prints where its programs are.
fe_other_pg() {
	local FE_PG_CONFIG=/usr/lib/postgresql/$1/bin/pg_config
	local FE_HOME=$FE_HOME/pg$1
	local FE_SRC=$FE_HOME/src FE_PREFIX=$FE_HOME/prefix FE_BIN
	FE_BIN=$FE_PREFIX$("$FE_PG_CONFIG" --bindir)
	# headers of before C23 on a compiler of after it
	fe_snapshot "$FE_SRC" && fe_private_prefix &&
		fe_build "${FE_BUILD_ARGS[@]+"${FE_BUILD_ARGS[@]}"}" COPT=-std=gnu17 >&2 &&
		fe_install && echo "$FE_BIN"
}

# What the head comment of program $2 says after "$1:" (links: files, flags: options).
fe_unit_option() {
	sed -n "1,40s|^[ */]*$1: *\\([^*]*\\).*|\\1|p" "$2"
}

# fe_build_unit COMPILER SOURCE PROGRAM [OPTIONS...]: a test program without a server is itself
# and the files of src/ that it names. In a copy of the tree, where fuzz targets find their corpus.
fe_build_unit() {
	local compiler=$1 source=$2 program=$3
	shift 3
	# shellcheck disable=SC2046
	"$compiler" -std=gnu11 -g -O1 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
		-Werror -fwrapv "$@" -DFE_FRONTEND -DFE_CORPUS="\"$PWD/test/fuzz/corpus/$(basename "$source" .c)\"" \
		-Isrc -I"$("$FE_PG_CONFIG" --includedir-server)" $(fe_unit_option flags "$source") \
		-o "$program" "$source" $(fe_unit_option links "$source") \
		-L"$("$FE_PG_CONFIG" --pkglibdir)" -lpgcommon -lpgport -lm
}

# For an extension built with SANITIZE=1: the address sanitizer's library must be loaded first,
# into the server alone. Its reports are written to FE_REPORTS and end the process; undefined
# behaviour ("runtime error") is told in the server's log.
#
# The library sets itself up in the first malloc, and must not do so inside of a libc function
# that holds a lock, as constructors of libraries call them: so an object that is initialised
# before all others calls malloc.
fe_sanitize_server() {
	FE_REPORTS=$FE_RUN/reports
	fe_make_dir "$FE_REPORTS"
	gcc -x c -shared -fPIC -Wl,-z,initfirst -o "$FE_PREFIX/first_malloc.so" - <<-END
		#include <stdlib.h>
		__attribute__((constructor)) static void
		first_malloc(void)
		{
			void *volatile p = malloc(1);

			free(p);
		}
	END
	mv "$FE_BIN/postgres" "$FE_BIN/postgres.real"
	cat >"$FE_BIN/postgres" <<-END
		#!/bin/bash
		LD_PRELOAD='$(gcc -print-file-name=libasan.so) $FE_PREFIX/first_malloc.so'
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:log_path=$FE_REPORTS/report
		export LD_PRELOAD ASAN_OPTIONS
		# pg_ctl restart starts what the server takes itself for
		self=\$(realpath "\$(type -P "\$0")") # a test may have copied both
		exec -a "\$self" "\$self.real" "\$@"
	END
	chmod 755 "$FE_BIN/postgres"
}

# All of the above. $1 names the home; FE_BUILD_ARGS (an array) goes to make; FE_DEPS (another) says
# what packages are for (packages.txt: run, where nothing else is said). With
# FE_HOME set, the caller runs inside a home and uses that. FE_HOME_AT chooses its place;
# with FE_NO_BUILD set nothing is built.
fe_setup() {
	trap fe_cleanup EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	if [[ -n ${FE_HOME:-} ]]; then
		[[ -n ${FE_BIN:-} ]] || fe_environment
		return
	fi
	"$FE_ROOT/scripts/deps" "${FE_DEPS[@]-run}"
	fe_home "${FE_HOME_AT:-$(mktemp -d "$(fe_tmp_base)/fe-$1.XXXXXX")}"
	FE_HOME_OWNER=$$
	fe_environment
	fe_snapshot "$FE_SRC"
	fe_private_prefix
	[[ -z ${FE_NO_BUILD:-} ]] || return 0
	fe_build "${FE_BUILD_ARGS[@]+"${FE_BUILD_ARGS[@]}"}" || fe_fail "the build failed"
	fe_install
}

# ---- PostgreSQL ----

# A directory of the running user's own.
fe_make_dir() { fe_as_user mkdir -p -m 700 "$1"; }

# initdb once a home, copied for each server. Several scripts may run in a home at once.
fe_initdb() {
	local template=$FE_RUN/template
	if [[ ! -d $template ]]; then
		fe_as_user initdb -D "$template.$$" -U postgres -A trust -E UTF8 --locale=C.UTF-8 -N \
			>/dev/null
		echo "include 'feature_engine.conf'" |
			fe_as_user tee -a "$template.$$/postgresql.conf" >/dev/null
		fe_as_user mv -T "$template.$$" "$template" 2>/dev/null || fe_as_user rm -rf "$template.$$"
	fi
	fe_as_user cp -a "$template" "$1"
}

# The configuration of the server in directory $1; further arguments are added at the end.
fe_conf() {
	cat "$FE_ROOT/test/postgresql.conf"
	echo "unix_socket_directories = '$1'"
	if fe_as_user postgres --describe-config | grep '^output_plugin_libraries' >/dev/null; then
		echo "output_plugin_libraries = 'pgoutput, test_decoding, feature_engine'"
	fi
	if [[ -n ${FE_REDIS_URL:-} ]]; then
		echo "feature_engine.redis_url = '$FE_REDIS_URL'"
	fi
	shift
	((!$#)) || printf '%s\n' "$@"
}

# fe_start_pg DIR ['name = value'...]: starts a server with data, socket and log in DIR
# (initialised when new) and points PGHOST and its kin at it.
fe_start_pg() {
	local dir=$1
	fe_make_dir "$dir"
	[[ -d $dir/data ]] || fe_initdb "$dir/data"
	fe_conf "$@" | fe_as_user tee "$dir/data/feature_engine.conf" >/dev/null
	FE_STARTED_PG+=("$dir/data")
	if ! fe_as_user pg_ctl -D "$dir/data" -l "$dir/log" -w -t 120 -s start </dev/null; then
		fe_as_user tail -n 40 "$dir/log" >&2
		fe_fail "PostgreSQL did not start in $dir"
		return 1
	fi
	PGHOST=$dir PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	export PGHOST PGPORT PGUSER PGDATABASE
}

# fe_stop_pg DIR [mode]
fe_stop_pg() {
	[[ -f $1/data/postmaster.pid ]] || return 0
	fe_as_user pg_ctl -D "$1/data" -m "${2:-fast}" -w -t 60 -s stop </dev/null
}

# ---- Redis ----

# fe_start_redis DIR [redis options...]: starts a server with only a unix socket in DIR.
fe_start_redis() {
	local dir=$1 try
	shift
	fe_make_dir "$dir"
	FE_REDIS_SOCK=$dir/redis.sock
	FE_REDIS_URL=unix://$FE_REDIS_SOCK
	export FE_REDIS_SOCK FE_REDIS_URL
	FE_STARTED_REDIS+=("$dir/redis.pid")
	fe_as_user redis-server --port 0 --unixsocket "$FE_REDIS_SOCK" --unixsocketperm 700 \
		--daemonize yes --dir "$dir" --pidfile "$dir/redis.pid" --logfile "$dir/redis.log" \
		--save '' --appendonly no "$@" >/dev/null
	for try in {1..100}; do
		[[ $(redis-cli -s "$FE_REDIS_SOCK" ping 2>/dev/null) == PONG ]] && return
		sleep 0.1
	done
	fe_as_user tail -n 20 "$dir/redis.log" >&2
	fe_fail "Redis did not start in $dir (tried $try times)"
}

# fe_stop_redis DIR
fe_stop_redis() {
	local pid
	[[ -s $1/redis.pid ]] || return 0
	pid=$(<"$1/redis.pid")
	kill "$pid" 2>/dev/null || return 0
	while fe_as_user readlink "/proc/$pid/exe" >/dev/null; do sleep 0.05; done
}

# ---- the end ----

# Stops the servers that this script started.
fe_stop_all() {
	local item
	for item in "${FE_STARTED_PG[@]+"${FE_STARTED_PG[@]}"}"; do
		fe_stop_pg "${item%/data}" immediate || true
	done
	for item in "${FE_STARTED_REDIS[@]+"${FE_STARTED_REDIS[@]}"}"; do
		fe_stop_redis "${item%/redis.pid}" || true
	done
	FE_STARTED_PG=() FE_STARTED_REDIS=()
}

# Pids of all processes that run a program out of this home.
fe_home_pids() {
	fe_as_user find /proc -maxdepth 2 -name exe -lname "$FE_HOME/*" 2>/dev/null |
		cut -d/ -f3 || true
}

# Ends whatever still runs out of this home: politely, then not.
fe_sweep() {
	local signal try pids
	for signal in QUIT KILL; do
		for try in {1..50}; do
			pids=$(fe_home_pids)
			[[ -n $pids ]] || return 0
			# shellcheck disable=SC2086
			((try > 1)) || kill -s "$signal" $pids 2>/dev/null || true
			sleep 0.1
		done
	done
}

# Exit trap of fe_setup. A script's own last words go into a function fe_on_exit.
fe_cleanup() {
	local rc=$?
	trap '' HUP INT TERM
	trap - EXIT
	set +e
	fe_end_group "$FE_WATCHDOG"
	fe_end_group "$FE_CHILD"
	fe_end_group "$FE_BESIDE"
	[[ -z ${FE_HOME:-} ]] || fe_stop_all
	if [[ $FE_HOME_OWNER == "$$" ]]; then
		fe_sweep
		cd / && rm -rf "$FE_HOME"
	fi
	if declare -F fe_on_exit >/dev/null; then fe_on_exit "$rc"; fi
	exit "$rc"
}
