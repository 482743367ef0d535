# Two commands: `make run` and `make test`. Everything else is listed by `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help run test test-kill lint bench bench-bulk bench-disk five-million bench-codec fuzz sanitize loadtest clean

help: ## what there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(STAMP): pyproject.toml $(wildcard handle_codec/*.pyx handle_codec/*.pxi)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11 (found: $$($(PYTHON) --version 2>&1))"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

run: $(STAMP) ## a whole node with demo data on http://127.0.0.1:8000
	@$(BIN)/idnode dev

test: lint ## lint, types and every test, on real PostgreSQL and Valkey
	$(BIN)/python -m pytest

test-kill: $(STAMP) ## an import killed 200 times at seeded instants
	IMPORT_KILLS=200 $(BIN)/python -m pytest tests/test_import_kill.py

lint: $(STAMP) ## ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## the node beside the baseline, as ratios
	$(BIN)/python -m loadtest.bench

ROWS ?= 5000000
bench-bulk: $(STAMP) ## a season of ROWS (5,000,000) items over REST beside a plain COPY of the same rows
	$(BIN)/python -m loadtest.bench_bulk --rows $(ROWS)

bench-disk: $(STAMP) ## where the bytes of an item go, and what other layouts would take
	$(BIN)/python -m loadtest.bench_disk

five-million: $(STAMP) ## ROWS (5,000,000) of the seven industries over REST, verified row by row; reports/five-million.{html,json}
	$(BIN)/python -m loadtest.five_million --rows $(ROWS)

bench-codec: $(STAMP) ## the compiled codec beside the pure one and biip
	$(BIN)/python -m loadtest.bench_codec

SECONDS_EACH ?= 60
fuzz: $(STAMP) ## fuzz the codec, SECONDS_EACH (60) for each of its eight targets
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=3.0' # wheels for CPython on Linux
	$(BIN)/python tests/fuzz_codec.py --seconds $(SECONDS_EACH)

sanitize: $(STAMP) ## the codec's tests with gcc's address and undefined-behaviour sanitizers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cython>=3.1' 'setuptools>=77'
	$(BIN)/python tests/sanitize_codec.py

loadtest: $(STAMP) ## Locust for a minute against a node of its own; reports/loadtest.{html,json}
	$(BIN)/python -m loadtest.run

clean: ## remove what was built; the data in .data stays
	rm -rf $(VENV) build *.egg-info handle_codec/*.so handle_codec/_speed.c reports .mypy_cache .ruff_cache .pytest_cache
