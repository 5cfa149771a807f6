# What a developer or a newcomer needs, each in one word. Everything goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
SITE_VENV := .venv-site
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast test-kills test-postgresql test-oldest corpus check docs screens site bench bench-scale build clean

demo: $(VENV)/.installed            ## run a real process in a real engine and look at it
	@$(BIN)/tokctl demo

test: $(VENV)/.installed-dev        ## all tests, in random order; repeat one with ARGS=--randomly-seed=N
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-kills: $(VENV)/.installed-dev  ## interruptions of commands at every step and message, and hundreds of kills at random moments
	TOKCTL_TEST_KILLS=150 $(BIN)/python -m pytest -n 2 --timeout 3600 tests/api_tokens/custody/test_interrupted.py \
		tests/api_tokens/custody/test_random_kills.py tests/services/api_tokens/test_regeneration.py \
		tests/store/postgresql/test_faults_*.py tests/server/test_serve_database_*.py $(ARGS)

# The programs of that version come from Maven Central, without clients such as psql: a test that needs these is skipped.
test-postgresql: VERSION ?= 18.0.0
test-postgresql: $(VENV)/.installed-dev  ## the tests of PostgreSQL on another version: VERSION=13.22.0; ARGS=tests/store for a part
	programs=$$(cd tests && ../$(BIN)/python -m support.postgresql_program $(VERSION)) && \
		TOKCTL_TEST_POSTGRESQL=$$programs $(BIN)/python -m pytest -n 2 --dist worksteal -m "not live" \
		-k "postgresql or serve_database or interrupted or store_login or monitoring" $(ARGS)

test-fast: $(VENV)/.installed-dev   ## the tests that start no servers and programs: about a minute
	$(BIN)/python -m pytest -n 2 --dist worksteal --hypothesis-profile=fast -m "not slow" $(ARGS)

corpus: $(VENV)/.installed-dev      ## simulate all models of published packages; ARGS='--list REASON', '--file F', '--json OUT'
	@cd tests && ../$(BIN)/python -m corpus $(ARGS)

# Runtime dependencies at the oldest versions that pyproject.toml allows, the newest test tools. ARGS= runs all tests.
test-oldest: ARGS ?= --hypothesis-profile=fast -m "not slow"
test-oldest: $(OLDEST)/.installed-test  ## the fast tests with the oldest dependencies; ARGS= for all tests
	$(OLDEST)/bin/python -m pytest -n 2 --dist worksteal $(ARGS)

check: $(VENV)/.installed-dev       ## style, types, the layers of the imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev        ## completions, man pages, command reference and pictures, from the program
	$(BIN)/python -m tools.docs

screens: $(VENV)/.installed-dev     ## every screen as a picture in screens/, in four widths, light and dark; ARGS='--only debug'
	$(BIN)/python -m tools.screens screens $(ARGS)

site: $(SITE_VENV)/.installed       ## the documentation as a website in site/, its links checked
	NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build --strict
	@! grep -rlE '<(script|link|img)[^>]+(src|href)="?(https?:)?//' --include=*.html site \
		|| { echo "these pages load something from another host"; exit 1; }

bench: $(VENV)/.installed-dev       ## speed, beside its peers in the same run (Node.js, jq, wrk); ARGS='--store-tokens 1,3,10'
	$(BIN)/python -m pip install -q sqlite-utils httpie
	$(BIN)/python bench/run.py $(ARGS)

bench-scale: $(VENV)/.installed-dev ## stores of 1 and 10 million tokens, SQLite and PostgreSQL side by side; ARGS='--sizes 1,10,30 --keep DIR'
	$(BIN)/python bench/scale.py $(ARGS)

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

$(OLDEST)/.installed-test: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install -q --disable-pip-version-check uv
	$(OLDEST)/bin/uv --system-certs pip compile -q --no-deps --resolution lowest-direct --extra spiff --extra server --extra postgres --extra png --extra report \
		--python $(OLDEST)/bin/python --output-file $(OLDEST)/oldest.txt pyproject.toml
	$(OLDEST)/bin/uv --system-certs pip install -q --python $(OLDEST)/bin/python --constraint $(OLDEST)/oldest.txt -e '.[test]'
	@touch $@

$(SITE_VENV)/.installed: tools/site-requirements.txt
	$(PYTHON) -m venv $(SITE_VENV)
	$(SITE_VENV)/bin/python -m pip install -q --disable-pip-version-check -r tools/site-requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) $(OLDEST) $(SITE_VENV) site screens dist build .mypy_cache .ruff_cache .pytest_cache
