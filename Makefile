# Every target sets up what it needs by itself: `make demo` and `make test` are complete on a fresh machine.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup up down status demo test test-unit test-kernel mutants proof rollout-trials fuzz bench-engine bench-scoring bench-pipeline bench-backfill bench-causes bench-drift bench-gateway wheel tutorial lint format lock protocol clean

PYTHON ?= python3
BIN := .venv/services/bin
BOOTSTRAP := $(PYTHON) -m deploy.bootstrap
ARGS ?=

help: ## Show this page
	@{ printf '\n\033[1mPenstock\033[0m  streaming features and exactly-once inference\n\n'; \
	awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[36mmake %-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST); \
	printf '\n  More: %s/penstock --help, docs/, CONTRIBUTING.md\n\n' '$(BIN)'; } \
	| if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi

setup: ## Install what is missing: system packages, locked environments, jars, the kernel
	@$(BOOTSTRAP)

demo: setup ## Run both example pipelines on a local stack and verify them (ARGS=--full for all flights)
	@$(BIN)/penstock demo $(ARGS)

up: setup ## Start the local stack and wait until every server is healthy
	@$(BIN)/penstock up $(ARGS)

down: ## Stop the local stack
	@if [ -x $(BIN)/penstock ]; then $(BIN)/penstock down $(ARGS); fi

status: setup ## Show the state of the local stack
	@$(BIN)/penstock status $(ARGS)

test: setup test-kernel ## Run all tests, unit and integration (on two stacks of their own, side by side)
	@$(BOOTSTRAP) mlflow
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-unit: setup test-kernel ## Run the tests that need no server
	@$(BIN)/python -m pytest -m "not integration" $(ARGS)

test-kernel: setup # The kernel's own tests
	@if [ -f streams/kernel/pom.xml ]; then $(BOOTSTRAP) --kernel-test; fi

mutants: setup ## Sabotage a recorded run in every way we know; the verifier must find each (build/verify/mutants.json)
	@$(BIN)/python -m pytest -q tests/integration/test_sabotage.py $(ARGS)

proof: setup ## Kill everything around a cascade under load, and verify each prediction (EVENTS=200000)
	@PENSTOCK_PROOF_EVENTS=$(or $(EVENTS),200000) \
		$(BIN)/python -m pytest -q -s tests/integration/test_cascade.py $(ARGS)

rollout-trials: setup ## Roll out bad models and good ones under traffic: build/rollout/trials.json (QUICK=1: five minutes)
	@$(BIN)/python -m tests.bench.rollout_trials $(if $(QUICK),--quick) $(ARGS)

fuzz: setup ## Random pipelines and hostile records on a real job (SECONDS=600 SEED=1)
	@PENSTOCK_FUZZ_SECONDS=$(or $(SECONDS),600) PENSTOCK_FUZZ_SEED=$(or $(SEED),1) \
		$(BIN)/python -m pytest -q -s tests/integration/test_fuzz.py $(ARGS)

bench-engine: setup ## Measure the window engine beside its peers, for docs/reference/benchmarks.md (QUICK=1: five minutes)
	@$(BOOTSTRAP) peers
	@$(BIN)/python -m tests.bench.engine $(if $(QUICK),--quick) $(ARGS)

bench-scoring: setup ## Measure the scorer beside other ways to score a topic: build/bench/scoring.json (QUICK=1)
	@$(BIN)/python -m tests.bench.scoring $(if $(QUICK),--quick) $(ARGS)

bench-pipeline: setup ## Measure every part of a pipeline, half an hour: build/bench/pipeline.json (QUICK=1: five minutes)
	@$(BOOTSTRAP) bench-feast
	@$(BIN)/python -m tests.bench.pipeline $(if $(QUICK),--quick) $(ARGS)

bench-backfill: setup ## Measure backfills beside DuckDB, Polars, Feast, an earlier commit: build/bench/backfill.json (QUICK=1)
	@$(BOOTSTRAP) bench-polars bench-feast
	@$(BIN)/python -m tests.bench.backfill $(if $(QUICK),--quick) $(ARGS)

bench-causes: setup ## Name the causes of injected worlds: build/bench/causes.json
	@nice $(BIN)/python -m tests.bench.causes $(ARGS)

bench-drift: setup ## False incidents and delays of drift and data quality, beside peers: build/bench/drift.json (QUICK=1)
	@$(BIN)/python -m tests.bench.data_quality $(if $(QUICK),--quick)
	@$(BIN)/python -m tests.bench.drift $(if $(QUICK),--quick) $(ARGS)

bench-gateway: setup ## What it costs to wait for a prediction, from Python and by HTTP: build/bench/gateway.json (QUICK=1)
	@$(BIN)/python -m tests.bench.gateway $(if $(QUICK),--quick) $(ARGS)

wheel: setup ## Build the wheel, with the kernel in it, into dist/
	@$(BIN)/python -m hatchling build -t wheel -d dist

tutorial: setup ## Run docs/start/tutorial.md from the wheel, in an empty home: build/tutorial.json
	@PENSTOCK_TUTORIAL=1 $(BIN)/python -m pytest -q -s tests/tutorial $(ARGS)

lint: ## Check style, types, layers and the compatibility of contracts
	@$(BOOTSTRAP) system services
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/penstock schemas check

format: ## Format and fix what can be fixed
	@$(BOOTSTRAP) services
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## Regenerate all locks, of environments and jars (ARGS=jars for those only)
	@$(BOOTSTRAP) --lock $(ARGS)

protocol: setup ## Make the code of the gateway's gRPC interface again, after a change of gateway.proto
	@$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. penstock/gateway/gateway.proto

clean: down ## Stop the stack and delete what was built (environments stay; delete .venv for those)
	@rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis streams/kernel/target
