#!/usr/bin/env bash
# The dashboard, client/web: its build, types, tests, and the tests in a real browser.
#
#   .ci/web.sh build    build client/web/dist anew, which is committed and part of the server
#   .ci/web.sh check    types, unit tests, and that client/web/dist is what the sources give
#   .ci/web.sh browser  the tests in Chromium, against servers and simulated hosts of their own
#
# Tools are those of .ci/tools.sh; npm packages are installed by the lock file alone. The programs
# that `browser` starts are built before (cargo build --workspace --bins).
set -euo pipefail
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

WEB=$ROOT/client/web
# Nothing goes into the user's home.
export npm_config_cache=$TARGET/tools/npm-cache npm_config_loglevel=error

# Installs what the lock file names, once for each of its contents.
npm_packages() {
  local want
  want=$(sha256sum <"$WEB/package-lock.json")
  [ "$(cat "$WEB/node_modules/.lock" 2>/dev/null)" = "$want" ] && return
  (cd "$WEB" && npm ci --silent)
  echo "$want" >"$WEB/node_modules/.lock"
}

build() {
  npm_packages
  (cd "$WEB" && npx vite build --logLevel warn --outDir "${1:-$WEB/dist}" --emptyOutDir)
}

check() {
  local out
  npm_packages
  (cd "$WEB" && npm run -s check && npm run -s test)
  out=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$out'" EXIT
  build "$out"
  diff -rq "$out" "$WEB/dist" || {
    echo "client/web/dist is not what the sources give; run: make dashboard" >&2
    return 1
  }
}

browser() {
  npm_packages
  (cd "$WEB" && BANGER_BIN="$TARGET/debug" BANGER_SHOTS="$TARGET/dashboard" npm run -s test:browser)
}

case "${1:-}" in
  build) build ;;
  check) check ;;
  browser) browser ;;
  *)
    echo "usage: $0 build|check|browser" >&2
    exit 2
    ;;
esac
