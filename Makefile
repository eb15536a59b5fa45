PY   := .venv/bin/python
unexport PYTHONDONTWRITEBYTECODE  # with it, each process would compile the modules and tests again

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

run: .venv/ready  ## train on the sample photographs, test and track (about two minutes)
	$(PY) -m sr.run $(ARGS)

test: .venv/ready  ## run the fast tests (about three minutes)
	$(PY) -m pytest -n 2 -q $(ARGS)

slow: .venv/ready  ## run the tests that are slow (ten minutes or more); CI runs both
	$(PY) -m pytest -m 'slow and not long' -n 3 --dist worksteal -q $(ARGS)

long: .venv/ready  ## run the longest tests, which CI leaves out: before a release, and after a change of what they test
	$(PY) -m pytest -m long -n 2 -q $(ARGS)

lint: .venv/ready  ## check style, formatting, import layers and language
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports && $(PY) tests/language.py

language: .venv/ready  ## check words, names and docstrings (tests/language.py); PATHS=sr/net for a part
	$(PY) tests/language.py $(PATHS)

bench: .venv/ready  ## measure speed against a bare training loop and other libraries; writes bench.json
	$(PY) -m sr.bench $(ARGS)

ui: .venv/ready  ## show the runs in MLflow, on http://127.0.0.1:5000; RUNS=folder, ARGS='--port 5001'
	SR_RUNS="$${RUNS:-$$SR_RUNS}" $(PY) -m sr.track.ui $(ARGS)

clean:  ## delete caches and build products, not the runs
	rm -rf .pytest_cache .ruff_cache .import_linter_cache build dist bench.json
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.venv/ready: pyproject.toml constraints.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: help run test slow long lint language bench ui clean
