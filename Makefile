# Builds feature_engine with PGXS, and names the entry points of tests and demo.
#
#   make, make install     as for any PostgreSQL extension (PG_CONFIG=... chooses a server)
#   make test              every suite against a private PostgreSQL and Redis
#   make demo              the engine at work in this terminal
#   make help              all targets
#
# `make test` and `make demo` install missing packages first, so this file must
# also parse where no PostgreSQL is installed yet.

MODULE_big = feature_engine
EXTENSION = feature_engine
PGFILEDESC = "feature_engine - real-time feature store"

DATA = $(wildcard feature_engine--*.sql)
SRCS = src/feature_engine.c $(sort $(wildcard src/*/*.c))
OBJS = $(SRCS:.c=.o)
REGRESS = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
EXTRA_CLEAN = $(OBJS:.o=.d) build

# Why two are off: callbacks have parameters they do not need; PostgreSQL's own macros
# (lengthof, VARSIZE) are unsigned where its loops and lists count in int.
WARNINGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Werror=implicit-function-declaration
# PGXS passes gcc's own options, and its headers gcc's own attributes, to clang too.
ifneq ($(findstring clang,$(CC)),)
WARNINGS += -Wno-unknown-warning-option -Wno-ignored-optimization-argument -Wno-ignored-attributes
endif
# WERROR=1 turns warnings into errors, ASSERT=1 switches Assert() on in our code.
ifdef WERROR
WARNINGS += -Werror
endif
ifdef ASSERT
ASSERT_FLAGS = -DUSE_ASSERT_CHECKING=1
endif
# SANITIZE=1: addresses and undefined behaviour are checked while it runs. The server must
# load the run-time library first (docs/testing.md).
ifdef SANITIZE
WARNINGS += -fsanitize=address,undefined -fno-omit-frame-pointer
endif

PG_CPPFLAGS = -Isrc -MMD -MP $(ASSERT_FLAGS)
PG_CFLAGS = $(WARNINGS)
SHLIB_LINK = -lhiredis

# No LLVM bitcode: it doubles the build time and nothing here is inlined by the JIT.
override with_llvm = no

PG_CONFIG ?= pg_config
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
ifneq ($(PGXS),)
include $(PGXS)
-include $(OBJS:.o=.d)
# A target of this Makefile only: its name is also a directory of objects.
objects: $(OBJS)
else
all install installcheck uninstall clean objects:
	@echo "feature_engine: no PGXS found by '$(PG_CONFIG)'; 'make deps' installs what is missing" >&2
	@exit 1
endif

SUITES ?=
TESTS ?=
export SUITES TESTS KEEP VERSIONS DEBIAN_MIRROR SANITIZE FUZZ_SECONDS FUZZERS

.PHONY: help deps test test-long test-matrix test-sanitized fuzz fuzz-samples fuzz-definitions torture demo lint check-format sandbox sandbox-stop objects
help:
	@echo 'make                 build the library        make install    install it (PG_CONFIG=...)'
	@echo 'make test            run all test suites      make demo       show it live (KEEP=1: leave it up)'
	@echo 'make test-regress    one suite: test-lint, test-unit, test-regress, test-isolation,'
	@echo '                     test-tap, test-pgtap, test-oracle, test-python, test-torture, test-upgrade; TESTS="a b"'
	@echo 'make test-long       tests of memory bounds with millions of rows (an hour, 20 GB of disk)'
	@echo 'make test-matrix     the suites on PostgreSQL 15, 17 and 18, each in a Debian release of its own'
	@echo '                     (root and network; VERSIONS="17 18" SUITES="..." choose)'
	@echo 'make torture         crashes and a random workload (TORTURE_MINUTES=60, TORTURE_SEEDS="1 2")'
	@echo 'make test-sanitized  suites with address and undefined behaviour sanitizers in the server (slow)'
	@echo 'make fuzz-definitions  generated definitions against batch queries (MINUTES=60, SEEDS="1 2")'
	@echo 'make fuzz            fuzz the readers of records and of stored state (FUZZ_SECONDS=60 each,'
	@echo '                     FUZZERS="record image chunk" choose)'
	@echo 'make lint            gcc and clang with -Werror, format, shell scripts'
	@echo 'make sandbox         private server with the current sources (FE_SANDBOX=name: several)'
	@echo 'make deps            install missing Debian packages'

deps:
	@scripts/deps
test:
	@scripts/test
test-matrix:
	@scripts/matrix
test-sanitized:
	@SANITIZE=1 SUITES="$(or $(SUITES),regress isolation tap pgtap oracle)" scripts/test
test-long:
	@FE_LONG=1 FE_TIMEOUT=$${FE_TIMEOUT:-7200} SUITES=tap TESTS="$${TESTS:-028_bounded}" scripts/test
test-%:
	@SUITES="$*" scripts/test
fuzz:
	@test/fuzz/run
fuzz-definitions:
	@test/oracle/run-definitions
fuzz-samples:
	@test/fuzz/run --samples
torture:
	@test/torture/run
demo:
	@scripts/demo/run
lint:
	@scripts/lint
check-format:
	@scripts/check-format
sandbox:
	@scripts/sandbox start
sandbox-stop:
	@scripts/sandbox stop
