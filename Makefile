# Set-up happens by itself: `make demo` and `make test` are all a fresh machine needs (Python 3.11+).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_ARGS ?=
# Without a GPU, PyTorch's CPU build saves a download of several GB. CPU_TORCH= takes what PyPI has.
CPU_TORCH ?= https://download.pytorch.org/whl/cpu
TORCH_INDEX = $(shell test -n "$(CPU_TORCH)" -a "$$(uname -s)" = Linux || exit; \
	test -e /dev/nvidiactl && exit; command -v nvidia-smi >/dev/null && exit; \
	curl --silent --head --fail --max-time 5 --output /dev/null $(CPU_TORCH)/torch/ && echo --extra-index-url $(CPU_TORCH))
OLDEST ?= .oldest
MATRIX ?= .matrix
PYTHONS ?= 3.11 3.12 3.13 3.14
# More options of pytest in the tests of other versions: "-k 'not cluster'", a file.
TESTS ?=
UV_ARGS ?=
RUNS := runs/demo
# More options of lop run; --set num_tasks=5 takes half a minute and shows no loss yet.
DEMO_ARGS ?=
FAULTS ?= long
GPU_CHECK ?=
# One thread for each process; byte code is kept, or every child process would compile lop anew.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
SUITE := -n 3 --dist worksteal --ignore=tests/faults
# More options of the leaderboard: --dry-run, --minutes 200, --seeds 10.
LEADERBOARD ?=

.DEFAULT_GOAL := help
.PHONY: help install demo demo-scr demo-mnist docs pages pictures test test-long coverage test-oldest test-matrix test-filled test-faults test-cluster test-web soak check format bench leaderboard gpu-check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 20

# One line on what pip does; "failed" in its output fails.
PROGRESS = { while read -r verb name size; do case $$verb in \
	Collecting) number=$$((number + 1)); what="fetching $$name";; \
	Downloading) what="fetching $$name $$size";; \
	Installing) what=installing;; \
	failed) echo; exit 1;; \
	*) continue;; esac; \
	test ! -t 1 || printf '\r\033[K%.79s' "  $$number packages, $$what"; done; test ! -t 1 || echo; }

# constraints.txt pins the whole tree, so that today's install is tomorrow's.
$(VENV)/.user: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lop needs Python 3.11 or newer; name one with make PYTHON=python3.12"; exit 1; }
	@echo "Setting up $(VENV) with PyTorch and what else lop needs: some minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@{ PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --progress-bar off --disable-pip-version-check \
		$(TORCH_INDEX) $(PIP_ARGS) -c constraints.txt -e . || echo failed; } | $(PROGRESS)
	@touch $@

$(VENV)/.dev: $(VENV)/.user
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/.user ## install lop into .venv

demo: $(VENV)/.user ## watch backprop forget how to learn while continual backprop does not (5 minutes)
	$(BIN)/lop run cfg/demo/bp.json cfg/demo/cbp.json --seeds 2 --runs-dir $(RUNS) --watch $(DEMO_ARGS)
	$(BIN)/lop plot test_accuracy dormant_proportion effective_rank weight_magnitude --runs-dir $(RUNS) -o $(RUNS)/demo.png

demo-scr: $(VENV)/.user ## the same on slowly-changing regression, 60 runs (a minute)
	$(BIN)/lop run cfg/scr/demo/bp.json cfg/scr/demo/cbp.json --runs-dir $(RUNS) --watch $(DEMO_ARGS)

demo-mnist: $(VENV)/.user ## the same on online permuted MNIST, with generated digits (two minutes)
	$(BIN)/lop run cfg/mnist/demo/bp.json cfg/mnist/demo/cbp.json --runs-dir $(RUNS) --watch $(DEMO_ARGS)

$(VENV)/.docs: $(VENV)/.user
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(VENV)/.docs ## build the documentation as a site: build/site/index.html (its search needs a server: python3 -m http.server -d build/site)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

pages: $(VENV)/.user ## write the pages of docs/ that are made from the code
	$(BIN)/python -m pages.methods
	$(BIN)/python -m pages.metrics
	$(BIN)/python -m pages.dashboard

pictures: $(VENV)/.user ## train the demo anew and take the pictures of docs/ (6 minutes)
	$(BIN)/lop run cfg/demo/bp.json cfg/demo/cbp.json --seeds 2 --runs-dir $(RUNS) --fresh --yes --detach
	$(BIN)/python -m pages.pictures watch $(RUNS)
	$(BIN)/python -m pages.pictures views $(RUNS)
	$(BIN)/lop plot test_accuracy dormant_proportion effective_rank weight_magnitude --runs-dir $(RUNS) -o docs/demo.png

