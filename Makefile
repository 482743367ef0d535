# Two commands: `make run` and `make test`. Everything else is listed by `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help run test test-kill lint bench bench-bulk bench-resolve bench-scan bench-single bench-disk five-million bench-codec fuzz hammer sanitize loadtest freshness slow-clients vendor clean

help: ## what there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# Compiled from their Python; what is changed in them is seen only once they are compiled again.
COMPILED := $(shell sed -n 's/^sources = \["\(node[^"]*\)"\]/\1/p' pyproject.toml)
$(STAMP): pyproject.toml $(wildcard handle_codec/*.pyx handle_codec/*.pxi) $(COMPILED) $(wildcard node/*.pxd node/*/*.pxd)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11 (found: $$($(PYTHON) --version 2>&1))"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

run: $(STAMP) ## a whole node with demo data on http://127.0.0.1:8000
	@$(BIN)/idnode dev

test: lint ## lint, types and every test, on real PostgreSQL and Valkey
	@taken=$$(mktemp -d) && export TESTS_SHARED=$$taken && \
	  { $(BIN)/python -m pytest --durations=40 > $$taken.log 2>&1 & } && second=$$! && first=0 && \
	  { $(BIN)/python -m pytest --durations=40 || first=$$?; } && \
	  { wait $$second; second=$$?; echo; echo "The other half:"; cat $$taken.log; rm -r $$taken $$taken.log; \
	    test $$first -eq 0 -a $$second -eq 0; }

test-kill: $(STAMP) ## an import killed 200 times at seeded instants, 20,000 scans with a kill in the middle
	IMPORT_KILLS=200 SCAN_CLAIMS=20000 $(BIN)/python -m pytest tests/test_import_kill.py tests/test_scan_storm.py

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

bench-single: $(STAMP) ## registering one at a time beside the baseline, with processor time for each; needs wrk
	$(BIN)/python -m loadtest.bench_single

bench-scan: $(STAMP) ## pages with their claimed scans beside the baseline, and a storm of 100,000 scans counted
	$(BIN)/python -m loadtest.bench_scan

bench-resolve: $(STAMP) ## resolving over ROWS (5,000,000) items beside the baseline and a bare responder; needs wrk
	$(BIN)/python -m loadtest.bench_resolve --rows $(ROWS)

bench-disk: $(STAMP) ## where the bytes of an item go, and what other layouts would take
	$(BIN)/python -m loadtest.bench_disk

five-million: $(STAMP) ## ROWS (5,000,000) of the seven industries over REST, verified row by row; reports/five-million.{html,json}
	$(BIN)/python -m loadtest.five_million --rows $(ROWS)

bench-codec: $(STAMP) ## the compiled codec beside the pure one and biip
	$(BIN)/python -m loadtest.bench_codec

SECONDS_EACH ?= 60
FUZZ_JOBS ?= 2
fuzz: $(STAMP) ## fuzz the codec, SECONDS_EACH (60) for each of its nine targets
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=3.0' # wheels for CPython on Linux
	$(BIN)/python tests/fuzz_codec.py --seconds $(SECONDS_EACH) --jobs $(FUZZ_JOBS)

INPUTS ?= 10000000
hammer: $(STAMP) ## INPUTS (10,000,000) mutated inputs through the fuzzer's targets at full speed, twins compared
	$(BIN)/python tests/hammer_codec.py --inputs $(INPUTS)

sanitize: $(STAMP) ## the codec's tests with gcc's address and undefined-behaviour sanitizers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cython>=3.1' 'setuptools>=77'
	$(BIN)/python tests/sanitize_codec.py

loadtest: $(STAMP) ## Locust for a minute against a node of its own; reports/loadtest.{html,json}
	$(BIN)/python -m loadtest.run

vendor: $(STAMP) ## fetch through npm what the tests use of it; VENDOR="axe-core=4.14.0" for another version
	$(BIN)/python tests/vendor_refresh.py $(VENDOR)

READS ?= 1000000
WRITES ?= 50000
SEED ?= 0
WORKERS ?= 3
MUTANT ?=
freshness: $(STAMP) ## READS (1,000,000) and WRITES (50,000) under a nemesis: none older than acknowledged; MUTANT=fence must fail
	$(BIN)/python -m loadtest.freshness.run --reads $(READS) --writes $(WRITES) --seed $(SEED) --workers $(WORKERS) $(if $(MUTANT),--mutant $(MUTANT))

slow-clients: $(STAMP) ## p99 of honest requests without and with 2,000 slow or half-open connections
	$(BIN)/python -m loadtest.slow_clients

clean: ## remove what was built; the data in .data stays
	rm -rf $(VENV) build *.egg-info handle_codec/*.so handle_codec/_speed.c reports .mypy_cache .ruff_cache .pytest_cache
