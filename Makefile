# Every target is complete on a fresh clone with nothing but make and Python 3.11 to 3.14.
# What they wrap works alone too, in an installed environment: jupyter-book build . , pytest, jupyter lab.

PYTHON ?= python3
PIP_OPTIONS ?=
CHAPTER ?=
PYTEST_OPTIONS ?=
BENCHMARKS ?=
LAB_OPTIONS ?=
JOBS ?= 1

# this folder's lib, wherever the folder is copied or moved
export PYTHONPATH := $(CURDIR)
# Matplotlib's cache of fonts, filled while setting up: a home that cannot be written, or a slow first search, is no
# warning in a chapter
ifneq "$(shell test -w . && echo writable)" ""
export MPLCONFIGDIR := $(CURDIR)/.venv/matplotlib
endif
# threads that wait give up their core: else two processes that compute at once slow each other many times over.
# One training alone is faster if they do not: experiments and bench ask for it themselves where trainings share the cores.
book test lab run: export OMP_WAIT_POLICY ?= passive
book test lab run: export GOMP_SPINCOUNT ?= 0

VENV := .venv
IN_VENV := $(VENV)/bin/python
READY := $(VENV)/installed

.DELETE_ON_ERROR:
.PHONY: book pdf student test lab run experiments bench environment

book: $(READY)
	@$(IN_VENV) $(VENV)/bin/jupyter-book build . -q || { echo "error: the book was not built; the messages above say why" >&2; exit 1; }
	@echo "The book is ready: open $(CURDIR)/_build/html/index.html in a browser."

# The whole book as one PDF; its path is the last line printed. Needs Chromium.
pdf: book
	@$(IN_VENV) -m tools.pdf

# Notebooks for a class, without solutions and outputs; their folder is the last line printed.
student: $(READY)
	@$(IN_VENV) -m tools.student

test: $(READY)
	@$(IN_VENV) -m pytest $(PYTEST_OPTIONS)

lab: $(READY)
	@$(IN_VENV) -m jupyterlab --config=tools/lab_config.py $(LAB_OPTIONS)

# Re-execute the chapters whose outputs are older than their text; CHAPTER=book/x.md one of them, ALL=1 all; JOBS at a time.
run: $(READY)
	@$(IN_VENV) -m tools.notebooks run $(if $(ALL),--all) --jobs $(JOBS) $(CHAPTER)

# The full-scale measurements behind book/results: hours of computing, resumable at any point; JOBS trainings at a time.
experiments: $(READY)
	@$(IN_VENV) -m lib.experiments run all --profile full --jobs $(JOBS)
	@echo "All of them are stored in book/results. To train anew: $(IN_VENV) -m lib.experiments run all --profile full --fresh"

bench: $(READY)
	@$(IN_VENV) -m tests.benchmarks $(BENCHMARKS)

environment: $(READY)

# The stamp says where .venv lies. Where it says something else, the folder was copied or moved: setup.sh sets that right.
ifneq "$(shell cat $(READY) 2>/dev/null)" "$(shell cd $(VENV) 2>/dev/null && pwd -P)"
.PHONY: $(READY)
endif
$(READY): requirements.txt requirements.lock pyproject.toml
	@PYTHON='$(PYTHON)' PIP_OPTIONS='$(PIP_OPTIONS)' sh tools/setup.sh
