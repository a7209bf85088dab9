# The two commands of the README, on a machine with Python and make alone: `make demo` and `make test`.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test drill lint types unit format docs assets bench bench-check lock licences sbom oldest gpu clean

help:
	@echo "make demo    install into $(VENV) and run the demo (about five minutes of work on two cores)"
	@echo "make test    install everything and run lint, types and tests"
	@echo "make drill   kill, starve and confuse everything for real, write docs/results/reliability.md (half an hour)"
	@echo "make docs    build the documentation as pages in build/docs"
	@echo "make bench   measure speed and memory, write docs/results/speed.md and bench/speed/baseline.json"
	@echo "make bench-check  measure briefly and compare with the committed table"
	@echo "make assets  make the shipped phantom generator again (hours on two cores)"
	@echo "make lock, licences, sbom  write requirements.lock, docs/results/licences.md, dist/labelgan.cdx.json"
	@echo "make oldest  install the oldest versions that are allowed, in an environment of their own, and test on them"
	@echo "make gpu     run the queue of experiments that want a GPU"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=24"

# torch by its pinned version: a plain torch would pull gigabytes of CUDA packages. Of the packages' modules a third is
# ever imported, and compiled then: once, if Python may write.
export PYTHONDONTWRITEBYTECODE :=
INSTALL := install --no-compile -c constraints.txt "$$(grep '^torch==' constraints.txt)" -e

$(VENV)/.run: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) $(INSTALL) .
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) $(INSTALL) ".[dev]"
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run
	$(BIN)/labelgan demo --out demo

# The documentation needs nothing of the installation and is built beside it, types are checked beside the tests.
test:
	@$(MAKE) --no-print-directory -j4 lint types docs unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# It says nothing unless it found something, so that pytest's closing line comes last.
types: $(VENV)/.dev
	@mkdir -p build
	nice $(BIN)/pyright > build/types.txt || { cat build/types.txt; exit 1; }

unit: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

# What make test leaves out: faults made for real, many times over.
drill: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.drill_table
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m drill tests/real

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# In an environment of its own, without torch.
.venv-docs/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip --disable-pip-version-check --quiet install "mkdocs>=1.6,<2" "mkdocs-material>=9.5,<10"
	@touch $@

docs: .venv-docs/.installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

assets: $(VENV)/.run
	$(BIN)/python -m tools.make_phantom_generator

# Each bench in a process of its own; one of them makes an environment with Keras, .venv-keras-jax, on its first run.
bench: $(VENV)/.run
	$(BIN)/python -m bench.speed.benches

bench-check: $(VENV)/.run
	$(BIN)/python -m bench.speed.regression

# The versions that the tests run on, with hashes: after every change of constraints.txt.
lock: $(VENV)/.dev
	$(BIN)/python -m tools.supply lock

licences: $(VENV)/.dev
	$(BIN)/python -m tools.supply licences

sbom: $(VENV)/.dev
	$(BIN)/python -m tools.supply sbom dist/labelgan.cdx.json

oldest: $(VENV)/.run
	$(BIN)/python -m tools.oldest

gpu: $(VENV)/.run
	@for script in bench/gpu/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) demo build dist
