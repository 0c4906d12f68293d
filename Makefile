# Two commands: `make demo` runs the main job on an embedded cohort, `make test` runs the tests. Both set everything up first.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
DEMO_FLAGS ?=
SITE ?= site
FUZZ ?= 20000
DATA ?=
EACH ?=
PYTHONS ?=
BARE ?=
PAGE ?= docs/known-answers.md
LONG := slow or phantom or end_to_end or gpu
COVER := --cov --cov-report=term:skip-covered
# setuptools warns of editable installations in seven lines, which read as if something had failed.
EDITABLE := PYTHONWARNINGS=ignore::Warning:setuptools.command.editable_wheel $(BIN)/pip install --quiet
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PLUGINS := $(patsubst %/pyproject.toml,./%,$(wildcard plugins/*/pyproject.toml))

# Where it is set, each of the many processes that the tests and the demo start would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-fast cover bench fuzz known check docs man dist bare lock clean

help:
	@echo "make demo    run the whole way on a phantom cohort into ./$(DEMO) (half an hour to an hour on two slow cores)"
	@echo "make test    run everything CI runs: linter, type checker, documentation, all tests, coverage of the quick ones"
	@echo "make test-fast  run the quick tests (about 6 minutes of CPU)"
	@echo "make cover   run all tests and measure the coverage of all"
	@echo "make bench   time the parts beside what would be used instead, into docs/performance.md (about 10 minutes)"
	@echo "make fuzz    read $(FUZZ) spoilt files of every kind that ctseg reads (about 5 minutes)"
	@echo "make known DATA='FOLDER ...' EACH='FOLDER ...'  compare the readers with other programs on public test data"
	@echo "make check   linter and type checker alone"
	@echo "make docs    build the documentation into ./site"
	@echo "make man     write the manual page to ./ctseg.1, from the help of every command"
	@echo "make dist    build wheel, sdist, SBOM and list of licences into ./dist; fails where two builds differ"
	@echo "make bare    the wheel in bare environments, newest and lowest versions; PYTHONS='python3.11 python3.13' tries more, BARE=--extras the extras (also --newest torch==2.13.0 --find-links FOLDER, --only lowest)"
	@echo "make lock    write requirements.lock again: the versions of constraints.txt with the hashes of their files"
	@echo "make clean   remove the virtual environment and caches"

# constraints.txt holds the tested versions; the torch build it names is the one for the CPU where pip knows it.
# The demo needs the package alone; everything else needs the plugins and the tools of development, too.
$(BIN)/.package: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "ctseg needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(EDITABLE) --constraint constraints.txt --editable .
	touch $@

$(BIN)/.ready: $(BIN)/.package $(wildcard plugins/*/pyproject.toml)
	$(EDITABLE) --constraint constraints.txt --editable . $(addprefix --editable ,$(PLUGINS)) --group dev
	touch $@

demo: $(BIN)/.package
	$(BIN)/ctseg demo --output $(DEMO) $(DEMO_FLAGS)

check: $(BIN)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread a process: there are as many processes as cores. Coverage is measured over the quick tests alone: its
# tracer makes the others, which train networks, half as long again. `make cover` measures all of them.
test: $(BIN)/.ready check docs
	$(ONE_THREAD) $(BIN)/pytest tests plugins -n 2 --dist worksteal -m "not ($(LONG))" $(COVER) --cov-fail-under=83
	$(ONE_THREAD) $(BIN)/pytest tests plugins -n 2 --dist worksteal -m "$(LONG)"

test-fast: $(BIN)/.ready
	$(ONE_THREAD) $(BIN)/pytest tests plugins -q -m "not ($(LONG))"

cover: $(BIN)/.ready
	$(ONE_THREAD) $(BIN)/pytest tests plugins -n 2 $(COVER) --cov-fail-under=94

bench: $(BIN)/.ready
	$(ONE_THREAD) $(BIN)/python tests/benchmarks/bench.py

fuzz: $(BIN)/.ready
	$(BIN)/python tests/fuzz/fuzz_readers.py $(FUZZ)

# The peers live in an environment of their own: they are only run. EACH names folders whose files are read one by one.
$(VENV)-peers/.ready:
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip install --quiet dcm2niix dicom2nifti
	touch $@

known: $(BIN)/.ready $(VENV)-peers/.ready
	$(BIN)/python tests/known/compare_readers.py $(DATA) $(if $(EACH),--each $(EACH)) \
		--programs $(VENV)-peers/bin --page $(PAGE)

docs: $(BIN)/.ready
	$(BIN)/mkdocs build --quiet --strict --site-dir $(SITE)

man: $(BIN)/.ready
	$(BIN)/python -m ctseg.cli.man_page > ctseg.1

dist: $(BIN)/.ready
	$(BIN)/pip install --quiet --group dist
	$(BIN)/python tools/dist.py

bare: $(BIN)/.ready
	$(BIN)/pip install --quiet --group dist
	$(BIN)/python tools/bare.py $(BARE) $(PYTHONS)

lock: $(BIN)/.ready
	$(BIN)/pip install --quiet --group dist
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --group dev \
	  --constraint constraints.txt --no-annotate --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build site ctseg.1 *.egg-info
