# Everything a newcomer needs: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
BASE_MODEL := HuggingFaceTB/SmolLM2-135M-Instruct
export TOKENIZERS_PARALLELISM := false
# Tests that run at the same time, each with one thread: more would stand in each other's way.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-fixed test test-all check format bench dashboard lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready ## Make .venv and install the locked versions

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "evalkit needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages into $(VENV) (a few minutes the first time) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## Train on the shipped notes, compare with the base, show the verdict
	$(BIN)/evalkit demo $(if $(MODEL),--model $(MODEL))

demo-fixed: setup ## The same with the mixed recipe, all three arms compared
	$(BIN)/evalkit demo --fixed $(if $(MODEL),--model $(MODEL))

check: setup ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tests against a real model fetch it first; where it cannot be had they are skipped and say so.
test: check ## Checks and the tests (under 20 minutes on 2 cores)
	@$(BIN)/evalkit fetch --quiet $(BASE_MODEL) || true
	$(PYTEST)

test-all: check ## Also the slow tests, and those against OpenCompass in an environment of its own (2 GB)
	@$(BIN)/evalkit fetch --quiet $(BASE_MODEL) || true
	@$(BIN)/evalkit harness install opencompass || true
	$(PYTEST) -m ''

format: setup ## Format and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Time the demo, the engine, its growth and the statistics, and write docs/results (hours on 2 cores)
	$(BIN)/python -m benchmarks.demo
	$(BIN)/python -m benchmarks.statistics
	$(BIN)/python -m benchmarks.error_rates
	$(BIN)/python -m benchmarks.growth; grown=$$?; \
	$(BIN)/python -m benchmarks.engine --resume && exit $$grown

dashboard: setup ## Open the dashboard on the runs of this folder
	$(BIN)/evalkit dashboard runs

lock: ## Write requirements.lock from what .venv holds
	@{ sed -n '/^#/p' requirements.lock; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//'; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean: ## Remove the environment and caches; runs/ and the model cache stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
