# Each target sets up what it needs, and is quick when that exists. `make help` lists the targets; tools/ has the scripts.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules

# Programs of .venv find each other (ansible-playbook, molecule, bao) on this PATH.
in_venv := PATH="$(CURDIR)/.venv/bin:$$PATH"
play := $(in_venv) ansible-playbook
collection := .venv/collections/ansible_collections/christmas/selfheal

# The scenarios that run first: two short ones, then the long ones, so that no long one runs alone at the end.
first := default incident multi-service backup monitoring-hosts drift monitoring status-page
# Scenarios of `make test-faults` alone: another release of Debian, and another way to a host.
rare := connections debian12
found := $(filter-out $(rare),$(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
scenarios := $(filter $(found),$(first)) $(filter-out $(first),$(sort $(found)))

.PHONY: help
help: ## list the targets
	@echo "make TARGET, where TARGET is one of"
	@grep -hE '^[a-z][a-z%-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | while IFS=$$'\t' read -r name text; do \
	    printf '  %-18s %s\n' "$$name" "$$text"; done

.PHONY: setup
setup: $(collection) ## set up the controller: Python packages in .venv, ssh, rsync and openssl

# The repository is importable as ansible_collections/christmas/selfheal, in whatever folder the clone is.
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
engine: ## start a Docker engine if none answers (on Debian and Ubuntu, root also installs it)
	@tools/docker-engine

.PHONY: lab
lab: setup engine ## create the lab: a host to provision and a Supabase stand-in, in containers
	@$(play) lab/create.yml

# The images that scenarios share, built before any scenario runs. The unit tests that run Compose itself use the one of a
# lab host's image.
.PHONY: lab-images
lab-images: setup engine
	@$(play) lab/create.yml -e '{"lab_hosts": [], "lab_everything": true}'

.PHONY: demo
demo: lab ## replay the incident of 2025-05-27 on a lab host, and recover it with recover.yml
	@echo "demo: 1 of 4, provision a bare host up to a healthy app (playbooks/site.yml)"
	@$(play) playbooks/site.yml
	@echo "demo: 2 of 4, replace the service key with its placeholder, so that the container cannot start (lab/incident.yml)"
	@$(play) lab/incident.yml
	@echo "demo: 3 of 4, check the app from outside (playbooks/status.yml)"
	@$(play) playbooks/status.yml
	@echo "demo: 4 of 4, recover the app (playbooks/recover.yml)"
	@$(play) playbooks/recover.yml

.PHONY: clean
clean: setup ## remove every container, volume, network and image of the lab
	@if docker version >/dev/null 2>&1; then $(play) lab/destroy.yml -e lab_all=true; \
	    else echo "clean: no Docker engine answers. If the lab exists on this machine, start the engine, then run make clean again."; fi
	@rm -rf .lab

.PHONY: test
test: ## run everything: lint, docs, sanity, unit tests at both ends, library on Python 3.9, every molecule scenario
	@tools/stages setup-test -- lab-images lint unit-other docs-check library -- sanity unit $(scenarios:%=molecule-%)

.PHONY: lint
lint: setup-test ## run ruff, mypy, yamllint, ansible-lint, shellcheck, actionlint, and the tools of Ansible's ecosystem
	@tools/lint

.PHONY: sanity
sanity: setup-test ## run `ansible-test sanity` with the newest ansible-core
	@tools/sanity

.PHONY: sanity-both
sanity-both: setup-test ## run `ansible-test sanity` with both ends of the supported ansible-core range
	@tools/sanity both

.PHONY: unit
unit: setup-test lab-images ## run the unit tests (some run the lab's Compose)
	@$(in_venv) pytest

.PHONY: coverage
coverage: setup-test ## measure the unit tests' branch coverage of the library: 90 % in all, 80 % of each file
	@$(in_venv) coverage run -m pytest -q -m "not compose"
	@$(in_venv) tools/coverage

.PHONY: unit-other
unit-other: setup-test ## run the unit tests with the other end of the supported Python and ansible-core range
	@tools/other-end

.PHONY: library
library: ## import the library with Python 3.9 and the standard library alone
	@tools/library

.PHONY: molecule
molecule: ## run every molecule scenario; a single one: make molecule-incident
	@tools/stages setup-test lab-images -- $(scenarios:%=molecule-%)

.PHONY: test-faults
test-faults: ## drill every fault on lab hosts, and test Debian 12 and sudo with a password; `make test` drills the fast ones only
	@SELFHEAL_FAULTS=all tools/stages setup-test lab-images sanity-both molecule-installed-other molecule-faults molecule-deploy molecule-multi-service molecule-monitoring-hosts molecule-status-page molecule-backup molecule-drift molecule-adopt $(rare:%=molecule-%) --

.PHONY: molecule-installed-other
molecule-installed-other: setup-test engine ## run the scenario `installed` with the other end of the supported Python and ansible-core range
	@tools/other-venv
	@$(in_venv) SELFHEAL_CONTROLLER=.venv-other molecule test --scenario-name installed

.PHONY: browser
browser: ## install the Chromium that the status page's tests use
	@tools/browser

molecule-status-page: browser

.PHONY: screenshots
screenshots: ## renew docs/images, the status page's pictures in its guide
	@tools/browser letters
	@SELFHEAL_SCREENSHOTS=1 $(MAKE) molecule-status-page

# molecule/shared/python lets Ansible's runs share the modules that they have packed.
molecule-%: setup-test engine
	@$(in_venv) PYTHONPATH="$(CURDIR)/molecule/shared/python" molecule test --scenario-name $*

.PHONY: requirements
requirements: setup ## write requirements/*.txt, with the hashes of all packages, from *.in. To upgrade one: ARGS="--upgrade-package NAME"
	@tools/venv .venv lock
	@tools/requirements $(ARGS)

.PHONY: docs
docs: setup ## generate docs/reference (from argument specs and module documentation) and Grafana's dashboards
	@$(in_venv) python docs/generate.py

.PHONY: docs-check
docs-check: setup ## fail when a generated document is not up to date
	@$(in_venv) python docs/generate.py --check

.PHONY: docs-site
docs-site: setup ## build the pages of a docs site, as Ansible's own, in .cache/docs-site/html
	@tools/venv .venv docs
	@$(in_venv) tools/docs-site

.PHONY: recording
recording: setup engine ## run the guide of the first ten minutes on a lab host; its output goes there and into README.md
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.docs.record

.PHONY: bench
bench: lab ## measure recover.yml and site.yml; figures and picture go to bench/results
	@tools/venv .venv bench
	@$(play) playbooks/site.yml
	@$(in_venv) python bench/recover.py

.PHONY: bench-soak
bench-soak: setup engine ## load a healthy app for an hour: no remedy, and the watcher's cost. Shorter: ARGS="--minutes 3"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.soak $(ARGS)

.PHONY: bench-recovery
bench-recovery: setup engine ## time the recovery of every fault, here and with Debian's alternatives; hours. Shorter: ARGS="--rounds 2 --alternative-rounds 1"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.recovery $(ARGS)

.PHONY: bench-services
bench-services: setup engine ## time the recovery of single services, here, with restart policies, and with restarts of unhealthy containers; hours. Shorter: ARGS="--rounds 1 --alternative-rounds 1"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.services $(ARGS)

.PHONY: soak-services
soak-services: setup engine ## run eight healthy services for an hour, with 429s, slow starts, failing jobs and busy cores: no remedy, no Docker call. Shorter: ARGS="--minutes 6 --variants alone"
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.soak_services $(ARGS)

.PHONY: bench-slow
bench-slow: setup engine ## run the drills at a tenth of the speed: right causes, no restart of a slow service. Shorter: ARGS="--faults crash,hang"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.slow $(ARGS)

.PHONY: bench-deploy
bench-deploy: setup engine ## deploy good and bad releases under load, and compare docker compose up. Shorter: ARGS="--rounds 3 --plain-rounds 1"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.deploy $(ARGS)

.PHONY: bench-backing
bench-backing: setup engine ## serve 200 clients on 20 database connections, and read while the cache is stopped. Shorter: ARGS="--rounds 1 --seconds 3"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.backing $(ARGS)

.PHONY: bench-drift
bench-drift: setup engine ## time drift checks of 1 to 8 lab hosts. Shorter: ARGS="--rounds 2 --hosts 2"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.drift $(ARGS)

.PHONY: bench-apps
bench-apps: setup engine ## run 20 apps on one lab host: what their watchers cost, and whether one delays another. Shorter: ARGS="--apps 4 --seconds 30 --rounds 1"
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.apps $(ARGS)

.PHONY: bench-backup
bench-backup: setup engine ## back up 1 GB at 200 requests a second, then rebuild the host. Shorter: ARGS="--rounds 1"
	@tools/venv .venv bench
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.backup $(ARGS)

.PHONY: bench-init
bench-init: setup engine ## set up the apps of a dozen compose files on bare hosts, by init.yml and site.yml. Shorter: ARGS="--only nginx"
	@$(in_venv) PYTHONPATH=.venv/collections python -m ansible_collections.christmas.selfheal.bench.init $(ARGS)
