# Everything is installed into .venv/, the project itself in place (pip install -e). The stamps in there remember what is
# installed, so a second call runs no pip; they are written last, so an interrupted installation is taken up again.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip --disable-pip-version-check install --quiet
PARITY_ARGS ?= --no_full_size
TEST_PROCESSES ?= 2
READY := $(VENV)/.installed $(VENV)/.project
READY_TEST := $(VENV)/.installed-test $(VENV)/.project

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv generate test fuzz faults versions parity lint clean distclean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'Options: PYTHON=python3.11  PYTEST_ARGS=--run-slow TEST_PROCESSES=0  GENERATE_ARGS="--seed 1"'

venv: $(READY) ## set up .venv/ for inference and training

generate: $(READY) ## four pictures and a contact sheet in results/, with the bundled demo model
	$(PY) inference.py --weights assets/demo --caption assets/demo/captions.txt --output_dir results --contact_sheet \
		$(GENERATE_ARGS)

test: $(READY_TEST) ## run the tests
	$(PY) -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

fuzz: $(READY_TEST) ## 5,000 damaged files and flags through the programs (FUZZ_ARGS="--minutes 60 --seed 1", --help)
	$(PY) tests/fuzz $(FUZZ_ARGS)

faults: $(READY_TEST) ## kill the programs 400 times, fill their disks (FAULTS_ARGS="--kills 50", --help)
	$(PY) tests/faults $(FAULTS_ARGS)

versions: $(READY) ## every PaddlePaddle and Python this is for, as a table (VERSIONS_ARGS=--write, --help; 14 GB)
	$(PY) tests/versions $(VERSIONS_ARGS)

parity: $(READY) ## compare with the recorded reference vectors (PARITY_ARGS= for the full sizes too)
	$(PY) scripts/verify_parity.py --plot build/parity.png $(PARITY_ARGS)

lint: $(READY_TEST) ## check the style
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

clean: ## remove results and caches, keep .venv/
	rm -rf build results .pytest_cache .ruff_cache *.egg-info
	find . -path './.?*' -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove .venv/ too
	rm -rf $(VENV)

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null || \
		{ echo 'Python 3.10, 3.11 or 3.12 is needed, "$(PYTHON)" is not: try make PYTHON=python3.11' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# A GPU build of Paddle that the user has put in place stays: the CPU build would write over it, in the same folder
define install
	@echo 'Installing $(1); some minutes ...'
	@if $(PY) -m pip show --quiet paddlepaddle-gpu 2>/dev/null; then grep -v '^paddlepaddle=' requirements.txt; \
		else cat requirements.txt; fi > $(VENV)/requirements.txt
	$(PIP_INSTALL) -r $(VENV)/requirements.txt $(2)
endef

$(VENV)/.installed: requirements.txt | $(VENV)/.created
	$(call install,requirements.txt (2.4 GB))
	@touch $@

$(VENV)/.installed-test: requirements.txt requirements-test.txt | $(VENV)/.created
	$(call install,requirements.txt and requirements-test.txt (3.3 GB),-r requirements-test.txt)
	@touch $(VENV)/.installed $@

# After the requirements: without them nothing of it runs. What it depends on is theirs to say
$(VENV)/.project: pyproject.toml | $(VENV)/.created
	$(PIP_INSTALL) --no-deps --editable .
	@touch $@
