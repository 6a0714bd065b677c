# make demo: the whole story on a synthetic city.   make test: all checks.   Both make .venv by themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

.PHONY: demo test lint types floors tests bench clean

demo: .venv/.ready
	$(BIN)/eaves demo -o eaves-demo

test: lint types floors tests

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.ready
	$(BIN)/pyright

floors: .venv/.ready
	$(BIN)/lint-imports

tests: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

bench: .venv/.ready
	$(UV) --group bench
	@echo "Benchmarks are the scripts in benchmarks/; each names its data and prints a table."

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(UV) --group dev --editable .
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis eaves-demo
