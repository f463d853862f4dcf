# make demo and make test set up all they need: a virtual environment in .venv.

.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
REACTOR_TESTS ?= tests.net tests.service

.PHONY: help demo test lint types suite reactors everywhere docs bench clean

help:
	@echo "make demo   run a server and a client on this machine, and show what happens"
	@echo "make test   the whole check: lint, types, tests with coverage, docs"
	@echo "make bench  measure, beside the reference if it is installed"
	@echo "make everywhere   the suite on the select, poll and asyncio reactors"
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

suite: $(READY)
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m twisted.trial tests
	$(BIN)/coverage report
	$(BIN)/coverage report --include='curvecp_tx/wire/*,curvecp_tx/secure/*' --fail-under=95

# What runs under a reactor here, on each of the others; no coverage needed twice.
reactors: $(READY)
	for reactor in select poll asyncio; do \
	    echo "== $$reactor" && \
	    $(BIN)/python -m twisted.trial --reactor=$$reactor $(REACTOR_TESTS) || exit 1; \
	done

everywhere: REACTOR_TESTS = tests
everywhere: reactors

bench: $(READY)
	$(BIN)/python -m benchmarks

docs: $(READY)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info _trial_temp* .coverage* \
	    .mypy_cache .ruff_cache .hypothesis twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
