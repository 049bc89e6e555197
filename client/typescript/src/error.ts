// What can go wrong between a client and a server.
//
// A caller does something else for each kind: the server was never reached (nothing happened), the
// connection broke or the deadline passed in the middle (what happened is not known), or the server
// answered with a refusal and its reason. `outcomeUnknown` says the one thing that matters after a
// change: whether it may have been made. What is not known for certain is said to be unknown.

import { Code, ConnectError } from "@connectrpc/connect";

import { ErrorReason } from "./gen/banger/v1/error_pb.js";
import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/**
 * - `unreachable`: no connection came about; the server has not seen the request.
 * - `interrupted`: the connection broke while the call was under way.
 * - `no-answer`: the deadline passed before an answer came.
 * - `cancelled`: the caller's own signal.
 * - `not-banger`: something answered, but not a banger server.
 * - `refused`: the server's answer; see `reason`.
 */
export type ErrorKind =
    | "unreachable"
    | "interrupted"
    | "no-answer"
    | "cancelled"
    | "not-banger"
    | "refused";

/** One field of a request that is wrong. */
export interface FieldProblem {
    /** Path in the request, such as "spec.memory_mib". */
    readonly field: string;
    readonly description: string;
}

/** The names of the reasons, as the server sends them: "VM_NOT_FOUND". */
export type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED">;

/** One call of the API, as errors speak of it. */
export interface Call {
    /** As in the `.proto` files, such as "CreateVm". */
    readonly name: string;
    /** Whether it changes anything: then an answer that is lost leaves its outcome unknown. */
    readonly changes: boolean;
}

/** Thrown by every call of the client. */
export class BangerError extends Error {
    override readonly name = "BangerError";
    readonly kind: ErrorKind;
    readonly call: Call;
    /** The server's own code for a refusal, else the nearest one. */
    readonly code: Code;
    /** Why the server refused, from docs/ERRORS.md; empty for what is no refusal. */
    readonly reason: Reason | "" | (string & {});
    /** Every field that is wrong. */
    readonly fields: readonly FieldProblem[];
    /** What the server says beside the reason, such as the name of a host. */
    readonly metadata: Readonly<Record<string, string>>;
    /** Whether the change may have been made although this error came. Never set for a read. */
    readonly outcomeUnknown: boolean;

    constructor(
        kind: ErrorKind,
        call: Call,
        message: string,
        more: {
            code: Code;
            reason?: string;
            fields?: readonly FieldProblem[];
            metadata?: Readonly<Record<string, string>>;
            outcomeUnknown?: boolean;
            cause?: unknown;
        },
    ) {
        super(message, { cause: more.cause });
        this.kind = kind;
        this.call = call;
        this.code = more.code;
        this.reason = more.reason ?? "";
        this.fields = more.fields ?? [];
        this.metadata = more.metadata ?? {};
        this.outcomeUnknown = more.outcomeUnknown ?? false;
    }

    /** Whether the server refused for this reason. */
    is(reason: Reason): boolean {
        return this.kind === "refused" && this.reason === reason;
    }

    /** Whether the same call may go well later with nothing else changed. */
    get isPassing(): boolean {
        switch (this.kind) {
            case "unreachable":
            case "interrupted":
            case "no-answer":
                return true;
            case "refused":
                return PASSING.has(this.code);
            case "cancelled":
            case "not-banger":
                return false;
        }
    }

    /** The same error, of a call whose earlier attempt may have been carried out. */
    ofUnknownOutcome(): BangerError {
        if (this.outcomeUnknown || !this.call.changes) return this;
        return new BangerError(this.kind, this.call, `${this.message}${UNKNOWN}`, {
            ...this,
            cause: this.cause,
            outcomeUnknown: true,
        });
    }

    /** Whether this answer proves that no attempt with the same `request_id` was carried out. */
    get isDecided(): boolean {
        return this.kind === "refused" && DECIDED.has(this.code);
    }
}

const UNKNOWN = "; whether it took effect is not known";

const PASSING: ReadonlySet<Code> = new Set([
    Code.Unavailable,
    Code.Aborted,
    Code.Canceled,
    Code.DeadlineExceeded,
    Code.ResourceExhausted,
    Code.Internal,
    Code.Unknown,
]);

