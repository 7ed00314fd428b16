# Chorale's doors. `make help` lists them. Works with GNU make 3.81 (macOS) and newer.

SHELL := /bin/sh
PY := .venv/bin/python
CODE := schemas agents tests

# A Python of your choice: make demo PYTHON=/usr/bin/python3.12
PYTHON ?=
export PYTHON

# More words for pytest: make test ARGS="-x tests/unit"
ARGS ?=

# The preferred port of `make kafka`.
PORT ?= 9092

INSTALLED_BY := .ci/venv .ci/python pyproject.toml

.PHONY: help setup demo test fast quick lint check kafka lock clean

help: ## List what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

demo: .venv/runtime.stamp ## Run the whole system on this machine and walk through its stories
	@.venv/bin/chorale demo

setup: .venv/runtime.stamp ## Make .venv with all that runs the system, and nothing more
	@echo "==> ready: .venv/bin/chorale up"

test: .venv/dev.stamp ## Run every test; says at the end what could not be tested here
	@$(PY) -m pytest $(ARGS)

fast: lint quick ## Lint, and the tests that need no broker and no store: under a minute

quick: .venv/dev.stamp ## Run the tests that need no broker and no store
	@$(PY) -m pytest tests/unit tests/choreography tests/tidy tests/docs $(ARGS)

lint: .venv/dev.stamp ## Check format, style, types and the import rules
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

check: .venv/runtime.stamp ## Check topics, settings and choreography, in sentences
	@.venv/bin/chorale check

kafka: .venv/dev.stamp ## Run Apache Kafka here until Ctrl-C, without Docker (needs Java 17)
	@$(PY) -m agents.adapters.apache_kafka --port $(PORT)

lock: .venv/dev.stamp ## Choose the newest fitting versions, and write their hashes down
	@sh .ci/lock

clean: ## Remove the environment, the caches and the jars; data folders stay
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf build dist chorale.egg-info
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/runtime.stamp: requirements/runtime.txt $(INSTALLED_BY)
	@sh .ci/venv runtime

.venv/dev.stamp: requirements/dev.txt $(INSTALLED_BY)
	@sh .ci/venv dev
