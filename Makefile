# Every command a developer needs. `make` lists them.

# A compiler cache, if there is one, spares the quarter of an hour that RocksDB's C++ takes.
CCACHE := $(wildcard /usr/lib/ccache)
ifneq ($(CCACHE),)
export PATH := $(CCACHE):$(PATH)
endif

NODES ?= 1000 10000
# How the packages are built: PROFILE=dev takes what is built already, TARGET is another machine's.
PROFILE ?= release
CROSS = $(if $(TARGET),--target $(TARGET))

.DEFAULT_GOAL := help
.PHONY: help build demo test telemetry bench bench-sim reality experiments mutants compose-demo guide-demo deb deb-test netns deployment check fmt clippy doc deny vectors

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build every program
	deploy/prepare
	cargo build --workspace

demo: build ## start a small network on this machine and send messages through it
	deploy/demo

test: ## run every test, and the examples in the documentation
	deploy/prepare test
	if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run --workspace && cargo test --workspace --doc; \
	else cargo test --workspace; fi

telemetry: ## lint and test what comm-node has only with its feature opentelemetry
	deploy/prepare test
	cargo clippy --package comm-node --features opentelemetry --all-targets -- -D warnings
	if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run --package comm-node --features opentelemetry --test it telemetry; \
	else cargo test --package comm-node --features opentelemetry --test it telemetry; fi

bench: ## measure throughput and latency; CHECK=--check fails where a target is missed
	deploy/prepare
	deploy/bench $(CHECK)

bench-sim: ## measure speed and memory of the simulator; NODES="1000000" for other sizes, E4=--e4 for E4 too (long)
	deploy/prepare
	cargo build --release -p comm-sim
	for nodes in $(NODES); do target/release/comm-sim bench --nodes $$nodes || exit; done
	@test -n "$(E4)" || echo 'E4 among 10,000 relays (goal: 60 s for 10,000 envelopes) was not measured; make bench-sim E4=--e4 measures it.'
	test -z "$(E4)" || target/release/comm-sim bench --nodes 2 $(E4)

reality: ## compare the simulator with twenty real relays (six minutes)
	deploy/prepare
	cargo build --release -p comm-node
	cargo bench -p comm --bench reality

experiments: ## run every experiment of the simulator and write docs/experiments.md (takes long)
	deploy/prepare
	cargo run --release -p comm-sim -- experiments --out target/experiments --docs docs/experiments.md

mutants: ## break one promise of the protocol at a time and see whether a test notices (an hour)
	sim/mutants/run

compose-demo: build ## five relays, Prometheus and Grafana in containers; without an engine as processes
	deploy/prepare deployment
	deploy/compose-demo

guide-demo: build ## follow docs/operating.md in a clean Debian (needs root, debootstrap, systemd-nspawn)
	deploy/guide-demo

deb: ## build the Debian packages of comm-node and comm into target/packages; TARGET=aarch64-unknown-linux-gnu for arm64
	deploy/prepare deb
	cargo run --locked --profile $(PROFILE) --package comm --example manuals -- target/manuals
	cargo build --locked --profile $(PROFILE) $(CROSS) --package comm-node --package comm
	for package in comm-node comm; \
	do cargo deb --no-build --strip --profile $(PROFILE) $(CROSS) --package $$package --output target/packages/ || exit; done

deb-test: deb ## install, use and purge the packages in a clean Debian (needs root, debootstrap, systemd-nspawn)
	deploy/deb-test

netns: build ## relays behind a NAT, on lossy, slow and cut lines, in network namespaces (Linux; no root)
	deploy/prepare netns
	deploy/netns-test

deployment: build ## validate what operators are given: units, containers, alerts, guide
	deploy/prepare deployment
	deploy/check
	deploy/check faults
	deploy/compose-demo --processes

check: fmt clippy doc deny ## formatting, lints, documentation, dependencies

fmt: ## formatting alone
	cargo fmt --all -- --check

clippy: ## lints alone
	cargo clippy --workspace --all-targets -- -D warnings

doc: ## documentation alone
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

deny: ## licences, sources and versions of dependencies alone
	cargo deny check bans licenses sources

vectors: ## check the test vectors of PROTOCOL.md
	cargo test -p comm-proto --test it vectors
