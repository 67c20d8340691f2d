# Each target sets up what it needs, and is quick when that is there. `make help` lists them; tools/ does the setting up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules

# Whatever comes from .venv finds its companions (ansible-playbook, molecule, bao) there too.
in_venv := PATH="$(CURDIR)/.venv/bin:$$PATH"
play := $(in_venv) ansible-playbook
collection := .venv/collections/ansible_collections/christmas/selfheal

# Those that tell the story, then the long ones, so that none of them is alone at the end.
first := default incident multi-service backup monitoring-hosts drift monitoring status-page
found := $(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml))
scenarios := $(filter $(found),$(first)) $(filter-out $(first),$(sort $(found)))

.PHONY: help
help: ## this list
	@echo "make TARGET, where TARGET is one of"
	@grep -hE '^[a-z][a-z%-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | while IFS=$$'\t' read -r name text; do \
	    printf '  %-18s %s\n' "$$name" "$$text"; done

.PHONY: setup
setup: $(collection) ## the controller: Python packages into .venv, ssh, rsync and openssl

# The same file of the repository is seen as ansible_collections/christmas/selfheal, wherever the clone lies.
$(collection): controller
	@mkdir -p $(@D) && ln -sfn ../../../.. $@

.PHONY: controller
controller:
	@tools/programs
	@tools/venv .venv controller

.PHONY: setup-test
setup-test: setup
	@tools/venv .venv test

.PHONY: engine
engine: ## a Docker engine that answers (installed and started on Debian and Ubuntu as root)
	@tools/docker-engine

.PHONY: lab
lab: setup engine ## the lab: a host to provision and a Supabase stand-in, in containers
	@$(play) lab/create.yml

# What scenarios share, so that none of them makes it while another one does. The unit tests that ask Compose itself find it
# in a host's image.
.PHONY: lab-images
lab-images: setup engine
	@$(play) lab/create.yml -e '{"lab_hosts": [], "lab_everything": true}'

.PHONY: demo
demo: lab ## the night of 2025-05-27 happens on a lab host, and recover.yml ends it
	@echo "demo: 1 of 4, from a bare host to a healthy app (playbooks/site.yml)"
	@$(play) playbooks/site.yml
	@echo "demo: 2 of 4, the service key is replaced by its placeholder, and the container cannot start"
	@$(play) lab/incident.yml
	@echo "demo: 3 of 4, how it looks from outside (playbooks/status.yml)"
	@$(play) playbooks/status.yml
	@echo "demo: 4 of 4, the end of it (playbooks/recover.yml)"
	@$(play) playbooks/recover.yml

.PHONY: clean
clean: setup ## remove every container, volume, network and image of the lab
	@if docker version >/dev/null 2>&1; then $(play) lab/destroy.yml -e lab_all=true; \
	    else echo "clean: no Docker engine answers. If the lab was made here, start it, and run make clean again."; fi
	@rm -rf .lab

.PHONY: test
test: ## everything: lint, docs, unit tests at both ends, library on Python 3.9, every molecule scenario
	@tools/stages setup-test -- lab-images lint unit-other docs-check library -- unit $(scenarios:%=molecule-%)

.PHONY: lint
lint: setup-test ## ruff, mypy, yamllint, ansible-lint, shellcheck, actionlint, changelog fragments
	@tools/lint

.PHONY: unit
unit: setup-test lab-images ## the unit tests (some ask the lab's Compose)
	@$(in_venv) pytest

.PHONY: coverage
coverage: setup-test ## the unit tests' branch coverage of the library: 90 % in all, 80 % of each file
	@$(in_venv) coverage run -m pytest -q -m "not compose"
	@$(in_venv) tools/coverage

.PHONY: unit-other
unit-other: setup-test ## the unit tests with the oldest Python and ansible-core of the supported range
	@tools/other-end

.PHONY: library
library: ## the library imports with Python 3.9 and nothing else
	@tools/library

.PHONY: molecule
molecule: ## every molecule scenario; one of them: make molecule-incident
	@tools/stages setup-test lab-images -- $(scenarios:%=molecule-%)

.PHONY: test-faults
test-faults: ## every fault of the catalogue on a lab host, where `make test` drills the fast ones
	@SELFHEAL_FAULTS=all tools/stages setup-test lab-images molecule-faults molecule-deploy molecule-multi-service molecule-monitoring-hosts molecule-status-page molecule-backup molecule-drift --

.PHONY: browser
browser: ## a Chromium, with which the tests of the status page look at it
	@tools/browser

molecule-status-page: browser

.PHONY: screenshots
screenshots: ## docs/images, the status page as its guide shows it
	@tools/browser letters
	@SELFHEAL_SCREENSHOTS=1 $(MAKE) molecule-status-page

molecule-%: setup-test engine
	@$(in_venv) molecule test --scenario-name $*

.PHONY: docs
docs: setup ## docs/reference, from the roles' argument specs and the modules' documentation; Grafana's dashboards
	@$(in_venv) python docs/generate.py

.PHONY: docs-check
docs-check: setup
	@$(in_venv) python docs/generate.py --check

.PHONY: bench
bench: lab ## the measurements: tables, JSON and pictures in bench/results
	@tools/venv .venv bench
	@$(play) playbooks/site.yml
	@$(in_venv) python bench/recover.py

.PHONY: bench-soak
bench-soak: setup engine ## an hour of healthy load: no remedy, and what the watcher costs; shorter: ARGS="--minutes 3"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.soak $(ARGS)

.PHONY: bench-recovery
bench-recovery: setup engine ## every fault, recovered by us and by what Debian carries; hours. Shorter: ARGS="--rounds 2 --alternative-rounds 1"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.recovery $(ARGS)

.PHONY: bench-services
bench-services: setup engine ## faults of single services, healed by us, by restart policies, by restarting what is unhealthy; hours. Shorter: ARGS="--rounds 1 --alternative-rounds 1"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.services $(ARGS)

.PHONY: soak-services
soak-services: setup engine ## an hour of eight services that are well, with 429s, slow starts, failing jobs and busy cores: no remedy, no Docker call. Shorter: ARGS="--minutes 6 --variants alone"
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.soak_services $(ARGS)

.PHONY: bench-slow
bench-slow: setup engine ## the drills at a tenth of the speed: right causes, nobody restarted for being slow. Shorter: ARGS="--faults crash,hang"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.slow $(ARGS)

.PHONY: bench-deploy
bench-deploy: setup engine ## good and bad deploys under load, and docker compose up; shorter: ARGS="--rounds 3 --plain-rounds 1"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.deploy $(ARGS)

.PHONY: bench-backing
bench-backing: setup engine ## 200 clients on 20 connections of the database, and reads while the cache is stopped; shorter: ARGS="--rounds 1 --seconds 3"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.backing $(ARGS)

.PHONY: bench-drift
bench-drift: setup engine ## drift checks of 1 to 8 lab hosts, and what a host costs; shorter: ARGS="--rounds 2 --hosts 2"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.drift $(ARGS)

.PHONY: bench-backup
bench-backup: setup engine ## 1 GB is backed up while users ask 200 times a second, then the host is rebuilt; shorter: ARGS="--rounds 1"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.backup $(ARGS)
