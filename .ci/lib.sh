#!/usr/bin/env bash
# Shared by the scripts beside this file; sourced, not run.
#
# step NAME COMMAND...   runs one check, times it and remembers how it ended; later checks run
#                        whether it passed or not, so that one run shows everything.
# finish                 prints the table of steps and the closing lines of every test run, and
#                        fails if any step failed.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
ROOT=$PWD
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
TOOLS=$TARGET/tools
export PATH="$TOOLS/bin:$TOOLS/venv/bin:$PATH"
# Output goes through tee, so the tools cannot see the terminal themselves.
if [ -t 1 ]; then export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-always}; fi

# A build that is thrown away has no use for incremental files.
if [ -n "${CI:-}" ]; then export CARGO_INCREMENTAL=0; fi

STEPS=()
FAILED=0
SUMMARIES=()

step() {
  local name=$1 began=$SECONDS verdict
  shift
  printf '\n==> %s\n' "$name"
  if "$@"; then verdict=ok; else
    verdict=FAILED
    FAILED=$((FAILED + 1))
  fi
  STEPS+=("$(printf '%-7s %5ss  %s' "$verdict" $((SECONDS - began)) "$name")")
}

# tests NAME ARGUMENTS... runs nextest as a step and keeps its closing line for the end.
tests() {
  local name=$1
  shift
  step "$name" run_nextest "$name" "$@"
}

run_nextest() {
  local name=$1 log status
  shift
  log=$(mktemp)
  cargo nextest run --workspace "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  SUMMARIES+=("$name:" "$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -E '^ *Summary' | tail -n 1)")
  # What sweeps and fuzz targets say of themselves, with the sum of the cases.
  mapfile -t -O "${#SUMMARIES[@]}" SUMMARIES < <(sed 's/\x1b\[[0-9;]*m//g' "$log" |
    grep -oE '(sweep|fuzz) .*: [0-9]+ (cases|inputs)$' | sort -u |
    awk '{print "  " $0; if ($NF == "cases") sum += $(NF - 1)}
         END {if (sum) print "  sweeps in all: " sum " cases"}')
  rm -f "$log"
  return "$status"
}

finish() {
  printf '\n'
  printf '%s\n' "${STEPS[@]}"
  if [ ${#SUMMARIES[@]} -gt 0 ]; then
    printf '\n'
    printf '%s\n' "${SUMMARIES[@]}"
  fi
  if [ "$FAILED" -gt 0 ]; then
    printf '\n%s of %s steps failed.\n' "$FAILED" "${#STEPS[@]}"
    exit 1
  fi
  printf '\nAll %s steps passed.\n' "${#STEPS[@]}"
}

# The people who run this may not be root; the parts that need root say so by name.
is_root() { [ "$(id -u)" -eq 0 ]; }
