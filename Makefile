# ondatra: reverse ETL inside PostgreSQL.
#
#   make            builds ondatra.so and sql/ondatra--VERSION.sql (PG_CONFIG=... picks a server)
#   make install    installs both into the server that PG_CONFIG names
#   make check      everything from nothing: packages, build, install, all tests (as root on Debian)
#   make check-all  the same with PostgreSQL 15, 17 and 18, each in a Debian of its own (as root, with debootstrap)
#   make check-deep the same on a server with assertions, under valgrind, and with sanitizers (as root on Debian)
#   make check-packages  the Debian packages and the PGXN archive in fresh Debian systems (as root, with debootstrap)
#   make dist       the PGXN archive of what is committed, in build/
#   make fuzz       fuzz targets, 3 s each; FUZZ_SECONDS=3600 for long, FUZZ_TARGETS="url json" for some
#   make mutate     breaks the code, one place at a time, and looks whether a test fails; MUTATE="doubt tap" for some (doc/promises.md)
#   make demo       a private cluster with a scripted API beside it, left running; make demo-stop ends it
#   make bench      how fast it is, against a bare scan, md5, a bare libcurl loop and wrk (bench/README.md)
#   make format     clang-format over src/ and test/
#
# A flag that only developers want: WERROR= builds with warnings.

EXTENSION  = ondatra
EXTVERSION = 0.1.0
PG_CONFIG ?= pg_config

# These goals install what they need themselves; PGXS may not be there yet, and has a `check` of its own.
SCRIPTED := check check-all check-deep check-packages dist fuzz mutate demo demo-stop bench format
ifneq (,$(filter $(SCRIPTED),$(MAKECMDGOALS)))

.PHONY: $(SCRIPTED)
check:
	@bash scripts/check.sh
fuzz:
	@MAKEFLAGS= bash scripts/fuzz.sh $(or $(FUZZ_SECONDS),3) $(FUZZ_TARGETS)
mutate:
	@MAKEFLAGS= perl scripts/mutate.pl $(MUTATE)
check-all:
	@bash scripts/check-all.sh
check-deep:
	@bash scripts/check-deep.sh
check-packages:
	@bash scripts/check-packages.sh
dist:
	@bash scripts/dist.sh
demo:
	@bash scripts/demo.sh
demo-stop:
	@bash scripts/demo.sh stop
bench:
	@bash bench/run.sh
format:
	clang-format -i $(wildcard src/*/*.[ch] test/unit/*.[ch] test/fuzz/*.[ch])

else

MODULE_big = $(EXTENSION)
OBJS       = $(patsubst %.c,%.o,$(sort $(wildcard src/*/*.c)))
DATA       = $(wildcard sql/$(EXTENSION)--*--*.sql)
DATA_built = sql/$(EXTENSION)--$(EXTVERSION).sql
SQL_PARTS  = $(sort $(wildcard sql/parts/*.sql))
SQL_CONNECTORS = $(sort $(wildcard sql/connectors/*.json))

# The names of test/regress_schedule in its order, then the others: a new file is never left out.
REGRESS_ALL    = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_LISTED = $(if $(wildcard test/regress_schedule),$(shell sed 's/\#.*//' test/regress_schedule))
REGRESS        = $(REGRESS_LISTED) $(filter-out $(REGRESS_LISTED),$(REGRESS_ALL))
REGRESS_OPTS   = --inputdir=test
EXTRA_CLEAN    = $(OBJS:.o=.d) results regression.diffs regression.out tmp_check test/isolation/output_iso

# Debian's servers are built with JIT; bitcode would need clang and gains nothing here.
override with_llvm = no

WERROR ?= -Werror
LIBRARIES = libcurl json-c libxxhash libcrypto zlib
# The server's headers are system headers: -Wextra is for our code. A flag after PGXS' own turns off what C11 style does not want.
PG_CPPFLAGS = -I$(CURDIR)/src -isystem $(shell $(PG_CONFIG) --includedir-server)
PG_CFLAGS   = -std=gnu11 -Wall -Wextra $(WERROR) -Wno-declaration-after-statement -Wno-unused-parameter -Wno-missing-field-initializers \
              -Wno-sign-compare -MMD -MP
SHLIB_LINK  = $(or $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null),-lcurl -ljson-c -lxxhash -lcrypto -lz)

PGXS := $(shell $(PG_CONFIG) --pgxs)
ifeq (,$(wildcard $(PGXS)))
$(error no PGXS of $(PG_CONFIG): install the server's development files (Debian: postgresql-server-dev-NN), or set PG_CONFIG)
endif
include $(PGXS)

# Builtin connectors come after the views and before the rights. An upgrade script takes the same text.
$(DATA_built): $(SQL_PARTS) $(SQL_CONNECTORS) scripts/connectors.sh Makefile
	@test -n "$(SQL_PARTS)" || { echo "sql/parts is empty" >&2; exit 1; }
	{ cat $(filter-out %/90_rights.sql,$(SQL_PARTS)) && sh scripts/connectors.sh $(SQL_CONNECTORS) && cat sql/parts/90_rights.sql; } > $@.new && mv $@.new $@

-include $(OBJS:.o=.d)

# test/unit/unit.mk sets UNIT_TESTS, programs that print TAP.
-include test/unit/unit.mk
.PHONY: unit print-unit-tests print-regress
unit: $(UNIT_TESTS)
print-unit-tests:
	@echo $(UNIT_TESTS)
print-regress:
	@echo $(REGRESS)

endif
