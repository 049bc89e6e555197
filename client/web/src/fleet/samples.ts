// Numbers over time, taken by the page itself: once a second what the fleet looks like, for the last
// quarter of an hour. Nothing is known of the time before the page was opened.
import { DesiredState, VmState } from "@banger/client/v1";
import type { Vm } from "@banger/client/v1";

import { millis } from "./format.ts";
import type { Fleet } from "./reduce.ts";
import { stateOf } from "./states.ts";

export const MOST_SAMPLES = 900;

export interface Sample {
  /** In seconds since 1970. */
  readonly at: number;
  readonly running: number;
  readonly moving: number;
  readonly resting: number;
  readonly trouble: number;
  /** Revisions a second since the sample before. */
  readonly rate: number;
  /** How long the VM that waits longest for its host has waited for its newest generation, in s. */
  readonly lag: number;
  /** From create to running, of the VMs that first ran within the last five minutes, in s; null for none. */
  readonly p50: number | null;
  readonly p99: number | null;
  readonly revision: bigint;
}

const WINDOW_MS = 300_000;

export function sample(fleet: Fleet, now: number, before: Sample | undefined, skewMs: number): Sample {
  let running = 0;
  let moving = 0;
  let resting = 0;
  let trouble = 0;
  let lag = 0;
  const starts: number[] = [];
  for (const vm of fleet.vms.values()) {
    switch (stateOf(vm)) {
      case VmState.RUNNING:
      case VmState.PAUSED:
        running += 1;
        break;
      case VmState.STOPPED:
        resting += 1;
        break;
      case VmState.FAILED:
      case VmState.CRASHED:
      case VmState.UNKNOWN:
      case VmState.PENDING:
        trouble += 1;
        break;
      default:
        moving += 1;
    }
    lag = Math.max(lag, lagOf(vm, now + skewMs));
    const start = startOf(vm, now + skewMs);
    if (start !== null) starts.push(start);
  }
  starts.sort((a, b) => a - b);
  const at = now / 1000;
  const passed = before ? at - before.at : 0;
  const rate = before && passed > 0 && fleet.revision > before.revision ? Number(fleet.revision - before.revision) / passed : 0;
  const { revision } = fleet;
  return { at, running, moving, resting, trouble, rate, lag, p50: quantile(starts, 0.5), p99: quantile(starts, 0.99), revision };
}

/** In seconds; of VMs that have a host. */
function lagOf(vm: Vm, now: number): number {
  const { status } = vm;
  if (!status || status.hostId === "" || status.observedGeneration >= vm.generation) return 0;
  const since = millis(vm.updateTime);
  return since === null ? 0 : Math.max(0, (now - since) / 1000);
}

/** From create to running in seconds, of a VM that runs for the first time and has done so lately. */
function startOf(vm: Vm, now: number): number | null {
  const { status } = vm;
  if (vm.desiredState !== DesiredState.RUNNING || vm.generation !== 1n || stateOf(vm) !== VmState.RUNNING) return null;
  if (!status || status.restartCount > 0 || status.adoptedAt) return null;
  const since = millis(status.stateSince);
  const created = millis(vm.createTime);
  if (since === null || created === null || now - since > WINDOW_MS) return null;
  return Math.max(0, (since - created) / 1000);
}

export function quantile(sorted: readonly number[], q: number): number | null {
  return sorted.length === 0 ? null : sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!;
}
