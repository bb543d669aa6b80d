# Two commands from a clean machine: make demo, make test. Both set up .venv first if necessary.
PYTHON ?= python3
export PYTHON
BIN = .venv/bin

.DEFAULT_GOAL = help
.PHONY: help setup try demo test test-latest soak check coverage docs dist lock bench clean

help: ## print this help
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## create .venv with the locked versions, from wheels only
	@tools/setup.sh

try: ## the first minute without PyTorch: transcribe a sentence, write music, serve live captions
	@tools/setup.sh --try
	@tools/try.sh

demo: setup ## train two recognizers on spoken digits, score them, transcribe a recording (about 6 minutes)
	recipes/digits/run.sh --results exp/RESULTS.md
	@tools/demo.sh

test: setup ## run all tests: no network, no GPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-latest: ## run all tests with the newest versions that pyproject.toml allows, in a new .venv-latest (6 GB)
	@tools/setup.sh --latest
	OMP_NUM_THREADS=1 .venv-latest/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

soak: setup ## the tests of reliability at full length, and the server under load for MINUTES (60): some hours
	RECITATIVE_SOAK=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/reliability
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m hypothesis --hypothesis-profile soak
	tools/bench soak --minutes $${MINUTES:-60} --streams 50

check: setup ## style, format, types, shell scripts, layers
	@tools/check

coverage: setup ## run all tests and print the lines that they do not run; below 90 % is an error
	@rm -rf build/coverage; mkdir -p build/coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov \
	  --cov-report=term:skip-covered --cov-report=html:build/coverage/html --cov-fail-under=90

dist: setup ## build sdist, wheel, recipes and licenses into dist/; URL=https://... sets the project's links
	@tools/dist.sh $(URL)

docs: setup ## write the manual to build/docs; open build/docs/index.html
	@$(BIN)/python tools/docs/pages.py build/pages
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file tools/docs/mkdocs.yml

lock: setup ## update tools/lock, print what changed, run the tests
	@tools/lock.sh
	@$(MAKE) --no-print-directory test || { \
	  echo "error: the tests fail with the new lock; undo it with: git checkout tools/lock; or pin a version in tools/lock/pins.txt" >&2; \
	  exit 1; \
	}

bench: setup ## measure the speed of features and training on this machine
	PATH=$(CURDIR)/$(BIN):$$PATH tools/bench

clean: ## remove .venv and caches, but not data/ and exp/ of the recipes
	rm -rf .venv .venv-latest .venv-try .pytest_cache .mypy_cache .ruff_cache build dist pipeline/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
