# `make` lists the targets. Everything lands in .venv, udfs/jars and deploy/local.

# The first of these that is a Python 3.10 to 3.12; `make setup PYTHON=...` names another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)

VENV := .venv/.done
TRAIN := .venv/.train
RECTOOLS := .venv/rectools/.done
UDFS := udfs/jars/headrace-udfs.jar
CONNECTOR_VERSION := 5.0.0-2.2
CONNECTOR := udfs/jars/flink-sql-connector-kafka-$(CONNECTOR_VERSION).jar
BROKER := deploy/local/lib/.done
REGISTRY_VERSION := 2.6.13.Final
REGISTRY := deploy/local/apicurio/.$(REGISTRY_VERSION)
# Named after the Java it is for, so another one makes the archives anew.
CLASSES := deploy/local/archives/.java-$(shell java -version 2>&1 | cksum | cut -d' ' -f1)
MAVEN := mvn -q -B -Dstyle.color=never

PACKAGES := pipeline udfs schemas engines deploy
BIN := .venv/bin

.DELETE_ON_ERROR:
.PHONY: help setup browser jar job-jars demo test gpu-test chaos check bench soak clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(VENV) jar $(CLASSES) ## Install everything: .venv, a JDK and Maven where missing, the jars, class archives

jar: job-jars $(BROKER) $(REGISTRY) ## Build the Java part, fetch connector, broker and registry

job-jars: $(UDFS) $(CONNECTOR)

demo: setup ## Play the made-up shop through everything; SECONDS=60 RATE=200 ARGS=...
	$(BIN)/headrace demo --json $(if $(SECONDS),--seconds $(SECONDS)) $(if $(RATE),--rate $(RATE)) $(ARGS)

test: setup browser $(TRAIN) $(RECTOOLS) ## Run all tests; ARGS= for pytest
	@# Two processes for two cores: PyTorch's threads would only wait for each other.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope $(ARGS)

chaos: setup ## Play every fault on real processes, for about 25 minutes; ARGS= for pytest
	@# Its seconds are to be those of users: Java compiles as it does for them.
	JAVA_TOOL_OPTIONS= $(BIN)/python -m pytest tests/chaos tests/deploy/test_cluster.py -m real --chaos-report .headrace/chaos.json $(ARGS)

gpu-test: $(TRAIN) ## Run what needs a GPU, with the extra tensorrt or rtx, and pycuda; ARGS= for pytest
	$(BIN)/python -m pytest tests -m gpu $(ARGS)

check: browser $(TRAIN) $(RECTOOLS) ## Check format, types, import directions; run the quick tests and doctests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope -q -m "not real" --doctest-modules $(PACKAGES) tests

bench: setup ## Measure throughput and freshness, three times each (about half an hour)
	$(BIN)/headrace bench throughput
	$(BIN)/headrace bench throughput --skew 1
	$(BIN)/headrace bench freshness
	$(BIN)/headrace bench freshness --rate 10000

soak: setup ## Work for MINUTES=30 at RATE=7000 events/s; fails if lag or memory grow
	$(BIN)/headrace bench soak --rate $(or $(RATE),7000) --minutes $(or $(MINUTES),30)

clean: ## Stop the local broker; remove its data and what builds and checks left
	test ! -x $(BIN)/headrace || $(BIN)/headrace down
	rm -rf .headrace udfs/java/target .mypy_cache .pytest_cache .ruff_cache .hypothesis

browser:
	@deploy/setup.sh browser

$(VENV): pyproject.toml deploy/constraints.txt
	@deploy/setup.sh venv $(PYTHON)
	@touch $@

$(TRAIN): $(VENV)
	@deploy/setup.sh extra train,report,text,rtx
	@touch $@

# In an environment of its own: it needs other versions of NumPy and pandas than Flink does.
$(RECTOOLS): $(VENV) deploy/rectools.txt
	@deploy/setup.sh rectools
	@touch $@

$(UDFS): udfs/java/pom.xml $(shell find udfs/java/src/main -type f) $(wildcard schemas/*.avsc)
	@deploy/setup.sh java
	$(MAVEN) -f udfs/java/pom.xml package
	@touch $@

$(CONNECTOR):
	@deploy/setup.sh java
	$(MAVEN) org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
		-Dartifact=org.apache.flink:flink-sql-connector-kafka:$(CONNECTOR_VERSION) \
		-DoutputDirectory=$(CURDIR)/udfs/jars

$(CLASSES): $(VENV) $(CONNECTOR) deploy/local/class_list.txt.gz
	@deploy/setup.sh java && $(BIN)/python -m deploy.local.class_archive \
		|| echo "setup: no class archive; starts are slower"
	@mkdir -p $(@D) && rm -f $(@D)/.java-* && touch $@

$(REGISTRY):
	@deploy/setup.sh java
	rm -rf deploy/local/apicurio
	$(MAVEN) org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
		-Dartifact=io.apicurio:apicurio-registry-app:$(REGISTRY_VERSION):tar.gz:all \
		-DoutputDirectory=$(CURDIR)/deploy/local/apicurio
	tar -xzf deploy/local/apicurio/*.tar.gz -C deploy/local/apicurio
	rm deploy/local/apicurio/*.tar.gz
	@touch $@

$(BROKER): deploy/local/pom.xml
	@deploy/setup.sh java
	rm -rf deploy/local/lib
	$(MAVEN) -f deploy/local/pom.xml dependency:copy-dependencies
	@touch $@
