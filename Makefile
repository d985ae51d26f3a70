# Two commands set up everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
PLUGINS := $(wildcard plugins/lossforge-*)
SECONDS_EACH := 900

.PHONY: help install run test check docs bench bench-peers calibrate gpu torture fuzz study clean

help:
	@echo "make run          create $(VENV), install, evolve a loss and train with it on real digits"
	@echo "make test         create $(VENV) with the test tools and run everything CI runs"
	@echo "make install      create $(VENV) and install lossforge"
	@echo "make docs         build the documentation site: .site/index.html"
	@echo "make bench        time the parts of a search, and how fast candidates are evaluated: twenty minutes"
	@echo "make gpu          check and time all that runs on a CUDA device; without one, smaller sizes on the CPU"
	@echo "make bench-peers  time whole generations beside evosax, EvoTorch, nevergrad and NumPy, in an environment of theirs"
	@echo "make calibrate    time the back ends of the evaluation, and propose the rule that chooses between them"
	@echo "make torture      kill runs at hundreds of instants, damage them, and resume them: half an hour"
	@echo "make fuzz         fuzz the readers of YAML, specs and artifacts: SECONDS_EACH=900 for each of the three"
	@echo "make study        repeat the ablations of docs/results: hours"
	@echo "make clean        remove $(VENV) and caches"

install: $(VENV)/.installed

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("lossforge needs Python >= 3.11: make PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(PLUGINS:%=%/pyproject.toml) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]' $(PLUGINS:%=--editable './%[test]')
	@touch $@ $(VENV)/.installed

run: $(VENV)/.installed
	$(BIN)/lossforge run examples/quickstart.yaml

test: check
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder plugins

check: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/lint-imports

docs: $(VENV)/.installed-test
	$(BIN)/python docs/generate.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml

bench: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only --capture=no

$(PEERS)/.installed: tests/benchmarks/peers/requirements.txt | $(VENV)/bin/python
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement $<
	@touch $@

bench-peers: $(VENV)/.installed-test $(PEERS)/.installed
	$(BIN)/python tests/benchmarks/peers/table.py $(PEERS)/bin/python

calibrate: $(VENV)/.installed-test
	$(BIN)/python tests/benchmarks/calibrate.py

gpu: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/gpu
	$(BIN)/python tests/gpu/evaluation_speed.py
	$(BIN)/python tests/gpu/training_speed.py

torture: $(VENV)/.installed-test
	$(BIN)/python tests/torture/damage.py
	$(BIN)/python tests/torture/crash_points.py --twice
	$(BIN)/python tests/torture/kill_and_resume.py --kills 200,40,40 --signal KILL,TERM,INT --jobs 2

$(VENV)/.installed-fuzz: pyproject.toml | $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	@touch $@

fuzz: $(VENV)/.installed-fuzz
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(SECONDS_EACH)

study: $(VENV)/.installed
	for study in examples/studies/*.yaml; do $(BIN)/lossforge ablate $$study || exit 1; done

clean:
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz .import_linter_cache .site *.egg-info
