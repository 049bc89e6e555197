// The transcripts of integration-tests/clients/conformance, over HTTP/2 as Node has it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";

import { type DescMethod, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { BangerError, type Client, connect, type Update, v1 } from "@banger/client/node";

const CONFORMANCE = new URL("../../../integration-tests/clients/conformance/", import.meta.url);

interface Action {
    call?: string;
    request?: JsonValue;
    deadline_ms?: number;
    list?: object;
    exec?: { vm: string; command: string[]; stdin: string[] };
    copy_to?: { vm: string; directory: string; data: string[] };
    copy_from?: { vm: string; path: string };
    after_list?: boolean;
    expect: unknown;
}

/** The scripted server, as a process; `problems` ends it. */
interface Server {
    server: string;
    /** All that comes before the next break has been told. */
    told(): void;
    problems(): Promise<string[]>;
}

async function serve(name: string): Promise<Server> {
    const transcript = fileURLToPath(new URL(`transcripts/${name}`, CONFORMANCE));
    const program = fileURLToPath(new URL("server.py", CONFORMANCE));
    const process = spawn("python3", [program, transcript], { stdio: ["pipe", "pipe", "inherit"] });
    const lines = createInterface({ input: process.stdout })[Symbol.asyncIterator]();
    const said = async () => {
        const line = await lines.next();
        return JSON.parse(line.done ? "{}" : line.value) as { port?: number; problems?: string[] };
    };
    const { port } = await said();
    return {
        server: `http://127.0.0.1:${port}`,
        told: () => process.stdin.write("told\n"),
        problems: async () => {
            process.stdin.end();
            return (await said()).problems ?? ["the server ended"];
        },
    };
}

async function call(client: Client, name: string, request: JsonValue): Promise<unknown> {
    const methods: DescMethod[] = [...v1.VmService.methods, ...v1.HostService.methods];
    const method = methods.find((method) => method.name === name);
    assert.ok(method, `no call is named ${name}`);
    const calls = method.parent === v1.VmService ? client.vms : client.hosts;
    const made = (calls as unknown as Record<string, (request: unknown) => Promise<never>>)[
        method.localName
    ];
    assert.ok(made);
    const answer = await made(fromJson(method.input, request));
    return { answer: toJson(method.output, answer) };
}

function asJson(update: Update<v1.Vm>): unknown[] {
    switch (update.kind) {
        case "added":
        case "modified":
        case "removed":
            return [update.kind, update.object.id, Number(update.revision)];
        case "current":
        case "bookmark":
            return [update.kind, Number(update.revision)];
        case "reconnecting":
            return [update.kind, update.error.kind];
    }
}

async function watched(client: Client, action: Action, told: () => void): Promise<unknown> {
    const list = action.after_list ? { list: await client.listVms() } : {};
    const wanted = action.expect as unknown[][];
    const seen: unknown[] = [];
    try {
        for await (const update of client.watchVms({}, list)) {
            seen.push(asJson(update));
            const next = wanted[seen.length];
            if (next === undefined) break;
            if (next[0] === "reconnecting") told();
        }
    } catch (error) {
        assert.ok(error instanceof BangerError, String(error));
        seen.push(["error", error.kind, error.reason]);
    }
    return seen;
}

async function act(client: Client, action: Action, told: () => void): Promise<unknown> {
    try {
        if (action.call !== undefined) return await call(client, action.call, action.request ?? {});
        if (action.list !== undefined) {
            const { vms, revision } = await client.listVms();
            return { ids: vms.map((vm) => vm.id), revision: Number(revision) };
        }
        if (action.exec !== undefined) {
            const { vm, command, stdin } = action.exec;
            const { code, stdout, stderr } = await client.run(vm, command, { stdin });
            const text = new TextDecoder();
            return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
        }
        if (action.copy_to !== undefined) {
            const { data, ...to } = action.copy_to;
            const { entries, bytes } = await client.copyTo(to, data);
            return { entries: Number(entries), bytes: Number(bytes) };
        }
        if (action.copy_from !== undefined) {
            const { vm, path } = action.copy_from;
            const text = new TextDecoder();
            let data = "";
            for await (const part of client.copyFrom(vm, path)) data += text.decode(part);
            return { data };
        }
        return await watched(client, action, told);
    } catch (error) {
        if (!(error instanceof BangerError)) throw error;
        const { kind, reason, outcomeUnknown } = error;
        return { error: { kind, reason, outcome_unknown: outcomeUnknown } };
    }
}

const names = readdirSync(new URL("transcripts", CONFORMANCE)).sort();
assert.ok(names.length > 20);
describe("transcripts", { concurrency: 4 }, () => {
    for (const name of names) {
        const transcript = JSON.parse(
            readFileSync(new URL(`transcripts/${name}`, CONFORMANCE), "utf8"),
        ) as { name: string; client: Action[] };
        test(`${name}: ${transcript.name}`, async () => {
            const { server, told, problems } = await serve(name);
            try {
                for (const action of transcript.client) {
                    const client = connect({ server, deadlineMs: action.deadline_ms ?? 5_000 });
                    const seen = await act(client, action, told);
                    client.close();
                    assert.deepEqual(seen, action.expect);
                }
            } finally {
                assert.deepEqual(await problems(), []);
            }
        });
    }
});
