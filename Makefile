# run    build in release mode and run the first topology
# test   every test there is, as root (if you are root) and as an ordinary user
# lint   formatting, clippy, documentation
# agree  every shipped topology on the kernel and in the simulator, compared
# bench  the figures of docs/benchmarks.md
# compare  every daemon of sparse mode that is installed, through the same events: writes docs/comparison.md
# fuzz   every fuzz target for FUZZ_SECONDS each

CARGO ?= cargo
NEXTEST := $(shell command -v cargo-nextest || echo target/tools/bin/cargo-nextest)
FUZZ_SECONDS ?= 30
# An ordinary user: nobody, with no groups and no runtime directory.
AS_USER = setpriv --reuid=65534 --regid=65534 --clear-groups env -u XDG_RUNTIME_DIR HOME=/tmp
TARGET_RUNNER = CARGO_TARGET_$(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')_RUNNER

.PHONY: run build test test-here test-user lint agree bench compare fuzz

run: build
	target/release/testbed test topologies/first-light.yaml

build:
	$(CARGO) build --release --workspace --bins

test: test-here
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) test-user; fi

# All targets, as nextest builds them: with the binaries alone, dependencies have other features, and all would be built twice.
test-here: $(NEXTEST)
	$(CARGO) build --workspace --features sabotage --all-targets
	$(NEXTEST) nextest run --workspace --features sabotage

# The tests that touch the kernel once more, as an ordinary user. Cargo itself stays root. Left out, and counted as skipped in nextest's
# closing line: what runs in memory alone; what asks whether verdicts are right, of labs whose like others build; and the longest ones:
# beside other vendors' daemons all but the first, and of the shipped topologies those with PIM.
IN_MEMORY = (package(router-core) - binary(kernel)) | binary(/^(bad_input|explore|simulate|topologies)$$/)
OF_VERDICTS = binary(/^(compare|import|sabotage)$$/)
LONG = (binary(interop) - test(=vendors_serve_each_other_in_one_network)) | (binary(shipped) - test(=static_and_igmp_topologies_pass))
test-user: $(NEXTEST)
	@$(AS_USER) test -x target/debug/testbed -a -r Cargo.toml || { \
	  echo "an ordinary user cannot read $(CURDIR): clone the project to a place that everybody can read, such as /var/tmp" >&2; exit 1; }
	$(TARGET_RUNNER)="$(AS_USER)" $(NEXTEST) nextest run --workspace --features sabotage -E 'kind(test) - ($(IN_MEMORY)) - $(OF_VERDICTS) - ($(LONG))'

target/tools/bin/cargo-nextest:
	$(CARGO) install --locked --root target/tools cargo-nextest

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features sabotage -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

agree: build
	target/release/testbed agree topologies/*.yaml

bench: build
	$(CARGO) build --release --example floor --example blast
	target/release/testbed bench

compare: build
	target/release/testbed compare topologies/compare-sparse.yaml --markdown docs/comparison.md

fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run
