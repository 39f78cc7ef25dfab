# What people and CI do here. All of it runs in .venv, which is made from the lock file when it is first needed and
# again when the lock or pyproject.toml changes; in between nothing needs the network.

CANDIDATES := python3 python3.13 python3.12 python3.11
RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(shell for name in $(CANDIDATES); do $$name -c '$(RECENT)' 2>/dev/null && echo $$name; done))

BIN := .venv/bin
READY := .venv/.made-from-lock
PIP := -m pip --disable-pip-version-check
ARGS ?=
# Tests wait for brokers most of their time. Each worker that meets a test on Kafka starts one of its own.
WORKERS ?= 4
PIP_TOOLS := 7.6.2
# What the references of `make bench` need that the project does not; where it cannot be had, they are left out.
REFERENCES := benchmarks/references/requirements
THEIRS := build/references/.made-from-lock
# The schema that the manifests for KEDA are held to; where it cannot be had, their tests are skipped, and fail in CI.
SCHEMA := deploy/kubernetes/scaling/schema
KEDA := build/keda/.made-from-lock
COMPILE := build/lock/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

, := ,
refuse = { echo "$(strip $(1))" >&2; exit 1; }

# A virtual environment knows where it lies and which Python it came from: one that was moved, or lost its Python, is
# made anew.
ifneq ($(shell $(BIN)/python -c '' 2>/dev/null && cat $(READY) 2>/dev/null),$(CURDIR))
$(shell rm -f $(READY))
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test fuzz hostile forbidden observe nights dashboard chaos bench bench-operator bench-owed lint types format wheel image sbom audit check lock clean

help: ## List what can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Watch events travel from Kafka to services; nothing else is needed (ARGS=--keep goes on running).
	@$(BIN)/sprintly-services demo $(ARGS)

test: $(READY) $(KEDA) ## Run the tests, on the real Kafka where there is Docker (ARGS="-k lanes" picks some).
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(READY) ## Have 100,000 fuzzed records consumed on Kafka, and account for each (ARGS="--records 5000 --seed 1").
	@$(BIN)/python tests/fuzz.py $(ARGS)

forbidden: $(READY) ## Try a hundred destinations that nobody may be made to call, where no packet can leave (Linux).
	@$(BIN)/python tests/forbidden.py $(ARGS)

hostile: $(READY) ## Deliver to hostile peers of all kinds at once, on Kafka, and see what a replica makes of each (ARGS="--seconds 10").
	@$(BIN)/python tests/hostile_peers.py $(ARGS)

observe: $(READY) ## Have a real Prometheus scrape three replicas on Kafka, and print what each panel and alert answers.
	@$(BIN)/python tests/observe.py $(ARGS)

nights: $(READY) ## Provoke each alert on Kafka, do what its section in docs/operating.md says, and see that all is well (ARGS=SprintlyExpired).
	@$(BIN)/python tests/nights/drill.py $(ARGS)

dashboard: $(READY) ## Write deploy/grafana.json anew from deploy/observability.
	@$(BIN)/python deploy/observability/dashboard.py

bench: $(READY) $(THEIRS) ## Measure deliveries/s, CPU and latency beside other systems (ARGS="instant --events 5000 --rounds 1" is quicker).
	@$(BIN)/python benchmarks/bench.py $(ARGS)

bench-operator: $(READY) ## Play what an operator does, on Kafka: replay thousands, backfill, a bad night (ARGS=story plays one).
	@$(BIN)/python benchmarks/operating.py $(ARGS)

bench-owed: $(READY) ## Play outages, rate limits and crashes on Kafka, and check what arrives (ARGS="outage --down 30" plays one).
	@$(BIN)/python benchmarks/owed.py $(ARGS)

chaos: $(READY) ## Kill, freeze and cut off replicas and Kafka for 40 minutes, and check all (ARGS="kill --seconds 60" is shorter).
	@$(BIN)/python tests/chaos/drill.py $(ARGS)

lint: $(READY) ## Look for mistakes in the code and its layout.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ## Check the types.
	@$(BIN)/mypy

format: $(READY) ## Lay out the code and mend what can be mended.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

