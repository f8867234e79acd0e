# Two commands to know: `make demo` and `make test`. `make` alone lists the rest.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

# A second run is instant: the stamp carries the hash of what the environment is made from.
STAMP := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | git hash-object --stdin)

.PHONY: help demo test check bench test-gpu setup lock clean two-hosts

help: ## print this list
	@echo "Banyan: a platform on which a team grows its own language models."
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'
	@echo
	@echo "Start with: make demo"

demo: setup ## the whole loop on real text: stack, data, training, gate, serving, feedback, retraining
	@$(BIN)/banyan demo

test: setup ## every test but the GPU's: unit, flow, contract, invariant, dashboard, browser, fault, end to end
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  echo "No Chromium found: the browser tests will fail. Get it: apt install chromium fonts-noto-cjk | brew install --cask chromium"
	@$(BIN)/python -m pytest -m "not gpu" --numprocesses=2 --dist=loadfile --no-loadscope-reorder $(ARGS)

check: setup ## lint, format, types, direction of imports, contract tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/contract

bench: setup ## one benchmark of tests/benchmarks, JSON on the last line: make bench NAME=startup
	@if [ -z "$(NAME)" ]; then \
	  echo "make bench needs a name: make bench NAME=$$(ls tests/benchmarks/*.py | xargs -n1 basename -s .py | grep -v __ | paste -sd'|')" >&2; exit 2; fi
	@if [ ! -f "tests/benchmarks/$(NAME).py" ]; then \
	  echo "there is no benchmark $(NAME): see ls tests/benchmarks" >&2; exit 2; fi
	@$(BIN)/python -m tests.benchmarks.$(NAME)

test-gpu: setup ## what needs a CUDA device; says so and passes where there is none
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
	  $(BIN)/python -m pytest -m gpu $(ARGS); \
	else echo "no CUDA device that this torch sees: nothing to test (a CUDA build: pip install --force-reinstall --no-deps $(TORCH) from PyTorch's own index)"; fi

two-hosts: setup ## a training on another host (two network namespaces); Linux, root, PostgreSQL's programs
	@BANYAN=$(BIN)/banyan BANYAN_ASSETS_DIR="$${BANYAN_ASSETS_DIR:-$(CURDIR)/.banyan/assets}" sh infra/smoke/two_hosts.sh

setup: $(STAMP) ## make .venv from requirements.lock, torch first; instant when it is up to date
	@:

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Banyan needs Python 3.11 and found no $(PYTHON) on the path." >&2; \
	  echo "Get it: apt install python3.11-venv | brew install python@3.11 | uv python install 3.11 | pyenv install 3.11" >&2; \
	  echo "Then run this again, or name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "Banyan needs Python 3.11, and $(PYTHON) does not run or is another: $$($(PYTHON) -V 2>&1 | head -1)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) lacks venv. Get it: apt install python3.11-venv" >&2; exit 1; }
	@echo "Making $(VENV): torch (about 190 MB; more with CUDA), then $$(grep -c '^[a-zA-Z]' requirements.lock) packages (about 360 MB)."
	@echo "Takes about 3 minutes with a fast connection, and 2.5 GB of disk. Once: later runs start at once."
	@[ -x $(BIN)/python ] && $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "  1/3 $(TORCH): first and by itself, so that the machine's own build (CPU or CUDA) stands"
	@$(PIP) install $(TORCH)
	@echo "  2/3 requirements.lock"
	@$(PIP) install --use-pep517 --requirement requirements.lock
	@echo "  3/3 banyan itself"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-*
	@touch $@
	@echo "Environment ready."

lock: ## resolve pyproject.toml afresh and write requirements.lock (maintainers; look at the diff)
	@rm -rf .bench/lock && mkdir -p .bench && $(PYTHON) -m venv .bench/lock
	@.bench/lock/bin/python -m pip -qq install $(TORCH)
	@.bench/lock/bin/python -m pip -qq install "$$(pwd)[dev]"
	@.bench/lock/bin/python -m pip check
	@{ sed -n '/^#/p' requirements.lock; \
	   .bench/lock/bin/python -m pip freeze | grep -vE '^(torch|banyan-llm|nvidia-[a-z0-9-]+|triton|#|-e)( |=|$$)'; } > .bench/requirements.lock
	@mv .bench/requirements.lock requirements.lock && rm -rf .bench/lock
	@git --no-pager diff --stat requirements.lock

clean: ## remove .venv, build outputs and caches; the workspace .banyan/ stays
	@rm -rf $(VENV) .bench build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	@echo "Removed the environment and caches. Your data, models and feedback are still in .banyan/ (remove it by hand to start over)."
