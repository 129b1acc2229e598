# Amend. One Makefile, no configure step, no recursion: everything generated lies under $(BUILD).
#   make            the programs: amendd, amend, amend-merge
#   make help       every target and variable

BUILD  ?= build
SAN    ?=
CUDA   ?= auto
DNNL   ?= auto
PREFIX ?= /usr/local
DESTDIR ?=
T      ?=
TEST_TIMEOUT ?= 300
ifeq ($(origin CC),default)
CC := gcc
endif

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
.PHONY: all programs demo test unit unit-build sim sim-scale torture torture-build tidy fuzz fuzz-build bench bench-build bench-quick install clean help FORCE

ifeq ($(filter $(SAN),address undefined thread fuzz),)
ifneq ($(SAN),)
$(error SAN=$(SAN) is not known: use SAN=address, SAN=undefined, SAN=thread or SAN=fuzz (clang))
endif
endif
O   := $(BUILD)$(if $(SAN),/san-$(SAN))
GEN := $(O)/gen

# ---- What this machine has. Skipped for the goals that compile nothing.
# Make 4.3 changed how a literal number sign is written inside a function call: a variable means the same to all.
HASH := \#
PACKAGES := libsodium:libsodium-dev nettle:nettle-dev libcyaml:libcyaml-dev yaml-0.1:libyaml-dev jansson:libjansson-dev libutf8proc:libutf8proc-dev \
	lmdb:liblmdb-dev libzmq:libzmq3-dev libprotobuf-c:libprotobuf-c-dev ompi-c:libopenmpi-dev \
	libmicrohttpd:libmicrohttpd-dev libpcre2-8:libpcre2-dev libzstd:libzstd-dev libcurl:libcurl4-gnutls-dev
# Libraries without a pkg-config file, by their header.
HEADERS := csv.h:libcsv-dev
TOOLS := $(CC):gcc protoc-c:protobuf-c-compiler pkg-config:pkg-config ar:binutils
ifneq ($(filter unit unit-build test bench bench-build bench-quick fuzz-build torture torture-build,$(MAKECMDGOALS)),)
PACKAGES += cmocka:libcmocka-dev
endif

COMPILES := $(if $(MAKECMDGOALS),$(filter-out clean help tidy,$(MAKECMDGOALS)),all)
ifneq ($(COMPILES),)
MISSING := $(shell for t in $(TOOLS); do command -v $${t%%:*} >/dev/null 2>&1 || echo $${t$(HASH)$(HASH)*:}; done; \
	command -v pkg-config >/dev/null 2>&1 && for p in $(PACKAGES); do \
	pkg-config --exists $${p%%:*} || echo $${p$(HASH)$(HASH)*:}; done; \
	for h in $(HEADERS); do echo "$(HASH)include <$${h%%:*}>" | $(CC) -E - >/dev/null 2>&1 || echo $${h$(HASH)$(HASH)*:}; done)
ifneq ($(MISSING),)
$(error Missing here: $(MISSING). On Debian or Ubuntu: apt-get install $(MISSING))
endif

ifeq ($(DNNL),auto)
override DNNL := $(if $(shell printf '$(HASH)include <dnnl.h>\n' | $(CC) -E - >/dev/null 2>&1 && echo 1),1,0)
endif
BLAS_CFLAGS := $(shell pkg-config --cflags openblas 2>/dev/null)
BLAS := $(if $(shell printf '$(HASH)include <cblas.h>\n' | $(CC) $(BLAS_CFLAGS) -E - >/dev/null 2>&1 && \
	pkg-config --exists openblas && echo 1),1,0)
ifeq ($(DNNL)$(BLAS),00)
$(error No matrix library: neither oneDNN nor OpenBLAS was found. On Debian or Ubuntu: apt-get install libdnnl-dev (or libopenblas-dev))
endif

