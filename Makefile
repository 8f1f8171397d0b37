# Everything a person types. Each target sets up what it needs first; nothing is installed outside .venv/.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-slow lint docs clean

setup: .venv/ready

# Pip's own configuration decides where packages come from. On a machine without CUDA whose index offers only the
# CUDA build of torch (gigabytes), point PIP_EXTRA_INDEX_URL at PyTorch's CPU wheels first.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cropkt needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv || { echo "python venv is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	touch $@

demo: setup
	$(BIN)/python scripts/sweep_transfer.py

# Tests that start no processes of their own share the cores; those that start Ray and MLflow have them to themselves.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not system and not slow" -n logical --dist loadfile
	$(BIN)/python -m pytest -m "system and not slow"

# What takes minutes and changes rarely; run it before a release.
test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The docs site, in build/site; a link that leads nowhere is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Runs and studies are yours: nothing here removes them.
clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
