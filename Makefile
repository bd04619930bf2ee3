# Two commands: `make demo` compares loss functions on real images, `make test` checks everything.
# PYTHON=/path/to/python3.12 make demo   uses another interpreter (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Notebooks write below a folder of their own, never into a user's results.
TEST_OUTPUT := $(CURDIR)/outputs/test

INSTALL := $(BIN)/python .ci/install $(BIN)/python

.PHONY: demo demo-full test lint audit unit notebooks report site explore clean help

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed  ## four losses, right and wrong targets: a first comparison soon, then outputs/report.html
	@$(BIN)/lossbench demo

demo-full: $(VENV)/.installed  ## the 45 runs of the thesis study: five losses under three probability functions
	$(BIN)/lossbench study thesis --dataset fashion-mini --seeds 3 --report

test: lint unit notebooks  ## ruff, mypy, codespell, pytest, and every notebook under nbval

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md docs notebooks/*.ipynb lossbench benchmarks

audit: $(VENV)/audit/bin/pip-audit  ## look the versions of .ci/constraints.txt up among known vulnerabilities; needs a network
	$< --strict --no-deps --disable-pip --requirement .ci/constraints.txt --progress-spinner off

$(VENV)/audit/bin/pip-audit:
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit

unit: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

notebooks: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 LOSSBENCH_OUTPUT=$(TEST_OUTPUT) \
		$(BIN)/python -m pytest --nbval-lax notebooks -n $(WORKERS) --dist loadfile -p no:cacheprovider

report: $(VENV)/.installed  ## write outputs/report.html from the runs on disk
	$(BIN)/lossbench report

site: $(VENV)/.installed-site  ## render the notebooks and the report into docs/_build/html, readable offline
	LOSSBENCH_OUTPUT=outputs $(BIN)/python docs/build.py

explore: $(VENV)/.installed  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" notebooks/01_quickstart.ipynb

clean:  ## remove what tests and builds leave; results and .venv stay
	rm -rf outputs/test build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lossbench needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	@$(INSTALL) .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(INSTALL) '.[test,pretrained,ray,tensorboard]'
	@touch $@

$(VENV)/.installed-site: $(VENV)/.installed
	@$(INSTALL) '.[site]'
	@touch $@