CUDA_HOME ?= $(firstword $(wildcard /usr/local/cuda) $(patsubst %/bin/nvcc,%,$(shell command -v nvcc 2>/dev/null)))
NVCC ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard $(CUDA_HOME)/bin/nvcc))
ifeq ($(CUDA),auto)
override CUDA := $(if $(and $(NVCC),$(wildcard $(CUDA_HOME)/include/cublas_v2.h)),1,0)
endif
ifeq ($(CUDA)$(NVCC),1)
$(error CUDA=1, but nvcc was not found: install the CUDA toolkit (nvidia-cuda-toolkit), set CUDA_HOME, or use CUDA=0)
endif

MPI_CFLAGS := $(shell pkg-config --cflags ompi-c)
MPI_LIBS   := $(shell pkg-config --libs ompi-c)
PKG_NAMES  := libsodium nettle libcyaml yaml-0.1 jansson libutf8proc lmdb libzmq libprotobuf-c libmicrohttpd libpcre2-8 libzstd libcurl
PKG_CFLAGS := $(filter-out -DUTF8PROC_EXPORTS,$(shell pkg-config --cflags $(PKG_NAMES)))
PKG_LIBS   := $(shell pkg-config --libs $(PKG_NAMES)) -lcsv
endif

GIT_DESCRIBE := $(shell git describe --tags --always --dirty 2>/dev/null)
VERSION_TEXT := $(shell cat VERSION)$(if $(GIT_DESCRIBE),+$(GIT_DESCRIBE))

# ---- Flags
# No contraction: gcc and clang then round alike, and a shard trains to the same bytes. Asserts stay on.
WARN   := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wformat=2 -Werror
# Hidden: a name of ours that a shared library has too (json_string) must not take that library's own calls.
COMMON := -D_GNU_SOURCE -std=c11 -O2 -g -fno-omit-frame-pointer -fstack-protector-strong -ffp-contract=off \
	-fvisibility=hidden -fopenmp -pthread
SANITIZE :=
ifeq ($(SAN),address)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
else ifeq ($(SAN),fuzz)
SANITIZE := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
# What gcc warns of is what counts.
WARN := -w
else ifneq ($(SAN),)
SANITIZE := -fsanitize=$(SAN) -fno-sanitize-recover=all
endif
DEFINES  := -DAMEND_CUDA=$(CUDA) -DAMEND_DNNL=$(DNNL) -DAMEND_BLAS=$(BLAS)
INCLUDES := -I$(GEN) -I.
CFLAGS   ?=
LDFLAGS  ?=
C_ALL     = $(COMMON) $(SANITIZE) $(DEFINES) $(INCLUDES) $(PKG_CFLAGS) $(BLAS_CFLAGS)
LIBS      = $(PKG_LIBS) $(if $(filter 1,$(DNNL)),-ldnnl) $(if $(filter 1,$(BLAS)),$(shell pkg-config --libs openblas)) -lm
LINK      = $(CC) $(COMMON) $(SANITIZE) $(LDFLAGS) -Wl,--as-needed

# Compute capabilities of the kernels: native code for each, and PTX of the last for newer cards.
CUDA_ARCH ?= 80 90
NVCC_ARCH = $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(a),code=sm_$(a)) \
	-gencode arch=compute_$(lastword $(CUDA_ARCH)),code=compute_$(lastword $(CUDA_ARCH))
ifeq ($(CUDA),1)
LIBS += -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcublas -lcudart -lstdc++
endif

# ---- Sources
FOLDERS := base proto store model editor worker coordinator daemon
MAINS   := daemon/amendd.c daemon/amend.c daemon/amend_merge.c
MPI_SRC := worker/reduce_mpi.c
SKIP    := $(MAINS) $(MPI_SRC) $(if $(filter 1,$(DNNL)),model/packed_none.c,model/gemm_dnnl.c model/packed_dnnl.c) $(if $(filter 1,$(BLAS)),,model/gemm_blas.c) \
	$(if $(filter 1,$(CUDA)),model/backend_cuda_none.c)
