# Every target is a thin call of the `sparsebench` command in the project's own environment.
# `make help` lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
FRESH  ?=
SEEDS  ?= 1
BASE   ?=
ONLY   ?=

.DEFAULT_GOAL := help
.PHONY: help install bench peers mnist wide cifar toy headline test test-slow check-perf trip-wires sanitize lint format docs readme docs-figures notebooks dist plots report clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Reinstalled only when something that is compiled or declared has changed: Python files are used in
# place. Each is looked for where it was, though: STAMP names them, and one that is gone has moved.
FOLDERS := $(foreach root,sparsebench layers/sparselayers,$(root) $(root)/* $(root)/*/* $(root)/*/*/*)
KNOWN   := $(shell cat $(STAMP) 2> /dev/null)
MOVED   := $(filter-out $(wildcard $(KNOWN)),$(KNOWN))
.PHONY: moved
$(STAMP): $(if $(MOVED),moved)
$(STAMP): pyproject.toml CMakeLists.txt $(wildcard layers/sparselayers/csrc/*.[ch]* layers/sparselayers/csrc/*/*.[ch]*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || \
	  { echo "sparsebench needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) --version 2>&1`: choose another with make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) tools/environment.py install $(VENV) $(MAKECMDGOALS)
	@printf '%s\n' Makefile $(wildcard $(addsuffix /*.py,$(FOLDERS))) > $(STAMP)

install: $(STAMP)  ## create .venv and install everything into it

bench: $(STAMP)  ## run the default sweep on every device found (FRESH=1: start over)
	$(BIN)/sparsebench run default $(if $(FRESH),--fresh)

peers: $(STAMP)  ## install every library to compare with (compiles for half an hour)
	@$(BIN)/python tools/environment.py peers $(VENV)
	$(BIN)/sparsebench list

mnist: $(STAMP)  ## reproduce the published MNIST table (SEEDS=3: mean and deviation)
	$(BIN)/sparsebench train mnist --seeds $(SEEDS)

wide: $(STAMP)  ## train the very wide net: five layers of 50,000 units
	$(BIN)/sparsebench train wide

cifar: $(STAMP)  ## prune VGG11 and ResNet18 on CIFAR-10: masks against sparse storage
	$(BIN)/sparsebench train cifar-vgg
	$(BIN)/sparsebench train cifar-vgg --time-only --steps 10
	$(BIN)/sparsebench train cifar-report
	$(BIN)/sparsebench train cifar-resnet
	$(BIN)/sparsebench train cifar-resnet --time-only --steps 10

toy: $(STAMP)  ## fit two layers to random outputs, dense and sparse
	$(BIN)/sparsebench train toy

headline: $(STAMP)  ## time a 20000 x 20000 layer at 99%, batch 1
	$(BIN)/sparsebench run headline

# OpenMP's threads spin for a while when they have nothing to do. On a machine that is busy with other
# things they so keep the cores from the threads they wait for, and tests of a second take minutes.
# Only here: what is measured (check-perf, trip-wires) is measured as users run it.
test test-slow: export OMP_WAIT_POLICY := passive
test test-slow: export GOMP_SPINCOUNT := 0
# Tests are compiled anew by each process otherwise, where the environment says so: for ten seconds.
test test-slow: export PYTHONDONTWRITEBYTECODE :=
# A file's tests stay together, for what they share; the order is that of tests/conftest.py.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
test: $(STAMP)  ## run the tests, in two processes, but for the few that take longest
	$(PYTEST) -m 'not slow'

test-slow: $(STAMP)  ## run those that take longest: real measurements, other instruction sets
	$(PYTEST) -m slow

check-perf: $(STAMP)  ## compare speed and memory with an earlier revision (BASE=main)
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-json=build/benchmarks.json
	$(BIN)/sparsebench check $(if $(BASE),--base $(BASE))

trip-wires: $(STAMP)  ## hold ours against dense and torch CSR, coarsely, in seconds
	$(BIN)/sparsebench check --trip-wires

sanitize: $(STAMP)  ## run the kernels' tests under GCC's sanitizers (ONLY="address FILE…": some)
	$(BIN)/python tests/sanitize.py $(ONLY)

lint: $(STAMP)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## build the documentation into build/site, without a network
	@$(BIN)/python tools/environment.py extra $(VENV) docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'The documentation is in build/site: open build/site/index.html'

readme: $(STAMP)  ## write the figures in README and docs/ from results/reference
	$(BIN)/python -m tests.readme_sentences

docs-figures: $(STAMP)  ## draw the pictures that README and docs/ show, from results/reference
	$(BIN)/python -m tests.docs_figures

notebooks: $(STAMP)  ## run the notebooks of experiments/notebooks into build/notebooks
	@$(BIN)/python tools/environment.py extra $(VENV) notebooks
	$(BIN)/python tools/notebooks.py

dist: $(STAMP)  ## make sdist and wheel in dist/, and try the wheel in an environment of its own
	@$(BIN)/python tools/environment.py extra $(VENV) dist
	$(BIN)/python tools/dist.py

plots: $(STAMP)  ## draw tables and plots from the records that are there
	$(BIN)/sparsebench report results

report: $(STAMP)  ## write results/report.html: one page about all records that are there
	$(BIN)/sparsebench report results --html results/report.html

clean:  ## remove build products and caches; records stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove the environment too
	rm -rf $(VENV)
