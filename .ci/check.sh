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

# The generated code must be what the .proto files give.
generated_is_committed() {
  local out status=0
  out=$(mktemp -d)
  cargo run -q -p banger-proto --example gen -- "$out" && diff -ru proto/src/gen "$out" || status=1
  rm -rf "$out"
  [ "$status" -eq 0 ] || echo "run: cargo run -p banger-proto --example gen" >&2
  return "$status"
}

static_checks() {
  step "rustfmt" cargo fmt --all --check
  step "typos" typos
  step "shellcheck" shellcheck -x .ci/run .ci/*.sh deploy/*.sh deploy/dev/*.sh deploy/deb/*
  step "buf lint" buf lint proto
  step "buf breaking" buf breaking proto --against proto/baseline.binpb
  step "cargo-deny: bans, licences, sources" \
    cargo deny --log-level warn --config .deny.toml check --hide-inclusion-graph bans licenses sources
  step "cargo-machete" cargo machete
  step "generated code" generated_is_committed
  step "clippy" cargo clippy -q --keep-going --workspace --all-targets -- -D warnings
  # Read with private items, so a link to one is fine.
  RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" \
    step "cargo doc" cargo doc -q --keep-going --workspace --no-deps --document-private-items
  step "documentation tests" cargo test -q --doc --workspace
}

# Some tests start the programs themselves, which building the tests alone does not make.
programs() {
  step "programs" cargo build -q --workspace --bins
  step "guest agent" .ci/guest.sh
}

test_host() {
  tests "test host" --ignore-default-filter --run-ignored all -E "$TEST_HOST"
}

case "${1:-check}" in
  check)
    .ci/tools.sh check || exit 1
    static_checks
    programs
    tests "unit and simulated tests"
    finish
    echo "Not run here: the privileged tests and the test host (make test, as root)."
    ;;
  all)
    .ci/tools.sh test || exit 1
    static_checks
    programs
    tests "unit and simulated tests"
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
