#!/usr/bin/env bash
# Shared by the scripts beside this file; sourced, not run.
#
# step NAME COMMAND...   runs one check, times it and remembers how it ended; later checks run
#                        whether it passed or not, so that one run shows everything. A check that
#                        ends with NOT_CHECKED could not be made here, which the table says.
# finish                 prints the table of steps, the end of what each failed one said, the
#                        closing lines of every test run, and fails if any step failed.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
ROOT=$PWD
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
TOOLS=$TARGET/tools
export PATH="$TOOLS/bin:$TOOLS/venv/bin:$PATH"
# rustup puts cargo on the PATH of login shells; make, cron and sudo run without those.
find_cargo() {
  command -v cargo >/dev/null && return
  local home
  for home in "${CARGO_HOME:-}" "$HOME/.cargo" /usr/local/cargo "$(owner_home)/.cargo"; do
    [ -x "$home/bin/cargo" ] || continue
    PATH="$home/bin:$PATH"
    # Of another user's rustup only what it has installed is used.
    if [ "$home" = "$(owner_home)/.cargo" ] && [ -d "$(owner_home)/.rustup" ]; then
      export RUSTUP_HOME=${RUSTUP_HOME:-$(owner_home)/.rustup}
    fi
    return
  done
}
# Who runs sudo, else who runs this.
owner_home() {
  local home
  home=$(getent passwd "${SUDO_USER:-}" 2>/dev/null | cut -d: -f6)
  printf '%s' "${home:-${HOME:-/root}}"
}
find_cargo
# Output goes through tee, so the tools cannot see the terminal themselves.
if [ -t 1 ]; then export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-always}; fi

# A property that fails looks for its shortest case, and says nothing if it is killed meanwhile.
export PROPTEST_MAX_SHRINK_TIME=${PROPTEST_MAX_SHRINK_TIME:-20000}

# A build that is thrown away has no use for incremental files.
if [ -n "${CI:-}" ]; then export CARGO_INCREMENTAL=0; fi

# As test drivers of GNU say "skipped".
NOT_CHECKED=77

STEPS=()
FAILED=()
UNCHECKED=()
SUMMARIES=()

step() {
  local name=$1 log status
  shift
  log=$(mktemp)
  timed "$name" said "$log" "$@"
  status=$?
  # The end of what it said, again where whoever reads only the end of a long run finds it.
  [ "$status" -eq 0 ] || mapfile -t -O "${#SUMMARIES[@]}" SUMMARIES < <(
    echo "$name:"
    plain "$log" | tail -n 40 | cut -c 1-400 | sed 's/^/    /'
  )
  rm -f "$log"
}

# said FILE COMMAND... runs a command and keeps what it says.
said() {
  local log=$1
  shift
  "$@" 2>&1 | tee "$log"
  return "${PIPESTATUS[0]}"
}

timed() {
  local name=$1 began=$SECONDS verdict status=0
  shift
  printf '\n==> %s\n' "$name"
  "$@" || status=$?
  case $status in
    0) verdict=ok ;;
    "$NOT_CHECKED")
      verdict="not checked"
      UNCHECKED+=("$name")
      status=0
      ;;
    *)
      verdict=FAILED
      FAILED+=("$name")
      ;;
  esac
  STEPS+=("$(printf '%-11s %5ss  %s' "$verdict" $((SECONDS - began)) "$name")")
  return "$status"
}

# tests NAME ARGUMENTS... runs nextest as a step and keeps its closing line for the end.
tests() {
  local name=$1
  shift
  timed "$name" run_nextest "$name" "$@"
}

