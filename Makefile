# Two commands do all set-up: `make run` and `make test`. The others are for developers; see CONTRIBUTING.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCKER_SOCKET ?= /var/run/docker.sock
SETTINGS := /etc/lbwatch/lbwatch.toml
PIP_SHOWN := $(BIN)/pip install --disable-pip-version-check --retries 2 --timeout 15
PIP_FAILED := pip could not install lbwatch; its reason stands above. Packages come from PyPI: without a way there set \
  PIP_INDEX_URL, or HTTPS_PROXY, and make run again
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet

.PHONY: run test test-docs test-engines test-live test-sites test-swarm check bench bench-deaths bench-deploy bench-hold bench-live \
  bench-swarm recording mutants soak syscalls fuzz lock clean packages

# Follows the engine if there is one that may be used, into nginx's folder if that may be written; else it shows the demo.
run: $(VENV)/.run
	@say() { echo "make run: $$*"; }; me="$$(id -un)"; \
	if [ -n "$$DOCKER_HOST$$LBWATCH_DOCKER_HOST" ]; then why="DOCKER_HOST names an engine"; \
	elif [ ! -S $(DOCKER_SOCKET) ]; then \
	  say "no engine's socket at $(DOCKER_SOCKET), so this is the demo on the fake engine"; exec $(BIN)/lbwatch demo; \
	elif [ ! -w $(DOCKER_SOCKET) ]; then \
	  say "$$me may not use $(DOCKER_SOCKET), so this is the demo on the fake engine. To follow yours: sudo make run, or"; \
	  say "sudo usermod -aG $$(stat -c %G $(DOCKER_SOCKET)) $$me, log in again, and make run"; exec $(BIN)/lbwatch demo; \
	else why="an engine's socket is at $(DOCKER_SOCKET)"; fi; \
	if [ -n "$$LBWATCH_OUTPUT$$LBWATCH_CONFIG" ] || [ -w $(SETTINGS) ] || [ -w /etc/nginx/conf.d ]; then \
	  say "$$why, so this follows it; Ctrl-C ends it"; exec $(BIN)/lbwatch run; fi; \
	if [ -d /etc/nginx/conf.d ]; then lacks="$$me may not write /etc/nginx/conf.d (sudo make run may)"; \
	else lacks="there is no /etc/nginx/conf.d"; fi; \
	mkdir -p build/conf.d; \
	say "$$why, so this follows it; $$lacks, so the file is build/conf.d/lbwatch.conf and nothing is reloaded"; \
	exec $(BIN)/lbwatch run --output build/conf.d/lbwatch.conf --test-command true --reload-command true \
	  --state-dir build/state --control-socket build/lbwatch.sock

# Most tests wait for an engine or an nginx, each file for its own: JOBS files at once, in conftest.py's order.
JOBS ?= 4
test: packages check
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(addprefix --ignore=,$(DOCS) $(LIVE) $(SITES) $(SWARM))

# What README, docs and deploy/ have to paste, word by word: images, stacks on Compose 2 and 1 and on a Swarm, the service,
# recipes, Podman; 7 min.
DOCS := $(patsubst %,tests/real/test_%.py,image nginx_proxy recipes one_container podman several_engines_document swarm_stack \
  systemd template troubleshooting)
test-docs: packages $(VENV)/.dev
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(DOCS)

# What nginx's workers do by Lua, beside nginx's own choice of servers, on three nginxes, and in containers; 5 min.
LIVE := $(patsubst %,tests/real/test_live_%.py,choice container document hold lua)
test-live: packages $(VENV)/.dev
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(LIVE)

# What clients get of hosts and ports, over HTTP, TLS, TCP and UDP, on up to three nginxes.
SITES := $(patsubst %,tests/real/test_sites_%.py,compat daemon hold hostile served template tls) \
  $(patsubst %,tests/real/test_%.py,certificates health_connect hosts_explained leaving streams traefik variables)
test-sites: packages $(VENV)/.dev
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(SITES)

# A Swarm of three engines, and two plain ones behind one nginx, on the oldest engine and on the newest: managers and nodes
# that fail, times, requests. Its core is in `make test` too. Needs root and a kernel with vxlan; 7 min.
SWARM := $(patsubst %,tests/real/test_%.py,swarm_facts swarm_faults swarm_pace swarm_reach)
test-swarm: packages $(VENV)/.dev
	TEST_SWARM=every $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder tests/real/test_swarm.py \
	  tests/real/test_several_engines.py $(SWARM)

# A short check of each thing on every engine with every nginx that can be had, and a table of it; 6 min. Needs root, and
# 1.2 GB in ~/.cache/lbwatch-tests for Debian's packages, which are fetched once.
test-engines: packages $(VENV)/.dev
	TEST_CORE=every PYTHONPATH=tests/support $(BIN)/pytest -p coretable -n 2 --dist loadfile --no-loadscope-reorder \
	  tests/real/test_core.py

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@if command -v luacheck >/dev/null; then luacheck --quiet templates/nginx/lua; \
	elif [ -z "$$CI" ]; then echo "luacheck (Debian's lua-check) is missing, so the Lua sources are not looked at"; \
	else echo "luacheck (Debian's lua-check) is missing"; exit 1; fi

