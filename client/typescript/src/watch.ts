// Watches of VMs and of hosts that resume by themselves.
//
// The consumer is told the state at a revision and then every change, once and in order. When the
// connection breaks, the stream is opened again after the last revision that was told. When the
// server no longer knows that revision, the state is read anew and the differences to what was told
// are made up here, so that the consumer sees no gap and nothing twice: it may only miss steps
// between two states of one VM. Only an error that no retry can help ends a watch.

import { equals, type MessageInitShape } from "@bufbuild/protobuf";
import type { Client as Calls } from "@connectrpc/connect";

import { Backoff, pause } from "./backoff.js";
import { BangerError, bangerError } from "./error.js";
import {
    type Host,
    HostSchema,
    type HostService,
    type WatchHostsResponse,
} from "./gen/banger/v1/host_pb.js";
import type { Vm, VmFilterSchema, VmService } from "./gen/banger/v1/vm_pb.js";
import { Told, type Update, type VmList } from "./told.js";

export interface WatchOptions {
    signal?: AbortSignal | undefined;
    random?: (() => number) | undefined;
}

export type VmFilterInit = MessageInitShape<typeof VmFilterSchema>;

/** Follows all VMs that match: from the state now, or from a list read with the same filter. */
export async function* watchVms(
    calls: Calls<typeof VmService>,
    filter: VmFilterInit,
    list?: VmList,
    options: WatchOptions = {},
): AsyncGenerator<Update<Vm>, void, undefined> {
    const told = new Told(list);
    yield* follow("WatchVms", options, {
        open: (signal) => {
            const afterRevision = told.begin();
            const from = afterRevision === undefined ? {} : { afterRevision };
            return calls.watchVms({ ...from, filter }, { signal });
        },
        take: (response) => told.take(response),
        forget: () => told.forgetRevision(),
    });
}

/** Follows all hosts. The server gives their stream no revisions: each begins with the state. */
export async function* watchHosts(
    calls: Calls<typeof HostService>,
    options: WatchOptions = {},
): AsyncGenerator<Update<Host>, void, undefined> {
    const told = new ToldHosts();
    yield* follow("WatchHosts", options, {
        open: (signal) => {
            told.begin();
            return calls.watchHosts({}, { signal });
        },
        take: (response) => told.take(response),
        forget: () => false,
    });
}

interface Source<T, R> {
    open(signal: AbortSignal): AsyncIterable<R>;
    take(response: R): Update<T>[];
    /** The revision is too old; false when none was named. */
    forget(): boolean;
}

async function* follow<T, R>(
    name: string,
    { signal, random = Math.random }: WatchOptions,
    source: Source<T, R>,
): AsyncGenerator<Update<T>, void, undefined> {
    const backoff = new Backoff();
    // Ends the stream that is open when the consumer stops reading, too.
    const own = new AbortController();
    const end = () => own.abort();
    signal?.addEventListener("abort", end, { once: true });
    if (signal?.aborted) end();
    const call = { name, changes: false };
    try {
        while (!own.signal.aborted) {
            let error: BangerError;
            try {
                for await (const response of source.open(own.signal)) {
                    backoff.reset();
                    yield* source.take(response);
                }
                error = bangerError("the stream ended", call);
            } catch (thrown) {
                error = bangerError(thrown, call, own.signal.aborted);
            }
            if (own.signal.aborted) return;
            if (error.is("REVISION_TOO_OLD")) {
                // At once, and only once in a row: the next attempt names no revision.
                if (source.forget()) continue;
            } else if (!error.isPassing) {
                throw error;
            }
            const pauseMs = backoff.pauseMs(random());
            yield { kind: "reconnecting", error, pauseMs };
            await pause(pauseMs, own.signal);
        }
    } finally {
        end();
        signal?.removeEventListener("abort", end);
    }
}

/** What has been told of hosts; as `Told`, without revisions. */
class ToldHosts {
    readonly #hosts = new Map<string, Host>();
    #unseen: Set<string> | undefined = new Set();

    begin(): void {
        this.#unseen = new Set(this.#hosts.keys());
    }

    take(response: WatchHostsResponse): Update<Host>[] {
        const updates: Update<Host>[] = [];
        for (const host of response.hosts) {
            this.#unseen?.delete(host.id);
            const before = this.#hosts.get(host.id);
            if (before !== undefined && equals(HostSchema, before, host)) continue;
            this.#hosts.set(host.id, host);
            const kind = before === undefined ? "added" : "modified";
            updates.push({ kind, object: host, revision: 0n });
        }
        const gone = [...response.removedHostIds];
        if (response.initialStateComplete) {
            gone.push(...[...(this.#unseen ?? [])].sort());
            this.#unseen = undefined;
        }
        for (const id of gone) {
            const host = this.#hosts.get(id);
            if (this.#hosts.delete(id) && host !== undefined) {
                updates.push({ kind: "removed", object: host, revision: 0n });
            }
        }
        if (response.initialStateComplete) updates.push({ kind: "current", revision: 0n });
        return updates;
    }
}
