// What the consumer of a watch has been told, and what to tell it next. Pure.
//
//               begin() = undefined            initialStateComplete
//     Listing{unseen} <──────────── Listing ─────────────────────────> Following(revision)
//           ^                                                               │
//           └───────────────── forgetRevision() <──────── too old ──────────┘
//
// While listing, VMs that were told before and have not come again yet are `unseen`; those still
// unseen when the state is complete went away while nobody was looking. The clients in Rust and
// Python have the same file; integration-tests/clients/conformance has transcripts of what it comes to.

import { equals } from "@bufbuild/protobuf";

import {
    type Vm,
    type VmEvent,
    VmEventType,
    VmSchema,
    type WatchVmsResponse,
} from "./gen/banger/v1/vm_pb.js";
import type { BangerError } from "./error.js";

/** One change of one object, as the consumer sees it. */
export interface Change<T> {
    readonly kind: "added" | "modified" | "removed";
    /** The object now; for "removed" as it was last seen. */
    readonly object: T;
    /** The revision of the change; 0 when it was found by comparing and has none of its own. */
    readonly revision: bigint;
}

/** What a watch tells. */
export type Update<T> =
    | Change<T>
    /** The state at this revision has been told whole. */
    | { readonly kind: "current"; readonly revision: bigint }
    /** Nothing happened up to this revision. */
    | { readonly kind: "bookmark"; readonly revision: bigint }
    /** The connection broke. Nothing will be missed; only a display may want to say so. */
    | { readonly kind: "reconnecting"; readonly error: BangerError; readonly pauseMs: number };

export interface VmList {
    readonly vms: readonly Vm[];
    /** A watch after this revision has no gap. */
    readonly revision: bigint;
}

type Phase = { unseen: Set<string> } | { revision: bigint };

export class Told {
    readonly #vms = new Map<string, Vm>();
    #phase: Phase = { unseen: new Set() };

    /** With a list, the consumer has that already. */
    constructor(list?: VmList) {
        if (list === undefined) return;
        for (const vm of list.vms) this.#vms.set(vm.id, vm);
        this.#phase = { revision: list.revision };
    }

    /** A new stream is about to be opened: after which revision, or from the state now. */
    begin(): bigint | undefined {
        if ("revision" in this.#phase) return this.#phase.revision;
        // A list that broke off half way begins anew.
        this.#phase = { unseen: new Set(this.#vms.keys()) };
        return undefined;
    }

    /** The server no longer knows the revision. False when none had been named. */
    forgetRevision(): boolean {
        const named = "revision" in this.#phase;
        this.#phase = { unseen: new Set() };
        return named;
    }

    /** The server said something: what to tell the consumer. */
    take(response: WatchVmsResponse): Update<Vm>[] {
        const updates: Update<Vm>[] = [];
        for (const event of response.events) {
            const change = this.#event(event);
            if (change !== undefined) updates.push(change);
        }
        const { revision } = response;
        if ("unseen" in this.#phase) {
            // Before the state is complete a revision says nothing that can be resumed from.
            if (!response.initialStateComplete) return updates;
            for (const id of [...this.#phase.unseen].sort()) {
                const vm = this.#vms.get(id);
                this.#vms.delete(id);
                if (vm !== undefined) updates.push({ kind: "removed", object: vm, revision: 0n });
            }
            this.#phase = { revision };
            updates.push({ kind: "current", revision });
        } else {
            if (revision > this.#phase.revision) this.#phase.revision = revision;
            if (response.events.length === 0) {
                updates.push({ kind: "bookmark", revision: this.#phase.revision });
            }
        }
        return updates;
    }

    #event({ type, vm, revision: of }: VmEvent): Change<Vm> | undefined {
        if (vm === undefined) return undefined;
        const revision = of > vm.revision ? of : vm.revision;
        const listing = "unseen" in this.#phase;
        if ("unseen" in this.#phase) this.#phase.unseen.delete(vm.id);
        const before = this.#vms.get(vm.id);
        // A resumed stream may repeat what was told; a revision is never told twice.
        if (before !== undefined && before.revision >= revision && revision > 0n) return undefined;
        // A server that was restarted counts anew; a VM that is as it was has not changed.
        if (listing && before !== undefined && sameButForRevision(before, vm)) {
            this.#vms.set(vm.id, vm);
            return undefined;
        }
        if (type === VmEventType.REMOVED) {
            if (!this.#vms.delete(vm.id)) return undefined;
            return { kind: "removed", object: vm, revision };
        }
        // Which of the two it is depends on what this consumer knows, not on what the server thinks
        // it knows.
        this.#vms.set(vm.id, vm);
        return { kind: before === undefined ? "added" : "modified", object: vm, revision };
    }
}

function sameButForRevision(a: Vm, b: Vm): boolean {
    return equals(VmSchema, { ...a, revision: b.revision }, b);
}
