// What is on each host, counted in one walk over all VMs.
import type { Vm, VmState } from "@banger/client/v1";

import { VM_ORDER, stateOf } from "./states.ts";

export interface Load {
  readonly total: number;
  readonly byState: ReadonlyMap<VmState, number>;
}

/** By host id; "" is for VMs without a host. */
export function loads(vms: Iterable<Vm>): Map<string, Load> {
  const found = new Map<string, { total: number; byState: Map<VmState, number> }>();
  for (const vm of vms) {
    const host = vm.status?.hostId ?? "";
    let load = found.get(host);
    if (!load) found.set(host, (load = { total: 0, byState: new Map() }));
    const state = stateOf(vm);
    load.total += 1;
    load.byState.set(state, (load.byState.get(state) ?? 0) + 1);
  }
  return found;
}

export const NO_LOAD: Load = { total: 0, byState: new Map() };

/** The states with how many there are, in the order in which they are drawn. */
export const parts = (load: Load): [VmState, number][] =>
  VM_ORDER.flatMap((state) => {
    const n = load.byState.get(state);
    return n ? [[state, n] as [VmState, number]] : [];
  });

/** All hosts together. */
export function sum(all: Iterable<Load>): Load {
  const byState = new Map<VmState, number>();
  let total = 0;
  for (const load of all) {
    total += load.total;
    for (const [state, n] of load.byState) byState.set(state, (byState.get(state) ?? 0) + n);
  }
  return { total, byState };
}
