# The project's commands, the same for a person and for CI. `make help` lists them.
#
# Everything happens inside the checkout: a virtual environment per Python (.venv, or .venv-3.13 for
# PYTHON=python3.13), Rust's output in target/, logs and reports in build/.

PYTHON ?= python3
# `checked` (optimised a little, every assertion on) for tests; `release` for demo and benchmarks.
PROFILE ?= checked
# Seconds that `make soak` takes; cross-talk gets two fifths of them.
SOAK_SECONDS ?= 3600
# `no`: wheels as plain release builds, although a profile could be made (CONTRIBUTING.md).
PROFILE_GUIDED ?= yes
# Passed to the program that the target runs, e.g. make bench ARGS='--only call_soon'.
ARGS ?=
# Seconds of load for each run of the demo; empty: the demo's own choice.
DEMO_SECONDS ?=

python_version := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)
python_minor := $(basename $(python_version))

# An interpreter that was asked for by name gets an environment of its own.
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(python_minor))
venv_python := $(VENV)/bin/python
# One stamp file for each thing that is set up once; a new interpreter makes all of them stale.
ready := $(VENV)/.ready-$(python_version)

export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# The interpreter that PyO3 builds against outside maturin (clippy); always the same path, because a
# change of it rebuilds PyO3.
export PYO3_PYTHON := $(abspath $(venv_python))
export HOTLOOP_LOAD := $(CARGO_TARGET_DIR)/release/hotloop-load
# TLS in the load generator needs OpenSSL's headers; where they are missing, it goes without.
load_features := $(if $(shell pkg-config --exists openssl 2>/dev/null && echo yes),--features hotloop-load/tls)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

step := @tools/step
# maturin finds the environment by this variable, and would take an active one instead.
maturin_develop := env -u CONDA_PREFIX -u PYO3_PYTHON VIRTUAL_ENV=$(abspath $(VENV)) \
	$(VENV)/bin/maturin develop

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

## The two commands of a fresh machine

.PHONY: demo
demo: release $(ready)/benches ## serve real HTTP on hotloop, asyncio and uvloop; print one table
	$(step) --show "demo" $(venv_python) benches/demo.py \
		$(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS)) $(ARGS)

# A minute of cross-talk; it takes some seconds where `test-python` is run by itself.
test: export HOTLOOP_CROSS_TALK_SECONDS ?= 60

.PHONY: test
test: lint test-rust loom test-python ## everything that has to pass: lints, cargo tests, pytest, suites

## Working on it

.PHONY: check
check: lint test-rust develop stubtest pytest-quick ## the inner loop: `test` without loom, suites, slow tests

.PHONY: build
build: release ## extension (into the environment) and load generator, both in release

.PHONY: lint
lint: fmt clippy ruff mypy house-rules dependencies ## rustfmt, clippy, ruff, mypy, house rules, crates

.PHONY: test-python
test-python: develop stubtest test-built ## build for PYTHON, then stubtest, own tests, suites

.PHONY: test-built
test-built: pytest pytest-suites ## own tests and suites on the extension as it was built last

.PHONY: suites
suites: cpython-suites foreign-suites ## both of the following, without ARGS

.PHONY: cpython-suites
cpython-suites: develop pytest-suites ## CPython's own asyncio tests on hotloop (ARGS: more pytest options)

.PHONY: attacks
attacks: develop $(ready)/tests ## the attacks in their short forms (ARGS: more pytest options)
	$(step) --show "attacks, Python $(python_minor)" $(venv_python) -m pytest tests/attacks \
		--junitxml=build/reports/attacks-$(python_minor).xml $(ARGS)

.PHONY: soak
soak: develop $(ready)/tests ## the attacks in their long forms, for SOAK_SECONDS (an hour)
	$(step) --show "soak, $(SOAK_SECONDS) s, Python $(python_minor)" $(venv_python) \
		tests/attacks/long_forms.py --seconds $(SOAK_SECONDS) $(ARGS)

.PHONY: valgrind
valgrind: develop ## a short mixed program under valgrind's memcheck, where there is valgrind
	$(step) --show "memcheck, Python $(python_minor)" $(venv_python) tests/attacks/memcheck.py --check

.PHONY: valgrind-tests
valgrind-tests: develop $(ready)/tests ## our own tests under memcheck, an hour (TESTS: these files)
	$(step) --show "memcheck of tests, Python $(python_minor)" $(venv_python) tests/attacks/memcheck.py --check \
		--tests $(or $(TESTS),$(wildcard tests/test_*.py))

.PHONY: foreign-suites
foreign-suites: develop ## test suites of uvloop, anyio, aiohttp, ... on hotloop (ARGS: --quick, --suite anyio)
	$(step) --show "foreign suites, Python $(python_minor)" $(venv_python) tests/suites/foreign.py \
		--junit build/reports/foreign-$(python_minor).xml $(ARGS)

# Every Python of pyenv and of PATH, and those that tools/sid has fetched.
.PHONY: wheels
wheels: $(ready)/maturin $(if $(filter no,$(PROFILE_GUIDED)),,load) ## one wheel for each Python of the machine into dist/, each tried once
	$(step) --show "wheels" env -u PYO3_PYTHON $(venv_python) tools/wheels.py \
		$(if $(filter no,$(PROFILE_GUIDED)),--plain) $(or $(PYTHONS),$(shell tools/pythons))
ifndef PYTHONS
	@for version in 3.14 3.15; do \
		! tools/sid has $$version || tools/sid run $(MAKE) wheels PYTHON=python$$version PYTHONS=python$$version; \
	done
endif

