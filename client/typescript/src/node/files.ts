// Files with a secret, and what lies beside them, by the rule of the `banger` command.
//
// A secret that others than its owner may read is refused, whatever is in it, and so is one whose owner
// is neither root nor the user of this process; root itself may use everybody's. What is no regular
// file is refused too: a FIFO or a device may give nothing for ever. Kind, mode and owner are asked of
// the file that is open, so that what was looked at is what is read.

import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from "node:fs";

import { EndpointError } from "./address.js";

/** The most that is read, in bytes: far above any token, certificate or configuration. */
const MAX_BYTES = 4 << 20;

// Without the first, to open a FIFO is to wait until somebody writes to it. Windows has neither.
const FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);

/** Others can read the file, or it is somebody else's. */
export class NotOurs extends EndpointError {}

/** Throws `NotOurs` if the file is not this user's alone. */
export function readSecret(path: string): string {
    return read(path, refuseWhatIsNotOurs);
}

/** Reads what everybody may read, such as a certificate. */
export function readPublic(path: string): string {
    return read(path, () => {});
}

/** Whether a secret of this user may be used by that one. */
export function mayOwn(owner: number, own: number): boolean {
    return owner === 0 || owner === own || own === 0;
}

function read(path: string, check: (path: string, facts: Stats) => void): string {
    let content: Buffer;
    try {
        const file = openSync(path, FLAGS);
        try {
            const facts = fstatSync(file);
            if (!facts.isFile()) {
                throw new EndpointError(`${path} is ${kind(facts)}, not a regular file`);
            }
            check(path, facts);
            content = whole(file);
        } finally {
            closeSync(file);
        }
    } catch (error) {
        if (error instanceof EndpointError) throw error;
        throw new EndpointError(`could not read ${path}`, { cause: error });
    }
    if (content.length > MAX_BYTES) {
        throw new EndpointError(`could not read ${path}: it is too large`);
    }
    return content.toString("utf8").replace(/^\uFEFF/, "");
}

function whole(file: number): Buffer {
    const parts: Buffer[] = [];
    let left = MAX_BYTES + 1;
    while (left > 0) {
        const part = Buffer.alloc(Math.min(left, 64 << 10));
        const length = readSync(file, part);
        if (length === 0) break;
        parts.push(part.subarray(0, length));
        left -= length;
    }
    return Buffer.concat(parts);
}

function kind(facts: Stats): string {
    if (facts.isDirectory()) return "a directory";
    if (facts.isFIFO()) return "a FIFO";
    if (facts.isCharacterDevice() || facts.isBlockDevice()) return "a device";
    return "something else";
}

function refuseWhatIsNotOurs(path: string, facts: Stats): void {
    // Where there are no such users and modes, what the system says of them means nothing.
    const own = process.geteuid?.();
    if (own === undefined) return;
    const mode = facts.mode & 0o777;
    if ((mode & 0o077) !== 0) {
        throw new NotOurs(
            `${path} has mode ${mode.toString(8)}; others than its owner may read it: chmod 600 it, ` +
                "and chown it to the user of the service",
        );
    }
    if (!mayOwn(facts.uid, own)) {
        throw new NotOurs(
            `${path} belongs to user ${facts.uid}, who may read and change it; chown it to the user ` +
                "of the service",
        );
    }
}
