# Developer commands; CI uses the same names.
# PYTHON picks the interpreter (3.9 or later), VENV the virtual environment it works in.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10 \
	python3.9; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null \
	&& echo $$p && break; done)
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
SOURCES = pyproject.toml $(wildcard xenrr/engine/*.c xenrr/engine/*.h)
TESTS ?= tests
PYTEST_ARGS ?=
BENCH_ARGS ?=
QUICK_BENCH = --benchmark-max-time=0.3 --benchmark-columns=min,median,iqr,rounds

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean
.DELETE_ON_ERROR:

help: ## list these commands
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## two tests and the study's experiments on this machine, in about a minute
	@test -n "$(PYTHON)" || { echo "xenrr needs Python 3.9 or later, and there is none on\
	 PATH; PYTHON=/path/to/python3 names another." >&2; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "This Python makes no virtual environments (Debian: apt install python3-venv);\
	 the demo runs from the source tree."; \
		exec $(PYTHON) -m xenrr demo; \
	elif ! $(MAKE) --no-print-directory --silent $(VENV)/installed 2>/dev/null; then \
		echo "The packages xenrr uses could not be installed (no package registry in reach?\
	 $(VENV)/install.log has the details); the demo runs from the source tree."; \
		exec $(PYTHON) -m xenrr demo; \
	else \
		exec $(VENV)/bin/python -m xenrr demo; \
	fi

test: $(VENV)/installed-test ## run all tests
	$(VENV)/bin/python -m pytest -q -n 4 --dist worksteal $(PYTEST_ARGS) $(TESTS)

check: $(VENV)/installed-dev ## ruff, mypy strict, clang-format, layers
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/clang-format --dry-run --Werror xenrr/engine/*.[ch] benchmarks/floors/*.[ch]
	$(VENV)/bin/python -m pytest -q tests/unit/test_layers.py

bench: $(VENV)/installed-bench ## beside peers and bare system calls; BENCH_ARGS=P4 one of them
	$(if $(BENCH_ARGS),,$(VENV)/bin/python -m pytest -q $(QUICK_BENCH) benchmarks)
	$(VENV)/bin/python -m benchmarks $(BENCH_ARGS)

clean: ## remove what these commands made
	rm -rf .venv* build dist xenrr.egg-info .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f xenrr/engine/*.so
	find xenrr tests examples -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Editable, so that the C engine is built beside its sources and the tree is what runs.
$(VENV)/installed: $(SOURCES) | $(VENV)/bin/python
	@echo "Installing xenrr and the packages it uses into $(VENV), once ..."
	@$(PIP) install --retries 2 --editable . >$(VENV)/install.log 2>&1
	@touch $@

$(VENV)/installed-test: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install --editable '.[test]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-bench: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install --editable '.[test,bench]'
	@touch $@ $(VENV)/installed $(VENV)/installed-test

$(VENV)/installed-dev: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install --editable '.[test,dev]'
	@touch $@ $(VENV)/installed $(VENV)/installed-test
