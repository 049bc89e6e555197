#!/usr/bin/env bash
# The clients in other languages than Rust: their generated code, types, tests and packages.
#
#   .ci/clients.sh gen          write the generated code anew after a change of a .proto file
#   .ci/clients.sh gen-check    fail unless the committed code is what the .proto files give
#   .ci/clients.sh typescript   types and tests of client/typescript
#   .ci/clients.sh npm-pack     its package, installed in a fresh place, and what that offers
#   .ci/clients.sh python       types and tests of client/python
#   .ci/clients.sh wheel        its package, the same
#
# Tests that need the programs (cargo build --workspace --bins) find them in the target directory.
#
# Tools are those of .ci/tools.sh; npm packages are installed by the lock file alone.
set -euo pipefail
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TS=$ROOT/client/typescript
PY=$ROOT/client/python
export BANGER_PROGRAMS=$TARGET/debug
# Caches of Python and mypy stay out of the tree.
export PYTHONDONTWRITEBYTECODE=1 MYPY_CACHE_DIR=$TARGET/tools/mypy-cache
# Nothing goes into the user's home.
export npm_config_cache=$TARGET/tools/npm-cache npm_config_loglevel=error

# Installs what the lock file names, once for each of its contents.
npm_packages() {
  local want
  want=$(sha256sum <"$TS/package-lock.json")
  [ "$(cat "$TS/node_modules/.lock" 2>/dev/null)" = "$want" ] && return
  (cd "$TS" && npm ci --silent)
  echo "$want" >"$TS/node_modules/.lock"
}

# The lines of a client's page that install it: its first block.
to_install() {
  awk '/^```/ {if (inside) exit; inside = 1; next} inside' "$1/README.md" | grep . || {
    echo "$1/README.md does not say how to install it" >&2
    return 1
  }
}

# Writes the generated code below another directory than the top.
generate() {
  local out=$1
  npm_packages
  (cd "$TS" && buf generate --template buf.gen.yaml -o "$out/client/typescript")
  python3 "$PY/gen.py" "$out/client/python/src/banger_client/_gen"
}

gen_check() {
  local out
  out=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$out'" EXIT
  generate "$out"
  {
    diff -r "$out/client/typescript/src/gen" "$TS/src/gen" &&
      diff -r -x __pycache__ "$out/client/python/src/banger_client/_gen" "$PY/src/banger_client/_gen"
  } || {
    echo "the generated code is not up to date; run: make proto" >&2
    return 1
  }
}

typescript() {
  npm_packages
  cd "$TS"
  npm run -s build
  npm run -s check
  npm run -s test
}

# As somebody has it who installs it: no file of this tree, no devDependencies.
npm_pack() {
  local out lines
  lines=$(to_install "$TS")
  out=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$out'" EXIT
  cp "$TS"/test/package/* "$out"
  cd "$out"
  npm_config_prefer_offline=true bash -euo pipefail -c "${lines/..\/banger/$ROOT}"
  sha256sum <"$TS/package-lock.json" >"$TS/node_modules/.lock"
  node imports.mjs
  "$TS/node_modules/.bin/tsc" -p . --typeRoots "$TS/node_modules/@types"
}

python() {
  cd "$PY"
  mypy
  PYTHONPATH=src python3 -m unittest discover -t . -s tests
}

# As somebody has it who installs it: an environment of its own with the wheel and what that asks for.
wheel() {
  local out lines
  lines=$(to_install "$PY")
  out=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$out'" EXIT
  python3 -m venv --without-pip "$out/venv"
  # What installs into that environment, with the build's program of .ci/tools.txt.
  mkdir "$out/bin"
  printf '#!/bin/sh\nexec "%s" -m pip --python "%s" "$@" -q --disable-pip-version-check\n' \
    "$(command -v python3)" "$out/venv/bin/python" >"$out/bin/pip"
  chmod +x "$out/bin/pip"
  (cd "$ROOT" && PATH="$out/bin:$PATH" bash -euo pipefail -c "$lines")
  cp "$PY/tests/package/use.py" "$out"
  cd "$out"
  venv/bin/python use.py
  mypy --strict --python-executable venv/bin/python use.py
}

case "${1:-}" in
  gen) generate "$ROOT" ;;
  gen-check) gen_check ;;
  typescript) typescript ;;
  npm-pack) npm_pack ;;
  python) python ;;
  wheel) wheel ;;
  *)
    echo "usage: $0 gen|gen-check|typescript|npm-pack|python|wheel" >&2
    exit 2
    ;;
esac
