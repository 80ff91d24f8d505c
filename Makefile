# Everything a developer does here. `make help` lists the targets.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 10s
ARGS     ?=

# What `make test` as root installs when it is missing: the peers that vipd is
# compared with, the tools that look at the wire and the host, and the C
# compiler that the race detector needs.
TEST_PACKAGES := keepalived frr tcpdump tshark nftables iputils-arping iproute2 procps psmisc curl systemd gcc libc6-dev

.DEFAULT_GOAL := help
.PHONY: build packages demo test test-vlan lint mutants bench reliability fuzz sim help clean

build: ## build bin/vipd, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/vipd ./cmd/vipd

# Its version is git's, too, unless one is given.
packages: ## .deb and .rpm for amd64 and arm64, in dist/ (VERSION=1.2.3 if git is not to say it)
	@rm -f dist/vipd_*.deb dist/vipd-*.rpm
	$(GO) run ./cmd/vipd/packaging $(if $(filter-out file,$(origin VERSION)),-version '$(VERSION)')

demo: build ## two routers and a client on this machine (needs root; ARGS="--advert-int 0.1")
	bin/vipd demo $(ARGS)

# The packages whose tests in namespaces measure short times: nothing else is to
# run beside them. All namespaces share one table of neighbours, too, which the
# kernel starts to clear when it holds too many. Of the others, which mostly wait,
# those that take longest begin first.
ALONE := /(bench|daemon|daemontest|demo|differential|interop|notify|reliability|rig|netif|netiftest|vrrpconn)$$
LONG  := /(migrating|exampletest)$$

# The only one of its package that takes so long, and does nothing meanwhile.
MINUTE := ^TestADifferenceThatTakesAMinuteShows$$

# The parsers have no goroutine, and large files, which the race detector makes
# ten times as slow.
PLAIN := ./config

# With the race detector a program waits before it ends, in case a goroutine that
# is still there does wrong: by default for a second. The tests start dozens.
export GORACE ?= atexit_sleep_ms=20

# Without root, what needs root is skipped; with CI=true nothing is.
test: ## all tests with the race detector (as root also those against keepalived and FRR)
	@.ci/packages $(TEST_PACKAGES)
	@race=-race; \
	command -v "$$($(GO) env CC)" >/dev/null || { race=; echo 'test: no C compiler, so without the race detector'; }; \
	all=$$($(GO) list ./...) && export CGO_ENABLED=$${race:+1}; status=0; \
	$(GO) test $$race -run '$(MINUTE)' ./cmd/internal/differential & minute=$$!; \
	$(GO) test -timeout 8m $(PLAIN) || status=1; \
	$(GO) test $$race -p 3 -timeout 8m $$(echo "$$all" | grep -E '$(LONG)'; echo "$$all" | grep -Ev '$(ALONE)|$(LONG)|$(PLAIN:.%=%)$$') || status=1; \
	wait $$minute || status=1; \
	$(GO) test $$race -p 1 -timeout 8m -skip '$(MINUTE)' $$(echo "$$all" | grep -E '$(ALONE)') || status=1; \
	exit $$status

# Machines under QEMU, without KVM, and what looks at packages.
VLAN_PACKAGES := qemu-system-x86 qemu-utils qemu-user-static mmdebstrap e2fsprogs lintian rpm buildah man-db mandoc

test-vlan: packages ## the packages, looked at, and then installed on two machines with VLANs (needs root; ARGS are vlanlab's)
	@.ci/packages $(VLAN_PACKAGES)
	$(GO) test -count=1 -timeout 20m ./cmd/vipd/packaging -args -packages $(CURDIR)/dist
	$(GO) run ./cmd/internal/vlanlab --deb dist/vipd_*_amd64.deb $(ARGS)

lint: ## gofmt, vet, staticcheck with all checks, go.mod, shellcheck
	@.ci/packages shellcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not formatted (gofmt -w):"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	@scripts=$$(grep -rIlE '^#!.*/(env )?(ba|da)?sh' --exclude-dir=.git --exclude-dir=bin --exclude='*.go' --exclude='*.md' .); \
	test -n "$$scripts" || { echo 'lint: found no shell script, not even .ci/run'; exit 1; }; \
	set -x; shellcheck $$scripts

sim: ## 10,000 simulated histories: has every address one owner? (ARGS="--seed 7" replays one)
	$(GO) run ./cmd/internal/sim $(ARGS)

mutants: ## known bugs, put into a copy of the source: do the tests find each of them?
	$(GO) run ./cmd/internal/mutants $(ARGS)

bench: ## vipd beside keepalived, measured on frames (needs root and keepalived)
	@.ci/packages keepalived
	$(GO) run ./cmd/internal/bench $(ARGS)

reliability: ## what a client notices of faults, beside keepalived (needs root, keepalived, nftables; ARGS="--only kill")
	@.ci/packages keepalived nftables
	$(GO) run ./cmd/internal/reliability $(ARGS)

fuzz: ## every fuzz target for FUZZTIME (10s) each
	@targets=$$(grep -rnoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sed -E 's/^(.*)\/[^/]+:[0-9]+:func (.*)/\1 \2/'); \
	test -n "$$targets" || { echo 'fuzz: found no fuzz target'; exit 1; }; \
	echo "$$targets" | while read -r dir name; do \
		echo "$$dir $$name"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x "$$dir" || exit 1; \
	done

clean: ## remove what build made
	rm -rf bin dist

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
