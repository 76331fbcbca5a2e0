# One command for people and CI. Everything is set up on first use, in .venv and in node_modules folders,
# and again when pyproject.toml or a lock file changes. `make help` lists the commands.

BIN := .venv/bin
ARGS ?=
SOAK_SECONDS ?= 600
STRESS_SECONDS ?= 600
OUTAGE_SECONDS ?= 60
PROCESSES ?= 2
PORT ?= 8080
DATA ?= roomful-data
CODE := server crdt presence tests docs $(wildcard bench)
LOCKS := client-demo/package-lock.json tests/*/package-lock.json tests/*/*/package-lock.json
CLIENTS := $(patsubst %/package-lock.json,%,$(wildcard $(LOCKS)))

# The first Python on PATH that is new enough and able to make a virtual environment.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(if $(shell \
    $(p) -c 'import sys, venv, ensurepip; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(p))) python3)

.DEFAULT_GOAL := help
.PHONY: help serve test soak stress outage coverage check format style lint types layers bench demo dist setup clients browser redis balancers clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

serve: setup ## start the server on http://127.0.0.1:8080 (PORT=, DATA=, ARGS="--log-level debug")
	@$(BIN)/roomful serve --port $(PORT) --data $(DATA) $(ARGS)

# Hundreds of servers are started: they should not have to compile their modules each time.
unexport PYTHONDONTWRITEBYTECODE
test: setup clients browser redis balancers ## every test: real clients, a real browser, real crashes (ARGS="-k name", PROCESSES=0)
	@$(BIN)/pytest --numprocesses=$(PROCESSES) --no-loadscope-reorder $(ARGS)

soak: setup redis ## trouble for a running server, and presence on others, for long (SOAK_SECONDS=600)
	@SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/pytest -s tests/stress/test_convergence.py tests/stress/test_awareness_only.py $(ARGS)

stress: setup redis ## trouble for three servers, their Redis and the network between (STRESS_SECONDS=600, STRESS_SEED=)
	@STRESS_SECONDS=$(STRESS_SECONDS) $(BIN)/pytest -s tests/stress/test_nodes.py $(ARGS)

outage: setup redis ## a crowd on two servers while Redis is away (OUTAGE_SECONDS=60)
	@OUTAGE_SECONDS=$(OUTAGE_SECONDS) $(BIN)/pytest -s tests/stress/test_outage.py $(ARGS)

check: style lint types layers test ## everything CI asks of the code

format: setup ## write the code in the one format, and the generated part of the docs
	@$(BIN)/ruff check --quiet --fix-only --select I $(CODE) hatch_build.py
	@$(BIN)/ruff format $(CODE) hatch_build.py
	@$(BIN)/python docs/options.py

style: setup
	@$(BIN)/ruff format --check $(CODE) hatch_build.py

lint: setup ## ruff
	@$(BIN)/ruff check $(CODE) hatch_build.py

types: setup ## mypy, strict
	@$(BIN)/mypy $(CODE) hatch_build.py

layers: setup ## imports point downwards
	@$(BIN)/lint-imports --no-cache --no-logo

coverage: setup redis ## which lines the tests run that need no other process (tracing slows whoever is timed)
	@$(BIN)/pytest -q -m "not slow" --cov --cov-report= tests/contract tests/crdt tests/presence tests/server $(ARGS)
	@$(BIN)/coverage report --skip-covered

bench: setup redis bench/node_modules/.ready bench/.venv/.ready ## measure beside other servers (ARGS=--help)
	@$(BIN)/python -m bench $(ARGS)

bench/.venv/.ready: bench/requirements.txt
	@echo "Setting up bench/.venv"
	@$(PYTHON) -m venv bench/.venv
	@bench/.venv/bin/pip install -qq --disable-pip-version-check --requirement $<
	@touch $@

demo: client-demo/node_modules/.ready ## rebuild server/page, which the server shows at /, from client-demo
	@cd client-demo && npm run --silent build

dist: setup ## sdist, and from it the wheel, in dist/
	@rm -rf dist
	@$(BIN)/hatchling build --target sdist
	@$(BIN)/pip wheel -qq --no-deps --no-build-isolation --wheel-dir dist dist/*.tar.gz
	@ls dist

setup: .venv/.ready

.venv/.ready: pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Roomful needs Python 3.11 or newer. With one elsewhere: make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { $(call debian,python3-venv,The venv module of Python); }
	@echo "Setting up .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@

clients: $(CLIENTS:%=%/node_modules/.ready)

# npm ci empties node_modules first, and the stamp with it. Not npm --prefix: that forgets npm's global settings.
%/node_modules/.ready: %/package-lock.json %/package.json
	@node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2>/dev/null || \
	  { echo "The tests with real clients need Node.js 20 or newer and npm on PATH."; exit 1; }
	@echo "Setting up $*/node_modules"
	@cd $* && npm ci --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

# CHROMIUM=/path names a browser that is not on PATH.
export CHROMIUM
browser:
	@test -n "$(CHROMIUM)" || command -v chromium >/dev/null || \
	  { $(call debian,chromium,The browser for the end-to-end tests); }

redis:
	@command -v redis-server >/dev/null || { $(call debian,redis-server,Redis for the tests of several processes); }

balancers:
	@for name in nginx haproxy; do PATH="$$PATH:/usr/sbin" command -v $$name >/dev/null || \
	  { $(call debian,$$name,A balancer for the tests of deploy/); } || exit 1; done

# $(call debian,package,what it is): root gets it installed, everybody else is told.
debian = if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "Installing Debian's $(1)"; apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(1) >/dev/null; \
  else echo "$(2) is missing. On Debian: apt-get install $(1)"; exit 1; fi

clean: ## forget everything that was set up or built
	@rm -rf .venv .links bench/.venv dist .coverage* .mypy_cache .ruff_cache .pytest_cache
	@rm -rf client-demo/node_modules bench/node_modules $(CLIENTS:%=%/node_modules)
