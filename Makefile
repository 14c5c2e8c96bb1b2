# The two commands a newcomer needs are `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FIRMWARE_TYPES := $(VENV)/firmware-types
# What needs the embedded servers runs beside what needs the real ones: each has its own, and both mostly wait.
SIDE_BY_SIDE := --numprocesses 2 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench faults stack stack-down constraints clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make the virtual environment

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1" -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable ".[firmware]" --group dev
	rm -rf $(FIRMWARE_TYPES)
	$(BIN)/python -m pip install --quiet -c constraints.txt --target $(FIRMWARE_TYPES) --group firmware-types
	@touch $@

demo: $(INSTALLED) ## Start everything with 20 simulated sockets (DURATION=30 ends by itself)
	$(BIN)/wattaway up --simulate 20 $(if $(DURATION),--duration $(DURATION))

# Missing servers and browser are installed where that is possible (Debian, root); else their tests are skipped.
test: $(INSTALLED) ## Run every test this machine can run, but for the long ones
	$(BIN)/python -m ops.stack install --browser $(if $(filter 1,$(WATTAWAY_REQUIRE_STACK)),,--optional)
	$(BIN)/python -m pytest -m "not long" $(SIDE_BY_SIDE)

faults: $(INSTALLED) ## Run the fault tests and all that takes long
	$(BIN)/python -m ops.stack install $(if $(filter 1,$(WATTAWAY_REQUIRE_STACK)),,--optional)
	$(BIN)/python -m pytest -m "faults or long"

# Ruff's S rules are bandit's. Known vulnerabilities (pip-audit) stand in a list that only the network has.
check: $(INSTALLED) ## Format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file firmware_mpy/mypy.ini
	$(BIN)/lint-imports
	$(BIN)/python -m pip check

format: $(INSTALLED) ## Put the code in shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## Measure both ways to run, against bare floors
	$(BIN)/python -m ops.bench

stack: $(INSTALLED) ## Install and start the real servers on loopback (Debian, root)
	$(BIN)/python -m ops.stack up

stack-down: $(INSTALLED) ## Stop the real servers
	$(BIN)/python -m ops.stack down

constraints: $(INSTALLED) ## Write the installed versions to constraints.txt
	@{ echo "# Pinned versions of everything that is installed; 'make constraints' makes it anew."; \
	   { $(BIN)/python -m pip freeze --exclude-editable; \
	     $(BIN)/python -m pip freeze --path $(FIRMWARE_TYPES); } | sort -f; } > constraints.txt

clean: ## Remove the environment and caches (not your data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