bench: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/bench.py

# What deploys cost the clients, under load, beside the way of other tools: SECONDS for each of 7 scenarios, twice.
SECONDS ?= 60
bench-deploy: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/bench_deploy.py --seconds $(SECONDS)

# How long a dead server stays in nginx's file, and in nginx, on the real engine.
bench-deaths: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/bench_deaths.py

# What changes of servers cost without a reload and with one, on two nginxes: failed requests, times, memory, CPU. Needs root.
bench-live: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/bench_live.py

# What clients notice when Compose recreates the only container of an upstream, with lbwatch.hold and without. Needs root.
bench-hold: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/bench_hold.py

# A real Swarm's deploys under load, beside a look each 15 s in the same run: failed requests, and times. Needs root; 4 min.
bench-swarm: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/bench_swarm.py

# The README's moving picture, docs/events.svg, and the recording that it is made of. Needs root.
recording: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/record.py

# Which test notices when a safety is switched off.
mutants: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/mutants.py

# Random operations and faults: first in simulated time, then random configurations of nginx, then for MINUTES on the
# real engine.
MINUTES ?= 20
soak: packages $(VENV)/.dev
	CONVERGENCE_STEPS=$${CONVERGENCE_STEPS:-50000} $(BIN)/pytest -q -s tests/unit/test_convergence.py
	CONVERGENCE_STEPS=$${SWARM_STEPS:-5000} $(BIN)/pytest -q -s tests/unit/test_swarm_convergence.py
	CONFIGS=$${CONFIGS:-2000} $(BIN)/pytest -o timeout=1200 -n $(JOBS) tests/unit/balancers/nginx/config_test/test_agreement.py
	PYTHONPATH=tests/support $(BIN)/python tests/bench/soak.py --minutes $(MINUTES)

# Each system call on the output fails, or lbwatch dies at it. Needs root and strace.
syscalls: packages $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/bench/syscalls.py

# Bytes that are drawn at what reads from outside, for SECONDS in all. What draws them is in no other environment.
fuzz: SECONDS = 600
fuzz: $(VENV)/.dev requirements/fuzz.txt
	$(BIN)/pip install --quiet --require-hashes -r requirements/fuzz.txt
	PYTHONPATH=tests/support nice -n 15 $(BIN)/python tests/bench/fuzz.py --seconds $(SECONDS)

# After a change of dependencies in pyproject.toml.
lock: $(VENV)/.dev
	$(BIN)/$(LOCK) pyproject.toml -o requirements/run.txt
	echo hatchling | $(BIN)/$(LOCK) - -o requirements/build.txt
	$(BIN)/$(LOCK) --extra dev pyproject.toml -o requirements/dev.txt
	$(BIN)/$(LOCK) --extra fuzz -c requirements/dev.txt pyproject.toml -o requirements/fuzz.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# What the tests need beside Python: a real engine and a real nginx. Only root can install, and start an engine.
# The versions of engines and nginxes that the tests choose are fetched by the tests themselves.
PROGRAMS := dockerd:docker.io runc:runc iptables:iptables nginx:nginx busybox:busybox-static ip:iproute2 nsenter:util-linux \
  curl:curl faketime:faketime chromium:chromium promtool:prometheus docker-compose:docker-compose systemd-analyze:systemd \
  luacheck:lua-check lua5.1:lua5.1 certbot:certbot lego:lego pebble:pebble \
  sshd:openssh-server
packages:
	@missing=""; for pair in $(PROGRAMS); do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; done; \
	[ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] || missing="$$missing libnginx-mod-http-lua"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then echo "installing$$missing"; apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	else echo "not root, so these are not installed and their tests are skipped:$$missing"; fi

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "lbwatch needs Python 3.11 or newer, and $(PYTHON) is not: install one, and say PYTHON=python3.12 make run"; exit 1; }
	@[ -w . ] || { echo "$$(id -un) may not write $(CURDIR): copy this folder to one of your own, and make run there"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  [ "$$(id -u)" = 0 ] || { echo "Python's venv module is missing: sudo apt-get install python3-venv, and make run again"; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/pip requirements/run.txt requirements/build.txt pyproject.toml
	@[ -w $(VENV) ] || { echo "$$(id -un) may not write $(VENV), which another user made: sudo rm -r $(VENV), and make run again"; exit 1; }
	@echo "Installing lbwatch and what it needs into $(VENV), once: half a minute, more on a slow line"
	@began=$$(date +%s); $(PIP_SHOWN) --require-hashes -r requirements/run.txt -r requirements/build.txt \
	  && $(PIP_SHOWN) --no-deps --no-build-isolation -e . && touch $@ \
	  && echo "Installed in $$(($$(date +%s) - began)) s" || { echo "$(PIP_FAILED)"; exit 1; }

$(VENV)/.dev: $(VENV)/bin/pip requirements/dev.txt pyproject.toml
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run
