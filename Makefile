# What people and CI call; the logic is in Rust (e2e/, the program kilonova-lab). All that is made goes to .kilonova
# and target.

# Users get what is optimised. Tests are of programs that check their arithmetic, which are also sooner built; the lab
# takes the programs of its own profile.
PROFILE := release
TESTS   := test test-lab lint unit gitops e2e failpoints programs
$(TESTS): PROFILE := dev
LAB      = cargo run --profile $(PROFILE) --quiet -p kilonova-e2e --bin kilonova-lab --
CRDS  := charts/kilonova-crds/templates
TOOLS := .kilonova/cache/tools
# Suites of end-to-end tests side by side, each with a lab (a control plane and its guests), and tests in each.
E2E_SUITES  ?= 2
E2E_THREADS ?= 2
E2E    := -p kilonova-e2e -p kilonova-controllers
SUITES := way $(basename $(notdir $(filter-out %/api_common %/cluster,$(wildcard e2e/tests/*))))
# What an upgrade starts from, and whether this clone has it.
PREVIOUS := $(shell cat e2e/previous-release)
HISTORY   = $(shell git cat-file -e $(PREVIOUS) 2> /dev/null && echo yes)
# How many orders of events `make bench` tries.
SEEDS ?= 1000000
# How many nodes `make lab` starts.
NODES ?= 2

.PHONY: help preflight setup build programs failpoints up down demo lab lab-setup lab-down lab-demo test test-lab lint unit gitops e2e bench crds chart images
.DEFAULT_GOAL := help
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

preflight:
	@e2e/preflight.sh

setup: preflight ## install packages, build everything; harmless when all is there
	@$(LAB) setup

build: ## the programs of the product, optimised
	cargo build --release -p kilonova-controllers -p kilonova-agent

# The product's and the lab, for tests.
programs:
	cargo build --quiet -p kilonova-controllers -p kilonova-agent
	cargo build --quiet -p kilonova-e2e --bin kilonova-lab

# Beside the product's, with all that both have in common: only what the feature changes is built again.
failpoints: programs ## the programs that the tests kill at every step; for no other use
	@CARGO_BUILD_BUILD_DIR=$${CARGO_BUILD_BUILD_DIR:-$${CARGO_TARGET_DIR:-target}} \
		cargo build --quiet -p kilonova-controllers -p kilonova-agent --target-dir $${CARGO_TARGET_DIR:-target}/failpoints \
		--features kilonova-controllers/failpoints,kilonova-agent/failpoints

# For a cluster of the user's own no lab is set up: our programs, and Helm where there is none.
up: $(if $(filter existing,$(KILONOVA_CLUSTER)),build,setup) ## start a control plane, a node, controllers and agent; KILONOVA_CLUSTER=existing: for yours
	@$(LAB) up

down: ## end and remove what `make up` started
	@if [ -x target/release/kilonova-lab ]; then target/release/kilonova-lab down; else $(LAB) down; fi

demo: preflight ## set up, start, boot an instance from examples/quickstart, show it, end
	@$(LAB) demo $(DEMO_ARGS)

lab: lab-setup ## real Kubernetes nodes on this machine (NODES=2); leaves .kilonova/cluster.kubeconfig
	@$(LAB) cluster up --nodes $(NODES)

lab-down: ## end and remove what `make lab` started
	@if [ -x target/release/kilonova-lab ]; then target/release/kilonova-lab cluster down; else $(LAB) cluster down; fi

lab-demo: lab ## helm install there, and an instance on each node
	@$(LAB) cluster demo

test: setup lint unit gitops e2e ## all tests but those on real nodes, which are `make test-lab`

lint: $(TOOLS)/bin/cargo-deny ## formatting, clippy, licenses, generated files
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- --deny warnings
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" cargo deny check --hide-inclusion-graph bans licenses sources
	cargo run --quiet -p kilonova-crds --bin crdgen -- --check $(CRDS) docs/api.md
	$(LAB) chart --check
	@test -z "$$(gofmt -l e2e gitops)" || { echo "run gofmt on:"; gofmt -l e2e gitops; exit 1; }

unit: ## tests without a control plane (root: network namespaces, a libvirtd of their own)
	cargo test --quiet --workspace --exclude kilonova-e2e --exclude kilonova-controllers
	cargo test --quiet -p kilonova-controllers --lib --bins
	cargo test --quiet -p kilonova-e2e --lib --bins

gitops: ## what kstatus and Argo CD say of our objects
	cd gitops && go vet ./... && go test ./...

# What has waits in it leaves the cores to another: a suite prints what it has to say when it ends.
e2e: failpoints ## tests on real parts, with real guests (root); one of them: make e2e TEST=name
	cargo test --quiet $(E2E) --tests --no-run
	@printf '%s\n' $(SUITES) | xargs -P $(E2E_SUITES) -I SUITE sh -c \
		'said=$$(cargo test --quiet $(E2E) --test SUITE -- --test-threads=$(E2E_THREADS) $(TEST) 2>&1); code=$$?; \
		printf "== SUITE\n%s\n" "$$said"; exit $$code'

lab-setup: preflight ## what real nodes are made of, built once (10 minutes and more)
	@$(LAB) cluster setup

# One cluster for all of them, which some upset on purpose: one at a time.
test-lab: lab-setup programs ## tests on real Kubernetes nodes, with the charts installed (root)
	@$(if $(HISTORY),,echo "the upgrade from $(PREVIOUS) is not tested: that commit is not in this clone (git fetch --unshallow)")
	cargo test --quiet -p kilonova-e2e --test cluster -- --test-threads=1 $(if $(HISTORY),,--skip b67_) $(TEST)

bench: setup ## measurements, as ratios in one run (root, some minutes, best on a quiet machine); see docs/performance.md
	cargo bench --quiet -p kilonova-e2e --bench way
	cargo bench --quiet -p kilonova-controllers-core --bench placement
	cargo run --release --quiet -p kilonova-simulation -- --seeds $(SEEDS)

crds: ## write the CRDs and docs/api.md from crds/
	cargo run --quiet -p kilonova-crds --bin crdgen -- $(CRDS) docs/api.md

chart: ## write the table of values and the schema's descriptions from charts/kilonova/values.yaml
	$(LAB) chart

images: ## the images of both programs by buildah, to .kilonova/images (PREBUILT=1: out of target/release)
	build/images.sh

# cargo-deny of the machine, or one of our own (some minutes, once).
$(TOOLS)/bin/cargo-deny:
	@mkdir -p $(TOOLS)/bin
	@if command -v cargo-deny > /dev/null; then ln -sf "$$(command -v cargo-deny)" $@; \
	else echo "installing cargo-deny (once; minutes)"; cargo install cargo-deny --locked --quiet --debug --root $(TOOLS); fi
