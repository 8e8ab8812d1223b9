# Everything below needs Python 3.10 or newer and make; the rest is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: help install demo ui test oldest beside coverage versions random storm loads torture soak check lint docs dist sbom bench newcomer reference lock clean

help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## set up .venv with the locked dependencies

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "sync-assets needs Python 3.10 or newer: make PYTHON=python3.x")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: install  ## sync real listings between two databases of a private PostgreSQL server and verify
	$(BIN)/sync-assets demo

ui: install  ## open the Dagster UI
	$(BIN)/sync-assets ui

test: install  ## run the tests (ARGS='-k xid' chooses)
	$(BIN)/pytest --numprocesses auto $(ARGS)

oldest: install  ## run the quick tests of the Dagster side on the oldest releases that pyproject.toml takes
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/oldest
	$(BIN)/uv pip install --quiet --python build/oldest/bin/python --resolution lowest-direct -e '.[dev]'
	build/oldest/bin/pytest --numprocesses auto -m 'not slow' \
		$(addprefix sync_assets_tests/,assets automation config launch project runs) $(ARGS)

beside: install  ## run the tests that compare with what dlt does, in an environment that has it
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/beside
	$(BIN)/uv pip install --quiet --python build/beside/bin/python -c constraints.txt -e '.[dev]' 'dlt[postgres]'
	build/beside/bin/pytest sync_assets_tests/scenarios/history/test_beside_dlt.py $(ARGS)

coverage: install  ## run the tests, and hold the lines they run to the floor in pyproject.toml
	$(BIN)/coverage erase
	SYNC_TEST_WAYS=both $(BIN)/coverage run -m pytest --numprocesses auto $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

versions: install  ## run what depends on PostgreSQL's version on 14, 16, 17 and 19 too (WAYS=14-to-18,… chooses)
	servers=$$($(BIN)/python scripts/fetch_servers.py) && SYNC_TEST_SERVERS=$$servers \
		SYNC_TEST_WAYS=$(or $(WAYS),14-to-18,16-to-18,17-to-18,19-to-18,18-to-16,18-to-17,18-to-19) \
		$(BIN)/pytest --numprocesses auto $(addprefix sync_assets_tests/,engine scenarios) $(ARGS)

random: install  ## change tables at random between syncs (ROUNDS=250 each way, SEED=… repeats them)
	SYNC_TEST_WAYS=both SYNC_TEST_STORIES=$(or $(ROUNDS),250) SYNC_TEST_SEED=$(or $(SEED),$(shell date +%s)) \
		$(BIN)/pytest --numprocesses 2 -rP -k exact \
		sync_assets_tests/scenarios/storms/test_random_sequences.py

storm: install  ## sync in the middle of a storm of writers (ROUNDS=1000, SEED=… repeats the dice)
	SYNC_TEST_WAYS=both SYNC_TEST_STORM_ROUNDS=$(or $(ROUNDS),1000) SYNC_TEST_STORM_SEED=$(SEED) \
		$(BIN)/pytest sync_assets_tests/scenarios/storms/test_storm.py \
		sync_assets_tests/scenarios/storms/test_block_storm.py --log-cli-level=INFO $(ARGS)

lint: install  ## check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yml

docs: install  ## build the documentation's site into site/, warnings as errors
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

dist: install  ## build what a release publishes into dist/, and check it
	rm -rf dist
	$(BIN)/uv build --quiet
	$(BIN)/uvx --quiet twine check --strict dist/*

sbom: install  ## write what a release stands on into build/sbom: the locked releases' hashes and licences, an SBOM
	rm -rf build/sbom && mkdir -p build/sbom
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
		--extra celery --extra docker --extra k8s --extra metrics --extra otel --constraint constraints.txt \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		pyproject.toml --output-file build/sbom/requirements.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/locked
	$(BIN)/uv pip install --quiet --python build/locked/bin/python --require-hashes -r build/sbom/requirements.txt
	$(BIN)/uvx --quiet pip-licenses --python build/locked/bin/python --format=markdown \
		--output-file build/sbom/licences.md
	$(BIN)/uvx --quiet --from cyclonedx-bom cyclonedx-py environment build/locked/bin/python \
		--pyproject pyproject.toml --output-file build/sbom/sbom.cdx.json

bench: install  ## measure beside floors and other tools (ARGS='--tools ours,floors --rounds 1')
	$(BIN)/python benchmarks/compare.py $(ARGS)

loads: install  ## end first loads under writers, of 2 million rows and from a standby (LOADS=200, SEED=… repeats the dice)
	SYNC_TEST_WAYS=both SYNC_TEST_STORM_SEED=$(or $(SEED),$(shell date +%s)) \
		SYNC_TEST_LOAD_KILLS=$(or $(LOADS),200) SYNC_TEST_STORM_ROUNDS=$(or $(LOADS),200) \
		$(BIN)/pytest sync_assets_tests/scenarios/storms/test_load_kills.py \
		sync_assets_tests/scenarios/storms/test_load_storm.py --log-cli-level=INFO $(ARGS)

torture: install  ## sync under random writers and faults (MINUTES=60, SEED=… repeats the dice)
	SYNC_TEST_WAYS=both SYNC_TEST_TORTURE_MINUTES=$(or $(MINUTES),60) SYNC_TEST_STORM_SEED=$(or $(SEED),$(shell date +%s)) \
		$(BIN)/pytest sync_assets_tests/scenarios/storms/test_torture.py --log-cli-level=INFO $(ARGS)

soak: install  ## live through what a month brings (HOURS=1, SEED=… repeats the order, REPORT=build/soak)
	SYNC_TEST_SOAK_HOURS=$(or $(HOURS),1) SYNC_TEST_SOAK_SEED=$(or $(SEED),$(shell date +%s)) \
		SYNC_TEST_SOAK_REPORT=$(or $(REPORT),build/soak) \
		$(BIN)/pytest sync_assets_tests/scenarios/soak --log-cli-level=INFO $(ARGS)

check: lint docs test  ## what CI runs

newcomer: install  ## follow the ten-minute page on a fresh clone, its installation included
	SYNC_TEST_NEWCOMER=install $(BIN)/pytest --durations=1 sync_assets_tests/documentation/test_newcomer.py

reference: install  ## write docs/schemas and the tables in docs/configuration.md anew
	$(BIN)/python scripts/generate_reference.py

lock: install  ## write constraints.txt anew: the newest release of everything that fits 3.10 to 3.14
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.10 --all-extras \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		pyproject.toml --output-file constraints.txt

clean:  ## remove .venv, caches and what the demo left
	rm -rf .venv .demo .dagster build dist site *.egg-info .coverage .coverage.* .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
