#!/usr/bin/env bash
# Known vulnerabilities of the dependencies. The database comes from no package registry, and a check
# downloads nothing else: where somebody has fetched it (`cargo deny fetch db`), it is asked; where
# not, the step is one that was not checked.
set -euo pipefail
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/crates" >/dev/null; then
  echo "the database of advisories is not on this machine (cargo deny fetch db brings it)"
  exit "$NOT_CHECKED"
fi
cargo fetch -q --locked
cargo deny --offline --log-level warn --config .deny.toml check --hide-inclusion-graph advisories
