// Reads a server address as people write it, as the `banger` command does. Pure.

/** The port of the public API. */
const DEFAULT_PORT = 7070;

export interface Address {
    /** `scheme://host:port`. */
    readonly url: string;
    readonly tls: boolean;
    /** Whether it is this machine itself. */
    readonly loopback: boolean;
}

/** The endpoint cannot be used; nothing was sent. */
export class EndpointError extends Error {
    override readonly name = "EndpointError";
}

/** Without a scheme it is http for this machine itself and https for any other. */
export function parseAddress(text: string): Address {
    const wrong = (why: string) =>
        new EndpointError(
            `"${text}" is no server address: ${why}; write it like http://127.0.0.1:7070`,
        );
    const bare = text.trim();
    if (bare === "") throw wrong("it is empty");
    const [, scheme, after] = /^(?:([^:/]*):\/\/)?(.*)$/s.exec(bare) ?? [];
    const rest = (after ?? "").replace(/\/$/, "");
    if (/[/?#]/.test(rest)) throw wrong("a server address has no path");
    if (rest.includes("@")) throw wrong("a server address has no user name");
    const parts = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(.*))?$/.exec(rest);
    if (parts === null) throw wrong(rest === "" ? "it names no host" : "it is not host and port");
    const [, host = "", digits] = parts;
    const port = digits === undefined ? DEFAULT_PORT : /^[0-9]{1,5}$/.test(digits) ? +digits : 0;
    if (port < 1 || port > 65535) throw wrong("the port is not a number from 1 to 65535");
    const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/i.test(host);
    const known = scheme?.toLowerCase() ?? (loopback ? "http" : "https");
    if (known !== "http" && known !== "https") throw wrong("only http and https are known");
    return { url: `${known}://${host}:${port}`, tls: known === "https", loopback };
}
