# Two commands do all the set-up on a machine that has Python 3.11 or newer, its venv module and make:
#   make demo   see it work      make test   check everything
#
# PYTHON=/path/to/python3.12 chooses the interpreter. Everything Python goes to .venv, nothing anywhere else.

PYTHON ?=
# Options for pytest, as in: make test PYTEST_FLAGS="-x --cov tests/unit/proto"
PYTEST_FLAGS ?=
# Options for `uv pip compile`, as in: make lock LOCK_FLAGS=--upgrade
LOCK_FLAGS ?=
BENCH_FLAGS ?=

RUN := .venv/bin/python -m
SOURCES := $(wildcard hyperion tests tools bench)

.DEFAULT_GOAL := help
.PHONY: help demo test test-long bench man wheel lint lock clean venv system-packages

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12

demo: venv ## a server, a client and a transfer on this machine (no root, loopback only)
	@.venv/bin/python tools/demo.py

test: venv system-packages lint ## lint, types and all tests but the long ones; PYTEST_FLAGS="-x tests/unit"
	tools/run_tests.sh $(PYTEST_FLAGS)

test-long: venv system-packages ## the long tests, and a wider random search
	$(RUN) pytest -m long $(PYTEST_FLAGS)
	HYPOTHESIS_PROFILE=search $(RUN) pytest tests/property $(PYTEST_FLAGS)

bench: venv ## the figures of the documentation
	$(RUN) bench $(BENCH_FLAGS)

man: venv ## deploy/man again, from the commands
	$(RUN) tools.man_page

wheel: venv ## dist: what other machines install from, with hashes
	@$(RUN) tools.wheel

lint: venv ## ruff and mypy
	$(RUN) ruff check $(SOURCES)
	$(RUN) ruff format --check $(SOURCES)
	$(RUN) mypy

# Knows all platforms and Python versions at once. Where packages come from is the machine's own configuration of uv.
lock: ## constraints.txt again, from pyproject.toml
	@python=$$(tools/find_python.sh "$(PYTHON)") && tool=$$(mktemp -d) && trap 'rm -rf "$$tool"' EXIT && \
	"$$python" -m venv "$$tool" && "$$tool/bin/python" -m pip install --quiet --disable-pip-version-check uv && \
	"$$tool/bin/uv" pip compile --quiet --universal --python-version 3.11 --group dev --extra tun --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-annotate \
	    --custom-compile-command "make lock" $(LOCK_FLAGS) --output-file constraints.txt pyproject.toml

clean: ## remove all that was made here
	rm -rf .venv build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

venv: ## .venv with hyperion-server and hyperion-client
	@tools/make_venv.sh "$(PYTHON)"

system-packages:
	@tools/system_packages.sh
