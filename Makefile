# Every command starts from a fresh machine: it makes .venv and installs where that is missing.
PYTHON ?= python3
VENV := .venv
JOBS ?= 2
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DOCS := $(VENV)/.docs

.PHONY: demo test test-fast test-all check docs bench clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -c constraints.txt pip setuptools wheel
	$(RUN) -m pip install -q -c constraints.txt torch
	$(RUN) -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(RUN) -m autocomp search --model digits --data digits --budget size=10% --agent ddpg --evaluations 100

test: $(STAMP)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder

# mathematics, contracts, parsing and architecture: what says at once whether a change broke them
test-fast: $(STAMP)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow and not searches"

test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder -m ""

check: $(STAMP)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	rm -rf build/tc build/lib && $(RUN) -m pip install -q --no-deps --no-build-isolation --target build/tc .
	cd build/tc && ../../$(VENV)/bin/mypy --config-file ../../pyproject.toml -p autocomp

$(DOCS): $(STAMP)
	$(RUN) -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev,docs]'
	touch $@

# from an installed copy, where agents/, envs/ and search_spaces/ have their import names
docs: $(DOCS)
	rm -rf build/api build/lib build/site
	$(RUN) -m pip install -q --no-deps --no-build-isolation --target build/api .
	$(RUN) -m mkdocs build --strict
	@! grep -rEl --include='*.html' '<(script|link|img|iframe)[^>]+(src|href)="?(https?:)?//' build/site \
	  || { echo 'These pages would load something from another host.'; exit 1; }

bench: $(STAMP)
	$(RUN) benchmarks/agents.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
