# make demo        the whole method on synthetic data
# make serve       the web page on the demo's persons: with its trained model or, before make demo, with toy_clip on
#                  persons that are generated first. SERVE='--port=9000': flags of python -m tireid_jax.serve
# make test        the tests. PYTHON=python3.13, here as for any target, selects a Python with its own environment
# make test-all    the tests on each Python in PYTHONS that is installed
# make parity      comparison with transformers' CLIP, in a separate environment with torch
# make tpu         the tests of the plan with the TPU compiler, in a separate environment with libtpu
# make browser     the tests of the web page in a browser, in a separate environment; needs chromium on PATH
# make bench       benchmarks. PEER=FOLDER, a checkout of the reference (IRRA), compares with it, in a separate
#                  environment with torch. BENCH='--rounds=3 --json=FILE': flags of benchmarks/run.py
# make bench-search  exact search next to FAISS, usearch and Milvus Lite. SEARCH='--sizes=1000000 --json=FILE': flags of
#                  benchmarks/search.py
# make gpu         checks and measurements on a GPU, 8 minutes. GPU='--to=FOLDER --peer=IRRA': flags of benchmarks/gpu
# make gpu-wheels  downloads the packages that a GPU machine without a network lacks, into WHEELS=wheels
# make faults      kills, damaged files, full disks, 2,000 steps. FAULTS='--kills=200 --seed=1': flags of tests/faults
# make fuzz        FUZZ=60 minutes of damaged input for all readers of user files, in an environment with atheris
# make mutants     small code changes that no test detects; hours. MUTANTS='--only=losses': flags of tests/mutants
# make lint        linter, formatter and type check
# make format      fixes what the linter and the formatter can fix
# make clean       deletes the environments and the demo
# One test, fast:  make .venv/dev && .venv/bin/python -m pytest tests/losses_test.py -k sdm
PYTHON ?= python3
PYTHONS ?= 3.11 3.12 3.13
# .venv belongs to python3; any other Python has its own environments: .venv-3.13, .venv-parity-3.13, ...
SUFFIX := $(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
ifeq ($(SUFFIX),-)
$(error PYTHON=$(PYTHON) does not run; choose an installed Python, one of $(PYTHONS))
endif
VENV := .venv$(SUFFIX)
PARITY := .venv-parity$(SUFFIX)
TPU := .venv-tpu$(SUFFIX)
BROWSER := .venv-browser$(SUFFIX)
FUZZING := .venv-fuzz$(SUFFIX)
REFERENCE := .venv-peer$(SUFFIX)
SEARCHING := .venv-search$(SUFFIX)
RUN := $(VENV)/bin/python
# Creates an environment in which the packages of VENV are installed, too; pip adds what they lack.
SITE := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
define layer
test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
$(RUN) $(SITE) > "$$($(1)/bin/python $(SITE))/dev.pth"
endef
# requirements-dev.txt and the files that it includes.
DEV := $(addprefix requirements-,dev.txt serve.txt gcs.txt milvus.txt)
DEMO ?= demo
GPU ?= --to=gpu_results
WHEELS ?= wheels
FUZZ ?= 60
# Every step maps its temporary memory anew; huge pages reduce the page faults to a fifteenth (glibc only).
HUGE_PAGES := GLIBC_TUNABLES=glibc.malloc.hugetlb=1

.PHONY: demo serve test test-all parity tpu browser bench bench-search gpu gpu-wheels faults fuzz mutants lint format clean

demo: $(VENV)/run
	JAX_PLATFORMS=cpu $(HUGE_PAGES) $(RUN) -m tireid_jax.demo --to=$(DEMO)

TRAINED := $(DEMO)/seed0/two_stages
PEDES := $(DEMO)/raw/ToyPEDES
serve: $(VENV)/serve $(PEDES)/reid_raw.json
	JAX_PLATFORMS=cpu $(RUN) -m tireid_jax.serve --gallery=$(PEDES)/imgs \
	  $(if $(wildcard $(TRAINED)/stage2/result.json),--workdir=$(TRAINED),--pretrained=toy_clip) $(SERVE)

# The demo continues with these persons.
$(PEDES)/reid_raw.json: | $(VENV)/run
	JAX_PLATFORMS=cpu $(RUN) -m tireid_jax.data.toy --config=configs/toy.py --to=$(DEMO)/raw

test: $(VENV)/dev
	JAX_PLATFORMS=cpu $(RUN) -m pytest -rs -n 2 --dist loadfile --no-loadscope-reorder tests

# pyenv does not add unselected Pythons to PATH.
test-all:
	@tested= failed=; \
	for version in $(PYTHONS); do \
	  found=; \
	  for python in python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python; do \
	    if [ -z "$$found" ] && "$$python" -c '' 2>/dev/null; then found=$$python; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "Python $$version: not installed, not run"; continue; fi; \
	  if $(MAKE) test PYTHON="$$found"; then tested="$$tested $$version"; else failed="$$failed $$version"; fi; \
	done; \
	echo "passed on Python:$${tested:- none}; failed on:$${failed:- none}"; \
	[ -n "$$tested" ] && [ -z "$$failed" ]

parity: $(PARITY)/run
	JAX_PLATFORMS=cpu XLA_FLAGS= $(PARITY)/bin/python -m pytest -n 2 --dist loadfile tests/parity

tpu: $(TPU)/run
	JAX_PLATFORMS=cpu XLA_FLAGS= $(TPU)/bin/python -m pytest -n 2 tests/tpu

browser: $(BROWSER)/run
	JAX_PLATFORMS=cpu $(BROWSER)/bin/python -m pytest tests/browser

bench: $(VENV)/run $(if $(PEER),$(REFERENCE)/run)
	$(RUN) -m benchmarks.run $(if $(PEER),"--peer=$(PEER)" --peer_python=$(REFERENCE)/bin/python) $(BENCH)

bench-search: $(SEARCHING)/run
	$(SEARCHING)/bin/python -m benchmarks.search $(SEARCH)

gpu: $(VENV)/run
	$(RUN) -m benchmarks.gpu $(GPU)

gpu-wheels: $(VENV)/run
	$(RUN) -m benchmarks.gpu.wheels --to=$(WHEELS)

faults: $(VENV)/dev
	JAX_PLATFORMS=cpu XLA_FLAGS=--xla_backend_optimization_level=0 $(RUN) -m tests.faults $(FAULTS)

fuzz: $(FUZZING)/run
	$(FUZZING)/bin/python -m tests.fuzz --engine=atheris --seconds=$$((60 * $(FUZZ)))

mutants: $(VENV)/dev
	JAX_PLATFORMS=cpu $(RUN) -m tests.mutants $(MUTANTS)

lint: $(VENV)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy tireid_jax configs

format: $(VENV)/dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/run: requirements.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/serve: requirements-serve.txt $(VENV)/run
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-serve.txt
	touch $@

$(VENV)/dev: $(DEV) $(VENV)/run
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(PARITY)/run: requirements-parity.txt $(VENV)/dev
	$(call layer,$(PARITY))
	$(PARITY)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-parity.txt
	touch $@

$(TPU)/run: requirements-tpu.txt $(VENV)/dev
	$(call layer,$(TPU))
	$(TPU)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-tpu.txt
	touch $@

$(BROWSER)/run: requirements-browser.txt $(VENV)/dev
	$(call layer,$(BROWSER))
	$(BROWSER)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-browser.txt
	touch $@

$(FUZZING)/run: requirements-fuzz.txt $(VENV)/dev
	$(call layer,$(FUZZING))
	$(FUZZING)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-fuzz.txt
	touch $@

$(REFERENCE)/run: benchmarks/peer/requirements.txt
	test -x $(REFERENCE)/bin/python || $(PYTHON) -m venv $(REFERENCE)
	$(REFERENCE)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peer/requirements.txt
	touch $@

$(SEARCHING)/run: benchmarks/search.txt requirements-milvus.txt requirements.txt
	test -x $(SEARCHING)/bin/python || $(PYTHON) -m venv $(SEARCHING)
	$(SEARCHING)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/search.txt
	touch $@

clean:
	rm -rf .venv .venv-* $(DEMO)
