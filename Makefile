# Needs Python 3.11 or later and make, nothing else. `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: help demo serve test format fixtures docs bench soak lock clean
SHELL := /bin/sh
export PYTHONUNBUFFERED := 1
# What is compiled once serves the hundreds of processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE

# The first of these that is new enough; `make PYTHON=/path/to/python` overrides.
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$python" $(NEW_ENOUGH) && echo "$$python" && break; done)

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUNTIME := .venv/.installed
DEV := .venv/.installed-dev

# What must be covered to the last branch: everything that is pure.
PURE := receiver/sms/*,receiver/vendors/*,receiver/formats/*,receiver/delivery/retry.py,receiver/delivery/signing.py,receiver/delivery/outcome.py,receiver/delivery/headers.py,receiver/delivery/health.py,receiver/delivery/pacing.py

# Tests side by side: one more than there are processors, for many wait; `make test WORKERS=0`: one after the other.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

help:
	@echo 'make demo      see it work: every vendor once, on a throw-away database (ONCE=1: then stop)'
	@echo 'make serve     run the receiver here'
	@echo 'make test      every check: format, lint, types, tests, coverage'
	@echo 'make format    put the code in order'
	@echo 'make fixtures  write the expected events of the fixtures anew, to be reviewed'
	@echo 'make docs      write the generated parts of the docs anew'
	@echo 'make bench     measure'
	@echo 'make soak      every fault in its long form, one line each (SOAK="--rounds 5 --only kill": less of it)'
	@echo 'make lock      pin the newest dependencies (needs uv)'
	@echo 'make clean     remove the environment and every cache'

demo: $(RUNTIME)
	@$(BIN)/receiver demo $(if $(filter-out 0,$(ONCE)),--once)

serve: $(RUNTIME)
	@$(BIN)/receiver serve

test: $(DEV)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term
	@echo 'The pure packages, to the last branch:'
	@$(BIN)/coverage report --include='$(PURE)' --fail-under=100

format: $(DEV)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

fixtures: $(DEV)
	@$(BIN)/python -m tests.rewrite_fixtures

docs: $(DEV)
	@$(BIN)/python -m tests.rewrite_docs

bench: $(DEV)
	@$(BIN)/python -m bench

soak: $(DEV)
	@$(BIN)/python -m tests.faults $(SOAK)

# Versions and hashes only; extras are named, or pip would look for the newest of what has one. The runtime and build locks are parts of the development lock, never newer.
LOCK := uv pip compile --quiet --generate-hashes --no-strip-extras --no-annotate --no-header --universal --python-version 3.11
ABOUT = printf '\# Pinned by `make lock`; do not edit.\n' | cat - $@.new > $@ && rm $@.new

lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv on the PATH' >&2; exit 1; }
	@rm -f requirements*.lock
	@$(MAKE) --no-print-directory requirements-dev.lock requirements.lock requirements-build.lock

requirements-dev.lock:
	@echo 'hatchling>=1.27' | $(LOCK) --extra dev pyproject.toml - --output-file $@.new
	@$(ABOUT)

requirements.lock: | requirements-dev.lock
	@$(LOCK) --extra postgres --constraint requirements-dev.lock pyproject.toml --output-file $@.new
	@$(ABOUT)

requirements-build.lock: | requirements-dev.lock
	@echo 'hatchling>=1.27' | $(LOCK) --constraint requirements-dev.lock - --output-file $@.new
	@$(ABOUT)

# The stamps are younger than what they were installed from, so that nothing is installed twice.
$(BIN)/python:
	@test -n '$(PYTHON)' && '$(PYTHON)' $(NEW_ENOUGH) || \
		{ echo 'receiver needs Python 3.11 or later; name one with make PYTHON=...' >&2; exit 1; }
	@'$(PYTHON)' -m venv .venv || { rm -rf .venv; exit 1; }

$(RUNTIME): requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	@echo 'Installing into .venv ...'
	@$(PIP) install --require-hashes -r requirements.lock -r requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo 'Installing into .venv, with what the checks need ...'
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(RUNTIME)

clean:
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* coverage.xml build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
