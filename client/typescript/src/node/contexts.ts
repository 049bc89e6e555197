// Which server is meant: the contexts of the `banger` command, under what the caller and the
// environment say. Reads `$XDG_CONFIG_HOME/banger/config.toml` (`~/.config/banger/config.toml`); the
// command writes it (`banger context`).
//
// A server named by hand gets nothing from the current context: the token of one server is never sent
// to another. A file with a token that others may read is refused, this configuration too.

import { isAbsolute, join } from "node:path";

import { parse } from "smol-toml";

import { type Address, EndpointError, parseAddress } from "./address.js";
import { NotOurs, readPublic, readSecret } from "./files.js";

/** The server when nothing names one. */
export const DEFAULT_SERVER = "http://127.0.0.1:7070";

export interface Chosen {
    /** Name of a context. */
    context?: string | undefined;
    /** Server address. */
    server?: string | undefined;
    /** PEM file of the CA that signed the server's certificate. */
    ca?: string | undefined;
    token?: string | undefined;
    /** A file that holds the token. Wins over `token`. */
    tokenFile?: string | undefined;
    /** Allow the token over plain http to another machine, where anyone on the way can read it. */
    insecurePlaintext?: boolean | undefined;
}

export interface Endpoint extends Address {
    readonly ca: string | undefined;
    readonly token: string | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;
type Table = Readonly<Record<string, unknown>>;

/** Where the file is, if there is a place for it. */
export function contextsPath(env: Environment = process.env): string | undefined {
    const { XDG_CONFIG_HOME: xdg, HOME: home } = env;
    const base = xdg && isAbsolute(xdg) ? xdg : home ? join(home, ".config") : undefined;
    return base === undefined ? undefined : join(base, "banger/config.toml");
}

/** Works out which server is meant, how it is trusted and as whom to speak. */
export function resolveEndpoint(chosen: Chosen = {}, env: Environment = process.env): Endpoint {
    const set = (name: string) => env[name] || undefined;
    const name = chosen.context ?? set("BANGER_CONTEXT");
    const server = chosen.server ?? set("BANGER_SERVER");
    const context = name === undefined && server !== undefined ? {} : named(name, env);
    const of = (key: string) => text(context, key);
    const address = parseAddress(server ?? of("server") ?? DEFAULT_SERVER);
    const ca = chosen.ca ?? set("BANGER_CA") ?? of("ca");
    const byHand = chosen.token ?? (chosen.tokenFile === undefined ? set("BANGER_TOKEN") : undefined);
    const known = byHand !== undefined || chosen.tokenFile !== undefined;
    const file = known ? chosen.tokenFile : of("token_file");
    const token = file !== undefined ? readSecret(file) : known ? byHand : of("token");
    const allowed = chosen.insecurePlaintext ?? context["insecure_plaintext"] === true;
    const endpoint = {
        ...address,
        ca: ca === undefined ? undefined : authority(ca),
        token: token === undefined ? undefined : secret(token),
    };
    if (endpoint.token !== undefined && !address.tls && !address.loopback && !allowed) {
        throw new EndpointError(
            `refusing to send the token in plain text to ${address.url}; use https`,
        );
    }
    return endpoint;
}

function named(name: string | undefined, env: Environment): Table {
    const path = contextsPath(env);
    const file = path === undefined ? {} : load(path);
    const current = name ?? text(file, "current");
    if (current === undefined) return {};
    const contexts = table(file["contexts"]);
    if (!Object.hasOwn(contexts, current)) {
        const known = Object.keys(contexts).join(", ");
        throw new EndpointError(`there is no context "${current}"; there are: ${known || "none"}`);
    }
    return table(contexts[current]);
}

function load(path: string): Table {
    let refused: NotOurs | undefined;
    let words: string;
    try {
        try {
            words = readSecret(path);
        } catch (error) {
            if (!(error instanceof NotOurs)) throw error;
            // Whoever keeps tokens elsewhere may show it to everybody.
            refused = error;
            words = readPublic(path);
        }
    } catch (error) {
        const { cause } = error as EndpointError;
        if ((cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT") return {};
        throw error;
    }
    let file: Table;
    try {
        file = parse(words);
    } catch (error) {
        throw new EndpointError(`${path} is not a valid configuration`, { cause: error });
    }
    const holdsTokens = Object.values(table(file["contexts"])).some(
        (context) => table(context)["token"] !== undefined,
    );
    if (refused !== undefined && holdsTokens) throw refused;
    return file;
}

function table(value: unknown): Table {
    return typeof value === "object" && value !== null ? (value as Table) : {};
}

function text(of: Table, key: string): string | undefined {
    const value = of[key];
    if (value !== undefined && typeof value !== "string") {
        throw new EndpointError(`${key} in the configuration is no text`);
    }
    return value;
}

/** A CA that is silently passed over would show as "not trusted" much later. */
function authority(path: string): string {
    const pem = readPublic(path);
    if (pem.includes("-----BEGIN CERTIFICATE-----")) return pem;
    throw new EndpointError(`there is no PEM certificate in ${path}`);
}

function secret(token: string): string {
    const bare = token.trim();
    if (/^[\x21-\x7e]+$/.test(bare)) return bare;
    throw new EndpointError("the token has characters that no token has");
}
