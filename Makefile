# Everything is relative to this folder, so a space in its path is harmless.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PY := .venv/bin/python
SAM := .tools/sam/bin/python -m samcli
UV := .tools/uv/bin/python -m uv
export UV_PYTHON_DOWNLOADS := never
export SAM_CLI_TELEMETRY := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP_INSTALL := -m pip install --quiet --require-hashes --no-deps

##@ Use
.PHONY: run
run: setup web/dist/.stamp ## Set up, start everything, replay recorded traffic: http://127.0.0.1:8000
	@exec .venv/bin/davinci run

.PHONY: verify
verify: setup ## Check that nothing the replay saw acknowledged was lost or doubled
	@.venv/bin/davinci verify

##@ Prove
.PHONY: test
test: setup web/dist/.stamp .tools/sam/.stamp .tools/litellm/.stamp ## Set up and pass every test (10 minutes on 2 cores)
	$(PY) -m pytest -n 2 --dist loadscope $(PYTEST_FLAGS)
	npm --prefix web run --silent test

.PHONY: cover
cover: PYTEST_FLAGS := --cov --cov-report=term
cover: test ## The same, and what of the code no test runs (a third slower)

.PHONY: test-unit
test-unit: .venv/.installed ## Only what needs no server
	$(PY) -m pytest tests/unit tests/property tests/architecture

.PHONY: fuzz
fuzz: setup ## Seek what no test has: the API by its document, 100 examples an operation, 4 seeds; properties
	DAVINCI_FUZZ_EXAMPLES=100 $(PY) -m pytest tests/contract/test_schemathesis.py -n 2 --dist load -rP
	DAVINCI_FUZZ_EXAMPLES=100 $(PY) -m pytest tests/property -n 2

.PHONY: check
check: setup web/node_modules/.stamp infra/lint/node_modules/.stamp .tools/sam/.stamp ## Lint, formats, types, imports, templates, generated files
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	.venv/bin/davinci openapi --check
	$(PY) -m infra.openapi.access_table --check
	npm --prefix infra/lint run --silent openapi
	$(PY) -m infra.lint.breaking $(if $(BASE),--against "$(BASE)")
	$(PY) -m infra.local.event_schemas --check
	$(SAM) validate --lint --region eu-west-1
	@# WS1000 asks for X-Ray, which costs 0.5 s of cold start; WS1004 does not see the shared log group.
	.venv/bin/cfn-lint template.yaml --regions eu-west-1 -a cfn_lint_serverless.rules -i WS1000 WS1004
	npm --prefix web run --silent check

.PHONY: bench
bench: setup .tools/sam/.stamp ## Measure; writes the tables in README.md (about 10 minutes)
	$(PY) -m infra.bench all --write-readme

##@ Build
.PHONY: build
build: .tools/sam/.stamp .tools/wheels/.stamp ## Build the functions and the layer for Lambda (sam build)
	infra/local/sam-build.sh

.PHONY: openapi
openapi: .venv/.installed web/node_modules/.stamp ## Write the OpenAPI document, event schemas and the dashboard's types
	.venv/bin/davinci openapi
	$(PY) -m infra.openapi.access_table
	$(PY) -m infra.local.event_schemas
	npm --prefix web run --silent gen

.PHONY: format
format: .venv/.installed ## Format and fix what can be fixed
	$(PY) -m ruff check --fix --quiet .
	$(PY) -m ruff format .

.PHONY: migration
migration: .venv/.installed ## Draft a migration from the tables: make migration name=add_budgets
	$(PY) -m infra.local.migrate draft "$(name)"

##@ Maintain
.PHONY: setup
setup: .venv/.installed ## Make .venv from the lock file
.venv/.stamp: requirements.lock infra/local/find-python.sh
	@echo "Setting up .venv (once; about a minute) ..."
	@python="$$(infra/local/find-python.sh)" && "$$python" -m venv --clear .venv
	@$(PY) $(PIP_INSTALL) -r requirements.lock
	@touch $@
.venv/.installed: .venv/.stamp pyproject.toml
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@

web/node_modules/.stamp: web/package.json web/package-lock.json
	@echo "Installing the dashboard's packages (once) ..."
	@npm --prefix web ci --silent --no-audit --no-fund
	@touch $@

infra/lint/node_modules/.stamp: infra/lint/package.json infra/lint/package-lock.json
	@echo "Installing the API linter (once) ..."
	@npm --prefix infra/lint ci --silent --no-audit --no-fund
	@touch $@

WEB_SOURCES := $(shell find web/src web/public web/index.html -type f 2>/dev/null | sed 's/ /\\ /g')
web/dist/.stamp: web/node_modules/.stamp $(WEB_SOURCES) functions/system/openapi.json
	@echo "Building the dashboard ..."
	@npm --prefix web run --silent build
	@touch $@

# aws-sam-cli pins many packages, so it lives apart from .venv.
.tools/sam/.stamp: infra/local/requirements-sam.lock infra/local/find-python.sh
	@echo "Setting up aws-sam-cli (once) ..."
	@python="$$(infra/local/find-python.sh)" && "$$python" -m venv --clear .tools/sam
	@.tools/sam/bin/python $(PIP_INSTALL) -r infra/local/requirements-sam.lock
	@touch $@

# litellm pins the openai client that it wants; as a client under test it lives apart from .venv.
.tools/litellm/.stamp: infra/local/requirements-litellm.lock infra/local/find-python.sh
	@echo "Setting up litellm, a client under test (once) ..."
	@python="$$(infra/local/find-python.sh)" && "$$python" -m venv --clear .tools/litellm
	@.tools/litellm/bin/python $(PIP_INSTALL) -r infra/local/requirements-litellm.lock
	@touch $@

# The wheels for Lambda's platform, so that builds need no network afterwards: the layer's, and the
# server of the function that streams.
.tools/wheels/.stamp: shared/requirements.txt functions/gateway/requirements.txt .venv/.stamp
	@echo "Fetching Lambda's wheels (once) ..."
	@rm -rf .tools/wheels && mkdir -p .tools/wheels
	@$(PY) -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --python-version 3.13 \
		--platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
		--platform manylinux2014_x86_64 --dest .tools/wheels \
		-r shared/requirements.txt -r functions/gateway/requirements.txt
	@touch $@

.PHONY: lock
lock: .tools/uv/.stamp ## Renew the lock files (hashes, no index hosts, Python 3.11 to 3.13)
	$(UV) pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --all-extras -o requirements.lock pyproject.toml
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 -c requirements.lock -o shared/requirements.txt pyproject.toml
	printf '%s\n' uvicorn httptools | $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --python-version 3.13 -c requirements.lock -o functions/gateway/requirements.txt -
	echo aws-sam-cli | $(UV) pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url \
		--no-header --python-version 3.11 -o infra/local/requirements-sam.lock -
	echo litellm | $(UV) pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url \
		--no-header --python-version 3.11 -o infra/local/requirements-litellm.lock -
.tools/uv/.stamp:
	@python="$$(infra/local/find-python.sh)" && "$$python" -m venv --clear .tools/uv
	@.tools/uv/bin/python -m pip install --quiet uv
	@touch $@

.PHONY: clean
clean: ## Remove what make made, but not the state in .davinci
	rm -rf .venv .tools .aws-sam web/node_modules web/dist infra/lint/node_modules

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
