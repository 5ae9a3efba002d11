# Two commands: `make serve` runs the gateway with a real small model, `make test` runs the tests.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# So many processes share the tests; each has a gateway and an engine of its own (1.5 GB).
TESTERS ?= 2
PEERS  := .bench-venv
LOCAL_PEERS := .bench-local-venv
# What llama.cpp is built with. Its matrix code for AMX crashed where this was written.
LLAMA_CMAKE_ARGS ?= $(if $(shell grep -sm1 -ow amx_tile /proc/cpuinfo),-DGGML_NATIVE=OFF \
	$(foreach unit,AVX AVX2 FMA F16C BMI2 AVX512 AVX512_VBMI AVX512_VNNI AVX512_BF16,-DGGML_$(unit)=ON))
# The package's own C, which the install compiles where there is a compiler.
KERNELS := $(wildcard gateway/backends/local/network/kernels/*.[ch])
# The locks name every package that is needed, and every file's hash.
INSTALL := $(BIN)/python -m pip install --require-hashes --no-deps

.PHONY: setup serve test check format lock vendor bench bench-local soak clean help

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(STAMP)  ## Make the virtual environment and install (at once when nothing changed)

$(STAMP): pyproject.toml locks/development.txt locks/cuda.txt locks/torch-cpu.txt $(KERNELS)
	$(PYTHON) -m venv $(VENV)
	@# A CPU build of torch saves several GB, where pip finds one (on an index, or in a folder).
	@$(INSTALL) --quiet --requirement locks/torch-cpu.txt 2>/dev/null \
	|| echo "No CPU build of torch at hand: the index's own is installed."
	$(INSTALL) --requirement locks/development.txt
	@if $(BIN)/python -c "import importlib.metadata as m, sys; sys.exit('+cpu' in m.version('torch'))"; \
	then $(INSTALL) --requirement locks/cuda.txt; fi
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@

serve: setup  ## Fetch the small model once, then serve on 127.0.0.1:8080
	$(BIN)/slm-gateway pull
	$(BIN)/slm-gateway serve

test: setup  ## Run the tests, with the real small model
	$(BIN)/slm-gateway pull
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile

check: setup  ## Format, lint, types, import contracts, Dockerfile, known vulnerabilities
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/python locks/audit.py

format: setup  ## Rewrite the code in the house format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lock: setup  ## Resolve pyproject.toml into locks/ (newest versions: make lock UPGRADE=--upgrade)
	$(BIN)/python locks/write.py $(UPGRADE)

vendor: setup  ## Fetch the dashboard's chart library again, at its pinned version
	$(BIN)/python locks/vendored.py

bench: setup $(PEERS)/.installed  ## Measure beside nginx, LiteLLM and a bare proxy; write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.bench
	$(BIN)/python -m benchmarks.bench --workers-scaling

$(PEERS)/.installed: benchmarks/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --requirement benchmarks/peers.txt
	@touch $@

bench-local: setup $(LOCAL_PEERS)/.installed  ## The local engine beside llama.cpp and transformers; llama.cpp is built first, 10 minutes
	$(BIN)/python -m benchmarks.local --write
	$(BIN)/python -m benchmarks.local --quality --write

# Not out of pip's cache: a wheel there may have been built with other flags.
$(LOCAL_PEERS)/.installed: benchmarks/local/peers.txt
	$(PYTHON) -m venv $(LOCAL_PEERS)
	CMAKE_ARGS="$(LLAMA_CMAKE_ARGS)" $(LOCAL_PEERS)/bin/python -m pip install --no-cache-dir --requirement $<
	@touch $@

soak: setup  ## Ten minutes of mixed traffic: does memory stay flat, is every call accounted for?
	$(BIN)/python -m benchmarks.soak --minutes 10

clean:  ## Remove the virtual environments and caches
	rm -rf $(VENV) $(PEERS) $(LOCAL_PEERS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
