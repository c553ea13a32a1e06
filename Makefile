# Two commands do all set-up: `make run` and `make test`. The others are for developers; see CONTRIBUTING.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCKER_SOCKET ?= /var/run/docker.sock
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet

.PHONY: run test check bench bench-deploy mutants soak syscalls lock clean packages

run: $(VENV)/.run
	@if [ -n "$$DOCKER_HOST$$LBWATCH_DOCKER_HOST" ]; then why="DOCKER_HOST names an engine"; \
	elif [ -S $(DOCKER_SOCKET) ]; then why="an engine's socket is at $(DOCKER_SOCKET)"; \
	else echo "make run: no engine's socket at $(DOCKER_SOCKET), so this is the demo on the fake engine"; \
	  exec $(BIN)/lbwatch demo; fi; \
	if [ -z "$$LBWATCH_OUTPUT$$LBWATCH_CONFIG" ] && [ ! -d /etc/nginx/conf.d ] && [ ! -e /etc/lbwatch/lbwatch.toml ]; then \
	  mkdir -p build/conf.d; \
	  echo "make run: $$why, so this follows it; there is no /etc/nginx/conf.d, so the file is build/conf.d/lbwatch.conf and nothing is reloaded"; \
	  exec $(BIN)/lbwatch run --output build/conf.d/lbwatch.conf --test-command true --reload-command true; fi; \
	echo "make run: $$why, so this follows it; Ctrl-C ends it"; \
	exec $(BIN)/lbwatch run

# Most tests wait for an engine or an nginx, each file for its own: JOBS files at once, in conftest.py's order.
JOBS ?= 4
test: packages check
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/bench.py

# What deploys cost the clients, under load, beside the way of other tools: SECONDS for each of 7 scenarios, twice.
SECONDS ?= 60
bench-deploy: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/bench_deploy.py --seconds $(SECONDS)

# Which test notices when a safety is switched off.
mutants: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/mutants.py

# Random operations and faults: first in simulated time, then for MINUTES on the real engine.
MINUTES ?= 20
soak: packages $(VENV)/.dev
	CONVERGENCE_STEPS=$${CONVERGENCE_STEPS:-50000} $(BIN)/pytest -q -s tests/unit/test_convergence.py
	PYTHONPATH=tests/support $(BIN)/python tests/bench/soak.py --minutes $(MINUTES)

# Each system call on the output fails, or lbwatch dies at it. Needs root and strace.
syscalls: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/syscalls.py

# After a change of dependencies in pyproject.toml.
lock: $(VENV)/.dev
	$(BIN)/$(LOCK) pyproject.toml -o requirements/run.txt
	echo hatchling | $(BIN)/$(LOCK) - -o requirements/build.txt
	$(BIN)/$(LOCK) --extra dev pyproject.toml -o requirements/dev.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# What the tests need beside Python: a real engine and a real nginx. Only root can install, and start an engine.
packages:
	@missing=""; for pair in dockerd:docker.io iptables:iptables nginx:nginx busybox:busybox-static ip:iproute2 faketime:faketime chromium:chromium promtool:prometheus docker-compose:docker-compose systemd-analyze:systemd; do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then echo "installing$$missing"; apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	else echo "not root, so these are not installed and their tests are skipped:$$missing"; fi

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  [ "$$(id -u)" = 0 ] || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/pip requirements/run.txt requirements/build.txt pyproject.toml
	$(BIN)/pip install --quiet --require-hashes -r requirements/run.txt -r requirements/build.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/pip requirements/dev.txt pyproject.toml
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run
