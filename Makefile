# Every target works right after a clone, on a machine that has Deno 2.4 or newer, or npm.
# DENO_VERSION=x.y.z on the command line uses that version from npm; ARGS="..." is passed on.

DENO_PINNED := 2.9.6
# Where certificates come from: the system's too, as behind a company's proxy.
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
.PHONY: deno-path help start test check bench bench-peers sim enough-mappings compile compile-all clean

help: ## show the targets
	@echo "make start         run a node that keeps to this machine; ARGS=\"--allow-net ...\" for more"
	@echo "make test          run the tests"
	@echo "make check         formatting, lint and types"
	@echo "make bench         measure this node against echo, stub and npm's bencode"
	@echo "make bench-peers   measure it and networks of it against bittorrent-dht, hyperdht and libtorrent"
	@echo "make sim           simulate 100, 1,000 and 10,000 nodes; SIM_FULL=1: 100,000 too; ARGS=\"--latency FILE.csv\""
	@echo "make compile       dist/dmnode: one executable for this machine"
	@echo "make compile-all   one for each system, with checksums and an SBOM"
	@echo "make clean         remove what was built"
	@echo "DENO_VERSION=x.y.z with any of them uses that version of Deno, from npm"

start: $(DENO_INSTALLED)
	@exec $(DENO) task -q start $(ARGS)

test: $(DENO_INSTALLED)
	@$(DENO) task -q test $(ARGS)

check: $(DENO_INSTALLED)
	@$(DENO) task -q check

bench: $(DENO_INSTALLED)
	@$(DENO) task -q bench $(ARGS)

bench-peers: $(DENO_INSTALLED)
	@$(DENO) task -q bench-peers $(ARGS)

# 10,000 nodes live in 1 GB: what V8 may let grow beyond that before it looks through all of it, and what it may set
# aside for the packets under way, which it would otherwise copy twice. 100,000 nodes need more than its default, and
# more mappings than Linux gives a process; their health checks would be most of their packets.
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

enough-mappings:
	@if [ "$$(cat /proc/sys/vm/max_map_count 2>/dev/null || echo 262144)" -lt 262144 ]; then \
	  echo "100,000 nodes need more mappings: sysctl -w vm.max_map_count=262144" >&2; exit 1; fi

compile: $(DENO_INSTALLED)
	@$(DENO) task -q compile $(ARGS)

compile-all: $(DENO_INSTALLED)
	@$(DENO) task -q compile --all

# The Deno that these targets use, for scripts.
deno-path: $(DENO_INSTALLED)
	@echo $(DENO)

clean:
	rm -rf dist coverage artifacts

.tools/deno-%/deno:
	@command -v npm >/dev/null || { echo "make: neither Deno 2.4 or newer nor npm was found: install one of them" >&2; exit 1; }
	@echo "Installing Deno $* from npm into .tools" >&2
	@npm install --prefix .tools/deno-$* --no-audit --no-fund --no-save --loglevel=error deno@$* >&2
	@ln -sf "$$(cd .tools/deno-$* && ls -d node_modules/@deno/*/deno)" $@
	@$@ --version >/dev/null