/** Codes of refusals by the part of the server that knows what was done before. */
const DECIDED: ReadonlySet<Code> = new Set([
    Code.NotFound,
    Code.AlreadyExists,
    Code.Aborted,
    Code.FailedPrecondition,
    Code.InvalidArgument,
    Code.OutOfRange,
]);

/** Codes of refusals that leave open what was done. */
const LEAVES_OPEN: ReadonlySet<Code> = new Set([
    Code.Unknown,
    Code.Internal,
    Code.Canceled,
    Code.DeadlineExceeded,
]);

/** Codes that, without a reason, are of something on the way. */
const LOST: ReadonlySet<Code> = new Set([
    Code.Unavailable,
    Code.Unknown,
    Code.Internal,
    Code.Canceled,
    Code.DeadlineExceeded,
]);

/** Of an answer that makes no sense: asking again helps nobody. */
const NO_GRPC: ReadonlySet<Code> = new Set([
    Code.InvalidArgument,
    Code.ResourceExhausted,
    Code.Unimplemented,
    Code.Unauthenticated,
    Code.PermissionDenied,
    Code.FailedPrecondition,
]);

/** Errors of Node's sockets, names and TLS that come before the server has seen anything. */
const NEVER_CONNECTED =
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EPROTO|CERT_|DEPTH_ZERO|UNABLE_TO|SELF_SIGNED|HOSTNAME_MISMATCH|ERR_TLS_|ERR_SSL_)/;

/** Turns whatever a transport throws into an error of this library. */
export function bangerError(thrown: unknown, call: Call, aborted = false): BangerError {
    if (thrown instanceof BangerError) return thrown;
    const error = ConnectError.from(thrown);
    const { code } = error;
    const unknown = call.changes;
    const told = unknown ? UNKNOWN : "";
    const open = { code, cause: thrown, outcomeUnknown: unknown };
    const [info] = error.findDetails(ErrorInfoSchema);
    // The server's own refusals all say their reason. What is between may answer UNAVAILABLE without
    // one, and has lost the call.
    if (info !== undefined || (error.isWireError && !LOST.has(code))) {
        return refusal(error, call, info?.reason ?? "", info?.metadata ?? {});
    }
    if (aborted) return new BangerError("cancelled", call, `${call.name} was cancelled${told}`, open);
    if (code === Code.DeadlineExceeded) {
        return new BangerError("no-answer", call, `no answer to ${call.name} in time${told}`, open);
    }
    if (neverConnected(error)) {
        const message = `cannot reach the server: ${error.rawMessage}`;
        return new BangerError("unreachable", call, message, { code, cause: thrown });
    }
    if (NO_GRPC.has(code) || /content type|Protocol error/i.test(error.rawMessage)) {
        const message = `what answers is not a banger server: ${error.rawMessage}`;
        return new BangerError("not-banger", call, message, { code, cause: thrown });
    }
    const message = `the connection broke during ${call.name}: ${error.rawMessage}${told}`;
    return new BangerError("interrupted", call, message, open);
}

function refusal(
    error: ConnectError,
    call: Call,
    reason: string,
    metadata: Record<string, string>,
): BangerError {
    const [bad] = error.findDetails(BadRequestSchema);
    const fields = (bad?.fieldViolations ?? []).map(({ field, description }) => ({
        field,
        description,
    }));
    const { code, rawMessage } = error;
    const words = rawMessage === "" ? `${call.name} was refused: ${Code[code]}` : rawMessage;
    return new BangerError("refused", call, reason === "" ? words : `${words} (${reason})`, {
        code,
        reason,
        fields,
        metadata,
        cause: error,
        outcomeUnknown: call.changes && LEAVES_OPEN.has(code),
    });
}

function neverConnected(error: ConnectError): boolean {
    let next: unknown = error;
    for (let depth = 0; depth < 8 && next instanceof Error; depth += 1) {
        const { code, syscall } = next as { code?: unknown; syscall?: unknown };
        if (typeof code === "string" && (NEVER_CONNECTED.test(code) || syscall === "connect")) {
            return true;
        }
        next = next.cause;
    }
    // A server that refuses a stream says with it that nothing of it was processed (RFC 9113, 8.7).
    return error.rawMessage.includes("REFUSED_STREAM");
}
