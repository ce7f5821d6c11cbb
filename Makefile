# The commands of the project; `make` alone lists them.

CARGO ?= cargo
PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Each commit looks at seeds that nobody has looked at, and that anybody can look at again.
SEED = $(or $(shell git rev-parse HEAD 2>/dev/null),0)
CLUSTER := fixtures/cluster/golem-cluster.yaml
SCENARIO := fixtures/scenario/documentation-example.yaml
MARKETS := rich scarce dear flaky deceitful newcomers
POLICIES := original,plain,hedged-2,hedged-3,oracle

EVERYTHING := --workspace --features planted --locked
DRILLS := exhaustive planted policy
TESTS := $(wildcard tests/*.rs tests/*/main.rs sim/tests/*.rs sim/tests/*/main.rs)
LIVE := $(filter-out $(DRILLS),$(sort $(notdir $(patsubst %/main,%,$(TESTS:%.rs=%)))))

# Live tests wait for daemons, timeouts, and nodes more than they compute.
SIDE_BY_SIDE := 4

RAY_TESTS = PROFILE=debug $(TARGET)/python/ray-2.60/bin/python -m unittest discover --start-directory tests/ray

SOAK = $(PYTHON) tests/soak/soak.py --minutes 1 --programs $(TARGET)/debug

headline = @printf '\n== %s\n' '$(1)'

.NOTPARALLEL:
.PHONY: help setup demo survey policy test lint programs check live drills ray python wheel bare doc bench deny

help: ## lists the commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

setup: ## checks the tools, and fetches dependencies and the real daemon
	@.ci/setup

demo: ## a cluster of real Ray on a simulated network: no daemon, no wallet, no money
	@.ci/needs demo
	$(call headline,building)
	$(CARGO) build --profile demo --locked
	$(call headline,Ray)
	python/setup-venvs ray-2.60
	$(call headline,a cluster)
	PROFILE=demo $(TARGET)/python/ray-2.60/bin/python tests/ray/demo.py

survey: ## surveys a simulated market
	$(CARGO) build --release --locked
	$(TARGET)/release/ray-on-golem network-stats $(CLUSTER) --sim $(SCENARIO) --seed 1

policy: ## measures policies on simulated markets, and writes docs/policy.md
	$(CARGO) build --release --locked -p golem-sim
	$(TARGET)/release/golem-sim report $(MARKETS:%=fixtures/market/%.yaml) --seeds 24 \
		--with ops.keep=9,49 --sweep policy=$(POLICIES) --page docs/policy.md

# In this order, and one after the other: the tests are last, so that their result is.
test: setup lint doc check ## everything that must pass

lint: ## format and lints
	$(call headline,format)
	$(CARGO) fmt --all --check
	$(call headline,lints)
	$(CARGO) clippy --workspace --all-targets --features planted --locked -- -D warnings

doc:
	$(call headline,documentation)
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked

# One build of everything: the programs that the tests use live clusters of real Ray, too.
programs:
	$(call headline,programs and tests)
	$(CARGO) test $(EVERYTHING) --no-run

# Drills run in virtual time, on what the others leave of the processor: those mostly wait. The node provider's tests
# come before: Ray has time limits of its own.
check: programs
	@{ nice -n 10 $(MAKE) --keep-going python; provider=$$?; nice -n 19 $(MAKE) --keep-going drills && exit $$provider; } \
		>$(TARGET)/drills.log 2>&1 & drills=$$!; \
	trap 'kill $$drills 2>/dev/null' EXIT; \
	$(MAKE) --keep-going live ray; result=$$?; \
	wait $$drills || result=1; \
	cat $(TARGET)/drills.log; exit $$result

live: ## the tests that use processes, sockets, and the clock
	$(call headline,tests)
	$(CARGO) test $(EVERYTHING) --no-fail-fast --lib --bins $(LIVE:%=--test %) -- --test-threads=$(SIDE_BY_SIDE)
	$(CARGO) test $(EVERYTHING) --doc

drills: programs ## the tests that go through thousands of clusters, in virtual time
	$(call headline,drills)
	$(CARGO) test $(EVERYTHING) --no-fail-fast $(DRILLS:%=--test %)
	$(call headline,a swarm of drills)
	$(TARGET)/debug/golem-sim swarm --seeds 2000 --seed $(SEED) --require-marks

# Clusters wait for Ray more than they compute: they live in three lanes beside each other. A minute of soak, which waits, too,
# is at the end of the shortest one.
ray: programs ## the tests with clusters of real Ray
	$(call headline,clusters of real Ray)
	@$(RAY_TESTS) --pattern 'test_o*.py' >$(TARGET)/ray-versions.log 2>&1 & versions=$$!; \
	{ $(RAY_TESTS) --pattern 'test_[!lo]*.py'; others=$$?; $(SOAK) && exit $$others; } >$(TARGET)/ray-others.log 2>&1 & others=$$!; \
	trap 'kill $$versions $$others 2>/dev/null' EXIT; \
	$(RAY_TESTS) --pattern 'test_l*.py'; result=$$?; \
	wait $$versions || result=1; \
	wait $$others || result=1; \
	cat $(TARGET)/ray-versions.log $(TARGET)/ray-others.log; exit $$result

python: ## the tests of the node provider, with each version of Ray
	$(call headline,the node provider)
	python/run-tests

wheel: ## leaves the Python package with both programs in `target/wheels`, and tries it
	$(call headline,the Python package)
	@.ci/needs wheel
	python/build-wheel
	python/test-wheel

bare: wheel ## the demo and the package on a minimal Debian; as root
	tests/bare/run

bench: ## the benchmarks
	$(CARGO) bench --locked

# `check` asks the same of the lists in deny.toml; this needs `cargo install cargo-deny --locked`.
deny: ## licences, bans, and sources in more detail
	$(CARGO) deny --locked check licenses bans sources
