# `make demo` and `make test` need Python 3.11 or newer and nothing else: each makes its own virtual environment.
PYTHON ?= python3
WORKERS ?= 2

# Each worker is one thread: on a busy machine threads of linear algebra only get in each other's way.
export OMP_NUM_THREADS ?= 1

VENV_DEMO := .venv-demo
VENV_TEST := .venv-test
PIP_QUIET := --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test slow thorough doctests interpreters lint format types imports docs wheel check clean

help:  ## Show the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV_DEMO)/.installed  ## Sample two real posteriors, compare with the exact moments, certify the kernel, plot.
	$(VENV_DEMO)/bin/python -m ergodica.demo demo_output

test: $(VENV_TEST)/.installed  ## Run the fast tests (a few minutes).
	$(VENV_TEST)/bin/python -m pytest -q -n $(WORKERS) --durations=10 $(TESTS)

# The rows of the catalogue as they stand are run once in all, by `make docs`, for its table of evidence.
slow: $(VENV_TEST)/.installed  ## Run the slow tests: statistics and exhaustive cases.
	$(VENV_TEST)/bin/python -m pytest -q -n $(WORKERS) --durations=25 -m "slow and not catalogue"

thorough: $(VENV_TEST)/.installed  ## Run the slow tests, and the rows of the catalogue with other options and on the compiled host.
	$(VENV_TEST)/bin/python -m pytest -q -n $(WORKERS) --durations=25 -m slow

doctests: $(VENV_TEST)/.installed  ## Run the examples in the docstrings.
	$(VENV_TEST)/bin/python -m pytest -q --doctest-modules ergodica

interpreters:  ## Run the fast tests on the other Python versions that this machine has.
	.ci/interpreters $(PYTHON) $(WORKERS)

lint: $(VENV_TEST)/.tools  ## Check style and formatting.
	$(VENV_TEST)/bin/ruff check
	$(VENV_TEST)/bin/ruff format --check

format: $(VENV_TEST)/.tools  ## Format the code and mend what ruff can mend.
	$(VENV_TEST)/bin/ruff check --fix
	$(VENV_TEST)/bin/ruff format

types: $(VENV_TEST)/.tools  ## Check the types.
	$(VENV_TEST)/bin/mypy

imports: $(VENV_TEST)/.tools  ## Check who may import whom.
	$(VENV_TEST)/bin/lint-imports

docs: export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.pytest_cache/d/xla
docs: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0.1
docs: $(VENV_TEST)/.tools  ## Build the documentation into docs/_build/html, warnings being errors.
	rm -rf docs/generated
	$(VENV_TEST)/bin/python -m sphinx -b html -W --keep-going -q docs docs/_build/html

wheel: $(VENV_TEST)/.tools  ## Build the wheel and try it in a clean environment, away from this folder.
	.ci/wheel_check $(VENV_TEST)/bin/python

check:  ## Everything that continuous integration runs.
	PYTHON="$(PYTHON)" WORKERS="$(WORKERS)" .ci/run

clean:  ## Remove environments, caches and build outputs.
	rm -rf $(VENV_DEMO) .venv-test* build dist *.egg-info demo_output docs/_build docs/gallery docs/generated
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV_DEMO)/.installed: EXTRAS := plot
$(VENV_TEST)/.installed: EXTRAS := plot,test

%/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Ergodica needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install $(PIP_QUIET) -e '.[$(EXTRAS)]'
	@touch $@

$(VENV_TEST)/.tools: $(VENV_TEST)/.installed
	$(VENV_TEST)/bin/python -m pip install $(PIP_QUIET) -e '.[plot,test,lint,docs]'
	@touch $@
