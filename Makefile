# Copyright The Space DRA Driver Authors.
# SPDX-License-Identifier: Apache-2.0

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= v0.1.0
GOLANGCI_LINT_VERSION := v2.15.0
# As in test/tools/logcheck/go.mod, which also has a golang.org/x/tools that today's Go compiles.
LOGTOOLS_VERSION := v0.9.0
# As in test/tools/helmdocs/go.mod.
HELM_DOCS_VERSION := v1.14.2
# As in test/tools/prometheus/go.mod. Prometheus v0.313 is Prometheus 3.13.
PROMETHEUS_VERSION := v0.313.5
# As in test/tools/krew/go.mod.
KREW_VERSION := v0.5.0
# As in test/tools/goreleaser/go.mod.
GORELEASER_VERSION := v2.17.0
# As in test/tools/exampledriver/go.mod.
EXAMPLE_DRIVER_VERSION := v0.4.0
# As in test/tools/gotestsum/go.mod.
GOTESTSUM_VERSION := v1.13.0
# As in test/tools/kwok/go.mod.
KWOK_VERSION := v0.8.0
# As in test/tools/chainsaw/go.mod.
CHAINSAW_VERSION := v0.2.12
# As in test/tools/kuttl/go.mod.
KUTTL_VERSION := v0.20.0
# As in test/tools/govulncheck/go.mod.
GOVULNCHECK_VERSION := v1.8.0
# As in test/tools/actionlint/go.mod.
ACTIONLINT_VERSION := v1.7.12
# As in test/tools/vale/go.mod, whose github.com/andybalholm/cascadia is a release, too.
VALE_VERSION := v3.22.0
# The database of vulnerabilities, if not Go's: http, https or file.
VULN_DB ?=
# The commit that "make upgrade-test" upgrades from.
FROM ?= $(shell git describe --tags --abbrev=0 --match="v*" 2>/dev/null)

BIN := $(CURDIR)/build/bin
GOTESTSUM := $(BIN)/gotestsum-$(GOTESTSUM_VERSION)
LDFLAGS := -s -w -X main.version=$(VERSION)
COMMANDS := space-controller space-kubeletplugin space-check space-holder
# It runs on the machines of users, and is in no image.
KUBECTL_PLUGIN := kubectl-space
API := pkg/space/api/v1alpha1
MODULES := . spacetest test test/cluster tools/release
KUBERNETES := test/cluster/components/kubernetes
# Modules that only pin programs for tests and checks, except for those of old versions of Kubernetes, and for
# chainsaw and kuttl, whose own modules have their dependencies.
PINNED = $(filter-out $(KUBERNETES)-% test/tools/chainsaw test/tools/kuttl,$(patsubst %/,%,$(dir $(wildcard test/tools/*/go.mod test/cluster/components/*/go.mod))))
CHART := deployments/helm/space-dra-driver
# Writes the chart's README.md, which helm-docs generates from values.yaml and README.md.gotmpl, to standard output.
CHART_README = $(BIN)/helm-docs-$(HELM_DOCS_VERSION) --chart-search-root $(CHART) --sort-values-order file --skip-version-footer --log-level warning --dry-run

