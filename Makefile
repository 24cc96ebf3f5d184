# `make demo` and `make test` work from a fresh clone: they make the environment in .venv first.
# Another interpreter: make PYTHON=python3.12 test. Another number of test processes: make WORKERS=8 test.

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

RUNTIME := $(VENV)/.installed
TESTING := $(VENV)/.installed-test
BENCHING := $(VENV)/.installed-bench

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint types imports reference unit bench bench-full reproduce-small docs clean
.DELETE_ON_ERROR:

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(RUNTIME) ## install, train and measure nine small networks on real images, write landscape-demo.pdf
	$(BIN)/landscape demo

test: lint types imports reference unit ## install with the test tools, run every check but the slow ones

lint: $(TESTING)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TESTING)
	mkdir -p build/types && ln -sfn ../../cli build/types/landscape_cli
	$(BIN)/mypy

imports: $(TESTING)
	$(BIN)/lint-imports

reference: $(TESTING)
	$(BIN)/python -m landscape_cli.reference --check docs/cli.md

# One thread a process: two processes that share two cores would wait for each other. A file goes to one process: what
# its tests share is made once.
unit: $(TESTING)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet -n $(WORKERS) --dist loadfile

test-slow: $(TESTING) ## the full-scale checks
	$(BIN)/python -m pytest -m slow

bench: $(BENCHING) ## measure the work of each measure beside the peers, short
	$(BIN)/python -m benchmarks.run

bench-full: $(BENCHING) ## the same at the size of the bars of docs/performance.md: hours
	$(BIN)/python -m benchmarks.run --full

# One thread a process, a process a core; stopped and called again it goes on where it was.
reproduce-small: $(RUNTIME) ## repeat tables of the papers at a small scale: about 13 minutes on two idle cores
	OMP_NUM_THREADS=1 $(BIN)/landscape reproduce --small --out docs/reproduction --page docs/reproduction.md

docs: $(TESTING) ## write docs/cli.md anew from the command line's own help
	$(BIN)/python -m landscape_cli.reference docs/cli.md

clean: ## remove the environment, caches and what the demonstration wrote
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf landscape-demo landscape-demo.pdf
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else f"landscape needs Python 3.11 or newer, $(PYTHON) is {sys.version.split()[0]}: name a newer one, make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: install its venv package (Debian: python3-venv)" >&2; exit 1; }

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing landscape into $(VENV) (a few minutes the first time)"
	$(PIP) --editable .
	@touch $@

$(BENCHING): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing landscape and the peers it is measured beside into $(VENV)"
	$(PIP) --editable '.[bench]'
	@touch $(RUNTIME) $@

$(TESTING): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing landscape and its test tools into $(VENV) (a few minutes the first time)"
	$(PIP) --editable '.[test]'
	@touch $(RUNTIME) $@
