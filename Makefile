# Every target is complete on a fresh clone with nothing but make and Python 3.11 or newer.
# What they wrap works alone too, in an installed environment: jupyter-book build . , pytest, jupyter lab.

PYTHON ?= python3
PIP_OPTIONS ?=
CHAPTER ?=
PYTEST_OPTIONS ?=
BENCHMARKS ?=
LAB_OPTIONS ?=
JOBS ?= 1

# threads that wait give up their core: else two processes that compute at once slow each other many times over
export OMP_WAIT_POLICY ?= passive
export GOMP_SPINCOUNT ?= 0

VENV := .venv
IN_VENV := $(VENV)/bin/python
READY := $(VENV)/installed

.DELETE_ON_ERROR:
.PHONY: book test lab run experiments bench environment

book: $(READY)
	@$(VENV)/bin/jupyter-book build . -q || { echo "error: the book was not built; the messages above say why" >&2; exit 1; }
	@echo "The book is ready: open $(CURDIR)/_build/html/index.html in a browser."

test: $(READY)
	@$(IN_VENV) -m pytest $(PYTEST_OPTIONS)

lab: $(READY)
	@$(IN_VENV) -m jupyterlab --config=tools/lab_config.py --LabApp.default_url=/lab/tree/book $(LAB_OPTIONS)

# Re-execute the chapters whose outputs are older than their text; CHAPTER=book/x.md one of them, ALL=1 all.
run: $(READY)
	@$(IN_VENV) tools/notebooks.py run $(if $(ALL),--all) $(CHAPTER)

# The full-scale measurements behind book/results: hours of computing, resumable at any point; JOBS trainings at a time.
experiments: $(READY)
	@$(IN_VENV) -m lib.experiments run all --profile full --jobs $(JOBS)

bench: $(READY)
	@$(IN_VENV) -m tests.benchmarks $(BENCHMARKS)

environment: $(READY)

# The stamp is written last, so an interrupted installation is never taken for a finished one.
$(READY): requirements.txt requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: there is no $(PYTHON) here; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1), but the book needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) cannot make virtual environments; install its venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@rm -f $@
	@echo "Setting up $(VENV): once, a few minutes and up to 6 GB (the README says how to get by with less)"
	@$(IN_VENV) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { echo "error: $(VENV) could not be made; the messages above say why" >&2; exit 1; }
	@$(IN_VENV) -m pip install --disable-pip-version-check --quiet $(PIP_OPTIONS) -r requirements.txt || { echo "error: the packages could not be installed; the messages above say why; the same command carries on from here" >&2; exit 1; }
	@touch $@