run_nextest() {
  local name=$1 log status deaths=()
  shift
  log=$(mktemp)
  cargo nextest run --workspace "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  for _ in 1 2; do
    local again=()
    mapfile -t again < <(emulator_died "$log")
    if [ "$status" -eq 0 ] || [ ${#again[@]} -eq 0 ]; then break; fi
    mapfile -t -O "${#deaths[@]}" deaths < <(plain "$log" | grep -oE "$DIED .*" | sort -u)
    printf '\nThe emulator died, with its proof above; once more with a new host: %s\n' "${again[*]}"
    local only
    only=$(printf ' or test(=%s)' "${again[@]}")
    cargo nextest run --workspace "${@:1:$#-1}" "(${*: -1}) and (${only# or })" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
  done
  SUMMARIES+=("$name:" "$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -E '^ *Summary' | tail -n 1)")
  [ ${#deaths[@]} -eq 0 ] || SUMMARIES+=("${deaths[@]/#/  }")
  # What sweeps and fuzz targets say of themselves, with the sum of the cases.
  mapfile -t -O "${#SUMMARIES[@]}" SUMMARIES < <(sed 's/\x1b\[[0-9;]*m//g' "$log" |
    grep -oE '(sweep|fuzz) .*: [0-9]+ (cases|inputs)$' | sort -u |
    awk '{print "  " $0; if ($NF == "cases") sum += $(NF - 1)}
         END {if (sum) print "  sweeps in all: " sum " cases"}')
  # What failed and how it began, again where whoever reads only the end of a long run finds it.
  [ "$status" -eq 0 ] || mapfile -t -O "${#SUMMARIES[@]}" SUMMARIES < <(failures "$log")
  rm -f "$log"
  return "$status"
}

# How the test host says that not banger failed but QEMU (integration-tests/testhost/src/host/emulator.rs).
DIED='the emulator died under'

plain() { sed 's/\x1b\[[0-9;]*m//g; s/\r//g' "$1"; }

# The failed tests, if the emulator died under every one of them; otherwise nothing.
emulator_died() {
  local failed died
  failed=$(plain "$1" | awk '/^ *(FAIL|TIMEOUT|ABORT|SIG[A-Z]+|LEAK-FAIL) +\[/ {print $NF}' | sort -u)
  died=$(plain "$1" | sed -nE "s/.*$DIED ([^ ]+): .*/\1/p" | sort -u)
  [ -n "$failed" ] && [ -z "$(comm -23 <(echo "$failed") <(echo "$died"))" ] && echo "$failed"
}

# The name of each failed test with the first lines of its panic, each once.
failures() {
  sed 's/\x1b\[[0-9;]*m//g; s/\r//g' "$1" | awk '
    /^ *(FAIL|TIMEOUT|ABORT|SIG[A-Z]+|LEAK-FAIL) +\[/ && !named[$NF]++ {print "  " substr($0, 1, 300)}
    / panicked at / {left = 5}
    left-- > 0 && !seen[$0]++ {print "    " substr($0, 1, 600)}'
}

finish() {
  printf '\n'
  printf '%s\n' "${STEPS[@]}"
  if [ ${#SUMMARIES[@]} -gt 0 ]; then
    printf '\n'
    printf '%s\n' "${SUMMARIES[@]}"
  fi
  if [ ${#FAILED[@]} -gt 0 ]; then
    local names
    names=$(printf '; %s' "${FAILED[@]}")
    printf '\n%s of %s steps failed: %s.\n' "${#FAILED[@]}" "${#STEPS[@]}" "${names#; }"
    exit 1
  fi
  if [ ${#UNCHECKED[@]} -gt 0 ]; then
    local unchecked
    unchecked=$(printf '; %s' "${UNCHECKED[@]}")
    printf '\n%s of %s steps passed; not checked here: %s.\n' \
      $((${#STEPS[@]} - ${#UNCHECKED[@]})) "${#STEPS[@]}" "${unchecked#; }"
    return
  fi
  printf '\nAll %s steps passed.\n' "${#STEPS[@]}"
}

# The people who run this may not be root; the parts that need root say so by name.
is_root() { [ "$(id -u)" -eq 0 ]; }