PROTOS  := $(wildcard proto/*.proto)
PB_C    := $(PROTOS:%.proto=$(GEN)/%.pb-c.c)
PB_H    := $(PB_C:.c=.h)
PB_O    := $(PB_C:.c=.o)
sources  = $(filter-out $(SKIP),$(wildcard $(1)/*.c))
objects  = $(patsubst %.c,$(O)/%.o,$(call sources,$(1))) $(if $(filter proto,$(1)),$(PB_O)) \
	$(if $(and $(filter model,$(1)),$(filter 1,$(CUDA))),$(O)/model/backend_cuda.o)
SHARE    := $(patsubst data/%,$(O)/share/%,$(wildcard data/*))
PROGRAMS := $(patsubst daemon/%.c,$(O)/%,$(subst amend_merge,amend-merge,$(MAINS)))

# Which archives each folder's tests link: its floor and those below, highest first, so that an upward call fails to link.
archives = $(patsubst %,$(O)/lib%.a,$(1))
FLOOR_base := base
FLOOR_proto := proto base
FLOOR_store := store base
FLOOR_model := model base
FLOOR_editor := editor model base
FLOOR_worker := worker editor model store proto base
FLOOR_coordinator := coordinator store proto base
FLOOR_daemon := daemon coordinator worker editor model store proto base
floor = $(call archives,$(or $(FLOOR_$(1)),$(FLOOR_daemon)))

TEST_LIB := $(wildcard tests/lib/*.c)
# The longest first, so that none runs alone at the end.
TEST_SRC := $(foreach t,$(wildcard tests/sim/test_*.c) $(wildcard tests/numerics/test_*.c) $(wildcard tests/unit/*/test_*.c) \
	$(wildcard tests/fuzz/fuzz_*.c),$(if $(T),$(if $(findstring $(T),$(t)),$(t)),$(t)))
