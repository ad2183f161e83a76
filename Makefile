# Every job of this project. `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# rustup puts cargo here, and into PATH for new shells only.
export PATH := $(PATH):$(HOME)/.cargo/bin

# `release` links everything as one unit, which takes minutes that a newcomer need not wait;
# `make run PROFILE=release` for speed.
PROFILE ?= dev
# Arguments for `bunbun dev`: make run ARGS='--port 4000'
ARGS ?=
# Part of a test's name: make test TEST=drain
TEST ?=
# Seconds per fuzz target.
FUZZ_SECONDS ?= 60

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
PROFILE_DIR := $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
BUNBUN := $(TARGET_DIR)/$(PROFILE_DIR)/bunbun

# What `make test` builds too: building the binary alone would compile every crate a second time,
# with the features that tests do not add.
build_all = cargo build --workspace --all-targets --locked

##@ Use

.PHONY: run
run: ## Install what is missing, build, and start a working backend on this machine
	@.ci/need build run
	@cargo build --profile $(PROFILE) -p bunbun
	@exec $(BUNBUN) dev $(ARGS)

.PHONY: build
build: ## Build the release binary, target/release/bunbun
	@.ci/need build
	cargo build --release --locked -p bunbun

# PostgreSQL's files lie elsewhere where its account cannot enter this directory; `location` says.
.PHONY: clean-data
clean-data: ## Delete .bunbun: the data and keys of `make run`
	@postgres=.bunbun/postgres; \
	if [ -f $$postgres/location ]; then postgres=$$(cat $$postgres/location); fi; \
	if [ -f $$postgres/data/postmaster.pid ] && kill -0 "$$(head -n 1 $$postgres/data/postmaster.pid)" 2>/dev/null; then \
	  echo 'bunbun dev is running on this data; stop it first' >&2; exit 1; \
	fi; \
	rm -rf "$$postgres" .bunbun

##@ Change

.PHONY: test
test: ## Install what the tests need and run every test (TEST=name for some)
	@.ci/need build test $(if $(TEST),,compat)
	cargo test --workspace --locked -- $(TEST)
	$(if $(TEST),,BUNBUN=$(TARGET_DIR)/debug/bunbun compat/run)

.PHONY: compat
compat: ## The official clients against BunBun: supabase-js, tus, the AWS SDK, Python (TEST=name for some)
	@.ci/need build run compat
	compat/run $(TEST)

.PHONY: check
check: fmt-check lint doc deny openapi-check ## Everything that CI refuses, except the tests

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: fmt-check
fmt-check: ## Is the code formatted?
	@.ci/need build check
	cargo fmt --all --check

.PHONY: lint
lint: ## Clippy over everything, warnings are errors
	@.ci/need build check
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: doc
doc: ## The code's documentation, warnings are errors
	@.ci/need build
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --locked

# Advisories are left out: their database is a Git repository that not every machine reaches, and
# a new advisory should not turn an old commit red. `make advisories` is for a daily job.
.PHONY: deny
deny: ## Licences, forbidden crates and their boundaries, sources (deny.toml)
	@.ci/need deny
	cargo deny --workspace --locked check --allow unused-wrapper bans licenses sources

.PHONY: advisories
advisories: ## Known vulnerabilities of dependencies (needs GitHub)
	@.ci/need deny
	cargo deny --workspace --locked check advisories

.PHONY: openapi
openapi: ## Write openapi/, docs/api/ and docs/configuration.md from the code
	@.ci/need build
	$(build_all)
	$(TARGET_DIR)/debug/bunbun openapi --write

.PHONY: openapi-check
openapi-check: ## Are the files that `make openapi` writes what the code says?
	@.ci/need build
	$(build_all)
	$(TARGET_DIR)/debug/bunbun openapi --check

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZ_SECONDS (60)
	@.ci/need build fuzz
	@for target in $$(cargo fuzz list); do \
	  echo "== $$target"; \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run "$$target" -- -max_total_time=$(FUZZ_SECONDS); \
	done

.PHONY: bench
bench: build ## Compare with nginx, haproxy, caddy and pgbench on this machine (about 40 minutes)
	@.ci/need bench
	bench/gateway/run
	bench/db/run
	bench/auth/run
	bench/storage/run
	bench/databases/postgres.py
	bench/databases/redis.py
	bench/databases/mongodb.py

.PHONY: container
container: ## Build the container image bunbun:local
	docker build -f deploy/Containerfile -t bunbun:local .

##@ Help

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
