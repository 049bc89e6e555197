#!/usr/bin/env bash
# `make up`: builds banger, starts a server and an agent on this machine, and runs a first VM.
# Safe to repeat: what is there already is used. `make down` removes all of it. `LISTEN=127.0.0.1:7171`
# gives the API another address than 127.0.0.1:7070; metrics and agents take the ports after it.
set -euo pipefail
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../.ci/lib.sh"

VM=first
bin=$TARGET/debug
state=${XDG_STATE_HOME:-$HOME/.local/state}/banger/dev

# Known before minutes of building: whether the API can have its address.
listen=${LISTEN:-127.0.0.1:7070}
if [[ ! $listen =~ ^127\.[0-9.]+:[0-9]{1,5}$ ]]; then
  echo "LISTEN is $listen; it is to be an address of this machine's loopback, such as 127.0.0.1:7171." >&2
  exit 2
fi
if (exec 3<>"/dev/tcp/${listen%:*}/${listen##*:}") 2>/dev/null && ! grep -qsF "\"$listen\"" "$state/dev.json"; then
  echo "Another program listens on $listen. Choose another address: make up LISTEN=127.0.0.1:7171" >&2
  exit 1
fi

.ci/tools.sh build

# What runs beside this script ends with it; each is a process group of its own, which Ctrl-C at the
# terminal would miss.
beside=()
guests=$(mktemp -d)
end_beside() {
  local group
  for group in "${beside[@]}"; do kill -- "-$group" 2>/dev/null || true; done
  rm -rf "$guests"
}
trap end_beside EXIT

# As root any machine can run a guest: under Firecracker where KVM works and it is installed, else
# under QEMU by software emulation. The guest agent goes into its image, and into those imported later.
# All that guests need comes beside the build of the programs, which is what takes long: QEMU and the
# packages of the first guest's image wait for a network, and the last part of either build has work
# for one processor only. Packages that do not come now are asked for again when they are needed.
for_guests() {
  .ci/tools.sh guests >&2
  .ci/guest.sh >"$1/agent"
  deploy/dev/packages.sh >"$1/packages" || : >"$1/packages"
}
if is_root; then
  export -f for_guests
  setsid bash -euo pipefail -c "for_guests '$guests'" >"$guests/log" 2>&1 &
  beside+=("$!")
fi

echo "Building banger. The first time this takes some minutes."
cargo build --bins -p banger-server -p banger-agent -p banger-command

if is_root; then
  # What it says is shown now, and from here on as it comes.
  tail -n +1 -f -s 0.2 --pid="${beside[0]}" "$guests/log" >&2
  wait "${beside[0]}" || exit 1
  agent=$(<"$guests/agent")
  beside=()
  if [ ! -e "$state/config/server.toml" ]; then
    (umask 077 && mkdir -p "$state/config")
    # By its first line `make down` knows it: `banger dev` leaves what it did not make.
    printf '# Written by make up.\n[images]\nguest_agent = "%s"\n' "$agent" >"$state/config/server.toml"
  fi
fi