TESTS    := $(TEST_SRC:%.c=$(O)/%)
# The simulator: the linker puts its stand-ins (tests/sim/engine.c, plant.c) in the place of these.
SIM_LIB := $(filter-out tests/sim/main.c tests/sim/test_%,$(wildcard tests/sim/*.c))
# Of those, what tests/sim/plant.c alone stands before: tests/torture links it, too.
SIM_PLANT_WRAP := store_commit store_begin store_begin_read coordinator__edit_id coordinator__lease_is proto_allow_revoke \
	coordinator__publishing_put store_collect_keep store_chunk_get coordinator__heal_advance coordinator__recv_canary_result coordinator__edits_end \
	coordinator__intake coordinator__withheld_load coordinator__withhold_choose coordinator__withheld_keeps \
	coordinator__lost_look coordinator__edit_move store_backup store_restore
SIM_WRAP := delta_bytes_check model_shape_of model_digest model_backend_of editor_calibration_cache_load editor_shard_new editor_shard_destroy \
	editor_shard_add editor_shard_remove editor_shard_count editor_shard_replay_count editor_shard_layer \
	editor_shard_delta_load editor_shard_delta_encode editor_shard_index_encode editor_shard_retest editor_shard_learn \
	editor_memory_set_new editor_memory_set_acquire editor_memory_set_release editor_memory_set_edit_count \
	hash_of proto_allow_roles $(SIM_PLANT_WRAP)
TEST_TOOLS := $(patsubst %.c,%,$(wildcard tests/tools/*.c))
BENCH    := $(patsubst %.c,$(O)/%,$(wildcard bench/bench_*.c))

all: programs
programs: $(PROGRAMS) $(SHARE)

# ---- Compiling. An object is rebuilt when the flags change; only what mentions AMEND_VERSION when the version does.
FLAGS_NOW = $(CC) $(C_ALL) $(CFLAGS) $(WARN)
$(O)/flags: FORCE
	@mkdir -p $(@D); printf '%s\n' '$(FLAGS_NOW)' | cmp -s - $@ || printf '%s\n' '$(FLAGS_NOW)' >$@
$(O)/version: FORCE
	@mkdir -p $(@D); printf '%s\n' '$(VERSION_TEXT)' | cmp -s - $@ || printf '%s\n' '$(VERSION_TEXT)' >$@
VERSION_USERS := $(shell grep -ls AMEND_VERSION $(foreach f,$(FOLDERS),$(wildcard $(f)/*.c)) /dev/null)
$(VERSION_USERS:%.c=$(O)/%.o): $(O)/version
$(VERSION_USERS:%.c=$(O)/%.o): C_EXTRA += -DAMEND_VERSION='"$(VERSION_TEXT)"'

# Row kernels for one instruction set carry it in their name; the rest of the tree stays portable.
$(O)/model/%_avx2.o: C_EXTRA += -mavx2 -mfma -mf16c
$(O)/model/%_avx512.o: C_EXTRA += -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl
$(MPI_SRC:%.c=$(O)/%.o): C_EXTRA += $(MPI_CFLAGS)
# No parser is in them, and with clang's instrumentation they take minutes.
ifeq ($(SAN),fuzz)
$(O)/model/cpu_%.o: C_EXTRA += -fno-sanitize=all
endif

$(O)/%.o: %.c $(O)/flags | $(PB_H)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC   $<";) $(CC) $(C_ALL) $(C_EXTRA) $(WARN) $(CFLAGS) -MMD -MP -c -o $@ $<

$(O)/%.o: %.cu $(O)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  NVCC $<";) $(NVCC) -O2 -g -std=c++17 $(NVCC_ARCH) $(DEFINES) -I. -I$(CUDA_HOME)/include \
		-Xcompiler -fopenmp,-Wall,-fno-omit-frame-pointer -MMD -MP -c -o $@ $<

# Generated code is not ours to warn about.
$(GEN)/%.pb-c.c $(GEN)/%.pb-c.h &: %.proto
	@mkdir -p $(GEN)
	$(if $(V),,@echo "  GEN  $<";) protoc-c -I. --c_out=$(GEN) $<
$(GEN)/%.pb-c.o: $(GEN)/%.pb-c.c $(O)/flags | $(PB_H)
	$(if $(V),,@echo "  CC   $<";) $(CC) $(C_ALL) -w $(CFLAGS) -MMD -MP -c -o $@ $<

define archive_rule
$$(O)/lib$(1).a: $$(call objects,$(1))
	@rm -f $$@; mkdir -p $$(@D); ar rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call archive_rule,$(f))))
$(O)/libtest.a: $(TEST_LIB:%.c=$(O)/%.o)
	@rm -f $@; mkdir -p $(@D); ar rcs $@ $^

# Shipped data stands beside the programs, as share/amend does after an install.
$(O)/share/%: data/%
	@mkdir -p $(@D); cp $< $@

# ---- Linking
DAEMON_LIBS := $(call archives,$(FLOOR_daemon))
$(O)/amendd: $(O)/daemon/amendd.o $(DAEMON_LIBS)
$(O)/amend: $(O)/daemon/amend.o $(DAEMON_LIBS)
$(O)/amend-merge: $(O)/daemon/amend_merge.o $(MPI_SRC:%.c=$(O)/%.o) $(DAEMON_LIBS)
$(O)/amend-merge: MORE_LIBS = $(MPI_LIBS)
$(PROGRAMS): | $(SHARE)
	$(if $(V),,@echo "  LINK $@";) $(LINK) -o $@ $(filter %.o %.a,$^) $(MORE_LIBS) $(LIBS)

define test_rule
$$(O)/$(1): $$(O)/$(1).o $$(O)/libtest.a $(2)
	$$(if $$(V),,@echo "  LINK $$@";) $$(LINK) -o $$@ $$(filter %.o %.a,$$^) -lcmocka $$(MORE_LIBS) $$(LIBS)
endef
# tests/unit/FOLDER/test_NAME, tests/fuzz/fuzz_FOLDER_NAME
folder_of = $(word 3,$(subst /, ,$(patsubst tests/fuzz/fuzz_%,tests/fuzz/$(word 2,$(subst _, ,$(1))),$(1))))
fuzz_part = $(if $(filter tests/fuzz/%,$(1)),$(O)/tests/fuzz/fuzz.o $(O)/tests/fuzz/driver.o)
mpi_part  = $(if $(findstring test_reduce_mpi,$(1))$(findstring bench_merge,$(1)),$(MPI_SRC:%.c=$(O)/%.o))
# No parser of the programs' is in coordinator/ or worker/: fuzzing need not build them.
test_libs = $(if $(filter tests/unit/%,$(1)),$(call floor,$(call folder_of,$(1))),$(if $(filter tests/fuzz/%,$(1)),\
	$(filter-out $(call archives,coordinator worker),$(call floor,$(call folder_of,$(1)))),\
	$(if $(filter tests/sim/%,$(1)),$(SIM_OBJECTS) $(DAEMON_LIBS),$(call archives,$(FLOOR_editor)))))
SIM_OBJECTS := $(SIM_LIB:%.c=$(O)/%.o)
$(O)/tests/sim/%: MORE_LIBS = $(SIM_WRAP:%=-Wl,--wrap=%)
$(foreach t,$(TEST_SRC:.c=),$(eval $(call test_rule,$(t),$(call mpi_part,$(t)) $(call fuzz_part,$(t)) $(call test_libs,$(t)))))
MPI_TESTS := $(foreach t,$(TESTS),$(if $(findstring test_reduce_mpi,$(t)),$(t)))
$(MPI_TESTS): MORE_LIBS = $(MPI_LIBS)
$(MPI_TESTS:%=%.o): C_EXTRA += $(MPI_CFLAGS)
$(foreach b,$(BENCH:$(O)/%=%),$(eval $(call test_rule,$(b),$(O)/bench/bench.o $(O)/bench/products.o $(call mpi_part,$(b)) $(DAEMON_LIBS))))
$(O)/bench/bench_merge: MORE_LIBS = $(MPI_LIBS)
$(O)/bench/bench_train: $(O)/bench/recorder.o
$(O)/bench/bench_train: MORE_LIBS = -Wl,--wrap=model_backend_new
$(eval $(call test_rule,tests/sim/sim,$(O)/tests/sim/main.o $(SIM_OBJECTS) $(DAEMON_LIBS)))
# What tests/torture runs: its own programs, a library that stands before libc's writes and syncs, and the product with the
# faults that the linker plants (tests/torture/plant.c; those of the simulator are its own).
TORTURE_C     := client check images proxy rot
TORTURE_LIB   := $(patsubst %,$(O)/tests/torture/%.o,history verify)
PLANT_WRAP    := $(SIM_PLANT_WRAP) mdb_env_open store_chunks_put coordinator__turn_take coordinator__lease_renew
PLANTED       := $(O)/tests/torture/planted
PLANT_OBJECTS := $(O)/tests/torture/plant.o $(O)/tests/sim/plant.o
TORTURE_PROGRAMS := $(TORTURE_C:%=$(O)/tests/torture/%) $(O)/tests/torture/recorder.so $(PLANTED)/amendd $(PLANTED)/amend-merge
$(foreach t,$(TORTURE_C),$(eval $(call test_rule,tests/torture/$(t),$(TORTURE_LIB) $(DAEMON_LIBS))))
$(O)/tests/torture/recorder.so: tests/torture/recorder.c tests/torture/disk_log.h $(O)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK $@";) $(CC) $(COMMON) $(INCLUDES) $(WARN) $(CFLAGS) -fPIC -shared -o $@ $<
# amend starts the amendd beside it.
$(PLANTED)/amendd: $(O)/daemon/amendd.o $(PLANT_OBJECTS) $(DAEMON_LIBS) $(O)/amend | $(SHARE)
	@mkdir -p $(PLANTED)/tests; ln -sfn ../../../share $(PLANTED)/share; ln -sfn ../../tools $(PLANTED)/tests/tools
	@rm -f $(PLANTED)/amend; cp $(O)/amend $(PLANTED)/amend
	$(if $(V),,@echo "  LINK $@";) $(LINK) $(PLANT_WRAP:%=-Wl,--wrap=%) -o $@ $(filter %.o %.a,$^) $(LIBS)
$(PLANTED)/amend-merge: $(O)/daemon/amend_merge.o $(O)/tests/torture/plant_merge.o $(MPI_SRC:%.c=$(O)/%.o) $(DAEMON_LIBS)
	@mkdir -p $(PLANTED); rm -f $@
	$(if $(V),,@echo "  LINK $@";) $(LINK) -Wl,--wrap=worker_reduce_mpi_init -o $@ $(filter %.o %.a,$^) $(MPI_LIBS) $(LIBS)
# Programs that integration scripts use, e.g. $(O)/tests/tools/tiny_model OUT SEED.
$(foreach t,$(TEST_TOOLS),$(eval $(call test_rule,$(t),$(call archives,model base))))

# ---- Running
RUN = SAN=$(SAN) AMEND_BIN=$(abspath $(O)) TEST_TIMEOUT=$(TEST_TIMEOUT) tests/run
unit-build: $(TESTS)
unit: $(TESTS)
	@$(RUN) $(TESTS)
test: $(TESTS) $(PROGRAMS) $(TEST_TOOLS:%=$(O)/%)
	@$(RUN) $(TESTS) --script tests/integration/run.sh
bench-build: $(BENCH) torture-build $(O)/tests/sim/sim
bench: bench-build
	@AMEND_BIN=$(abspath $(O)) bench/run
bench-quick: $(BENCH) $(PROGRAMS)
	@AMEND_BIN=$(abspath $(O)) bench/run --quick
demo: $(PROGRAMS) $(O)/tests/tools/core_speed
	@AMEND_BIN=$(abspath $(O)) scripts/demo-run
# make sim SEEDS=10000; make sim SEED=42 TRACE=1 replays one, line by line; SHRINK=1 finds the events that matter
SEED  ?= 1
SEEDS ?= 200
JOBS  ?= 2
PLANT ?= none
TRACE ?=
KEEP  ?=
SHRINK ?=
sim: $(O)/tests/sim/sim
	@$< --seed $(SEED) --seeds $(SEEDS) --jobs $(JOBS) --plant $(PLANT) $(if $(TRACE),--trace) $(if $(KEEP),--keep $(KEEP)) $(if $(SHRINK),--shrink)
# Real processes under real faults: tests/torture/README.md
TORTURE_SECONDS ?= 30
TORTURE_SEED    ?= 1
TORTURE         ?=
torture-build: $(PROGRAMS) $(TORTURE_PROGRAMS) $(TEST_TOOLS:%=$(O)/%)
torture: torture-build
	@TORTURE='$(TORTURE)' TORTURE_SECONDS=$(TORTURE_SECONDS) TORTURE_SEED=$(TORTURE_SEED) \
		SCRIPT_TIMEOUT=$$(($(TORTURE_SECONDS) * 20 + 3600)) $(RUN) --script tests/torture/run
FLEET ?=
sim-scale: $(O)/tests/sim/sim
	@$< --fleet $(FLEET)
tidy:
	@scripts/tidy

# libFuzzer is clang's: everything is built once more with its instrumentation, and every target with its main.
FUZZ         ?=
FUZZ_SECONDS ?= 60
FUZZ_JOBS    ?= 1
FUZZ_ALL     := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_NOW     := $(or $(FUZZ),$(FUZZ_ALL))
FUZZERS      := $(FUZZ_ALL:%=$(O)/tests/fuzz/libfuzzer_%)
$(FUZZERS): $(O)/tests/fuzz/libfuzzer_%: $(O)/tests/fuzz/fuzz_%
	$(if $(V),,@echo "  LINK $@";) $(LINK) -fsanitize=fuzzer -o $@ $<.o $(O)/tests/fuzz/fuzz.o $(O)/libtest.a \
		$(call test_libs,tests/fuzz/fuzz_$*) -lcmocka $(LIBS)
fuzz-build: $(FUZZ_NOW:%=$(O)/tests/fuzz/libfuzzer_%)
fuzz:
	@$(MAKE) --no-print-directory CC=clang SAN=fuzz FUZZ='$(FUZZ_NOW)' fuzz-build
	@tests/fuzz/run $(BUILD)/san-fuzz/tests/fuzz $(FUZZ_SECONDS) $(FUZZ_JOBS) $(FUZZ_NOW)

install: $(PROGRAMS)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/amend
	install -m 0755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin/
	find data -type f | while read -r f; do \
		install -D -m 0644 "$$f" "$(DESTDIR)$(PREFIX)/share/amend/$${f#data/}" || exit 1; done

clean:
	rm -rf $(BUILD)

help:
	@echo 'Targets'
	@echo '  all (default)  amendd, amend and amend-merge into $$(BUILD)'
	@echo '  demo           the walk-through of the README on this machine (scripts/demo-run)'
	@echo '  unit           builds and runs the unit and numerics tests'
	@echo '  unit-build     only builds them'
	@echo '  test           unit, then tests/integration/run.sh; ends with "N passed, N failed"'
	@echo '  sim            SEEDS=200 simulated clusters from SEED=1 on, JOBS=2 at a time; SEED=n TRACE=1 replays one,'
	@echo '                 SHRINK=1 finds which of its events break it, KEEP=LIST has only these happen (docs/simulation.md)'
	@echo '  torture        the promises under real faults, on real processes (tests/torture/README.md): TORTURE="NAME..."'
	@echo '                 or all (with tests/integration), TORTURE_SECONDS=30, TORTURE_SEED=1'
	@echo '  sim-scale      a coordinator with 1,000 workers and 10,000 nodes; FLEET="--nodes 1000 --relays 32" (docs/simulation.md)'
	@echo '  tidy           clang-format, floors, foreign libraries, log ids (scripts/tidy)'
	@echo '  fuzz           the parsers under libFuzzer (needs clang; tests/fuzz/README.md): FUZZ="NAME..." (all),'
	@echo '                 FUZZ_SECONDS=60 in all, FUZZ_JOBS=1 at once'
	@echo '  bench          every bar of speed beside what it is compared with (docs/performance.md); ONLY="SECTION..."'
	@echo '  bench-quick    ratios with loose limits, in two minutes; ends with "N passed, N failed"'
	@echo '  install        to $$(DESTDIR)$$(PREFIX): bin/ and share/amend/'
	@echo '  clean          removes $$(BUILD)'
	@echo 'Variables'
	@echo '  BUILD=build        folder for everything generated'
	@echo '  SAN=               address (with undefined), undefined, thread or fuzz; builds under $$(BUILD)/san-$$(SAN)'
	@echo '  CUDA=auto          1, 0 or auto; CUDA_HOME, CUDA_ARCH="80 90"'
	@echo '  DNNL=auto          1, 0 or auto: oneDNN, else OpenBLAS'
	@echo '  PREFIX=/usr/local  DESTDIR=  where install puts things'
	@echo '  T=                 only tests whose path holds this text, e.g. T=unit/base'
	@echo '  TEST_TIMEOUT=300   seconds a test executable may take'
	@echo '  V=1                shows the commands; CC, CFLAGS and LDFLAGS as usual'

ifneq ($(COMPILES),)
-include $(foreach d,$(FOLDERS) tests/lib tests/fuzz tests/tools tests/numerics tests/sim tests/torture bench,$(wildcard $(O)/$(d)/*.d)) \
	$(wildcard $(O)/tests/unit/*/*.d) $(wildcard $(GEN)/proto/*.d)
endif
