# Two commands from a clean machine: make demo, make test. Both set up .venv first if that isn't done.
PYTHON ?= python3
export PYTHON
BIN = .venv/bin

.DEFAULT_GOAL = help
.PHONY: help setup demo test test-latest check lock bench clean

help: ## print this
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv with everything in it, from the lock and from wheels only
	@tools/setup.sh

demo: setup ## train two recognisers on spoken digits, score them, transcribe a recording (about 6 minutes)
	recipes/digits/run.sh --results exp/RESULTS.md
	@tools/demo.sh

test: setup ## run all tests: no network, no GPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-latest: ## run them with the newest versions that pyproject.toml allows, in .venv-latest (5 GB, made anew)
	@tools/setup.sh --latest
	OMP_NUM_THREADS=1 .venv-latest/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: setup ## style, format, types, shell scripts, layers
	@tools/check

lock: setup ## make tools/lock anew, run the tests with it, say what moved
	@tools/lock.sh
	@$(MAKE) --no-print-directory test || { \
	  echo "error: the tests fail with the new lock; go back: git checkout tools/lock; or hold a version in tools/lock/pins.txt" >&2; \
	  exit 1; \
	}

bench: setup ## measure the speed of features and training on this machine
	PATH=$(CURDIR)/$(BIN):$$PATH tools/bench

clean: ## remove .venv and caches; what recipes made (data, exp) stays
	rm -rf .venv .venv-latest .pytest_cache .mypy_cache .ruff_cache build dist pipeline/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
