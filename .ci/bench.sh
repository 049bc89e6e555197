#!/usr/bin/env bash
# `make bench`: builds with optimization and measures banger beside its peers. Arguments go to
# banger-bench; without any, all lines.
set -euo pipefail
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

.ci/tools.sh bench
cargo build --quiet --workspace --bins --profile fast
exec "$TARGET/fast/banger-bench" "$@"