# What "make lint-docs" reads: pages, comments of values.yaml as the chart's README.md has them, and comments of the API.
PROSE = $(wildcard *.md) $(wildcard .github/*.md) $(shell find docs demo test -name '*.md') $(CHART)/README.md $(CHART)/values.yaml $(filter-out %_test.go $(API)/zz_%,$(wildcard $(API)/*.go))

# Runs a command that fetches modules, and repeats it if it fails: the module proxy may not answer.
with_retries = for pause in 5 30 end; do $(1) && break; [ $$pause != end ] || exit 1; sleep $$pause; done

# The compiler collects its garbage less often, which saves a seventh of its time. Do not use it
# where tests start the driver, which reads the same variable.
compile := GOGC=200

export CGO_ENABLED ?= 0
# For tests as for programs, so that what both need is compiled once.
export GOFLAGS += -trimpath

##@ Development

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: $(COMMANDS:%=$(BIN)/%) kubectl-space ## Build the driver's binaries and the kubectl plugin into build/bin.

.PHONY: kubectl-space
kubectl-space: $(BIN)/$(KUBECTL_PLUGIN) ## Build the kubectl plugin, kubectl space, into build/bin.
	@# kubectl runs the program of this name for shell completion.
	ln -sf $(KUBECTL_PLUGIN) $(BIN)/kubectl_complete-space

.PHONY: $(COMMANDS:%=$(BIN)/%) $(BIN)/$(KUBECTL_PLUGIN)
$(COMMANDS:%=$(BIN)/%) $(BIN)/$(KUBECTL_PLUGIN):
	$(compile) go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/$(@F)

.PHONY: generate
generate: $(BIN)/helm-docs-$(HELM_DOCS_VERSION) ## Generate the chart's README.md from values.yaml.
	$(CHART_README) >$(BIN)/chart.README.md
	mv $(BIN)/chart.README.md $(CHART)/README.md

.PHONY: images
images: ## Build the images of VERSION, of the commit that is checked out, with SBOMs and provenance, into build/release.
	@[ -z "$$(git status --porcelain)" ] || { echo "a release is built from a commit, but the work tree has changes:"; git status --short; exit 1; }
	rm -rf build/release && mkdir -p build
	cd tools/release && go build -o $(BIN)/release .
	$(BIN)/release --version $(VERSION) --revision $$(git rev-parse HEAD) --created $$(git show --no-patch --format=%ct) $(if $(BUILDER_ID),--builder-id $(BUILDER_ID))
	tar --create --file build/release/space-dra-driver-$(VERSION).oci.tar --format ustar --sort name --owner 0 --group 0 --numeric-owner --mode u=rwX,go=rX --mtime @0 -C build/release/image oci-layout index.json blobs

.PHONY: release
release: images $(BIN)/helm $(BIN)/goreleaser ## Build all artifacts of VERSION into build/release: the images, the kubectl plugin and the chart.
	GORELEASER_CURRENT_TAG=$(VERSION) $(BIN)/goreleaser release --clean --skip validate,publish,announce
	cp build/goreleaser/*.tar.gz build/goreleaser/krew/space.yaml build/release
	@# Git gives the files the time of the commit, so that the archive is the same in every clone.
	rm -rf build/release-chart && mkdir build/release-chart
	git archive HEAD deployments/helm | tar -x -C build/release-chart
	$(BIN)/helm package --version $(VERSION:v%=%) --app-version $(VERSION) --destination build/release build/release-chart/deployments/helm/space-dra-driver
	cd build/release && sha256sum *.tar *.tar.gz *.tgz *.json *.yaml >SHA256SUMS

.PHONY: demo
demo: ## Run the quickstart on a new cluster (KEEP=1 keeps the cluster, CLUSTER=kind|embedded selects its kind).
	demo/run.sh

.PHONY: clean
clean: ## Remove the build directory.
	@[ ! -s build/cluster/flavor ] || { echo "a cluster is running from here. Delete it first: demo/delete-cluster.sh"; exit 1; }
	rm -rf build

##@ Tests

.PHONY: test
test: unit build programs $(BIN)/promcheck $(GOTESTSUM) ## Run all tests. Needs root and, on Debian, the packages that README.md names.
	$(selftest)
	@# A machine can be too slow for one of a thousand tests on four clusters: up to three that fail
	@# run once more, each on a new cluster. The report lists their first runs as failures.
	cd test && $(gotestsum) --rerun-fails=1 --rerun-fails-max-failures=3 --packages='./e2e/... ./integration/... ./node/...' -- $(cluster_flags)

# "make lint" vets. go test would vet all dependencies, too.
go_test := $(compile) go test -vet=off -timeout=10m
# gotestsum prints each test when it ends, with its output if it failed. Each package has a
# cluster of its own, and mostly waits: several run at the same time.
gotestsum := $(GOTESTSUM) --format testname
# Five clusters at a time nearly use up the 128 inotify instances that Linux gives a user by default.
cluster_flags := -vet=off -count=1 -p=4 -parallel=6 -timeout=30m
on_clusters := $(gotestsum) -- $(cluster_flags)
selftest = cd test/cluster && $(on_clusters) ./selftest/...

.PHONY: unit
unit: $(BIN)/helm $(BIN)/promcheck ## Run the unit tests, with the race detector, and the tests of the chart's values and alerts.
	CGO_ENABLED=1 $(go_test) -race ./pkg/... ./cmd/...
	@# Its examples need a cluster: test/e2e runs them.
	cd spacetest && CGO_ENABLED=1 $(go_test) -race .
	cd test/cluster && $(go_test) $$(go list ./... | grep -v /selftest)
	cd test && $(go_test) ./bench ./e2e/churn/availability
	@# Without -count=1, go does not see that the chart or an example has changed.
	cd test && $(go_test) -count=1 ./chart/... ./framework/readme/...
	cd test && CGO_ENABLED=1 $(go_test) -race ./faults/...
	cd tools/release && $(go_test) ./...

.PHONY: release-test
release-test: $(BIN)/krew $(BIN)/helm $(BIN)/goreleaser ## Build a release of the commit that is checked out in two clones, compare them, and install the kubectl plugin with krew.
	BIN=$(BIN) tools/release/test.sh

.PHONY: integration
integration: build programs $(GOTESTSUM) ## Run the tests of the controller and the kubelet plugin with a real control plane, and those of the embedded cluster.
	$(selftest)
	cd test && $(on_clusters) ./integration/... ./node/...

.PHONY: e2e
e2e: programs $(BIN)/promcheck $(GOTESTSUM) ## Run the tests of the images and the chart on a real cluster of two nodes.
	cd test && $(on_clusters) ./e2e/...

.PHONY: upgrade-test
upgrade-test: programs $(GOTESTSUM) ## Upgrade from the commit FROM, by default the newest tag, to the work tree and roll back, while pods use spaces.
	@[ -n "$(FROM)" ] || { echo "there is no tag: set FROM to a commit"; exit 1; }
	rm -rf build/upgrade-from && mkdir -p build/upgrade-from
	git archive $(FROM) | tar -x -C build/upgrade-from
	cd test && SPACE_UPGRADE_FROM=$(CURDIR)/build/upgrade-from $(on_clusters) -run '^TestUpgrade_' ./e2e/outage

.PHONY: skew-test
skew-test: programs $(GOTESTSUM) ## Upgrade Kubernetes from K8S to the newest version, host by host, while pods use spaces.
	@[ -n "$(K8S)" ] || { echo "set K8S to the version to upgrade from"; exit 1; }
	cd test && $(on_clusters) ./skew

.PHONY: clients-test
clients-test: programs $(BIN)/chainsaw $(BIN)/kubectl-kuttl $(GOTESTSUM) ## Use spaces with clients that others have written. Needs python3-kubernetes, nodejs and npm.
	@/usr/bin/python3 -c 'import kubernetes' && node --version >/dev/null && npm --version >/dev/null || { echo "on Debian: apt-get install --no-install-recommends python3-kubernetes nodejs npm"; exit 1; }
	mkdir -p build/clients && cp test/tools/clients/*.json build/clients
	cd build/clients && npm ci --ignore-scripts --no-audit --no-fund
	cd test && go test -c -o $(BIN)/e2e-framework.test ./clients/e2eframework
	cd test && $(on_clusters) ./clients

.PHONY: soak
soak: programs ## Create and delete pods for SPACE_SOAK_DURATION (10m) while components are killed, and the configuration of the cluster changes.
	cd test && SPACE_SOAK_DURATION=$${SPACE_SOAK_DURATION:-10m} go test -vet=off -count=1 -v -timeout=0 ./e2e/churn

.PHONY: bench
bench: build programs $(BIN)/dra-example-kubeletplugin $(BIN)/kwok ## Run all benchmarks, or those that the pattern BENCH matches, with BENCH_FLAGS, into build/bench.
	cd test && go test -vet=off -run='^$$' -bench='(?i)^Benchmark($(or $(BENCH),.*))$$' -benchtime=1x -timeout=0 -v ./bench $(BENCH_FLAGS)

.PHONY: programs
programs: ## Build Kubernetes and the other programs of the embedded cluster (the first time, for minutes).
	. demo/lib.sh && space_cluster binaries >/dev/null

.PHONY: matrix
matrix: build $(BIN)/promcheck $(GOTESTSUM) ## Run the suites on clusters on each version of Kubernetes, or on K8S, and print a table.
	test/matrix.sh '$(on_clusters)' $(or $(K8S),$(patsubst $(KUBERNETES)-%/go.mod,%,$(wildcard $(KUBERNETES)-*/go.mod)) newest)

