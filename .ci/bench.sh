#!/usr/bin/env bash
# Builds with optimization and measures banger beside its peers.
#
#   .ci/bench.sh [ARGUMENTS]          `make bench`: banger-bench with these; without any, all lines
#   .ci/bench.sh compare A B [LINES]  `make bench-compare`: two commits on this machine, by turns
#
# Reports are kept under target/bench.
set -euo pipefail
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

REPORTS=$TARGET/bench

# Each commit is built from a work tree of its own, so that what is edited meanwhile is not measured.
built() {
  local commit=$1 tree=$REPORTS/trees/$1
  if [ ! -x "$tree/target/fast/banger-bench" ]; then
    git worktree prune
    [ -e "$tree/Cargo.toml" ] || git worktree add --quiet --force --detach "$tree" "$commit"
    (cd "$tree" && CARGO_TARGET_DIR="$tree/target" cargo build --quiet --workspace --bins --profile fast) >&2
  fi
  echo "$tree/target/fast/banger-bench"
}

if [ "${1:-}" = compare ]; then
  [ $# -ge 3 ] || { echo "usage: $0 compare BEFORE AFTER [LINES]" >&2; exit 2; }
  .ci/tools.sh build
  before=$(git rev-parse --short "$2^{commit}")
  after=$(git rev-parse --short "$3^{commit}")
  programs=("$(built "$before")" "$(built "$after")")
  run=$REPORTS/compare-$before-$after
  rm -rf "$run"
  for pair in 1 2 3 4 5; do
    echo "pair $pair of 5" >&2
    for side in 0 1; do
      "${programs[side]}" --ours-only --pairs 1 --lines "${4:-a,b,c,d,p}" --out "$run/$side.json" >/dev/null
    done
  done
  "${programs[1]}" compare "$run/0.json" "$run/1.json" | tee "$run/table.md"
  exit
fi

.ci/tools.sh bench
cargo build --quiet --workspace --bins --profile fast
report=$REPORTS/$(git rev-parse --short HEAD 2>/dev/null || echo here)-$(date -u +%Y%m%dT%H%M%SZ)
"$TARGET/fast/banger-bench" --out "$report.json" "$@" | tee "$report.md.part"
mv "$report.md.part" "$report.md"
echo "kept as $report.md and $report.json"
