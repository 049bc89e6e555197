// Reaches a server from a page, by gRPC-Web over fetch.
//
// The page's own origin is the server when nothing else is said: pages of other origins have to be in
// the server's `cors_origins`.

import type { Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { Client } from "./client.js";
import type { RuleOptions } from "./rule.js";

export interface WebOptions extends RuleOptions {
    /** `https://host:port`; not set: where the page came from. */
    server?: string | undefined;
    /** A bearer token, or what answers with the present one. */
    token?: string | (() => string | undefined) | undefined;
    fetch?: typeof globalThis.fetch | undefined;
}

export function connectWeb(options: WebOptions = {}): Client {
    const { server = globalThis.location?.origin, token, fetch, ...rule } = options;
    if (server === undefined) throw new TypeError("no page here: name the server");
    const transport = createGrpcWebTransport({
        baseUrl: server,
        interceptors: bearer(token),
        ...(fetch === undefined ? {} : { fetch }),
    });
    return new Client(transport, { ...rule, duplex: false });
}

/** Adds the token to every call. */
export function bearer(token: WebOptions["token"]): Interceptor[] {
    if (token === undefined) return [];
    return [
        (next) => (request) => {
            const now = typeof token === "function" ? token() : token;
            if (now !== undefined) request.header.set("authorization", `Bearer ${now.trim()}`);
            return next(request);
        },
    ];
}
