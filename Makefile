# make demo and make test set up all they need: a virtual environment in .venv.

.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LINKS ?= --docs docs
FUZZ_READY := $(VENV)/.fuzz-ready
BENCH_READY := $(VENV)/.bench-ready
BENCH ?= --write docs
FUZZ_SECONDS ?= 60
FUZZ_JOBS ?= 2
SOAK_SECONDS ?= 3600
REACTOR_TESTS ?= tests.net tests.service
TRIAL = -m twisted.trial --temp-directory _trial_temp.$(1)
TRACED = $(BIN)/coverage run --parallel-mode $(TRIAL)

# The parts of the suite, each a process of its own, and one for what none of them has.
WAITING := links faults streams interop model
modules_of = $(subst /,.,$(patsubst %.py,%,$(wildcard tests/$(1)/test_*.py)))
links := tests.faults.test_handshake_real tests.faults.test_streams_real
faults := $(filter-out $(links),$(call modules_of,faults))
streams := $(filter tests.interop.test_streams_%,$(call modules_of,interop))
interop := $(filter-out $(streams),$(call modules_of,interop))
model := tests.model
layers := $(addprefix tests.,wire secure stream net hostile vectors fuzzing)
others := $(filter-out tests.faults tests.interop $(model) $(layers), \
    $(patsubst tests/%/__init__.py,tests.%,$(wildcard tests/*/__init__.py)) \
    $(patsubst tests/%.py,tests.%,$(wildcard tests/test_*.py)))

.PHONY: help demo test lint types suite reactors everywhere docs fuzz bench \
    bench-micro bench-links reliability clean

help:
	@echo "make demo   run a server and a client on this machine, and show what happens"
	@echo "make test   the whole check: lint, types, tests with coverage, docs"
	@echo "make fuzz   search for inputs that break something, a minute per target"
	@echo "make bench  measure everything, beside others, and write it down"
	@echo "make bench-micro  measure each step of the hot path"
	@echo "make bench-links  compare ways to control congestion on emulated links"
	@echo "make soak   let connections come and go for an hour, and see what is left"
	@echo "make everywhere   the suite on the select, poll and asyncio reactors"
	@echo "make reliability   try every fault and attack, and write down what comes of it"
	@echo "make docs   build the documentation into docs/_build/html"
	@echo "make clean  remove everything that was built"

$(READY): setup.cfg pyproject.toml tools/venv.sh
	@sh tools/venv.sh $(VENV)
	@touch $@

demo: $(READY)
	@$(BIN)/python docs/examples/demo.py

test: lint types suite reactors docs

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# All parts run beside each other: most of them wait, for networks and processes. Only
# two are traced, which takes its time; they have to cover what is to be covered.
suite: $(READY)
	rm -f .coverage .coverage.* waiting.*
	$(foreach part,$(WAITING), \
	    $(BIN)/python $(call TRIAL,$(part)) $($(part)) > waiting.$(part) 2>&1 & \
	    running="$$running $$!";) \
	$(call TRACED,layers) $(layers) > waiting.layers 2>&1 & running="$$running $$!"; \
	failed=0; $(call TRACED,others) $(others) || failed=1; \
	for part in $$running; do wait $$part || failed=1; done; \
	cat waiting.*; rm -f waiting.*; exit $$failed
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=92
	for layer in wire secure stream; do \
	    $(BIN)/coverage report --include="curvecp_tx/$$layer/*" --fail-under=98 || exit 1; \
	done

# What runs under a reactor here, on each of the others; no coverage needed twice.
reactors: $(READY)
	rm -f waiting.*
	for reactor in select poll asyncio; do \
	    $(BIN)/python -m twisted.trial --temp-directory _trial_temp.$$reactor \
	        --reactor=$$reactor $(REACTOR_TESTS) > waiting.$$reactor 2>&1 & \
	    running="$$running $$!"; \
	done; \
	failed=0; for part in $$running; do wait $$part || failed=1; done; \
	cat waiting.*; rm -f waiting.*; exit $$failed

everywhere: REACTOR_TESTS = tests
everywhere: reactors

# Nothing is installed where atheris has no wheel; the search then goes unguided.
$(FUZZ_READY): $(READY)
	$(BIN)/python -m pip install --quiet --only-binary=atheris --editable '.[fuzz]'
	@touch $@

fuzz: $(FUZZ_READY)
	$(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) --jobs $(FUZZ_JOBS)

# aioquic goes elsewhere: what it brings along would slow down the import of Twisted.
$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --target $(VENV)/quic 'aioquic >= 1.2'
	@touch $@

# Some four minutes; writes docs/performance.rst and its pictures.
bench: $(BENCH_READY)
	$(BIN)/python -m benchmarks $(BENCH)

soak: $(READY)
	$(BIN)/python -m benchmarks.soak --seconds $(SOAK_SECONDS)

# make bench-micro MICRO="--compare FILE" compares with what --json FILE has written.
bench-micro: $(READY)
	$(BIN)/python -m benchmarks.micro $(MICRO)

# Some ten minutes; writes docs/congestion.rst, and its plots if there is matplotlib,
# which pip install '.[bench]' brings.
bench-links: $(READY)
	$(BIN)/python -m benchmarks.congestion $(LINKS)

# Some twenty minutes; writes docs/reliability.rst.
reliability: $(READY)
	$(BIN)/python -m tests.faults

docs: $(READY)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info _trial_temp* waiting.* .coverage* \
	    .mypy_cache .ruff_cache .hypothesis twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
