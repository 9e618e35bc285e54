# Everyday commands. `just` alone lists them.

_list:
    @just --list --unsorted

# Run a hub on loopback, with its data in ./cipher-hub-data
serve *ARGS:
    cargo run --release -- {{ARGS}}

# Run a hub in memory, to try things
dev:
    cargo run --release -- dev

# Format, lint, test: what must hold before a change goes in
ci:
    .ci/run

# Format
fmt:
    cargo fmt --all

# Lint
lint:
    cargo clippy --locked --workspace --all-targets -- -D warnings

# Every test: the workspace, then end to end
test:
    tests/run

# The end-to-end tests; ARGS go to pytest, as in: just e2e -k rollback
e2e *ARGS:
    tests/run e2e {{ARGS}}

# kill -9 under load, KILLS times
crash KILLS="500":
    CIPHER_HUB_TEST_KILLS={{KILLS}} tests/run e2e -k nothing_acknowledged

# Write the OpenAPI document anew
openapi:
    cargo run --quiet -- openapi > api/openapi.json

# Throughput against a bare server, in one run
bench *ARGS:
    cargo run --release -- bench {{ARGS}}

# Build the container image around the release build and try it (root)
image:
    cargo build --locked --release
    tests/image

# Licences, sources and banned crates
deny:
    cargo deny --offline check bans licenses sources
