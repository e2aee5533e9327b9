# Thin on purpose: what a command does is in scripts/. `make help` lists them.
# PYTHON=python3.12 make ... selects the interpreter (any of 3.10 to 3.13; default: python3).
# ARGS="..." is passed on, to pytest for test and check.

.PHONY: help demo up test check matrix live docs reliability fuzz bench lint format lock clean install

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /  make \1	/'

demo: ## makes an image with a DAG in a real Airflow: on an emulator, or on the service if PIXWITH_API_KEY is set
	@bash scripts/run.sh demo

up: ## a whole Airflow with its web interface, the example DAGs and the connection; Ctrl-C ends it
	@bash scripts/run.sh up

test: ## everything: lint, types, the built wheel on Airflow 3.3.2 and 2.11.2, and what differs on those in between
	@bash scripts/run.sh test $(ARGS)

check: ## the quick part: lint, types and the tests that need no running Airflow, on the source tree
	@bash scripts/run.sh check $(ARGS)

reliability: ## all faults in a whole Airflow, with the long runs that make test leaves out: half an hour
	@bash scripts/run.sh check -s -m e2e tests/reliability $(ARGS)

fuzz: ## hostile bytes for what reads replies and images, a minute each; ARGS=600 takes ten
	@bash scripts/run.sh fuzz $(ARGS)

matrix: ## all tests on every Airflow and every Python that is here, with nox: hours; ARGS="-t airflow-3.1.8" takes one
	@bash scripts/run.sh matrix $(ARGS)

live: ## with your PIXWITH_API_KEY: asks, buys two images at the service, and tells where it differs from its contract
	@bash scripts/run.sh live $(ARGS)

docs: ## the site, from README, docs/ and the docstrings, into build/docs; warnings are failures
	@bash scripts/run.sh docs

lint: ## ruff, mypy, and the schemas of workflow and compose file
	@bash scripts/run.sh lint

format: ## lets ruff put the code in order
	@bash scripts/run.sh lint --fix

install: ## only makes or renews .venv
	@bash scripts/run.sh envs

lock: ## renews constraints/
	@bash scripts/run.sh lock

clean: ## removes what the other commands made, .venv too
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
