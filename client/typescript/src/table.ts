// A table that is kept as it is on the server: all objects now, and a word with every change.
//
// Fed by the updates of a watch, by hand (`apply`) or by itself (`follow`). It says how good it is:
// `state` is "current" only while the stream is open and the state has been told whole; a view of it
// should say so when it is not.

import type { BangerError } from "./error.js";
import type { Update } from "./told.js";

/**
 * - `loading`: the first state has not been told whole.
 * - `current`: what is seen is what is there.
 * - `stale`: the connection is lost; what is seen was there at `since`.
 * - `ended`: no more will come; see `error`.
 */
export type TableState = "loading" | "current" | "stale" | "ended";

export class Table<T extends { readonly id: string }> {
    readonly #rows = new Map<string, T>();
    readonly #listeners = new Set<(update: Update<T>) => void>();
    #state: TableState = "loading";
    #revision = 0n;
    #since: Date | undefined;
    #error: BangerError | undefined;

    /** All objects by id. Changes in place. */
    get rows(): ReadonlyMap<string, T> {
        return this.#rows;
    }

    get state(): TableState {
        return this.#state;
    }

    /** Everything up to this revision is in the table. */
    get revision(): bigint {
        return this.#revision;
    }

    /** When it stopped being current; undefined while it is. */
    get since(): Date | undefined {
        return this.#since;
    }

    /** Why it is stale, or has ended. */
    get error(): BangerError | undefined {
        return this.#error;
    }

    /** Calls back after each update; answers how to stop that. */
    subscribe(listener: (update: Update<T>) => void): () => void {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
    }

    /** Takes in one update. */
    apply(update: Update<T>, now: Date = new Date()): void {
        switch (update.kind) {
            case "added":
            case "modified":
                this.#rows.set(update.object.id, update.object);
                this.#told(update.revision);
                break;
            case "removed":
                this.#rows.delete(update.object.id);
                this.#told(update.revision);
                break;
            case "current":
                this.#revision = update.revision;
                this.#fresh();
                break;
            case "bookmark":
                this.#told(update.revision);
                this.#fresh();
                break;
            case "reconnecting":
                if (this.#state === "current") {
                    this.#state = "stale";
                    this.#since = now;
                }
                this.#error = update.error;
                break;
        }
        for (const listener of this.#listeners) listener(update);
    }

    /** Takes in all updates of a watch, to its end; then throws what ended it. */
    async follow(updates: AsyncIterable<Update<T>>): Promise<void> {
        try {
            for await (const update of updates) this.apply(update);
        } catch (error) {
            this.#error = error as BangerError;
            throw error;
        } finally {
            this.#state = "ended";
            this.#since ??= new Date();
        }
    }

    /** Resolves once `wanted` holds, at the latest after so many milliseconds. */
    until(wanted: (table: this) => boolean, timeoutMs: number): Promise<void> {
        return new Promise((resolve, reject) => {
            const stop = this.subscribe(() => {
                if (!wanted(this)) return;
                clearTimeout(timer);
                stop();
                resolve();
            });
            const timer = setTimeout(() => {
                stop();
                const rows = [...this.#rows.keys()].join(", ");
                reject(new Error(`not within ${timeoutMs} ms: ${this.#state}, [${rows}]`));
            }, timeoutMs);
            if (wanted(this)) {
                clearTimeout(timer);
                stop();
                resolve();
            }
        });
    }

    #told(revision: bigint): void {
        if (revision > this.#revision) this.#revision = revision;
        // A change on a stream that was resumed: what was missed is on its way in order.
        if (this.#state === "stale") this.#fresh();
    }

    #fresh(): void {
        this.#state = "current";
        this.#since = undefined;
        this.#error = undefined;
    }
}
