// The one rule of repeating, over any transport.
//
// A call has one deadline for all of its attempts. A server that was never reached is told at once;
// one that was lost in the middle, or that says it is shutting down, is asked again until the
// deadline. Of a change the repetition carries the same `request_id`, which this file sets where the
// caller has not, so that the server makes the change once; a change without that field is never
// repeated. What was sent and not answered stays unknown until the server has decided.
//
// Streams are passed through with their errors named; `watch` and `guest` know what to do with them.

import {
    create,
    type DescMessage,
    type DescMethod,
    type MessageInitShape,
    type MessageShape,
} from "@bufbuild/protobuf";
import type { StreamResponse, Transport, UnaryResponse } from "@connectrpc/connect";

import { Backoff, pause } from "./backoff.js";
import { bangerError, type BangerError, type Call } from "./error.js";

/** How long a call may take when nothing else was said. Streams and waits have none or their own. */
export const DEFAULT_DEADLINE_MS = 30_000;

export interface RuleOptions {
    deadlineMs?: number | undefined;
    /** Makes the ids of requests: UUIDs. */
    requestId?: (() => string) | undefined;
    random?: (() => number) | undefined;
}

/** How a call of this method is to be repeated and spoken of. */
export function callOf(method: DescMethod): Call {
    return { name: method.name, changes: !/^(Get|List|Explain|Wait|Watch|Read|CopyFrom)/.test(method.name) };
}

/** The transport, with the rule kept. */
export function withRule(transport: Transport, options: RuleOptions = {}): Transport {
    const requestId = options.requestId ?? uuid;
    const random = options.random ?? Math.random;
    return {
        async unary<I extends DescMessage, O extends DescMessage>(
            method: Parameters<typeof transport.unary<I, O>>[0],
            signal: AbortSignal | undefined,
            timeoutMs: number | undefined,
            header: HeadersInit | undefined,
            input: MessageInitShape<I>,
            contextValues?: Parameters<typeof transport.unary<I, O>>[5],
        ): Promise<UnaryResponse<I, O>> {
            const call = callOf(method);
            const message = create(method.input, input);
            const repeatable = identified(method.input, message, requestId) || !call.changes;
            const limit = timeoutMs ?? options.deadlineMs ?? DEFAULT_DEADLINE_MS;
            const until = limit > 0 ? Date.now() + limit : Infinity;
            const backoff = new Backoff();
            let unknown = false;
            let last: BangerError | undefined;
            for (;;) {
                const left = until - Date.now();
                try {
                    return await transport.unary(
                        method,
                        signal,
                        left === Infinity ? 0 : Math.max(left, 1),
                        header,
                        message,
                        contextValues,
                    );
                } catch (thrown) {
                    const error = bangerError(thrown, call, signal?.aborted);
                    // The deadline says less than what went wrong before it.
                    const told = error.kind === "no-answer" ? (last ?? error) : error;
                    const first = last === undefined;
                    last = told;
                    unknown = (unknown || error.outcomeUnknown) && !error.isDecided;
                    const wait = backoff.pauseMs(random());
                    if (!repeatable || !isRepeated(error, first) || Date.now() + wait >= until) {
                        throw unknown ? told.ofUnknownOutcome() : told;
                    }
                    await pause(wait, signal);
                    if (signal?.aborted) {
                        const gone = bangerError(signal.reason, call, true);
                        throw unknown ? gone.ofUnknownOutcome() : gone;
                    }
                }
            }
        },
        async stream<I extends DescMessage, O extends DescMessage>(
            method: Parameters<typeof transport.stream<I, O>>[0],
            signal: AbortSignal | undefined,
            timeoutMs: number | undefined,
            header: HeadersInit | undefined,
            input: AsyncIterable<MessageInitShape<I>>,
            contextValues?: Parameters<typeof transport.stream<I, O>>[5],
        ): Promise<StreamResponse<I, O>> {
            const call = callOf(method);
            try {
                const response = await transport.stream(
                    method,
                    signal,
                    timeoutMs ?? 0,
                    header,
                    input,
                    contextValues,
                );
                return { ...response, message: named(response.message, call, signal) };
            } catch (thrown) {
                throw bangerError(thrown, call, signal?.aborted);
            }
        },
    };
}

function isRepeated(error: BangerError, first: boolean): boolean {
    switch (error.kind) {
        case "interrupted":
            return true;
        case "unreachable":
            return !first;
        case "refused":
            return error.is("SHUTTING_DOWN");
        case "no-answer":
        case "cancelled":
        case "not-banger":
            return false;
    }
}

/** Sees to it that the request has an id, if it can have one. */
function identified<I extends DescMessage>(
    desc: I,
    message: MessageShape<I>,
    requestId: () => string,
): boolean {
    if (!desc.fields.some((field) => field.name === "request_id")) return false;
    const request = message as unknown as { requestId: string };
    if (request.requestId === "") request.requestId = requestId();
    return true;
}

async function* named<T>(
    messages: AsyncIterable<T>,
    call: Call,
    signal: AbortSignal | undefined,
): AsyncIterable<T> {
    try {
        yield* messages;
    } catch (thrown) {
        throw bangerError(thrown, call, signal?.aborted);
    }
}

/** `crypto.randomUUID` is missing in pages that came over plain http from another machine. */
function uuid(): string {
    if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
