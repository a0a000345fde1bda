# The commands of CONTRIBUTING.md and of CI, the same ones.

# Run the relay with the embedded defaults.
run:
    cargo run --release -- run

# All tests that need only Rust and a C compiler; checks against real peers join where they are installed.
test:
    cargo test --workspace

# Formatting and lints as CI has them.
lint:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets -- -D warnings

# The simulation over many seeds: `just sim 5000`, or one: `POSTHASTE_SEED=7 just sim`.
sim seeds="2000":
    POSTHASTE_SEEDS={{seeds}} cargo test --release --test simulation -- --nocapture

# Kill the real binary again and again under load: `just crash 50`.
crash rounds="50":
    POSTHASTE_CRASH_ROUNDS={{rounds}} cargo test --release --test crash -- --nocapture

# Criterion benchmarks of the hot cores.
bench:
    cargo bench

# Every goal of benches/README.md, Posthaste beside Postfix and what else is installed: `just compare --quick`.
compare *args:
    cargo build --release --workspace
    benches/compare/run {{args}}

# Counts per message over shards, idle sessions, queue length: `just scale --quick`.
scale *args:
    cargo build --release
    benches/scale {{args}}

# The counts that do not depend on the machine, anew.
record-budget:
    POSTHASTE_RECORD_BUDGET=1 cargo test --test budget

# The relay under load for a minute, audited: `just demo --find-max`.
demo *options:
    cargo build --release --workspace
    target/release/posthaste-loadgen demo {{options}}

# Licences, advisories and sources of the dependencies (needs cargo-deny).
deny:
    cargo deny check

# Everything that CI runs.
ci:
    .ci/run
