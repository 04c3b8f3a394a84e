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
PYTHON_HERE = $(abspath $(VENV))/bin/python
SANITIZED = build/sanitized
THREADED = build/threads
, := ,
QUICK_BENCH = --benchmark-max-time=0.3 --benchmark-columns=min,median,iqr,rounds

.DEFAULT_GOAL := help
.PHONY: help demo test check bench sanitize tsan clean
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

# A copy of the tree with another extension in it: the one that runs stays as it is.
define copy_built_with
	rm -rf $(1) && mkdir -p $(1)
	cp -R xenrr tests pyproject.toml $(1) && rm -f $(1)/xenrr/engine/*.so
	cd $(1) && $(CC) -shared -fPIC -g -O1 -fno-omit-frame-pointer $(2) \
		$$($(PYTHON_HERE) -c 'import sysconfig as s; print("-I" + s.get_path("include"), "-o", \
		"xenrr/engine/_hot" + s.get_config_var("EXT_SUFFIX"))') xenrr/engine/*.c
endef

# Python's own allocator would hide what is read or written beside a buffer, and its leaks are
# not ours.
sanitize: $(VENV)/installed-test ## the C engine's tests under address and undefined-behaviour sanitizers
	$(call copy_built_with,$(SANITIZED),-fsanitize=address$(,)undefined -fno-sanitize-recover=undefined)
	cd $(SANITIZED) && export LD_PRELOAD="$$($(CC) -print-file-name=libasan.so)" \
		ASAN_OPTIONS=detect_leaks=0:log_path=found UBSAN_OPTIONS=print_stacktrace=1:log_path=found \
		PYTHONMALLOC=malloc XENRR_REQUIRE=c_engine && $(PYTHON_HERE) -m pytest -q -n 4 \
		--dist worksteal -m c_engine $(PYTEST_ARGS) tests/unit/engine/test_contract_*.py \
		tests/unit/engine/test_hot*.py || { cat found.* 2>/dev/null; exit 1; }

# The thread sanitizer needs its memory where it was compiled for; some kernels shuffle too much
# for that. What it has found is an error, even if every test passes.
tsan: $(VENV)/installed-test ## the C engine's tests of many threads under the thread sanitizer
	$(call copy_built_with,$(THREADED),-fsanitize=thread)
	cd $(THREADED) && still="$$(! setarch -R true 2>/dev/null || echo setarch -R)" && \
		export LD_PRELOAD="$$($(CC) -print-file-name=libtsan.so)" XENRR_REQUIRE=c_engine \
		TSAN_OPTIONS="log_path=found suppressions=$$PWD/tests/unit/engine/threads.supp" && \
		$$still $(PYTHON_HERE) -m pytest -q -n 2 --dist worksteal -k "not pure" $(PYTEST_ARGS) \
		tests/unit/engine/test_contract_flows*.py tests/unit/engine/test_contract_c.py \
		tests/unit/session/test_flows.py tests/unit/session/test_pool.py; \
		status=$$?; ! cat found.* 2>/dev/null && exit $$status

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
