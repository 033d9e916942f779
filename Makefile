# Two commands do everything: `make demo` and `make test`. Both set up an environment of their own in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py ringproto/message.py ringproto/message.pxd transports/_segments.py transports/_traffic.py \
	$(wildcard ringproto/_core/*.py ringproto/_core/*.pxd ringproto/_core/*/*.py ringproto/_core/*/*.pxd ringproto/_core/*/*.pyx) \
	$(wildcard transports/*.pxd transports/*.pyx)

SANITIZED := build/sanitized
FUZZ_VENV := .venv-fuzz
FUZZ := RINGPROTO_INTERPRETED=1 PYTHONHASHSEED=0 $(FUZZ_VENV)/bin/python tests/fuzz/fuzz_
FUZZ_S ?= 60
FUZZ_RUNS ?= -1
FUZZ_SEED ?= 0
SANITIZE_TESTS := tests/sanitize tests/core tests/transports tests/fuzz tests/simulation/test_stateful.py \
	tests/simulation/test_scenario_membership.py tests/simulation/test_scenario_messages.py \
	tests/simulation/test_scenario_barrier.py

.PHONY: demo test bench model mutants setup check clean fuzz fuzz-parser fuzz-sequences sanitize

demo: setup
	@echo "== running the main job: a replicated key-value store on three processes (about half a minute)"
	$(BIN)/ringproto demo

test: setup
	@echo "== running the tests (at most ten minutes on two cores)"
	$(BIN)/python tests/together.py

# MUTANTS: --list, --floor service, --part 2/5, names of mutants, --help for all others.
mutants: setup
	PYTHONPATH=tests $(BIN)/python -m mutants $(MUTANTS)

# BENCH_ARGS: --quick (a minute), --full (all systems, 12 minutes), --write-docs, --help for all others.
bench: $(VENV)/.bench
	@echo "== measuring throughput, latency, cost and a crash, beside the peers that are here (docs/performance.md)"
	@echo "== table: here; raw results and plots: build/bench; options: make bench BENCH_ARGS='--quick' (or --full, --help)"
	$(BIN)/python -m bench.suite $(BENCH_ARGS)

# A peer that cannot be had is reported as absent, and is no failure. (The extra bench, without building all again.)
$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet pyzmq pysyncobj || echo "== pyzmq or pysyncobj cannot be installed"
	touch $@

model:
	@echo "== searching the model of the recovery barrier (needs spin and gcc; docs/model.md)"
	$(PYTHON) tests/model/model_runs.py $(MODEL_ARGUMENTS)

setup: $(VENV)/.installed

$(VENV)/.installed: $(SOURCES)
	@echo "== setting up $(VENV): installing the dependencies and building the extension modules"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[cli,test]'
	touch $@

check: setup
	$(BIN)/python -m pip install --quiet --editable '.[check]'
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# FUZZ_S=seconds for each target, or FUZZ_S=0 FUZZ_RUNS=executions; with a FUZZ_SEED (not 0) and nothing in build/fuzz the
# same executions give the same inputs. New inputs go to build/fuzz, findings too.
fuzz: fuzz-parser fuzz-sequences

# A short sequence says nothing, so lengths do not grow slowly.
fuzz-sequences: FUZZ_FLAGS := -len_control=0

fuzz-parser fuzz-sequences: fuzz-%: $(FUZZ_VENV)/.installed
	@echo "== fuzzing: $*"
	mkdir -p build/fuzz/$*
	$(FUZZ)$*.py -max_total_time=$(FUZZ_S) -runs=$(FUZZ_RUNS) -seed=$(FUZZ_SEED) -max_len=512 -print_final_stats=1 $(FUZZ_FLAGS) \
		-artifact_prefix=build/fuzz/$*- build/fuzz/$* tests/fuzz/corpus/$*

$(FUZZ_VENV)/.installed: $(SOURCES)
	@echo "== setting up $(FUZZ_VENV), with atheris"
	test -x $(FUZZ_VENV)/bin/python || $(PYTHON) -m venv $(FUZZ_VENV)
	$(FUZZ_VENV)/bin/python -m pip install --quiet --editable '.[fuzz]'
	touch $@

# CPython keeps what it allocates, so leaks are not looked for; it allocates with malloc, so that each object is guarded.
sanitize: setup
	@echo "== building with the address and undefined-behaviour sanitizers, and testing what was built"
	RINGPROTO_SANITIZE=1 $(BIN)/python setup.py -q build --parallel 2 --build-base $(SANITIZED) --build-lib $(SANITIZED)/lib
	RINGPROTO_SANITIZE=1 PYTHONPATH=$(CURDIR)/$(SANITIZED)/lib PYTHONMALLOC=malloc \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		LD_PRELOAD="$$($${CC:-gcc} -print-file-name=libasan.so)" \
		$(BIN)/pytest -q -p no:cacheprovider --hypothesis-profile=few $(SANITIZE_TESTS)

clean:
	rm -rf $(VENV) $(FUZZ_VENV) build dist *.egg-info ringproto/*.so ringproto/*/*.so transports/*.so ringproto/*/*.c transports/*.c
