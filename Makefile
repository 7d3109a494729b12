# Every target works from a fresh clone: it makes .venv, installs what constraints.txt pins, and runs.
FIT := -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null
PYTHON ?= $(shell for each in python3.11 python3 python3.13 python3.12 python3.14; do $$each $(FIT) && echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests start some 200 processes. Where Python may not keep what it has compiled, each compiles all of it.
export PYTHONDONTWRITEBYTECODE :=
ALL_CORES := --numprocesses auto --maxprocesses 8 --dist worksteal
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-strip-extras

.DEFAULT_GOAL := help

$(STAMP): constraints.txt pyproject.toml
	@"$(PYTHON)" $(FIT) || { echo "oms-relay needs Python 3.11 or newer: install it, or name one with make PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (first time: about a minute)"
	@awk '/^setuptools==/ {keep = 1} keep {print} !/\\$$/ {keep = 0}' constraints.txt > $(VENV)/build.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(VENV)/build.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-build-isolation -r constraints.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

.PHONY: help
help: ## show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: setup
setup: $(STAMP) ## make .venv and install everything, pinned by hash

.PHONY: demo
demo: $(STAMP) ## the whole job against the local cloud, with live progress and a final account
	@$(BIN)/python -m localcloud demo

.PHONY: play
play: $(STAMP) ## a relay, its console and a local cloud that stay until Ctrl-C, with faults by key
	@$(BIN)/python -m localcloud play $(ARGS)

.PHONY: man
man: $(STAMP) ## the manual page, from the help of the commands: build/oms-relay.1
	@mkdir -p build
	@PYTHONPATH=. $(BIN)/python deploy/man/page.py > build/oms-relay.1
	@echo "build/oms-relay.1: read it with man -l build/oms-relay.1"

.PHONY: read
read: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: quick
quick: read ## in a minute: lint, types, unit and contract tests
	$(BIN)/pytest $(ALL_CORES) tests/unit tests/contract

.PHONY: check
check: read ## lint, types, all tests with warnings as errors
	$(BIN)/pytest $(ALL_CORES)

.PHONY: test
test: check ## what CI runs (the same as check)

.PHONY: coverage
coverage: $(STAMP) ## all tests once more under the tracer, half as slow again: fails below 95 % of the branches
	$(BIN)/pytest $(ALL_CORES) --cov --cov-report=term

.PHONY: bench
bench: $(STAMP) ## CPU and calls per event against bare aiohttp and the rivals (ARGS="--remote --save FILE")
	$(BIN)/python -m bench $(ARGS)

.PHONY: bench-scale
bench-scale: $(STAMP) ## two relays on two cores against one on one (ARGS="--rounds 5")
	$(BIN)/python -m bench.scale $(ARGS)

.PHONY: bench-latency
bench-latency: $(STAMP) ## what remote latency costs: throughput near and far (ARGS="--rounds 5")
	$(BIN)/python -m bench.latency $(ARGS)

.PHONY: bench-arrival
bench-arrival: $(STAMP) ## what it costs an event to follow keys to the destination (ARGS="--rounds 40")
	$(BIN)/python -m bench.arrival $(ARGS)

.PHONY: bench-dead
bench-dead: $(STAMP) ## dead letters by the thousand: time and memory of groups, redrive, archive (ARGS="--letters 1000000")
	$(BIN)/python -m bench.dead $(ARGS)

.PHONY: bench-footprint
bench-footprint: $(STAMP) ## start, idle cost and memory over a million events (ARGS="--events 100000")
	$(BIN)/python -m bench.footprint $(ARGS)

.PHONY: bench-reconcile
bench-reconcile: $(STAMP) ## CPU and memory of `reconcile` a pair of objects, beside rclone (ARGS="--pairs 100000")
	$(BIN)/python -m bench.reconcile $(ARGS)

.PHONY: soak
soak: $(STAMP) ## worlds by the thousand (WORLDS=10000, MINUTES=n, FIRST=seed), then real processes killed for minutes
	PYTHONPATH=tests $(BIN)/python -m simulation --first $(or $(FIRST),0) \
	  $(if $(MINUTES),--minutes $(MINUTES)) $(if $(WORLDS),--worlds $(WORLDS))
	$(BIN)/pytest tests/process --long --log-cli-level=info

.PHONY: proof
proof: $(STAMP) ## the table of the promise that nothing is lost: WORLDS=2000 by default
	@PYTHONPATH=tests $(BIN)/python -m simulation --worlds $(or $(WORLDS),2000) | tail -9

.PHONY: replay
replay: $(STAMP) ## one random world with its whole story: SEED=n, or SCENARIO=name LAYOUT=object|log
	PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEED),--seed $(SEED)) \
	  $(if $(SCENARIO),--scenario $(SCENARIO)) --layout $(or $(LAYOUT),object) --grep "$(GREP)"

.PHONY: format
format: $(STAMP) ## format and mend what can be mended by machine
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: $(STAMP) ## pin the newest admissible dependencies, with hashes; the image installs the two smaller files
	$(LOCK) --upgrade --group build --group dev --extra otel pyproject.toml -o constraints.txt
	$(LOCK) -c constraints.txt --extra otel pyproject.toml -o constraints-runtime.txt
	$(LOCK) -c constraints.txt --group build -o constraints-build.txt

.PHONY: clean
clean: ## remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov dist build