.PHONY: pin
pin: ## Pin the version K8S of Kubernetes for tests, with the settings of the newest.
	mkdir -p $(KUBERNETES)-$(K8S)
	sed '/^require/,/^)/d; s/ v0[.][0-9.]*$$/ v0.$(K8S:1.%=%)/' $(KUBERNETES)/go.mod >$(KUBERNETES)-$(K8S)/go.mod
	cd $(KUBERNETES)-$(K8S) && go mod edit -require=k8s.io/kubernetes@v$(K8S) && go mod tidy

##@ Checks

.PHONY: lint
lint: lint-go lint-generated lint-chart lint-docs lint-workflows ## Run all linters.

.PHONY: lint-go
lint-go: $(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION) $(BIN)/logcheck-$(LOGTOOLS_VERSION) ## Run golangci-lint and logcheck.
	for module in $(MODULES); do (cd $$module && $< run --config $(CURDIR)/.golangci.yaml ./...); done
	@# Keys are constants of pkg/space/logkeys; these two checks want literals.
	$(BIN)/logcheck-$(LOGTOOLS_VERSION) -check-contextual -check-key=false -check-parameters=false ./...

.PHONY: lint-generated
lint-generated: $(BIN)/helm-docs-$(HELM_DOCS_VERSION) ## Check that generated files are up to date.
	$(CHART_README) | cmp $(CHART)/README.md - || { echo "run make generate"; exit 1; }

