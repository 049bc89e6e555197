// What needs a person: what does not get well by itself, grouped by its reason.
import type { Host, Vm } from "@banger/client/v1";
import { HostState, VmState } from "@banger/client/v1";

import { millis, plural } from "./format.ts";
import { hostLook, hostStateOf, stateOf, vmLook } from "./states.ts";

/** One thing to look at. */
export interface Concern {
  readonly key: string;
  readonly tone: "bad" | "unknown" | "wait";
  readonly title: string;
  /** The sentence of the newest of them. */
  readonly detail: string;
  /** Where it is shown. */
  readonly href: string;
  readonly count: number;
}

/** A VM that is not what is wanted of it and is not on its way there. */
export function isTrouble(vm: Vm): boolean {
  switch (stateOf(vm)) {
    case VmState.FAILED:
    case VmState.CRASHED:
    case VmState.UNKNOWN:
    case VmState.PENDING:
      return true;
    case VmState.RUNNING:
      // Degraded: it runs, and its disk or its network is not well.
      return (vm.status?.reason ?? "") !== "";
    default:
      return false;
  }
}

const CERTIFICATE_WARNING_MS = 15 * 86_400_000;

/** How many VMs a host holds that the server does not know. An older server names all and counts none. */
export function unclaimedOf(host: Host): number {
  const { unclaimedVmCount = 0, unclaimedVmIds = [] } = host.status ?? {};
  return Math.max(unclaimedVmCount, unclaimedVmIds.length);
}

export function concerns(vms: Iterable<Vm>, hosts: Iterable<Host>, now: number): Concern[] {
  const found: Concern[] = [];
  for (const host of hosts) {
    const state = hostStateOf(host);
    const { message = "", vmCount = 0 } = host.status ?? {};
    const unclaimed = unclaimedOf(host);
    const href = `/hosts/${host.name}`;
    if (state !== HostState.ONLINE) {
      found.push({
        key: `host:${host.id}`,
        tone: state === HostState.OFFLINE ? "bad" : "unknown",
        title: `Host ${host.name} is ${hostLook(state).word}`,
        detail: message || (vmCount > 0 ? `Its ${plural(vmCount, "VM is", "VMs are")} UNKNOWN, not gone.` : ""),
        href,
        count: 1,
      });
    }
    if (unclaimed > 0) {
      found.push({
        key: `unclaimed:${host.id}`,
        tone: "wait",
        title: `Host ${host.name} holds VMs that the server does not know`,
        detail: "Nothing is done to them.",
        href,
        count: unclaimed,
      });
    }
    const expires = millis(host.certificateExpireTime);
    if (expires !== null && expires - now < CERTIFICATE_WARNING_MS) {
      found.push({
        key: `certificate:${host.id}`,
        tone: expires < now ? "bad" : "wait",
        title: `The certificate of host ${host.name} ${expires < now ? "has expired" : "expires soon"}`,
        detail: host.status?.certificate?.renewalError || "The server renews it when its agent is reached.",
        href,
        count: 1,
      });
    }
  }
  const groups = new Map<string, { vm: Vm; since: number; count: number }>();
  for (const vm of vms) {
    if (!isTrouble(vm)) continue;
    const key = `${stateOf(vm)}:${vm.status?.reason ?? ""}`;
    const since = millis(vm.status?.stateSince) ?? 0;
    const group = groups.get(key);
    if (!group) groups.set(key, { vm, since, count: 1 });
    else {
      group.count += 1;
      if (since > group.since) Object.assign(group, { vm, since });
    }
  }
  for (const [key, { vm, count }] of groups) {
    const { word, tone } = vmLook(stateOf(vm));
    const reason = vm.status?.reason ?? "";
    const query = `state:${word.toLowerCase()}${reason ? ` ${reason.toLowerCase()}` : ""}`;
    found.push({
      key: `vm:${key}`,
      tone: tone === "bad" ? "bad" : tone === "unknown" ? "unknown" : "wait",
      title: count === 1 ? `VM ${vm.name} is ${word}${reason ? `: ${reason}` : ""}` : `${word}${reason ? `: ${reason}` : ""}`,
      detail: vm.status?.message ?? "",
      href: count === 1 ? `/vms/${vm.name}` : `/vms?q=${encodeURIComponent(query)}`,
      count,
    });
  }
  const weight = { bad: 0, unknown: 1, wait: 2 };
  return found.sort((a, b) => weight[a.tone] - weight[b.tone] || b.count - a.count || (a.key < b.key ? -1 : 1));
}
