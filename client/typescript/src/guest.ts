// Calls that reach a guest: programs in it, and files.
//
// Over HTTP/2 all of them work; a browser sends one body and then reads, so that it can run a program
// that asks nothing and copy out of a guest (`duplex` says which it is). Nothing is repeated when a
// connection breaks: what a program did by then is not known, and the error says so. Letting go of an
// output ends the call, and with it the program.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Client as Calls, StreamResponse, Transport } from "@connectrpc/connect";

import { BangerError, bangerError } from "./error.js";
import { ExecInputSchema, type ExecStartSchema } from "./gen/banger/v1/guest_pb.js";
import {
    type CopyToVmResponse,
    type ExecVmRequestSchema,
    type ExecVmResponse,
    VmService,
} from "./gen/banger/v1/vm_pb.js";

/** Most bytes of data in one message. */
export const MAX_DATA_BYTES = 64 * 1024;

/** What a program is given. */
export type Input = AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string>;

export interface ExecOptions
    extends Omit<MessageInitShape<typeof ExecStartSchema>, "command" | "$typeName"> {
    /** Its standard input, to its end. Not set: the program reads an end at once. */
    stdin?: Input | undefined;
    signal?: AbortSignal | undefined;
}

/** Something from a program. */
export type ExecEvent =
    | { readonly kind: "started"; readonly pid: number }
    | { readonly kind: "stdout" | "stderr"; readonly data: Uint8Array }
    | { readonly kind: "exited"; readonly code?: number; readonly signal?: number };

/** How a program ended, and all it wrote. */
export interface ExecResult {
    /** Undefined when a signal ended it. */
    readonly code: number | undefined;
    readonly signal: number | undefined;
    readonly stdout: Uint8Array;
    readonly stderr: Uint8Array;
}

const EXEC = { name: "ExecVm", changes: true };

/** Runs a program in the guest: the program and its arguments, no shell. */
export async function* exec(
    transport: Transport,
    duplex: boolean,
    vm: string,
    command: string[],
    options: ExecOptions = {},
): AsyncGenerator<ExecEvent, void, undefined> {
    const { stdin, signal, ...start } = options;
    const own = new AbortController();
    const end = () => own.abort();
    signal?.addEventListener("abort", end, { once: true });
    if (signal?.aborted) end();
    const first = { vm, input: { input: { case: "start", value: { ...start, command } } } } as const;
    let over = false;
    try {
        for await (const { output } of await opened(transport, duplex, first, stdin, own.signal)) {
            const event = told(output?.output);
            if (event === undefined) continue;
            over = event.kind === "exited";
            yield event;
        }
        if (!over) throw new BangerError("interrupted", EXEC, "the stream ended before the program", {
            code: 14,
            outcomeUnknown: true,
        });
    } finally {
        end();
        signal?.removeEventListener("abort", end);
    }
}

async function opened(
    transport: Transport,
    duplex: boolean,
    first: MessageInitShape<typeof ExecVmRequestSchema>,
    stdin: Input | undefined,
    signal: AbortSignal,
): Promise<AsyncIterable<ExecVmResponse>> {
    const method = VmService.method.execVm;
    if (!duplex && stdin !== undefined) throw needsDuplex("ExecVm with an input");
    // One message and then the end of the body is what fetch can send.
    const sent = duplex ? method : ({ ...method, methodKind: "server_streaming" } as const);
    const input = duplex ? messages(first, stdin ?? []) : (async function* () { yield first; })();
    const response = (await transport.stream(sent as typeof method, signal, 0, undefined, input)) as
        StreamResponse<typeof method.input, typeof method.output>;
    return response.message;
}

async function* messages(
    first: MessageInitShape<typeof ExecVmRequestSchema>,
    stdin: Input,
): AsyncGenerator<MessageInitShape<typeof ExecVmRequestSchema>> {
    yield first;
    for await (const data of parts(stdin)) yield { input: { input: { case: "stdin", value: data } } };
    yield { input: create(ExecInputSchema, { input: { case: "stdinClosed", value: {} } }) };
}

function told(output: NonNullable<ExecVmResponse["output"]>["output"] | undefined): ExecEvent | undefined {
    switch (output?.case) {
        case "started":
            return { kind: "started", pid: output.value.pid };
        case "stdout":
        case "stderr":
            return { kind: output.case, data: output.value };
        case "exited": {
            const { code, signal } = output.value;
            return {
                kind: "exited",
                ...(code === undefined ? {} : { code }),
                ...(signal === undefined ? {} : { signal }),
            };
        }
        case undefined:
            return undefined;
    }
}

/** Runs a program and keeps what it writes, at most `mostBytes` (16 MiB); more is an error. */
export async function run(
    events: AsyncIterable<ExecEvent>,
    mostBytes = 16 * 1024 * 1024,
): Promise<ExecResult> {
    const kept = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
    let room = mostBytes;
    for await (const event of events) {
        if (event.kind === "exited") {
            return {
                code: event.code,
                signal: event.signal,
                stdout: joined(kept.stdout),
                stderr: joined(kept.stderr),
            };
        }
        if (event.kind === "started") continue;
        room -= event.data.length;
        if (room < 0) throw new RangeError(`the program wrote more than ${mostBytes} bytes`);
        kept[event.kind].push(event.data);
    }
    throw new Error("the events of a program end with how it ended");
}

/** Unpacks a tar stream in a directory of the guest, which must be there. */
export async function copyTo(
    calls: Calls<typeof VmService>,
    duplex: boolean,
    to: { vm: string; directory: string; ownName?: string },
    tar: Input,
    signal?: AbortSignal,
): Promise<CopyToVmResponse> {
    if (!duplex) throw needsDuplex("CopyToVm");
    async function* sent() {
        yield to;
        for await (const data of parts(tar)) yield { data };
    }
    return calls.copyToVm(sent(), signal === undefined ? {} : { signal });
}

/** Packs a file or directory of the guest into a tar stream. What comes is the guest's word. */
export async function* copyFrom(
    calls: Calls<typeof VmService>,
    vm: string,
    path: string,
    signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
    const answers = calls.copyFromVm({ vm, path }, signal === undefined ? {} : { signal });
    for await (const { data } of answers) yield data;
}

function needsDuplex(what: string): BangerError {
    return bangerError(new BangerError("not-banger", EXEC, `${what} needs HTTP/2, which a page has not`, {
        code: 12,
    }), EXEC);
}

/** The input in parts that a message can carry. */
async function* parts(input: Input): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const encoder = new TextEncoder();
    for await (const part of input) {
        const bytes = typeof part === "string" ? encoder.encode(part) : Uint8Array.from(part);
        for (let at = 0; at < bytes.length; at += MAX_DATA_BYTES) {
            yield bytes.slice(at, at + MAX_DATA_BYTES);
        }
    }
}

function joined(all: readonly Uint8Array[]): Uint8Array {
    const out = new Uint8Array(all.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of all) {
        out.set(part, at);
        at += part.length;
    }
    return out;
}