test: $(VENV)/.dev ## run the tests, but for the long ones (6 minutes on two cores)
	$(PYTEST) $(SUITE) -m "not long"

test-long: $(VENV)/.dev ## run the long tests: whole commands, every method with every option (15 minutes)
	$(PYTEST) $(SUITE) -m long

coverage: $(VENV)/.dev ## branch coverage of make test, child processes included; fails below 91 %
	mkdir -p build/coverage
	$(subst -m pytest,-m coverage run -m pytest,$(PYTEST)) $(SUITE) -m "not long"; status=$$?; \
	$(BIN)/python -m coverage combine --quiet; \
	$(BIN)/python -m coverage report --skip-covered --sort=cover && exit $$status

test-filled: $(VENV)/.dev ## the tests in a copy of this checkout with runs, images, and a lop.toml that is invalid
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.filled $(SUITE)

test-faults: $(VENV)/.dev ## kill, fill, damage, two commands at once: the long form (15 minutes; FAULTS=short: 2)
	LOP_FAULTS=$(FAULTS) PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest tests/faults -n 2 -o timeout=900

test-oldest: ## run the tests with the oldest versions that pyproject.toml allows (downloads 5 GB; UV_ARGS for another index)
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) uv
	$(OLDEST)/bin/uv pip install --python $(OLDEST)/bin/python --resolution lowest-direct $(UV_ARGS) -e '.[dev,gpu]'
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest $(SUITE) -o filterwarnings=default $(TESTS)

# An environment per version in .matrix; uv finds the interpreters, and fetches those that are missing if it can.
test-matrix: ## run the tests with Python 3.11 to 3.14, each that is here or that uv can fetch (PYTHONS="3.12 3.13")
	@test -x $(MATRIX)/uv/bin/uv || { $(PYTHON) -m venv $(MATRIX)/uv && $(MATRIX)/uv/bin/python -m pip install --quiet $(PIP_ARGS) uv; }
	@PATH=$$PATH:$$(echo $$HOME/.pyenv/versions/*/bin | tr ' ' ':'); for one in $(PYTHONS); do \
		env=$(MATRIX)/$$one; \
		if ! $(MATRIX)/uv/bin/uv venv --quiet --allow-existing --python $$one $$env; then missing="$$missing $$one"; continue; fi; \
		echo "Python $$one: installing, then running the tests"; \
		if $(MATRIX)/uv/bin/uv pip install --quiet --python $$env/bin/python --index-strategy unsafe-best-match $(TORCH_INDEX) $(UV_ARGS) \
			-c constraints.txt -e '.[dev]' && \
			OMP_NUM_THREADS=1 $$env/bin/python -m pytest $(SUITE) $(TESTS); \
		then passed="$$passed $$one"; else failed="$$failed $$one"; fi; \
	done; \
	echo "passed:$${passed:- none}; failed:$${failed:- none}; no such Python here:$${missing:- none}"; \
	test -z "$$failed" -a -n "$$passed"

test-cluster: $(VENV)/.dev ## run jobs on a real Slurm that is there for as long as the tests
	tests/cluster/slurm.sh $(BIN)/python -m pytest tests/cluster

test-web: $(VENV)/.dev ## lop watch --web in headless Chromium (a minute)
	LOP_BROWSER=1 $(BIN)/python -m pytest tests/browser -o timeout=600

soak: $(VENV)/.dev ## the dashboard left on for 10 minutes while runs come, fail and go
	LOP_SOAK=long $(BIN)/python -m pytest tests/dashboard/test_soak.py -s

check: $(VENV)/.dev ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## put the code in house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.user ## measure training, metrics, files, estimates, growth and dashboard on this machine (20 minutes)
	$(BIN)/lop bench
	$(BIN)/python -m bench.dashboard
	$(BIN)/python -m bench.estimate
	$(BIN)/python -m bench.growth

leaderboard: $(VENV)/.user ## search and compare every method, write docs/leaderboard.md (2 hours on two cores; run again to resume)
	$(BIN)/python -m bench.leaderboard $(LEADERBOARD)

$(VENV)/.gpu: $(VENV)/.user
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[gpu]'
	@touch $@

gpu-check: $(VENV)/.gpu ## check that a GPU trains correctly, and time it (10 minutes; GPU_CHECK="--only correctness")
	$(BIN)/python -m bench.gpu $(GPU_CHECK)

clean: ## remove the environment and caches, never runs or data
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info build