.PHONY: lint-chart
lint-chart: $(BIN)/helm ## Run helm lint.
	$(BIN)/helm lint --strict $(CHART)

.PHONY: lint-docs
lint-docs: $(BIN)/vale-$(VALE_VERSION) ## Check the prose of the documentation against the style in test/tools/vale.
	$< --config test/tools/vale/vale.ini --output line $(PROSE)

.PHONY: lint-workflows
lint-workflows: $(BIN)/actionlint-$(ACTIONLINT_VERSION) ## Check the workflows of GitHub Actions.
	$< -shellcheck= .github/workflows/*.yaml

.PHONY: vuln
vuln: $(BIN)/govulncheck-$(GOVULNCHECK_VERSION) ## Check all modules for known vulnerabilities.
	@# In modules of programs that only tests run, govulncheck scans packages, and not calls.
	@status=0; \
	scan() { echo "== $$1"; (cd $$1 && $< $(if $(VULN_DB),-db=$(VULN_DB)) "$${@:2}") || status=$$?; }; \
	for module in $(MODULES); do scan $$module -test ./...; done; \
	for module in $(PINNED); do scan $$module -scan=package ./... tool; done; \
	exit $$status

$(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION):
	GOBIN=$(BIN)/.golangci go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv $(BIN)/.golangci/golangci-lint $@

$(BIN)/logcheck-$(LOGTOOLS_VERSION):
	cd test/tools/logcheck && go build -o $@ sigs.k8s.io/logtools/logcheck

$(BIN)/helm-docs-$(HELM_DOCS_VERSION):
	cd test/tools/helmdocs && go build -o $@ github.com/norwoodj/helm-docs/cmd/helm-docs

$(BIN)/govulncheck-$(GOVULNCHECK_VERSION):
	cd test/tools/govulncheck && go build -o $@ golang.org/x/vuln/cmd/govulncheck

$(BIN)/actionlint-$(ACTIONLINT_VERSION):
	cd test/tools/actionlint && go build -o $@ github.com/rhysd/actionlint/cmd/actionlint

# Vale reads comments of source code with parsers in C.
$(BIN)/vale-$(VALE_VERSION):
	cd test/tools/vale && CGO_ENABLED=1 CGO_CFLAGS='-O0 -w' go build -ldflags '-s -w' -o $@ github.com/vale-cli/vale/v3/cmd/vale

$(GOTESTSUM):
	cd test/tools/gotestsum && $(call with_retries,go build -o $@ gotest.tools/gotestsum)

$(BIN)/krew: $(BIN)/krew-$(KREW_VERSION)
	ln -sf $(<F) $@

$(BIN)/krew-$(KREW_VERSION):
	cd test/tools/krew && $(call with_retries,go build -o $@ sigs.k8s.io/krew/cmd/krew)

$(BIN)/goreleaser: $(BIN)/goreleaser-$(GORELEASER_VERSION)
	ln -sf $(<F) $@

$(BIN)/goreleaser-$(GORELEASER_VERSION):
	cd test/tools/goreleaser && $(call with_retries,$(compile) go build -ldflags '-s -w' -o $@ github.com/goreleaser/goreleaser/v2)

# The example driver, which benchmarks compare this driver with, and its chart.
$(BIN)/dra-example-kubeletplugin: $(BIN)/dra-example-kubeletplugin-$(EXAMPLE_DRIVER_VERSION)
	ln -sf $(<F) $@

$(BIN)/dra-example-kubeletplugin-$(EXAMPLE_DRIVER_VERSION):
	cd test/tools/exampledriver && go mod download sigs.k8s.io/dra-example-driver && \
	rm -rf $(BIN)/dra-example-driver-chart && \
	cp -r --no-preserve=mode "$$(go list -m -f '{{.Dir}}' sigs.k8s.io/dra-example-driver)/deployments/helm/dra-example-driver" $(BIN)/dra-example-driver-chart && \
	$(call with_retries,CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $@ sigs.k8s.io/dra-example-driver/cmd/dra-example-kubeletplugin)

# Tools for tests of operators, and their own tests. They lack a method that the package testing of Go 1.26 calls:
# its receiver is $(4), in the package $(3).
build_with_tests = cd test/tools/$(1) && go mod download $(2) && mkdir -p $(BIN) && rm -rf $(BIN)/$(1)-src && \
	cp -r --no-preserve=mode "$$(go list -m -f '{{.Dir}}' $(2))" $(BIN)/$(1)-src && cd $(BIN)/$(1)-src && \
	printf 'package $(notdir $(3))\n\nfunc ($(4)) ModulePath() string { return "" }\n' >$(3)/module_path.go && \
	$(call with_retries,$(compile) go build -ldflags '-s -w' -o $@ $(5))

$(BIN)/chainsaw: $(BIN)/chainsaw-$(CHAINSAW_VERSION)
	ln -sf $(<F) $@

$(BIN)/chainsaw-$(CHAINSAW_VERSION):
	$(call build_with_tests,chainsaw,github.com/kyverno/chainsaw,pkg/runner/internal,TestDeps,.)

$(BIN)/kubectl-kuttl: $(BIN)/kubectl-kuttl-$(KUTTL_VERSION)
	ln -sf $(<F) $@

$(BIN)/kubectl-kuttl-$(KUTTL_VERSION):
	$(call build_with_tests,kuttl,github.com/kudobuilder/kuttl,pkg/test/utils,testDeps,./cmd/kubectl-kuttl)

# kwok simulates nodes.
$(BIN)/kwok: $(BIN)/kwok-$(KWOK_VERSION)
	ln -sf $(<F) $@

$(BIN)/kwok-$(KWOK_VERSION):
	cd test/tools/kwok && go mod download sigs.k8s.io/kwok && rm -rf $(BIN)/kwok-stages && \
	cp -r --no-preserve=mode "$$(go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage" $(BIN)/kwok-stages && find $(BIN)/kwok-stages -name '*.go' -delete && \
	$(call with_retries,go build -ldflags '-s -w' -o $@ sigs.k8s.io/kwok/cmd/kwok)

$(BIN)/helm:
	. demo/lib.sh && need_tools helm

.PHONY: promcheck
promcheck: $(BIN)/promcheck ## Build the parts of Prometheus that tests use into build/bin.

.PHONY: prometheus
prometheus: $(BIN)/prometheus ## Build the Prometheus server, for manual tests, into build/bin.

$(BIN)/prometheus: $(BIN)/prometheus-$(PROMETHEUS_VERSION)
	ln -sf $(<F) $@

# The tag leaves out how Prometheus finds its targets in all the clouds. It has no user interface either.
$(BIN)/prometheus-$(PROMETHEUS_VERSION):
	cd test/tools/prometheus && go build -tags remove_all_sd -ldflags '-s -w' -o $@ github.com/prometheus/prometheus/cmd/prometheus

$(BIN)/promcheck: $(BIN)/promcheck-$(PROMETHEUS_VERSION)
	ln -sf $(<F) $@

PROMCHECK_TAGS := remove_all_sd,promcheck
# The overlay adds promtool's tester of rules, which is in a main package of Prometheus, to ours.
$(BIN)/promcheck-$(PROMETHEUS_VERSION): $(wildcard test/tools/prometheus/promcheck/*.go)
	cd test/tools/prometheus && $(call with_retries,go mod download github.com/prometheus/prometheus) && \
	echo "{\"Replace\": {\"$$PWD/promcheck/unittest.go\": \"$$(go list -m -f '{{.Dir}}' github.com/prometheus/prometheus)/cmd/promtool/unittest.go\"}}" >$@.overlay && \
	$(call with_retries,$(compile) go build -tags $(PROMCHECK_TAGS) -overlay $@.overlay -ldflags '-s -w' -o $@ ./promcheck) && rm $@.overlay
