#!/usr/bin/env bash
# The checks and tests. Every step runs even when one before it failed; the table at the end says
# which did.
#
#   .ci/check.sh check      everything that needs neither root nor a kernel of its own
#   .ci/check.sh all        and the privileged tests and the test host
#   .ci/check.sh test-host  the test host alone
set -uo pipefail
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Tests named priv_* change kernel objects, in network namespaces and on devices of their own, and
# need root. The test host is a machine in QEMU. See .config/nextest.toml and docs/TESTING.md.
PRIV='test(/(^|::)priv_/)'
TEST_HOST='binary(/^testhost/)'

static_checks() {
  step "rustfmt" cargo fmt --all --check
  step "typos" typos
  step "shellcheck" shellcheck -x .ci/run .ci/*.sh deploy/*.sh deploy/dev/*.sh deploy/deb/*
  step "buf lint" buf lint proto
  step "buf breaking" buf breaking proto --against proto/baseline.binpb
  step "cargo-deny: bans, licences, sources" \
    cargo deny --log-level warn --config .deny.toml check --hide-inclusion-graph bans licenses sources
  step "cargo-deny: advisories" .ci/advisories.sh
  step "cargo-machete" cargo machete
  step "clippy" cargo clippy -q --keep-going --workspace --all-targets -- -D warnings
  # Read with private items, so a link to one is fine.
  RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" \
    step "cargo doc" cargo doc -q --keep-going --workspace --no-deps --document-private-items
}

# Some tests start the programs themselves. Programs, tests and examples are built by one command:
# dependencies have other features where tests are built, so that by two commands each crate of banger
# would be built twice. That the programs alone, as they are shipped, compile is checked beside it.
programs() {
  step "programs and tests" cargo build -q --workspace --all-targets
  step "documentation tests" cargo test -q --doc --workspace
  step "programs as they are shipped" cargo check -q --workspace --bins
  step "guest agent" .ci/guest.sh
}

# The clients in other languages than Rust.
clients() {
  step "clients: generated code" .ci/clients.sh gen-check
  step "TypeScript client: types and tests" .ci/clients.sh typescript
  step "TypeScript client: as a package" .ci/clients.sh npm-pack
  step "Python client: types and tests" .ci/clients.sh python
  step "Python client: as a package" .ci/clients.sh wheel
}

# The dashboard. The tests in a browser start the programs that were built before.
dashboard() {
  step "dashboard: types, unit tests, and the page as it is committed" .ci/web.sh check
}

browser() {
  step "dashboard: in a browser" .ci/web.sh browser
}

test_host() {
  tests "test host" --ignore-default-filter --run-ignored all -E "$TEST_HOST"
}

case "${1:-check}" in
  check)
    .ci/tools.sh check || exit 1
    static_checks
    programs
    clients
    dashboard
    tests "unit and simulated tests"
    finish
    echo "Not run here: the dashboard in a browser, the privileged tests and the test host (make test, as root)."
    ;;
  all)
    .ci/tools.sh test || exit 1
    static_checks
    programs
    clients
    dashboard
    tests "unit and simulated tests"
    browser
    if is_root; then
      tests "privileged tests" --ignore-default-filter --run-ignored all -E "$PRIV and not $TEST_HOST"
      test_host
    else
      step "privileged tests: need root, run make test as root" false
      test_host
    fi
    finish
    ;;
  test-host)
    .ci/tools.sh test || exit 1
    programs
    test_host
    finish
    ;;
  *)
    echo "usage: $0 check|all|test-host" >&2
    exit 2
    ;;
esac
