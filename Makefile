# SPDX-License-Identifier: Apache-2.0
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo

.PHONY: demo test check setup setup-dev format clean

# --- for everybody ---------------------------------------------------------------------------------------

demo: setup ## compress a real ResNet-20 on real images: smallest file, then fastest network
	$(BIN)/gossamer compress --settings examples/cifar10/bytes.toml --out $(DEMO)/bytes --ledger $(DEMO)/ledger.json
	$(BIN)/gossamer compress --settings examples/cifar10/latency.toml --out $(DEMO)/latency --ledger $(DEMO)/ledger.json

test: setup-dev ## everything that CI runs
	$(MAKE) check

# --- for developers --------------------------------------------------------------------------------------

check: ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses auto --dist loadscope

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(VENV)/.demo
setup-dev: $(VENV)/.dev

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# torch and torchvision first and together, so that pip takes builds that fit each other
$(VENV)/.demo: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet torch torchvision
	$(BIN)/pip install --quiet --editable '.[openvino,zoo]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/pip install --quiet --editable '.[openvino,zoo,dev]'
	touch $@

clean:
	rm -rf $(VENV) runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
