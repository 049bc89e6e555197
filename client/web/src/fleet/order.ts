// The rows of a table in their order. Sorting what is nearly sorted costs a walk over it, so that
// the order of before is where the next one begins.
import type { Vm } from "@banger/client/v1";

import { matches, type Filter } from "./filter.ts";
import { VM_ORDER, stateOf } from "./states.ts";

export type Column = "name" | "state" | "host" | "address" | "vcpus" | "memory" | "since" | "restarts" | "reason" | "created";

export interface Sort {
  readonly column: Column;
  readonly down: boolean;
}

export const COLUMNS: readonly Column[] = ["name", "state", "host", "address", "vcpus", "memory", "since", "restarts", "reason", "created"];

const RANK = new Map(VM_ORDER.map((state, at) => [state, at]));
const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const seconds = (time: { seconds: bigint; nanos: number } | undefined): number =>
  time ? Number(time.seconds) + time.nanos / 1e9 : 0;
const address = (dotted: string): number => dotted.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);

/** Digits at the end as a number, so that web-9 comes before web-10. */
export function byName(a: string, b: string): number {
  const left = endOfWord(a);
  const right = endOfWord(b);
  // What comes before the digits first, so that any three names have one order.
  if (left !== right || !a.startsWith(b.slice(0, right))) return text(a.slice(0, left), b.slice(0, right)) || text(a, b);
  return a.length - b.length || text(a, b);
}

/** Where the digits at the end begin. Called for each step of a sort: without a regular expression. */
function endOfWord(name: string): number {
  let at = name.length;
  while (at > 0) {
    const c = name.charCodeAt(at - 1);
    if (c < 48 || c > 57) break;
    at -= 1;
  }
  return at;
}

const COMPARE: Record<Column, (a: Vm, b: Vm) => number> = {
  name: () => 0,
  state: (a, b) => (RANK.get(stateOf(a)) ?? 99) - (RANK.get(stateOf(b)) ?? 99),
  host: (a, b) => text(a.status?.hostName ?? "", b.status?.hostName ?? ""),
  address: (a, b) => address(a.status?.guestAddress ?? "") - address(b.status?.guestAddress ?? ""),
  vcpus: (a, b) => (a.spec?.vcpus ?? 0) - (b.spec?.vcpus ?? 0),
  memory: (a, b) => (a.spec?.memoryMib ?? 0) - (b.spec?.memoryMib ?? 0),
  since: (a, b) => seconds(b.status?.stateSince) - seconds(a.status?.stateSince),
  restarts: (a, b) => (a.status?.restartCount ?? 0) - (b.status?.restartCount ?? 0),
  reason: (a, b) => text(a.status?.reason ?? "", b.status?.reason ?? ""),
  created: (a, b) => seconds(b.createTime) - seconds(a.createTime),
};

/** Ids of the VMs that match, in order. `before` is the order of before, which may be stale. */
export function order(vms: ReadonlyMap<string, Vm>, filter: Filter, sort: Sort, before: readonly string[]): string[] {
  const rows = kept(vms, filter, before);
  const have = new Set(before);
  for (const vm of vms.values()) if (!have.has(vm.id) && matches(filter, vm)) rows.push(vm);
  const compare = COMPARE[sort.column];
  const way = sort.down ? -1 : 1;
  rows.sort((a, b) => way * (compare(a, b) || byName(a.name, b.name)) || text(a.id, b.id));
  return rows.map((vm) => vm.id);
}

/** The same with the order held: what is new comes last, what is gone stays in its place until it is let go. */
export function hold(vms: ReadonlyMap<string, Vm>, filter: Filter, before: readonly string[]): string[] {
  const have = new Set(before);
  const rows = [...before];
  for (const vm of vms.values()) if (!have.has(vm.id) && matches(filter, vm)) rows.push(vm.id);
  return rows;
}

function kept(vms: ReadonlyMap<string, Vm>, filter: Filter, before: readonly string[]): Vm[] {
  const rows: Vm[] = [];
  for (const id of before) {
    const vm = vms.get(id);
    if (vm && matches(filter, vm)) rows.push(vm);
  }
  return rows;
}
