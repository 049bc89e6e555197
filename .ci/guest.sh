#!/usr/bin/env bash
# Builds the guest agent: one static program for any guest of this architecture. Prints its path.
# Where nothing it is made of changed since the last time, that takes no time.
#
# Static with glibc: the musl target is no part of a plain Rust installation, libc.a is of every C
# compiler's. It looks up no names and no users through it, which is all that glibc can't do so.
set -euo pipefail
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

host=$(rustc -vV | sed -n 's/^host: //p')
built=$TARGET/$host/guest/banger-guest
made_of=$TARGET/$host/guest/.made-of

# Not by cargo itself: it would take as long to find out as its lock is held by another build.
now=$({
  cat Cargo.toml Cargo.lock proto/Cargo.toml proto/wire/Cargo.toml agent/guest/Cargo.toml
  find proto/src proto/wire/src agent/guest/src -name '*.rs' ! -name 'tests.rs' -print0 | sort -z | xargs -0 cat
  rustc -V
} | sha256sum | cut -d' ' -f1)
if [ ! -x "$built" ] || [ "$(cat "$made_of" 2>/dev/null)" != "$now" ]; then
  echo "Building the guest agent. The first time this takes some minutes." >&2
  # A target is named so that the flags hold for the program alone, not for build scripts and macros.
  RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" \
    cargo build -p banger-guest --profile guest --target "$host" >&2
  if ldd "$built" >/dev/null 2>&1; then
    echo "$built is not static" >&2
    exit 1
  fi
  echo "$now" >"$made_of"
fi
echo "$built"
