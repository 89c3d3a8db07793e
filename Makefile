# `make demo` and `make test` set up all they need; run again, they repeat nothing.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)

.PHONY: help slurm demo paper test test-slow test-gpu test-slurm test-faults bench lint format envs clean clean-results

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

slurm: .venv-slurm/.installed ## the same environment with Snakemake's SLURM plugin, in .venv-slurm

# One process imports torch for all of the demo's jobs: two seconds less for each.
demo: $(BIN)/.installed ## every table and figure on handwritten digits, and the report
	@XKD_REPORT_FOLLOWS=1 PYTHONPATH=workflow $(BIN)/python -m xkd.warm $(SNAKEMAKE) --quiet rules host
	@$(MAKE) --no-print-directory results/demo/report.html
	@$(BIN)/python -m xkd where

results/%/report.html: $(wildcard results/*/tables/*.csv results/*/figures/*.csv)
	@$(SNAKEMAKE) --config scale=$* --report $@ > /dev/null 2>&1 || { echo 'the report could not be made; see: snakemake --report $@'; exit 1; }

paper: $(BIN)/.installed ## the papers' own data and epochs (days on one GPU: see README)
	@$(SNAKEMAKE) --config scale=paper

test: $(BIN)/.developed ## default tests: no GPU, no download
	@$(BIN)/python -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder

test-slow: $(BIN)/.developed ## the long tests as well
	@$(BIN)/python -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder -m "(slow or not slow) and not slurm and not faults"

test-gpu: $(BIN)/.developed ## the tests on a CUDA GPU, where there is one: two to three minutes
	@$(BIN)/python -m pytest -m gpu -n 4 -rs tests/gpu

test-slurm: $(BIN)/.developed .venv-slurm/.installed ## the tests on a real SLURM of their own, where its packages are
	@.venv-slurm/bin/python -m pytest -m slurm -rs tests/slurm

test-faults: $(BIN)/.developed ## kill, fill, damage and interrupt everything, and expect the same numbers
	@$(BIN)/python -m pytest -m faults -rs tests/faults

bench: $(BIN)/.installed ## time the engine against loops written the usual way; on a GPU: xkd bench --device cuda
	@$(BIN)/python -m xkd bench

lint: $(BIN)/.developed ## ruff, snakefmt and snakemake --lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/snakemake --lint

format: $(BIN)/.developed ## let ruff and snakefmt lay out the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(BIN)/snakefmt Snakefile workflow

envs: ## write envs/xkd.yaml, for conda, from the pins in envs/requirements.txt
	@$(PYTHON) envs/conda.py > envs/xkd.yaml

clean: ## remove the environment and caches; results stay
	rm -rf .venv .venv-slurm .pytest_cache .ruff_cache workflow/*.egg-info
	find workflow tests -name __pycache__ -prune -exec rm -rf {} +

clean-results: ## remove what was computed (results/reference stays)
	rm -rf results/demo results/paper logs

# Python 3.11 to 3.13 has wheels for everything that is pinned.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit(f"found Python {v[0]}.{v[1]}, expected 3.11 to 3.13; choose one: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv .venv

$(BIN)/.installed: $(BIN)/python envs/requirements.txt
	@echo "installing the packages of envs/requirements.txt into .venv (once, a few minutes)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(BIN)/.developed: $(BIN)/.installed envs/development.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r envs/development.txt
	@touch $@

# Apart, because the plugin doubles the start of every snakemake; all other packages are shared.
.venv-slurm/.installed: $(BIN)/.installed envs/slurm.txt
	@$(BIN)/python -m venv .venv-slurm
	@packages() { "$$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }; \
	echo "import site; site.addsitedir('$$(packages $(BIN)/python)')" \
		> "$$(packages .venv-slurm/bin/python)/shared.pth"
	@.venv-slurm/bin/python -m pip install --quiet --disable-pip-version-check -r envs/slurm.txt
	@touch $@
