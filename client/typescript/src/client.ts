// A client of one server, over whatever transport it is given.
//
// `vms`, `hosts`, `images`, `projects`, `tokens` and `audit` are the calls of the API one to one, each kept to
// the rule of `rule.ts`; the methods are what is more than a call.

import { createClient, type Client as Calls, type Transport } from "@connectrpc/connect";

import { BangerError } from "./error.js";
import { AuditService } from "./gen/banger/v1/audit_pb.js";
import { type Host, HostService } from "./gen/banger/v1/host_pb.js";
import { ImageService } from "./gen/banger/v1/image_pb.js";
import { ProjectService } from "./gen/banger/v1/project_pb.js";
import { TokenService } from "./gen/banger/v1/token_pb.js";
import { type CopyToVmResponse, type Vm, VmService } from "./gen/banger/v1/vm_pb.js";
import * as guest from "./guest.js";
import { type RuleOptions, withRule } from "./rule.js";
import { Table } from "./table.js";
import type { Update, VmList } from "./told.js";
import { type WaitFor, type Waited, waitVm } from "./wait.js";
import { type VmFilterInit, type WatchOptions, watchHosts, watchVms } from "./watch.js";

/** How many objects to ask for in one page. */
const PAGE = 500;

export interface ClientOptions extends RuleOptions {
    /** Whether the transport can send and read at once, as HTTP/2 can and a browser can't. */
    duplex: boolean;
    /** Ends what the transport holds open. */
    close?: (() => void) | undefined;
}

export class Client {
    readonly vms: Calls<typeof VmService>;
    readonly hosts: Calls<typeof HostService>;
    readonly images: Calls<typeof ImageService>;
    readonly projects: Calls<typeof ProjectService>;
    readonly tokens: Calls<typeof TokenService>;
    readonly audit: Calls<typeof AuditService>;
    readonly #transport: Transport;
    readonly #options: ClientOptions;
    /** Ends the watches when the client is closed. */
    readonly #closed = new AbortController();

    constructor(transport: Transport, options: ClientOptions) {
        this.#transport = withRule(transport, options);
        this.#options = options;
        this.vms = createClient(VmService, this.#transport);
        this.hosts = createClient(HostService, this.#transport);
        this.images = createClient(ImageService, this.#transport);
        this.projects = createClient(ProjectService, this.#transport);
        this.tokens = createClient(TokenService, this.#transport);
        this.audit = createClient(AuditService, this.#transport);
    }

    /** Closes the connection, and ends what stands on it: calls, watches, tables. */
    close(): void {
        this.#closed.abort();
        this.#options.close?.();
    }

    [Symbol.dispose](): void {
        this.close();
    }

    /** Reads all pages, at one revision; starts over once if the server forgets it in between. */
    async listVms(filter: VmFilterInit = {}, options: WatchOptions = {}): Promise<VmList> {
        try {
            return await this.#pages(filter, options);
        } catch (error) {
            const forgotten =
                error instanceof BangerError &&
                (error.is("PAGE_TOKEN_INVALID") || error.is("PAGE_TOKEN_EXPIRED"));
            if (!forgotten) throw error;
            return this.#pages(filter, options);
        }
    }

    async #pages(filter: VmFilterInit, { signal }: WatchOptions): Promise<VmList> {
        const vms: Vm[] = [];
        let pageToken = "";
        for (;;) {
            const page = await this.vms.listVms(
                { filter, pageSize: PAGE, pageToken },
                signal === undefined ? {} : { signal },
            );
            vms.push(...page.vms);
            pageToken = page.nextPageToken;
            if (pageToken === "") return { vms, revision: page.revision };
        }
    }

    /** The state now and then every change, resuming by itself; from a list, what comes after it. */
    watchVms(
        filter: VmFilterInit = {},
        options: WatchOptions & { list?: VmList } = {},
    ): AsyncGenerator<Update<Vm>, void, undefined> {
        return watchVms(this.vms, filter, options.list, this.#watching(options));
    }

    /** As `watchVms`, of hosts. */
    watchHosts(options: WatchOptions = {}): AsyncGenerator<Update<Host>, void, undefined> {
        return watchHosts(this.hosts, this.#watching(options));
    }

    /** A table of all VMs that match, kept as they are on the server until the signal. */
    vmTable(filter: VmFilterInit = {}, options: WatchOptions = {}): Table<Vm> {
        return followed(this.watchVms(filter, options));
    }

    /** As `vmTable`, of hosts. */
    hostTable(options: WatchOptions = {}): Table<Host> {
        return followed(this.watchHosts(options));
    }

    /** Waits for a state of a VM, over broken connections and restarts of the server. */
    waitVm(wanted: WaitFor): Promise<Waited> {
        return waitVm(this.vms, wanted);
    }

    /** Runs a program in the guest of a VM; what it writes comes as events. */
    exec(
        vm: string,
        command: string[],
        options: guest.ExecOptions = {},
    ): AsyncGenerator<guest.ExecEvent, void, undefined> {
        return guest.exec(this.#transport, this.#options.duplex, vm, command, options);
    }

    /** Runs a program in the guest of a VM to its end, and answers all it wrote. */
    run(vm: string, command: string[], options: guest.ExecOptions = {}): Promise<guest.ExecResult> {
        return guest.run(this.exec(vm, command, options));
    }

    /** Unpacks a tar stream in a directory of a guest. */
    copyTo(
        to: { vm: string; directory: string; ownName?: string },
        tar: guest.Input,
        signal?: AbortSignal,
    ): Promise<CopyToVmResponse> {
        return guest.copyTo(this.vms, this.#options.duplex, to, tar, signal);
    }

    /** Packs a file or directory of a guest into a tar stream. */
    copyFrom(
        vm: string,
        path: string,
        signal?: AbortSignal,
    ): AsyncGenerator<Uint8Array, void, undefined> {
        return guest.copyFrom(this.vms, vm, path, signal);
    }

    #watching(options: WatchOptions): WatchOptions {
        const closed = this.#closed.signal;
        const { signal } = options;
        return {
            random: this.#options.random,
            ...options,
            signal: signal === undefined ? closed : AbortSignal.any([signal, closed]),
        };
    }
}

function followed<T extends { readonly id: string }>(
    updates: AsyncIterable<Update<T>>,
): Table<T> {
    const table = new Table<T>();
    // What ended it is in the table, where whoever looks at the table finds it.
    table.follow(updates).catch(() => {});
    return table;
}
