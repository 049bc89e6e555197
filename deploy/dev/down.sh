#!/usr/bin/env bash
# `make down`: deletes the VMs that `make up` made, stops server and agent, removes their state.
# What was built stays in target/. Safe to repeat.
set -euo pipefail
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../.ci/lib.sh"

state=${XDG_STATE_HOME:-$HOME/.local/state}/banger/dev
if [ ! -e "$state" ]; then
  echo "Nothing to take down."
  exit 0
fi
if [ ! -x "$TARGET/debug/banger" ]; then
  # `make up` was run from here once, or from another work tree; the programs are needed to undo it.
  .ci/tools.sh build
  echo "Building banger, which has to undo what it made. This takes some minutes."
  cargo build --bins -p banger-server -p banger-agent -p banger-command
fi
"$TARGET/debug/banger" dev down --yes --state-dir "$state" --rest-follows
# What `make up` put there before it, and the directories, if nothing else is in them.
if grep -qsxF '# Written by make up.' "$state/config/server.toml"; then
  rm "$state/config/server.toml"
fi
for dir in "$state/config" "$state"; do
  if [ -d "$dir" ]; then rmdir --ignore-fail-on-non-empty "$dir"; fi
done
if [ -d "$state" ]; then
  echo "What else is in $state stays: neither \`make up\` nor \`banger dev\` made it."
fi

# Bridge and chains are gone with their agents. What all agents share is left: the guests' control
# group, which goes only when it is empty, as it is where no other agent and no systemd uses it.
if is_root; then
  for mount in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    rmdir "$mount/banger.slice/banger-guests.slice" "$mount/banger.slice" 2>/dev/null || true
  done
fi
# The directory around it, if nobody else has put anything there.
rmdir --ignore-fail-on-non-empty "$(dirname "$state")"
