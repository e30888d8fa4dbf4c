# One environment in .venv, made from the locked constraints; every target makes it first.

PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo up down test check reliability bench sample-models clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt infra/airflow_ray/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt setuptools wheel torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[platform,fusion,test,provenance]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --constraint constraints.txt invisible-watermark
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable infra/airflow_ray
	touch $(STAMP)

# make demo [URL_LIST=list.jsonl] [ALLOW_HOSTS=127.0.0.1:8322] [ARGS="--keep --airflow-port 8090"]
demo: install
	@$(BIN)/pangu demo $(ARGS)

up: install
	@$(BIN)/pangu up $(ARGS)

down: install
	@$(BIN)/pangu down $(ARGS)

test: install check
	infra/local/install_browser.sh
	$(BIN)/python -m pytest -m "not slow and not nightly"

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_architecture.py

reliability: install
	infra/local/install_browser.sh
	$(BIN)/python -m tests.reliability.report

bench: install
	$(BIN)/python -m tests.benchmarks.run $(ROWS)

# Hours on two cores: the scorer (three seeds), the base pair and their judge from nothing, resumable in WORK; then the
# judge's report in WORK/report. DATA is the folder of pairs, prompts and teachers (see ray_jobs/fit_sample_scorer.py).
WORK ?= .pangu/sample-models
DATA ?= ../shared/data
sample-models: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[platform,sample-training]'
	$(BIN)/python -m ray_jobs.fit_sample_scorer --data $(DATA) --work $(WORK)/scorer
	$(BIN)/python -m ray_jobs.fit_base_experts --work $(WORK)/experts $(ARGS)
	$(BIN)/python -m ray_jobs.fit_scene_judge --work $(WORK)/judge
	$(BIN)/python -m ray_jobs.judge_experts --output $(WORK)/report

clean:
	rm -rf $(VENV) .pangu
