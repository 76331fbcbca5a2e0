# One command for people and CI. Everything is set up on first use, in .venv and node_modules.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: serve test check format lint types layers bench demo setup node clean

serve: setup ## start the server on http://127.0.0.1:8080
	$(BIN)/roomful serve --data .data $(ARGS)

test: setup node ## every test, against real clients, a real browser and real crashes
	$(BIN)/python -m pytest $(ARGS)

setup: .venv/.ready

.venv/.ready: pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Roomful needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "Python's venv module is missing. On Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