.PHONY: bench
bench: release $(ready)/benches ## every scenario on every loop installed (ARGS=--help: options)
	@mkdir -p build/benchmarks
	$(step) --show "benchmarks, Python $(python_minor)" $(venv_python) -m hotloop bench \
		--json build/benchmarks/$(python_minor).json $(ARGS)

.PHONY: bench-page
bench-page: $(ready)/venv ## docs/benchmarks.md and its charts from what `make bench` measured last
	$(step) --show "docs/benchmarks.md" $(venv_python) -m hotloop bench \
		--read build/benchmarks/$(python_minor).json --page docs/benchmarks.md

.PHONY: instructions
instructions: release ## instructions of a few hot paths, compared with benches/instructions.json
	$(step) --show "instruction counts" $(venv_python) benches/instructions.py $(ARGS)

.PHONY: format
format: $(ready)/lint ## rewrite the sources as rustfmt and ruff want them
	$(step) "rustfmt" cargo fmt --all
	$(step) "ruff format" $(VENV)/bin/ruff format .
	$(step) "ruff fixes" $(VENV)/bin/ruff check --fix .

.PHONY: clean
clean: ## remove everything that was built or installed here
	rm -rf .venv .venv-* build dist $(CARGO_TARGET_DIR) .pytest_cache .mypy_cache .ruff_cache
	rm -f python/hotloop/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## this list
	@echo 'make TARGET [PYTHON=python3.13] [ARGS=...] [V=1: show all output]'
	@awk -F ':.*## ' '/^## / { printf "\n%s\n", substr($$0, 4) } \
		/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# Parts of the targets above, in the order in which they run.

.PHONY: fmt
fmt:
	$(step) "cargo fmt --check" cargo fmt --all --check

.PHONY: clippy
clippy: $(ready)/venv
	$(step) "cargo clippy" cargo clippy --workspace --all-targets $(load_features) -- -D warnings

.PHONY: ruff
ruff: $(ready)/lint
	$(step) "ruff check" $(VENV)/bin/ruff check .
	$(step) "ruff format --check" $(VENV)/bin/ruff format --check .

.PHONY: mypy
mypy: $(ready)/lint
	$(step) "mypy --strict" $(VENV)/bin/mypy --strict

.PHONY: house-rules
house-rules: $(ready)/venv
	$(step) "house rules" $(venv_python) tools/house_rules.py

.PHONY: dependencies
dependencies: $(ready)/venv
	$(step) "crates and licences" $(venv_python) tools/dependencies.py

# The extension itself has no cargo tests (a module cannot link without its interpreter): leaving it
# out keeps PyO3 out of this build.
.PHONY: test-rust
test-rust:
	$(step) --expect '^test result: ok\. [1-9]' "cargo test" \
		cargo test --workspace --exclude hotloop --profile checked $(load_features)

# The models explore every order of a few threads' steps: optimised, or they take minutes. A target
# directory of their own, because the cfg would rebuild all that the other steps share.
.PHONY: loom
loom:
	$(step) --expect '^test result: ok\. [1-9]' "loom models" env RUSTFLAGS="--cfg loom" \
		CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/loom CARGO_PROFILE_RELEASE_LTO=off \
		CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true \
		cargo test -p hotloop-reactor --lib loom --release

# Cargo decides what has to be built again; maturin puts the result into python/hotloop, where the
# environment looks for it.
.PHONY: develop
develop: $(ready)/lint
	$(step) "extension ($(PROFILE), Python $(python_minor))" $(maturin_develop) --profile $(PROFILE) \
		$(if $(filter checked,$(PROFILE)),--features faults)

.PHONY: release
release: $(ready)/maturin load
	$(step) "extension (release, Python $(python_minor))" $(maturin_develop) --release

.PHONY: load
load:
	$(step) "load generator (release)" cargo build --release -p hotloop-load $(load_features)

.PHONY: stubtest
stubtest: $(ready)/lint
	$(step) "stubtest hotloop._core, Python $(python_minor)" $(venv_python) -m mypy.stubtest hotloop._core \
		--mypy-config-file pyproject.toml

.PHONY: pytest
pytest: $(ready)/tests
	$(step) --show "pytest, Python $(python_minor)" $(venv_python) -m pytest -m "not suite" \
		--junitxml=build/reports/tests-$(python_minor).xml $(ARGS)

.PHONY: pytest-quick
pytest-quick: $(ready)/tests
	$(step) --show "pytest without the slow tests, Python $(python_minor)" $(venv_python) -m pytest \
		-m "not suite and not slow" $(ARGS)

.PHONY: pytest-suites
pytest-suites: $(ready)/tests
	$(step) --show "suites, Python $(python_minor)" $(venv_python) -m pytest tests/suites -m suite \
		--junitxml=build/reports/suites-$(python_minor).xml $(ARGS)

# What is set up once.

pip_install = $(venv_python) -m pip install --quiet

$(ready)/venv:
	$(step) "virtual environment $(VENV)" $(PYTHON) tools/make_venv.py $(VENV)
	@mkdir -p $(@D) && touch $@

$(ready)/maturin: tools/requirements-lint.txt $(ready)/venv
	$(step) "install maturin, Python $(python_minor)" $(pip_install) maturin -c tools/requirements-lint.txt
	@touch $@

$(ready)/lint: tools/requirements-lint.txt $(ready)/venv
	$(step) "install linters, Python $(python_minor)" $(pip_install) -r tools/requirements-lint.txt
	@touch $@ $(ready)/maturin

$(ready)/tests: tests/requirements.txt $(ready)/venv
	$(step) "install test requirements, Python $(python_minor)" $(pip_install) -r tests/requirements.txt
	@touch $@

$(ready)/benches: benches/requirements.txt $(ready)/venv
	$(step) "install benchmark requirements, Python $(python_minor)" $(pip_install) -r benches/requirements.txt
	@touch $@
