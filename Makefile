# `make run` and `make test` are all that is needed; each sets up what it uses.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Given on the command line, not by the environment. What is empty is the program's own choice:
# for `make run`, recipe and data `starter`, bucket `uae`.
RECIPE =
DATA =
RESUME =
SEED =
ENDPOINT =
BUCKET =
option = $(if $(2), --$(1) "$(2)")
EFFECT =
BENCH =
TESTS =
WORKERS = 2
RUN =
# Of torch on a few CPU cores (`uae run` gives its steps the same); results do not depend on it.
SPEED := GOMP_SPINCOUNT=0 OMP_WAIT_POLICY=PASSIVE MALLOC_TRIM_THRESHOLD_=536870912 \
	MALLOC_TOP_PAD_=67108864 MALLOC_MMAP_THRESHOLD_=33554432

# Of the images: which ones, with which program, under which references, from which index; whether
# their tests build on what an earlier run of them left.
IMAGE =
ENGINE =
IMAGES = images/images.yaml
PIP_CONF =
CA_CERTIFICATES =
KEEP =

.PHONY: run test lint types install install-dev chromium iproute2 bench effect starter-data base-weights clean
.PHONY: images pin-images test-images

run: install
	$(BIN)/uae run$(call option,resume,$(RESUME))$(call option,recipe,$(RECIPE))$(call option,data,$(DATA))$(call option,seed,$(SEED))$(call option,endpoint,$(ENDPOINT))$(call option,bucket,$(BUCKET))

test: install-dev chromium iproute2
	OMP_NUM_THREADS=1 $(SPEED) $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev
	$(BIN)/mypy uae images

effect: install-dev
	$(SPEED) $(BIN)/python -m benchmarks.effect $(EFFECT)

bench: install-dev
	$(SPEED) $(BIN)/python benchmarks/bench.py $(BENCH) $(if $(RUN),--run "$(RUN)")

starter-data: install-dev
	$(BIN)/python -m uae.data.starter.build

# Resumable; hours on two cores. Run it again after an interruption.
base-weights: install-dev
	$(BIN)/python -m uae.base_weights

images: install-dev
	$(BIN)/python -m uae_images.build --images "$(IMAGES)"$(call option,engine,$(ENGINE))$(call option,pip-conf,$(PIP_CONF))$(call option,ca-certificates,$(CA_CERTIFICATES)) $(IMAGE)

pin-images: install-dev
	$(BIN)/python -m uae_images.pin --file "$(IMAGES)" $(IMAGE)

# As root on Debian: builds all images on a base of its own and runs every step of a run in them.
test-images: install-dev
	{ command -v buildah && command -v debootstrap; } >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq buildah debootstrap; }
	$(SPEED) $(BIN)/python -m pytest -q -s tests/built_images/images_as_built.py tests/built_images/steps_in_images.py$(if $(KEEP), --keep)

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.installed

# The browser tests' browser: installed where that is allowed, else those tests are skipped by name.
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
	  || echo "chromium is not installed: browser tests will be skipped"

# Network namespaces, for the test of two hosts: likewise.
iproute2:
	@command -v ip >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq iproute2 >/dev/null; } \
	  || echo "iproute2 is not installed: the test of two hosts will be skipped"

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
