# The commands of the project. `make demo` and `make test` need nothing but python3 (3.11 or newer) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Twice quiet: errors only, not what a machine's own pip settings make it warn about.
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
# Wheels only: neither the demo nor the tests may ever need a compiler.
INSTALL := $(PIP) install --require-hashes --only-binary :all:
# An editable install of the project itself, built with the locked tools that are already there.
INSTALL_SELF := $(PIP) install --no-build-isolation --no-deps --no-index -e .
UV ?= $(or $(wildcard $(BIN)/uv),uv)
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 1
PYTEST_ARGS ?=
DEMO_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-fast test-long fuzz fuzz-million benchmark-report guard guard-update peers wheel install-fast install-pure lock format clean

help: ## Show what there is to run
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \2/p' Makefile | \
		while read -r make name text; do printf '  make %-16s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.installed ## Run a gateway with two simulated devices (DEMO_ARGS="--duration 30" for options)
	@$(BIN)/gateway demo $(DEMO_ARGS)

test: $(VENV)/.installed-dev ## Lint, types, import contracts, all tests but the long ones, branch coverage gate
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@sh .ci/test $(BIN)/python $(PYTEST_ARGS)

test-fast: $(VENV)/.installed-dev ## All tests but the long ones against the modules that make install-fast has compiled
	@REQUIRE_COMPILED=1 sh .ci/test $(BIN)/python $(PYTEST_ARGS)

test-long: $(VENV)/.installed-dev ## Run the campaigns of minutes
	@$(BIN)/python -m pytest -q -m long $(PYTEST_ARGS)

fuzz: $(VENV)/.installed-fuzz ## Run each atheris target of tests/fuzz for a minute (FUZZ_SECONDS=60)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) sh .ci/fuzz $(BIN)/python

fuzz-million: $(VENV)/.installed-dev ## Give endpoints a million datagrams, out of the kept corpus changed at random (FUZZ_SEED=1)
	@$(BIN)/python -m tests.fuzz.campaign --seed $(FUZZ_SEED)

guard: $(VENV)/.installed-dev ## Count the machine instructions of a fixed replay: fails where they are a tenth more than written down
	@$(BIN)/python -m tests.bench.guard

guard-update: $(VENV)/.installed-dev ## Write the counts of this Python down as its baseline (say why in the commit)
	@$(BIN)/python -m tests.bench.guard --update

benchmark-report: $(VENV)/.installed-report ## Measure up to 50,000 sessions and draw docs/sessions.png (half an hour; nothing else should run)
	@$(BIN)/python -m tests.bench.many_sessions --long --json docs/sessions.json
	@$(BIN)/python -m tests.bench.plot docs/sessions.json docs/sessions.png

peers: $(VENV)/.installed-dev ## Install the foreign clients that the interop tests talk to
	@sh .ci/peers $(BIN)/python

wheel: $(VENV)/.installed-compile ## Build a wheel for this Python in dist/, its data path compiled by mypyc (needs a C compiler)
	@rm -rf dist/compiled
	@GATEWAY_COMPILE=1 $(PIP) wheel --no-build-isolation --no-deps --no-index --wheel-dir dist .
	@ls dist/*.whl

install-fast: wheel ## The same for this checkout: the compiled modules go beside the sources, and are what runs
	@rm -rf dist/fast && $(BIN)/python -m zipfile -e dist/dtls_gateway-*-cp*.whl dist/fast
	@find . -name '*.so' -not -path './.*' -not -path './dist/*' -delete
	@cd dist/fast && find . -name '*.so' -exec cp --parents {} ../.. \;
	@$(BIN)/gateway --version

install-pure: ## Remove the compiled modules from this checkout: the sources are what runs
	@find . -name '*.so' -not -path './.*' -not -path './dist/*' -delete

lock: ## Write the lock files again from pyproject.toml (UPGRADE=1 takes newer versions; needs uv)
	@UV="$(UV)" UPGRADE="$(UPGRADE)" sh .ci/lock

format: $(VENV)/.installed-dev ## Format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: install-pure ## Remove the environment and everything that the tools left behind
	rm -rf $(VENV) .fuzz .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	rm -rf build dist
	find gateway tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is older than a lock that changed: the environment is then brought up to date, not built again.
$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "make: $(PYTHON) not found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $$($(PYTHON) --version 2>&1) is too old: Python 3.11 or newer is needed; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "make: this Python has no venv or ensurepip module (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created requirements.txt requirements-build.txt pyproject.toml
	@echo "Installing the gateway and its dependencies ..."
	@$(INSTALL) -r requirements.txt -r requirements-build.txt
	@$(INSTALL_SELF)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@echo "Installing the development tools ..."
	@$(INSTALL) -r requirements-dev.txt
	@touch $@

$(VENV)/.installed-compile: $(VENV)/.installed-dev requirements-compile.txt
	@echo "Installing the compiler of Python ..."
	@$(INSTALL) -r requirements-compile.txt
	@touch $@

$(VENV)/.installed-fuzz: $(VENV)/.installed-dev requirements-fuzz.txt
	@echo "Installing the fuzzer ..."
	@$(INSTALL) -r requirements-fuzz.txt
	@touch $@

$(VENV)/.installed-report: $(VENV)/.installed-dev requirements-report.txt
	@echo "Installing what draws the report ..."
	@$(INSTALL) -r requirements-report.txt
	@touch $@
