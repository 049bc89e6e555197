// What the page knows of the fleet, how it learns it, and when it says that this may be old.
//
// What the watches of the client tell and the ups and downs of the connection are inputs; `reduce`
// folds a batch of them into a new state and changes nothing of the old one. The watches resume by
// themselves and tell differences, so that nothing here has to begin anew.
import type { Update } from "@banger/client";
import { VmState, type Host, type Vm } from "@banger/client/v1";

/** How the connection to the server stands. */
export type Link =
  | { readonly state: "connecting"; readonly since: number }
  | { readonly state: "live"; readonly since: number }
  | { readonly state: "lost"; readonly since: number; readonly why: string; readonly retryAt: number }
  | { readonly state: "resting"; readonly since: number }
  | { readonly state: "refused"; readonly since: number; readonly why: string };

/** A VM that went from one state to another before our eyes. */
export interface Change {
  /** Grows by one with each change. */
  readonly seq: number;
  /** When it was seen, in ms by this page's clock. */
  readonly at: number;
  readonly id: string;
  readonly name: string;
  /** UNSPECIFIED when the VM is new to the page. */
  readonly from: VmState;
  /** DELETED when it is gone. */
  readonly to: VmState;
  readonly reason: string;
  readonly host: string;
}

/** What the page knows. Never changed in place. */
export interface Fleet {
  readonly vms: ReadonlyMap<string, Vm>;
  readonly hosts: ReadonlyMap<string, Host>;
  /** Everything up to here is in `vms`; 0 before the first state is whole. */
  readonly revision: bigint;
  /** Whether there has been a whole state of each. */
  readonly haveVms: boolean;
  readonly haveHosts: boolean;
  /** When the stream of VMs last said anything, in ms by this page's clock; 0 for never. */
  readonly heardAt: number;
  readonly link: Link;
  /** The newest changes, newest last, at most `MOST_CHANGES`. */
  readonly changes: readonly Change[];
}

/** Something that happened. `at` is in ms by this page's clock. */
export type Input =
  | { readonly kind: "vm"; readonly at: number; readonly update: Update<Vm> }
  | { readonly kind: "host"; readonly at: number; readonly update: Update<Host> }
  | { readonly kind: "link"; readonly link: Link };

export const MOST_CHANGES = 400;

/** Silence of the stream of VMs for longer than this is stale: a bookmark comes every ten seconds. */
export const STALE_AFTER_MS = 25_000;

export function emptyFleet(at: number): Fleet {
  return {
    vms: new Map(),
    hosts: new Map(),
    revision: 0n,
    haveVms: false,
    haveHosts: false,
    heardAt: 0,
    link: { state: "connecting", since: at },
    changes: [],
  };
}

/** The state after these inputs. */
export function reduce(before: Fleet, inputs: readonly Input[]): Fleet {
  const after = new Draft(before);
  for (const input of inputs) {
    switch (input.kind) {
      case "vm":
        after.tellVm(input.at, input.update);
        break;
      case "host":
        after.tellHost(input.update);
        break;
      case "link":
        after.link = input.link;
        break;
    }
  }
  return after.done();
}

/** The sentence that says that what is shown may no longer be so; null while it is. */
export function staleness(fleet: Fleet, now: number): string | null {
  const { link } = fleet;
  switch (link.state) {
    case "refused":
      return `The server refuses: ${link.why}.`;
    case "lost":
      return `The server is not reached: ${link.why}.`;
    case "resting":
      return "This page rested while nobody looked.";
    case "connecting":
      return fleet.haveVms ? "Connecting again." : null;
    case "live":
      return now - fleet.heardAt > STALE_AFTER_MS ? "The connection is open, and nothing comes." : null;
  }
}

/** A copy of a state that is being written, with each map copied at its first change only. */
class Draft {
  private vms: Map<string, Vm> | null = null;
  private hosts: Map<string, Host> | null = null;
  private fresh: Change[] = [];
  private revision: bigint;
  private haveVms: boolean;
  private haveHosts: boolean;
  private heardAt: number;
  link: Link;

  constructor(private readonly before: Fleet) {
    this.revision = before.revision;
    this.haveVms = before.haveVms;
    this.haveHosts = before.haveHosts;
    this.heardAt = before.heardAt;
    this.link = before.link;
  }

  tellVm(at: number, update: Update<Vm>): void {
    if (update.kind === "reconnecting") return;
    this.heardAt = at;
    if (this.link.state !== "live") this.link = { state: "live", since: at };
    switch (update.kind) {
      case "added":
      case "modified": {
        this.vms ??= new Map(this.before.vms);
        if (this.haveVms) this.note(at, this.vms.get(update.object.id), update.object);
        this.vms.set(update.object.id, update.object);
        break;
      }
      case "removed":
        this.vms ??= new Map(this.before.vms);
        if (this.vms.delete(update.object.id)) this.push(at, update.object, stateOf(update.object), VmState.DELETED);
        break;
      case "current":
        this.haveVms = true;
        this.revision = update.revision;
        return;
      case "bookmark":
        break;
    }
    // Within a first state there is nothing to resume from yet.
    if (this.haveVms && update.revision > this.revision) this.revision = update.revision;
  }

  tellHost(update: Update<Host>): void {
    switch (update.kind) {
      case "added":
      case "modified":
        this.hosts ??= new Map(this.before.hosts);
        this.hosts.set(update.object.id, update.object);
        break;
      case "removed":
        this.hosts ??= new Map(this.before.hosts);
        this.hosts.delete(update.object.id);
        break;
      case "current":
        this.haveHosts = true;
        break;
      case "bookmark":
      case "reconnecting":
        break;
    }
  }

  private note(at: number, old: Vm | undefined, vm: Vm): void {
    const from = old ? stateOf(old) : VmState.UNSPECIFIED;
    const to = stateOf(vm);
    if (from !== to) this.push(at, vm, from, to);
  }

  private push(at: number, vm: Vm, from: VmState, to: VmState): void {
    const newest = this.fresh.at(-1) ?? this.before.changes.at(-1);
    const { reason = "", hostName = "" } = vm.status ?? {};
    this.fresh.push({ seq: (newest?.seq ?? 0) + 1, at, id: vm.id, name: vm.name, from, to, reason, host: hostName });
    if (this.fresh.length > 2 * MOST_CHANGES) this.fresh = this.fresh.slice(-MOST_CHANGES);
  }

  done(): Fleet {
    const { before } = this;
    return {
      vms: this.vms ?? before.vms,
      hosts: this.hosts ?? before.hosts,
      revision: this.revision,
      haveVms: this.haveVms,
      haveHosts: this.haveHosts,
      heardAt: this.heardAt,
      link: this.link,
      changes: this.fresh.length > 0 ? [...before.changes, ...this.fresh].slice(-MOST_CHANGES) : before.changes,
    };
  }
}

const stateOf = (vm: Vm): VmState => vm.status?.state ?? VmState.UNSPECIFIED;
