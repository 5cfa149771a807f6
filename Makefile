# What a developer or a newcomer needs, each in one word. Everything goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check docs bench build clean

demo: $(VENV)/.installed            ## run a real process in a real engine and look at it
	@$(BIN)/tokctl demo

test: $(VENV)/.installed-dev        ## everything that can be wrong, tried
	$(BIN)/python -m pytest -n 2

check: $(VENV)/.installed-dev       ## style, types, the layers of the imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev        ## completions, man pages and the README's pictures, from the program
	$(BIN)/python -m tools.docs

bench: $(VENV)/.installed-dev       ## speed, beside its peers in the same run (Node.js, jq, wrk); ARGS='--store-tokens 1,3,10'
	$(BIN)/python -m pip install -q sqlite-utils httpie
	$(BIN)/python bench/run.py $(ARGS)

build: $(VENV)/.installed-dev       ## the wheel and the source distribution
	rm -rf dist
	$(BIN)/python -m build -q

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[spiff]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
