PY   := .venv/bin/python
RUNS ?= $(or $(SR_RUNS),runs)

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

run: .venv/ready  ## the main job: train on the sample photographs, test, track (about two minutes)
	$(PY) -m sr.run $(ARGS)

test: .venv/ready  ## all fast tests
	$(PY) -m pytest -n 2 -q $(ARGS)

slow: .venv/ready  ## the tests that are left out there: minutes; CI runs both
	$(PY) -m pytest -m slow -n 2 -q $(ARGS)

lint: .venv/ready  ## ruff, format, import contracts
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports

bench: .venv/ready  ## training against a bare loop, imresize, metrics and cache against rivals; writes bench.json
	$(PY) -m sr.bench $(ARGS)

ui: .venv/ready  ## MLflow's own page of the runs, on http://127.0.0.1:5000
	.venv/bin/mlflow ui --host 127.0.0.1 --backend-store-uri $(or $(MLFLOW_TRACKING_URI),sqlite:///$(abspath $(RUNS))/mlflow.db) $(ARGS)

clean:  ## remove caches and build products; runs stay
	rm -rf .pytest_cache .ruff_cache .import_linter_cache build dist bench.json
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.venv/ready: pyproject.toml constraints.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: help run test slow lint bench ui clean
