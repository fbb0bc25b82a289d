# Bursar: every target says what it does; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.bursar-installed
CHECK ?=
ARGS ?=

.PHONY: help setup lock generate format check test demo bench faults controlplane up down clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): requirements/dev.txt requirements/bootstrap.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Bursar needs Python 3.11 or newer; this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) || { echo 'python3 -m venv failed: on Debian, apt-get install python3-venv'; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@# Where PYTHONDONTWRITEBYTECODE is set every start would compile everything anew.
	@$(BIN)/python -m compileall -q crds operator webhooks api agent manifests/local/bursar_local
	@touch $(STAMP)

setup: $(STAMP) ## Make the virtual environment from the hash-locked requirements

lock: $(STAMP) ## Pin every dependency anew, with hashes and no index address
	@$(BIN)/uv pip compile pyproject.toml --extra dev --generate-hashes --no-header --universal --quiet --upgrade -o requirements/dev.txt

generate: $(STAMP) ## Write the CRDs and the reference pages from the models
	@$(BIN)/python -m bursar_crds.generate
	@PYTHONPATH=tests/support $(BIN)/python -m bursar_testing.reference

format: $(STAMP) ## Format and mend what ruff can mend
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix --quiet .

check: $(STAMP) ## Format, lint, types, import arrows, generated files: fast, and always green
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy
	@$(BIN)/python -m bursar_crds.generate --check
	@PYTHONPATH=tests/support $(BIN)/python -m bursar_testing.reference --check

controlplane: $(STAMP) ## Build the local control plane (about four minutes the first time, then cached)
	@$(BIN)/python -m bursar_local build

test: $(STAMP) controlplane ## Set everything up and run every test, real API server and real Slurm included
	@# Two at a time, for much is waiting; a file stays with one worker, so that its fixtures start once.
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

demo: $(STAMP) ## Set everything up and run the main job; CHECK=1 needs no terminal and fails when a figure differs
	@$(BIN)/python -m bursar_local.demo $(if $(CHECK),--check) $(ARGS)

bench: $(STAMP) controlplane ## Measure, print a table, write build/bench.json
	@PYTHONPATH=tests/support $(BIN)/python -m tests.bench $(ARGS)

faults: $(STAMP) controlplane ## The long fault and race runs; writes build/faults.json and fails where anything was lost, stuck or too much
	@PYTHONPATH=tests/support $(BIN)/python -m tests.faults $(ARGS)

up: $(STAMP) ## Start the whole local stack in this terminal; Ctrl-C ends it
	@$(BIN)/bursar up $(ARGS)

down: $(STAMP) ## End a stack that was started with `bursar up --detach`
	@$(BIN)/bursar down $(ARGS)

clean: ## Remove what the targets made in this folder
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
