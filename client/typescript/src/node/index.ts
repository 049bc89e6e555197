// Reaches a server from Node, by gRPC over HTTP/2, with the contexts of the `banger` command.
//
// The connection is made at the first call and anew whenever it breaks; it keeps the process alive
// only while calls are open, and `close` ends it.

import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { Client } from "../client.js";
import type { RuleOptions } from "../rule.js";
import { bearer } from "../web.js";
import { type Chosen, type Endpoint, resolveEndpoint } from "./contexts.js";

export { EndpointError } from "./address.js";
export { type Chosen, contextsPath, DEFAULT_SERVER, type Endpoint, resolveEndpoint } from "./contexts.js";
export * from "../index.js";

export interface ConnectOptions extends Chosen, RuleOptions {}

/** Largest answer that is read: a page of 1000 VMs with the largest metadata is about 34 MiB. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const KEEPALIVE_MS = 10_000;

/**
 * Connects to the server that the options, the environment (BANGER_SERVER, BANGER_TOKEN, BANGER_CA,
 * BANGER_CONTEXT) or the current context name.
 *
 * @throws EndpointError
 */
export function connect(options: ConnectOptions = {}): Client {
    const endpoint: Endpoint = resolveEndpoint(options);
    const sessions = new Http2SessionManager(
        endpoint.url,
        { pingIntervalMs: KEEPALIVE_MS, pingTimeoutMs: KEEPALIVE_MS, idleConnectionTimeoutMs: 60_000 },
        endpoint.ca === undefined ? {} : { ca: endpoint.ca },
    );
    const transport = createGrpcTransport({
        baseUrl: endpoint.url,
        sessionManager: sessions,
        interceptors: bearer(endpoint.token),
        readMaxBytes: MAX_ANSWER_BYTES,
    });
    const { deadlineMs, requestId, random } = options;
    const close = () => sessions.abort();
    return new Client(transport, { deadlineMs, requestId, random, duplex: true, close });
}
