# Two commands: `make serve` runs the gateway with a real small model, `make test` runs the tests.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PEERS  := .bench-venv

.PHONY: setup serve test check format lock bench soak clean help

help:  ## Show what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(STAMP)  ## Make the virtual environment and install (at once when nothing changed)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev,postgres]'
	@touch $@

serve: setup  ## Fetch the small model once, then serve on 127.0.0.1:8080
	$(BIN)/slm-gateway pull
	$(BIN)/slm-gateway serve

test: setup  ## Run the tests, with the real small model
	$(BIN)/slm-gateway pull
	$(BIN)/python -m pytest

check: setup  ## Format, lint, types, import contracts, Dockerfile
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

format: setup  ## Rewrite the code in the house format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lock: setup  ## Write the installed versions to constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' > constraints.txt

bench: setup $(PEERS)/.installed  ## Measure beside nginx, LiteLLM and a bare proxy; write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.bench
	$(BIN)/python -m benchmarks.bench --workers-scaling

$(PEERS)/.installed: benchmarks/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --requirement benchmarks/peers.txt
	@touch $@

soak: setup  ## Ten minutes of mixed traffic: does memory stay flat, is every call accounted for?
	$(BIN)/python -m benchmarks.soak --minutes 10

clean:  ## Remove the virtual environments and caches
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
