# make run   the sample catalog into a Milvus Lite file, in a virtual environment of its own
# make test  everything: style, types, layers, tests (a quarter of an hour on two cores; docs/testing.md)
# make test-fast  the unit tests that need no server and no browser (under a minute)
# make bench every benchmark, the figures into benchmarks/results; QUICK=1 takes under a minute each
# make demo-real  800 photographs of Debian's tuxpaint-stamps-default: init, run, search, serve (docs/catalogs.md)
# make docs  the documentation as a site in build/site: strict, every link checked, without a network
# make record  what the pages show of commands, settings and transcripts, written again; RECORD=all writes every transcript
# make pictures  the pictures of the page, in chromium, and of searches
# make soak  tests at length: 100 kills, 300 signals, 20 outages of Milvus, the whole upgrade (an hour)
# make mutants  300 one-line faults in the modules that decide, and which of them the tests find (half an hour; docs/testing.md)
PYTHON ?= python3
BIN := .venv/bin
# A CPU-only torch is 200 MB, the default on Linux some GB: make run TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt

# What `make soak` runs at length.
SOAK := tests/unit tests/faults tests/e2e/test_docker_image.py tests/e2e/test_signals.py tests/e2e/test_serve_slow_clients.py tests/upgrade tests/integration/on_ray
# Processes that share the tests, twice as many as cores, for many wait for Milvus; each takes a GB with its fork server.
WORKERS ?= 4
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --durations 10

# Compiled once, not by each of the hundred processes that tests start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo-real run test test-fast bench docs record pictures soak mutants lint unit clean help

help:
	@sed -n 's/^# make/make/p' Makefile

run: .venv/.installed
	$(BIN)/ingest run

demo-real: .venv/.installed
	scripts/demo_real.sh

test: lint unit

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

unit: .venv/.installed-dev
	$(PYTEST)

test-fast: .venv/.installed-dev
	$(PYTEST) -m 'not server' tests/unit

bench: .venv/.installed-dev
	$(BIN)/python benchmarks/run_all.py $(if $(QUICK),--quick,) $(if $(RESULTS),--results $(RESULTS),)

docs: .venv/.installed-docs
	PYTHONPATH=scripts $(BIN)/python -m docs_site.links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html; its search needs a server: python3 -m http.server --directory build/site"

record: .venv/.installed-dev
	PYTHONPATH=scripts $(BIN)/python -m docs_site.blocks
	RECORD=$(or $(RECORD),1) $(BIN)/python -m pytest -n 0 tests/e2e/test_transcripts.py

pictures: .venv/.installed-dev
	PYTHONPATH=scripts $(BIN)/python -m docs_site.pictures

soak: .venv/.installed-dev
	INGEST_SOAK=1 $(PYTEST) $(SOAK)

mutants: .venv/.installed-dev
	PYTHONPATH=scripts $(BIN)/python -m mutants $(MUTANTS)

.venv/.installed: pyproject.toml constraints.txt requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ingest needs Python 3.11 or newer; name one with PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/pip || scripts/make_venv.sh "$(PYTHON)" .venv
	@echo "installing what pyproject.toml names into .venv (a few minutes the first time)"
	@$(PIP) -r requirements.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX),)
	@touch $@

.venv/.installed-docs: .venv/.installed
	@$(PIP) 'ingest[docs]'
	@touch $@

.venv/.installed-dev: .venv/.installed examples/typescript/package-lock.json tests/browser/package-lock.json
	@$(PIP) -e '.[dev]'
	@scripts/setup_browser.sh
	@touch $@

clean:
	rm -rf .venv build examples/typescript/node_modules tests/browser/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