# Real guests where `banger-agent doctor` says that this machine can, else a simulated host; which
# of the two, and why, is printed.
"$bin/banger" dev up --detach --state-dir "$state" ${LISTEN:+--listen "$LISTEN"}
# What was started earlier keeps its address.
BANGER_SERVER=$("$bin/banger" dev status --state-dir "$state" -o json | sed -n 's/^ *"server": *"\([^"]*\)".*/\1/p')
export BANGER_SERVER
flags=""
if [ "$BANGER_SERVER" != http://127.0.0.1:7070 ]; then flags=" BANGER_SERVER=$BANGER_SERVER"; fi

if "$bin/banger" host ls -o json | grep -q '"simulated": *true'; then
  simulated=yes
else
  simulated=no
  if ! "$bin/banger" image get demo >/dev/null 2>&1; then
    packages=$(<"$guests/packages")
    packages=${packages:-$(deploy/dev/packages.sh)}
    echo
    echo "Making a small guest of Debian's packages (banger image build-demo):"
    "$bin/banger" image build-demo "$packages" --guest-agent "$agent"
  fi
fi

echo
if "$bin/banger" vm get "$VM" -o name >/dev/null 2>&1; then
  echo "VM $VM is there already."
  "$bin/banger" vm start "$VM" --wait >/dev/null
else
  echo "Creating VM $VM; its states as they arrive (banger vm watch):"
  exec {states}< <(exec setsid "$bin/banger" vm watch)
  beside+=("$!")
  "$bin/banger" vm create "$VM" --image demo --memory 128M >/dev/null
  last="" deadline=$((SECONDS + 120))
  until [[ $last == *"$VM"*RUNNING* ]]; do
    if ((SECONDS >= deadline)) || ! IFS= read -rt $((deadline - SECONDS)) -u "$states" last; then
      echo "VM $VM did not reach RUNNING. What is known of it:" >&2
      "$bin/banger" vm explain "$VM" >&2
      exit 1
    fi
    [[ $last == *"$VM"* ]] && echo "  $last"
  done
fi
echo
"$bin/banger" vm get "$VM"

# A guest that runs is a guest that answers, and does what it is told.
if [ "$simulated" = no ]; then
  # Without the escapes by which a shell asks for its terminal.
  console() {
    "$bin/banger" vm console "$VM" --no-attach --tail 8192 | sed 's/\r//g; s/\x1b\[[0-9;]*[A-Za-z]//g' |
      grep -av '^ *$' | tail -n "$1"
  }
  dead() {
    echo "$1 The end of its console:" >&2
    console 20 >&2
    exit 1
  }
  address=$("$bin/banger" vm get "$VM" -o json | sed -n 's/.*"guestAddress": *"\([^"]*\)".*/\1/p' | head -n 1)
  echo
  echo "Waiting until the guest answers a ping at $address."
  tries=0
  until answer=$(ping -c 1 -W 1 "$address" 2>/dev/null); do
    tries=$((tries + 1))
    if [ "$tries" -ge 90 ]; then dead "The guest does not answer."; fi
  done
  sed -n 's/^[0-9].* from /  answered: /p' <<<"$answer"
  "$bin/banger" vm wait "$VM" --ready --timeout 2m >/dev/null || dead "The guest agent does not answer."
  echo "A program in the guest (banger vm exec $VM -- uname -a):"
  "$bin/banger" vm exec "$VM" -- uname -a | sed 's/^/  | /'
  echo "What the guest printed last (banger vm console $VM):"
  console 4 | sed 's/^/  | /'
fi

cat <<EOF

The dashboard: $BANGER_SERVER/

VM $VM is RUNNING. What to try next (PATH=$bin:\$PATH$flags):
  banger vm ls                        what there is
  banger vm events $VM              what happened to it
  banger vm explain $VM             what the server would do for it now, and why
EOF
if [ "$simulated" = no ]; then
  cat <<EOF
  banger vm exec $VM -- ps          a program in the guest
  banger vm console $VM             its serial console, both ways; Ctrl-] detaches
  banger vm run hello --rm -- cat /etc/hostname
                                      a VM for one program
EOF
fi
cat <<EOF
  banger vm stop $VM --wait         its disks stay
  banger vm watch                     every change as it happens
  banger --help
Clients of your own: ${BANGER_SERVER#http://} speaks gRPC with reflection; see README.md.
EOF
if [ "$simulated" = yes ]; then
  cat <<'EOF'

This host is SIMULATED: no guest runs on it, everything above the kernel is real. For real guests:
  1. root: make up then runs a guest on any machine, under QEMU where there is no KVM
  2. for production /dev/kvm, and Firecracker with its jailer: deploy/get-firecracker.sh downloads
     them and checks them (--help)
  3. banger-agent doctor says what is still missing
  4. make down, then make up
EOF
fi
echo
echo "make down removes all of it."
