# Every target works right after a clone, on a machine that has Deno 2.4 or newer, or npm.
# DENO_VERSION=x.y.z on the command line installs that version from npm. ARGS="..." is passed to the command.

DENO_PINNED := 2.9.6
# Also trust the system's certificates: a company's proxy may need them.
export DENO_TLS_CA_STORE ?= system,mozilla
export DENO_NO_UPDATE_CHECK := 1

ifneq ($(origin DENO_VERSION),command line)
  DENO := $(shell deno eval --no-lock 'const [a, b] = Deno.version.deno.split(".").map(Number); if (a > 2 || (a == 2 && b >= 4)) console.log("deno")' 2>/dev/null)
  DENO_VERSION := $(DENO_PINNED)
endif
ifeq ($(DENO),)
  DENO_DIRECTORY := .tools/deno-$(DENO_VERSION)
  DENO := $(CURDIR)/$(DENO_DIRECTORY)/deno
  DENO_INSTALLED := $(DENO_DIRECTORY)/deno
endif
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: deno-path help start test check check-model fuzz soak bench bench-peers sim sim-large enough-mappings compile compile-all deb clean

help: ## show the targets
	@echo "make start         run a node that keeps to this machine; ARGS=\"--allow-net ...\" for more"
	@echo "make test          run the tests"
	@echo "make check         check formatting, lint and types"
	@echo "make check-model   try over a million schedules of a few nodes against the guarantees: up to half an hour"
	@echo "make fuzz          try 10 million packets, and requests, frames and files, for defects"
	@echo "make soak          run 50 nodes for two hours under load, churn and attack: nothing may keep growing"
	@echo "make bench         compare this node with echo, stub and npm's bencode"
	@echo "make bench-peers   compare this node, and networks of it, with bittorrent-dht, hyperdht and libtorrent"
	@echo "make sim           simulate 100, 1,000 and 10,000 nodes; SIM_FULL=1: 100,000 too; ARGS=\"--latency FILE.csv\""
	@echo "make sim-large     simulate 200 values of 16 MiB among 1,000 nodes, of which 60 % vanish at once"
	@echo "make compile       build dist/dmnode, the executable for this machine"
	@echo "make deb           build dist/dmnode.deb, a Debian package for this machine"
	@echo "make compile-all   build an executable for each system, checksums and an SBOM"
	@echo "make clean         remove all build results"
	@echo "With DENO_VERSION=x.y.z, each target uses that version of Deno, from npm"

start: $(DENO_INSTALLED)
	@exec $(DENO) task -q start $(ARGS)

test: $(DENO_INSTALLED)
	@$(DENO) task -q test $(ARGS)

check: $(DENO_INSTALLED)
	@$(DENO) task -q check

check-model: $(DENO_INSTALLED)
	@$(DENO) run --no-check --allow-read --v8-flags=--single-threaded-gc tests/model/check.ts

fuzz: $(DENO_INSTALLED)
	@$(DENO) run --no-check --no-prompt --allow-all --v8-flags=--expose-gc tests/fuzz/run.ts $(ARGS)

soak: $(DENO_INSTALLED)
	@$(DENO) run --no-check --no-prompt --allow-all tests/soak/soak.ts $(ARGS)

bench: $(DENO_INSTALLED)
	@$(DENO) task -q bench $(ARGS)

bench-peers: $(DENO_INSTALLED)
	@$(DENO) task -q bench-peers $(ARGS)

# 10,000 nodes need 1 GB. A large initial heap delays V8's full garbage collections. Large semi-spaces keep V8 from
# copying the packets in flight twice. 100,000 nodes need a larger heap than V8's default, and more memory mappings than
# Linux gives a process. At the default interval, most of their packets would be health checks.
SIM_FLAGS := --initial-heap-size=2500,--min-semi-space-size=256,--max-semi-space-size=256
SIM_NODES := 100,1000,10000
SIM_HEAP_MB := 3000
ifdef SIM_FULL
  SIM_NODES := $(SIM_NODES),100000
  SIM_HEAP_MB := 21500
  SIM_CHECKS := --health-check-interval 3600 --calm 0
sim: enough-mappings
endif
sim: export DENO_V8_FLAGS := --max-old-space-size=$(SIM_HEAP_MB),$(SIM_FLAGS)
sim: $(DENO_INSTALLED)
	@$(DENO) task -q sim --nodes $(SIM_NODES) --lookups 2000 --values 1000 $(SIM_CHECKS) $(ARGS)

sim-large: export DENO_V8_FLAGS := --max-old-space-size=4000,--min-semi-space-size=64,--max-semi-space-size=128
sim-large: $(DENO_INSTALLED)
	@$(DENO) run --allow-read --allow-env bench/sim_large.ts $(ARGS)

enough-mappings:
	@if [ "$$(cat /proc/sys/vm/max_map_count 2>/dev/null || echo 262144)" -lt 262144 ]; then \
	  echo "100,000 nodes need more mappings: sysctl -w vm.max_map_count=262144" >&2; exit 1; fi

compile: $(DENO_INSTALLED)
	@$(DENO) task -q compile $(ARGS)

# A Debian package of dist/dmnode, for this machine.
deb: compile
	@packaging/deb/build.sh dist/dmnode $$(dist/dmnode --version | cut -d' ' -f2) $$(dpkg --print-architecture) dist/dmnode.deb
	@echo dist/dmnode.deb

compile-all: $(DENO_INSTALLED)
	@$(DENO) task -q compile --all

# Prints the path of the Deno that these targets use, for scripts.
deno-path: $(DENO_INSTALLED)
	@echo $(DENO)

clean:
	rm -rf dist coverage artifacts

# packaging/deno/package-lock.json has the hashes of the pinned version for every system: npm refuses any other file. The
# packages' scripts don't run.
NPM_FLAGS := --ignore-scripts --no-audit --no-fund --loglevel=error
.tools/deno-%/deno:
	@command -v npm >/dev/null || { echo "make: found neither Deno 2.4 or newer nor npm: install one of them" >&2; exit 1; }
	@echo "Installing Deno $* from npm into .tools" >&2
	@mkdir -p .tools/deno-$*
	@if [ "$*" = "$(DENO_PINNED)" ]; then \
	  cp packaging/deno/package.json packaging/deno/package-lock.json .tools/deno-$* && \
	  npm ci --prefix .tools/deno-$* $(NPM_FLAGS) >&2; \
	else \
	  echo "The hash of Deno $* is not known here: npm compares the download only with the registry's hash" >&2; \
	  npm install --prefix .tools/deno-$* --no-save $(NPM_FLAGS) deno@$* >&2; \
	fi
	@cd .tools/deno-$* && found=$$(ls -d node_modules/@deno/*/deno 2>/dev/null) || { \
	  echo "make: npm has installed no Deno $*: its hash differs from the pinned one, or this system is not supported" >&2; \
	  exit 1; }; ln -sf "$$found" deno
	@$@ --version >/dev/null
