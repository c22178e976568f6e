# What a contributor runs. `make deps test` is all that a fresh machine needs beside Go.

GO    ?= go
TOOLS  = $(GO) tool -modfile=internal/tools/go.mod

# Without the race detector, for the machine that has no C compiler: make test RACE=
RACE  ?= -race
COUNT ?= 1

.PHONY: all deps build cross lint test cluster postgres node short fuzz saboteurs generate proto bench demo clean

all: lint build test

deps: ## install what tests need and is missing: redis-server, and a C compiler for the race detector
	@missing=; \
	command -v redis-server >/dev/null || missing="redis-server"; \
	command -v cc >/dev/null || missing="$$missing gcc libc6-dev"; \
	if [ -z "$$missing" ]; then echo "here already: $$(redis-server --version | cut -d' ' -f1-3), $$(cc --version | head -n1)"; \
	elif command -v apt-get >/dev/null; then echo "installing with apt-get: $$missing"; \
		S=$$([ "$$(id -u)" = 0 ] || echo sudo); $$S apt-get update -qq && $$S env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	elif command -v brew >/dev/null; then echo "installing with brew: redis"; brew install redis; \
	else echo "please install redis-server 7.0 or later and a C compiler, and put them on the PATH" >&2; exit 1; fi

build: ## the command, in bin/
	$(GO) build -o bin/ ./cmd/...

cross: ## everything compiles for the systems we support
	GOOS=linux GOARCH=arm64 $(GO) build ./...
	GOOS=darwin GOARCH=arm64 $(GO) vet ./... # vet, because it compiles the tests too
	GOOS=windows GOARCH=amd64 $(GO) vet ./...

lint: ## gofmt, vet, staticcheck
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "run gofmt on: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(TOOLS) staticcheck ./...

vuln: ## known vulnerabilities in what we import (asks vuln.go.dev)
	$(TOOLS) govulncheck ./...

test: deps ## every test, with real Redis servers that the tests start and stop
	BACKPLANE_REQUIRE=redis $(GO) test $(RACE) -count=$(COUNT) -timeout=20m ./...

cluster: ## the suite on three NATS servers that form a cluster
	BACKPLANE_REQUIRE=nats-cluster $(GO) test -count=$(COUNT) -timeout=20m -run TestConformanceOfACluster ./transports/nats

postgres: ## the example transport on PostgreSQL: lint, and its tests with servers that they start (apt-get install postgresql)
	cd examples/transports/postgres && $(GO) vet ./... && BACKPLANE_REQUIRE=postgres $(GO) test $(RACE) -count=$(COUNT) -timeout=30m ./...

node: ## the example transport on Node.js: lint, and its tests (Node.js 20 or later, and npm)
	cd examples/transports/node-sqlite && $(GO) vet ./... && BACKPLANE_REQUIRE=node $(GO) test $(RACE) -count=$(COUNT) -timeout=30m -parallel 4 ./...

short: ## what runs without any server
	$(GO) test -count=1 ./...

fuzz: ## every fuzz target for a little while
	@for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-10s} $$pkg || exit 1; done; done

saboteurs: ## the whole matrix: every saboteur against every case, as a table
	cd conformance/saboteurs && $(GO) test -count=1 -timeout=30m -run TestEverySaboteurIsCaught -matrix

generate: ## tables in docs/ and README.md
	$(GO) generate ./...

proto: ## the Go code of the plugins' protocol, from proto/
	cd proto && $(GO) tool -modfile=../internal/tools/go.mod buf lint && $(GO) tool -modfile=../internal/tools/go.mod buf generate
	$(GO) test ./transports/plugin/internal/transportv1 -update

bench: ## side by side with peers; starts its own servers
	cd bench && $(GO) run .

demo:
	$(GO) run ./cmd/backplane demo

clean:
	rm -rf bin
