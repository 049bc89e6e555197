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
  cargo build --quiet --bins -p banger-server -p banger-agent -p banger-client
fi
"$TARGET/debug/banger" dev down --yes --state-dir "$state"

# What real guests shared and an agent keeps for the next ones: the bridge, the chains and the
# guests' control group of the host b0, all empty by now.
if is_root && ip link show b0br0 >/dev/null 2>&1; then
  ip link delete b0br0
  for entry in filter:FORWARD:BANGER-B0-FWD filter:INPUT:BANGER-B0-IN nat:POSTROUTING:BANGER-B0-NAT; do
    IFS=: read -r table from chain <<<"$entry"
    iptables -w -t "$table" -D "$from" -j "$chain" 2>/dev/null || true
    iptables -w -t "$table" -F "$chain" 2>/dev/null || true
    iptables -w -t "$table" -X "$chain" 2>/dev/null || true
  done
  # Only when empty, which it is where no other agent and no systemd uses it.
  for mount in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    rmdir "$mount/banger.slice/banger-guests.slice" "$mount/banger.slice" 2>/dev/null || true
  done
  echo "Removed the guests' bridge and chains. IPv4 forwarding stays as it is."
fi
# The directory around it, if nobody else has put anything there.
rmdir --ignore-fail-on-non-empty "$(dirname "$state")"
