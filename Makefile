# `make run` and `make test` are all that a newcomer needs; both set everything up first.
# Every path is relative, so a folder with spaces in its name is fine.
.PHONY: setup run up start down deploy serve test pages lint bench lock scan clean
.DELETE_ON_ERROR:

PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	"$$each" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { echo "$$each"; break; }; done)
RUN := .venv/bin/python -m
# Done once per lock: the stamp is older than requirements.txt when the lock has changed.
INSTALLED := .venv/installed

setup: $(INSTALLED)

run: setup
	@$(RUN) flows retrain --config configs/demo.yaml

# Prefect's pages, MLflow's pages and a worker, on this machine alone, until Ctrl-C; `start` leaves
# them in the background until `down`. SETTINGS says more, as in SETTINGS="services.prefect_port=4300".
SETTINGS ?=
up start down deploy: setup
	@$(RUN) flows $@ $(foreach each,$(SETTINGS),--set $(each))

# Answers POST /invocations on this machine alone; CONFIG and DATASET say what with.
CONFIG ?= configs/demo.yaml
DATASET ?= demo
serve: setup
	@$(RUN) flows package --config $(CONFIG)
	@MLFLOW_TRACKING_URI=sqlite:///mlflow.db MLFLOW_DISABLE_TELEMETRY=true \
		MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false .venv/bin/mlflow models serve \
		-m "models:/encore-$(DATASET)-recommender@champion" --env-manager local --host 127.0.0.1 --port 5001

# Files of tests are shared out to two processes, and what one file prepares is not prepared twice.
# In the order of their names: those that wait for servers come first, beside others that compute.
test: setup lint
	@$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder

# The pages of Prefect and MLflow as a person uses them, in Chromium.
pages: setup
	@$(RUN) pytest -m browser tests/browser

lint: setup
	@$(RUN) ruff check .
	@$(RUN) ruff format --check --quiet .
	@$(RUN) mypy
	@.venv/bin/lint-imports --no-logo
	@$(RUN) sqlfluff lint --quiet --disable-progress-bar sql

# Opt-in: measurements, which print ratios, and the tests that take minutes.
bench: setup
	@for each in tests/benchmarks/bench_*.py; do \
		echo "== $$each"; $(RUN) "tests.benchmarks.$$(basename "$$each" .py)" || exit 1; done
	@$(RUN) pytest -m bench

# Resolve pyproject.toml anew, for every platform: exact versions and hashes, no registry address.
lock: setup
	$(RUN) uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --group dev pyproject.toml -o requirements.txt

# Known vulnerabilities of what the lock names, as the package index tells them; `--strict` also
# fails where the index tells nothing of a package.
scan: setup
	$(RUN) uv tool run pip-audit@2.10.1 --strict --disable-pip -r requirements.txt

# What tools made. What Encore computed (data/, outputs/, mlflow.db) stays.
clean:
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv takes seconds where pip takes minutes; where uv cannot be had or cannot reach the packages
# (it does not read pip's configuration), pip installs the same lock.
$(INSTALLED): requirements.txt
	@[ -x .venv/bin/python ] || [ -n "$(PYTHON)" ] || { echo "error: Python 3.11, 3.12 or 3.13 is needed," \
		"found: $$(python3 --version 2>&1). Install one (Debian, Ubuntu: apt-get install python3 python3-venv)" \
		"or name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@[ -x .venv/bin/python ] || "$(PYTHON)" -c 'import ensurepip' 2>/dev/null || { echo "error: this Python" \
		"cannot make virtual environments. Install the missing part (Debian, Ubuntu: apt-get install" \
		"python3-venv)" >&2; exit 2; }
	@[ -x .venv/bin/python ] || "$(PYTHON)" -m venv .venv
	@.venv/bin/python -c 'import ctypes, sys; sys.platform != "linux" or ctypes.CDLL("libgomp.so.1")' \
		2>/dev/null || { echo "error: the system library libgomp.so.1 is missing; LightGBM needs it." \
		"Install it (Debian, Ubuntu: apt-get install libgomp1; Fedora: dnf install libgomp)" >&2; exit 2; }
	@echo "setting up .venv from requirements.txt (once; seconds to minutes)"
	@awk '/^[a-z]/ { wanted = /^uv==/ } wanted' requirements.txt > .venv/uv.txt
	@{ $(RUN) pip install --quiet --require-hashes -r .venv/uv.txt \
		&& $(RUN) uv pip install --quiet --python .venv/bin/python --compile-bytecode \
			--require-hashes -r requirements.txt; } \
		|| { echo "uv could not do it; pip does the same, in minutes"; \
			$(RUN) pip install --quiet --require-hashes -r requirements.txt; }
	@touch $(INSTALLED)
