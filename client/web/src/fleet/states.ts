// The words, marks and classes of the closed lists of states. A mark beside the colour, so that
// nothing is told by colour alone.
import { DesiredState, HostObjectState, HostState, ImageKind, KeptReason, RestartPolicy, VmState } from "@banger/client/v1";
import type { Host, Vm } from "@banger/client/v1";

export type Tone = "good" | "busy" | "rest" | "bad" | "unknown" | "wait" | "hold";

interface Look {
  readonly word: string;
  readonly tone: Tone;
  readonly mark: string;
}

const VM: Record<VmState, Look> = {
  [VmState.UNSPECIFIED]: { word: "—", tone: "unknown", mark: "?" },
  [VmState.PENDING]: { word: "PENDING", tone: "wait", mark: "◌" },
  [VmState.PREPARING]: { word: "PREPARING", tone: "busy", mark: "◔" },
  [VmState.STARTING]: { word: "STARTING", tone: "busy", mark: "◑" },
  [VmState.RUNNING]: { word: "RUNNING", tone: "good", mark: "●" },
  [VmState.PAUSED]: { word: "PAUSED", tone: "hold", mark: "‖" },
  [VmState.STOPPING]: { word: "STOPPING", tone: "busy", mark: "◒" },
  [VmState.STOPPED]: { word: "STOPPED", tone: "rest", mark: "○" },
  [VmState.CRASHED]: { word: "CRASHED", tone: "bad", mark: "✕" },
  [VmState.FAILED]: { word: "FAILED", tone: "bad", mark: "!" },
  [VmState.DELETING]: { word: "DELETING", tone: "busy", mark: "⊖" },
  [VmState.UNKNOWN]: { word: "UNKNOWN", tone: "unknown", mark: "?" },
  [VmState.DELETED]: { word: "DELETED", tone: "rest", mark: "⊗" },
};

const HOST: Record<HostState, Look> = {
  [HostState.UNSPECIFIED]: { word: "—", tone: "unknown", mark: "?" },
  [HostState.CONNECTING]: { word: "CONNECTING", tone: "unknown", mark: "◌" },
  [HostState.ONLINE]: { word: "ONLINE", tone: "good", mark: "●" },
  [HostState.SUSPECT]: { word: "SUSPECT", tone: "unknown", mark: "?" },
  [HostState.OFFLINE]: { word: "OFFLINE", tone: "bad", mark: "✕" },
  [HostState.REVOKED]: { word: "REVOKED", tone: "bad", mark: "⊘" },
};

// A newer server may send values that this page does not know.
const NEWER: Look = { word: "NEWER", tone: "unknown", mark: "?" };

export const vmLook = (state: VmState): Look => VM[state] ?? NEWER;
export const hostLook = (state: HostState): Look => HOST[state] ?? NEWER;

export const stateOf = (vm: Vm): VmState => vm.status?.state ?? VmState.UNSPECIFIED;
export const hostStateOf = (host: Host): HostState => host.status?.state ?? HostState.UNSPECIFIED;

/** The states in the order in which they are counted and drawn: what runs, what moves, what is wrong. */
export const VM_ORDER: readonly VmState[] = [
  VmState.RUNNING,
  VmState.PAUSED,
  VmState.STARTING,
  VmState.PREPARING,
  VmState.STOPPING,
  VmState.DELETING,
  VmState.STOPPED,
  VmState.PENDING,
  VmState.UNKNOWN,
  VmState.CRASHED,
  VmState.FAILED,
];

export const VM_STATE_BY_WORD: ReadonlyMap<string, VmState> = new Map(
  VM_ORDER.map((state) => [vmLook(state).word.toLowerCase(), state]),
);

export const desiredWord = (desired: DesiredState): string => DesiredState[desired] ?? "NEWER";
export const policyWord = (policy: RestartPolicy): string => (RestartPolicy[policy] ?? "NEWER").toLowerCase().replace("_", "-");
export const kindWord = (kind: ImageKind): string => (ImageKind[kind] ?? "NEWER").toLowerCase();
export const objectWord = (state: HostObjectState): string => HostObjectState[state] ?? "NEWER";
export const keptWord = (reason: KeptReason): string => KeptReason[reason] ?? "NEWER";
