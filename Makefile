# Two commands do everything: `make demo` and `make test`. Both set up an environment of their own in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py $(wildcard ringproto/_core/*.py ringproto/_core/*.pxd transports/*.pyx)

.PHONY: demo test model setup check clean

demo: setup
	@echo "== running the main job: a replicated key-value store on three processes (about half a minute)"
	$(BIN)/ringproto demo

test: setup
	@echo "== running the tests (at most ten minutes on two cores)"
	$(BIN)/python -m pytest

model:
	@echo "== searching the model of the recovery barrier (needs spin and gcc; docs/model.md)"
	$(PYTHON) tests/model/model_runs.py $(MODEL_ARGUMENTS)

setup: $(VENV)/.installed

$(VENV)/.installed: $(SOURCES)
	@echo "== setting up $(VENV): installing the dependencies and building the extension modules"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[cli,test]'
	touch $@

check: setup
	$(BIN)/python -m pip install --quiet --editable '.[check]'
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info ringproto/*.so ringproto/*/*.so transports/*.so ringproto/*/*.c transports/*.c
