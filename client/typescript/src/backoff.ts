// How long to wait before trying again: doubles from a first pause up to a longest one, and spreads
// clients so that a restarted server does not meet all of them in the same moment. Pure: the random
// part is an argument.

export class Backoff {
    #next: number;

    constructor(
        readonly firstMs = 100,
        readonly longestMs = 10_000,
    ) {
        this.#next = firstMs;
    }

    /** The pause before the next attempt: between half and the whole of the present step. */
    pauseMs(random: number = Math.random()): number {
        const step = this.#next;
        this.#next = Math.min(step * 2, this.longestMs);
        return step / 2 + (step / 2) * random;
    }

    /** Begins anew: the last attempt went well. */
    reset(): void {
        this.#next = this.firstMs;
    }
}

/** Resolves after so long, or as soon as the signal is aborted; never rejects. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
        if (signal?.aborted) {
            resolve();
            return;
        }
        const done = () => {
            clearTimeout(timer);
            signal?.removeEventListener("abort", done);
            resolve();
        };
        const timer = setTimeout(done, ms);
        signal?.addEventListener("abort", done, { once: true });
    });
}
