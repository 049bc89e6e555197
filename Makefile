# The commands of this project. `make up` tries banger, `make test` proves it.
.DEFAULT_GOAL := help
.PHONY: help up down test check test-host soak bench bench-compare fuzz deb tools dashboard files proto

help: ## Say what there is to do
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

up: ## Build, start server and agent on this machine, and run a first VM
	@deploy/dev/up.sh

down: ## Stop what `make up` started and remove all of it
	@deploy/dev/down.sh

test: ## Run every check and test, the privileged ones and the test host included
	@.ci/check.sh all

check: ## Run the checks and tests that need no root: unit, simulated, foreign clients
	@.ci/check.sh check

test-host: ## Run the tests inside a disposable host in QEMU
	@.ci/check.sh test-host

soak: ## Kill parts of a fleet at random under load: make soak SECONDS=600 SEED=1
	@cargo build --workspace --bins
	@cargo run -q -p banger-integration-tests --bin banger-soak -- --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED)) $(SOAK_ARGS)

bench: ## Measure the lines of docs/BENCHMARKS.md (minutes; no pass or fail)
	@.ci/bench.sh

bench-compare: ## Measure two commits on this machine, by turns: make bench-compare A=main B=HEAD
	@.ci/bench.sh compare $(or $(A),main) $(or $(B),HEAD) $(ONLY)

fuzz: ## Give each parser mangled input for SECONDS (60)
	@BANGER_FUZZ_SECONDS=$(or $(SECONDS),60) cargo nextest run --workspace --profile fuzz --success-output final

deb: ## Build a Debian package of a release under target/debian
	@.ci/tools.sh deb
	@cargo build --release --bins -p banger-server -p banger-agent -p banger-command
	@install -m 755 "$$(.ci/guest.sh)" target/release/banger-guest
	@rm -rf target/release/man && target/release/banger man target/release/man
	@target/tools/bin/cargo-deb -p banger-command --no-build

tools: ## Install everything the checks and tests need
	@.ci/tools.sh test

dashboard: ## Build the dashboard anew after a change of client/web; the result is committed
	@.ci/tools.sh check
	@.ci/web.sh build

files: ## Write docs/FILES.md anew after a file or the first sentence of its header changed
	@BANGER_WRITE=1 cargo test -q -p banger-integration-tests --test repo index

proto: ## Write the generated code anew after a change of a .proto file
	@cargo run -q -p banger-proto --example gen
	@.ci/clients.sh gen