wheel: $(READY) ## Build the wheel and try it in an environment of its own.
	@echo "Building the wheel and installing it elsewhere"
	@rm -rf dist && mkdir -p build
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist . >build/wheel.log 2>&1 || { cat build/wheel.log; exit 1; }
	@wheel=$$(ls "$(CURDIR)"/dist/*.whl) && place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && \
	$(BIN)/python -m venv "$$place" && \
	"$$place/bin/python" $(PIP) install --quiet --require-hashes -r requirements.lock && \
	"$$place/bin/python" $(PIP) install --quiet --no-deps "$$wheel" && \
	cd "$$place" && bin/sprintly-services --version && bin/sprintly-services --help >/dev/null

image: ## Build the Docker image; BASE_IMAGE, REQUIREMENTS and PIP_INDEX_URL are heeded (docs/docker.md).
	@docker build --tag sprintly-services \
	$(addprefix --build-arg$() ,BASE_IMAGE REQUIREMENTS PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST) \
	--build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
	--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(ARGS) .

sbom: $(READY) ## Write build/sbom.cdx.json: all that the image gets, as CycloneDX (REQUIREMENTS=requirements-apprise.lock with Apprise).
	@rm -rf build/sbom && mkdir -p build && $(BIN)/python -m venv --without-pip build/sbom
	@$(BIN)/python $(PIP) --python build/sbom/bin/python install --quiet --require-hashes --report build/sbom/installed.json \
	-r $(or $(REQUIREMENTS),requirements.lock)
	@$(BIN)/python deploy/supply/sbom.py build/sbom --installed build/sbom/installed.json --output build/sbom.cdx.json
	@echo "build/sbom.cdx.json has what is installed by $(or $(REQUIREMENTS),requirements.lock)"

audit: $(READY) ## Hold the lock files against what pip's index serves (ARGS=--full fails where that tells of no vulnerabilities).
	@$(BIN)/python deploy/supply/audit.py requirements*.lock $(REFERENCES).lock $(SCHEMA).lock $(ARGS)

check: lint types audit wheel test ## What CI runs: lint, types, audit, wheel, test.

lock: ## Make the lock files anew from pyproject.toml (ARGS=--upgrade takes the newest versions).
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || $(call refuse,The oldest Python \
	supported makes the lock$(,) so that nothing is left out: make lock PYTHON=python3.11)
	@$(PYTHON) -m venv --clear build/lock
	@build/lock/bin/python $(PIP) install --quiet pip-tools==$(PIP_TOOLS)
	@unset PIP_FIND_LINKS; \
	$(COMPILE) pyproject.toml $(ARGS) --output-file requirements.lock && \
	$(COMPILE) pyproject.toml $(ARGS) --extra apprise --constraint requirements.lock --output-file requirements-apprise.lock && \
	$(COMPILE) pyproject.toml $(ARGS) --extra otel --constraint requirements-apprise.lock --output-file requirements-otel.lock && \
	$(COMPILE) pyproject.toml $(ARGS) --extra dev --constraint requirements-apprise.lock --constraint requirements-otel.lock --output-file requirements-dev.lock && \
	$(COMPILE) $(REFERENCES).in $(ARGS) --constraint requirements.lock --output-file $(REFERENCES).lock && \
	$(COMPILE) $(SCHEMA).in $(ARGS) --constraint requirements-dev.lock --output-file $(SCHEMA).lock
	@for lock in requirements.lock requirements-apprise.lock requirements-otel.lock requirements-dev.lock $(REFERENCES).lock $(SCHEMA).lock; do \
	source=pyproject.toml; test ! -f $${lock%.lock}.in || source=$${lock%.lock}.in; \
	{ echo "# Made from $$source by \"make lock\"; every file is known by its hash."; cat $$lock; } >build/new && \
	mv build/new $$lock; done

$(THEIRS): $(REFERENCES).lock
	@echo "Making build/references from $(REFERENCES).lock; this happens once"
	@rm -rf build/references; $(PYTHON) -m venv build/references && \
	build/references/bin/python $(PIP) --retries 1 install --quiet --require-hashes -r $(REFERENCES).lock && touch $@ || \
	{ rm -rf build/references; echo "That failed: FastStream is left out" >&2; }

$(KEDA): $(SCHEMA).lock
	@echo "Making build/keda from $(SCHEMA).lock; this happens once"
	@rm -rf build/keda; $(PYTHON) -m venv build/keda && \
	build/keda/bin/python $(PIP) --retries 1 install --quiet --require-hashes -r $(SCHEMA).lock && touch $@ || \
	{ rm -rf build/keda; echo "That failed: the manifests for KEDA are not held to its schema" >&2; }

clean: ## Remove all that was made here.
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || $(call refuse,No Python 3.11 or later was found (tried $(CANDIDATES)): install one$(,) \
	or name it by make PYTHON=…)
	@$(PYTHON) -c '$(RECENT)' || $(call refuse,$(PYTHON) is not Python 3.11 or later: name one by make PYTHON=…)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call refuse,$(PYTHON) lacks its venv module: install \
	it (on Debian and Ubuntu: apt install python3-venv))
	@echo "Making .venv with $$($(PYTHON) -V) from requirements-dev.lock; this happens once"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python $(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@$(BIN)/python $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" >$@
