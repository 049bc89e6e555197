// The rule of repeating and the watch, against a server that answers as it is told, in this process.

import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport, type ServiceImpl } from "@connectrpc/connect";
import { BangerError, Client, type Update, v1 } from "@banger/client";

function served(vms: Partial<ServiceImpl<typeof v1.VmService>>, deadlineMs = 2_000): Client {
    const transport = createRouterTransport(({ service }) => service(v1.VmService, vms));
    return new Client(transport, { duplex: true, deadlineMs, random: () => 0 });
}

const vm = (id: string, revision: bigint) => create(v1.VmSchema, { id, revision });
const broken = () => new ConnectError("lost on the way", Code.Unavailable);

test("a change that broke off is sent again with the same request_id", async () => {
    const ids: string[] = [];
    const client = served({
        rebootVm: ({ requestId }) => {
            ids.push(requestId);
            if (ids.length < 3) throw broken();
            return vm("a", 1n);
        },
    });
    await client.vms.rebootVm({ vm: "a" });
    assert.equal(ids.length, 3);
    assert.match(ids[0] ?? "", /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
    assert.equal(new Set(ids).size, 1);
});

test("the caller's own request_id is kept", async () => {
    let seen = "";
    const client = served({ startVm: ({ requestId }) => ((seen = requestId), vm("a", 1n)) });
    await client.vms.startVm({ vm: "a", requestId: "0190d6f0-0000-7000-8000-000000000000" });
    assert.equal(seen, "0190d6f0-0000-7000-8000-000000000000");
});

test("a change that never got its answer is of unknown outcome, a read is not", async () => {
    const client = served(
        {
            stopVm: () => {
                throw broken();
            },
            getVm: () => {
                throw broken();
            },
        },
        300,
    );
    const failed = async (call: Promise<unknown>) => {
        const error = await call.then(() => assert.fail("it went well"), (error) => error);
        assert.ok(error instanceof BangerError, String(error));
        return [error.kind, error.outcomeUnknown];
    };
    assert.deepEqual(await failed(client.vms.stopVm({ vm: "a" })), ["interrupted", true]);
    assert.deepEqual(await failed(client.vms.getVm({ vm: "a" })), ["interrupted", false]);
});

test("a watch resumes after the last revision that it told", async () => {
    const asked: (bigint | undefined)[] = [];
    const client = served({
        async *watchVms({ afterRevision }) {
            asked.push(afterRevision);
            const event = { type: v1.VmEventType.ADDED, vm: vm("a", 1n), revision: 1n };
            if (asked.length === 1) yield { events: [event], revision: 1n, initialStateComplete: true };
            if (asked.length === 2) yield { events: [event], revision: 2n };
            throw asked.length < 3 ? broken() : new ConnectError("no", Code.PermissionDenied);
        },
    });
    const told: string[] = [];
    const read = async () => {
        for await (const update of client.watchVms()) told.push((update as Update<v1.Vm>).kind);
    };
    await assert.rejects(read());
    assert.deepEqual(told, ["added", "current", "reconnecting", "reconnecting"]);
    assert.deepEqual(asked, [undefined, 1n, 2n]);
});

test("a table says when it is stale and is current again by itself", async () => {
    let opened = 0;
    const client = served({
        async *watchVms() {
            opened += 1;
            yield { events: [{ vm: vm(`vm-${opened}`, BigInt(opened)) }], revision: BigInt(opened), initialStateComplete: true };
            if (opened === 1) throw broken();
            await new Promise((resolve) => setTimeout(resolve, 60_000).unref());
        },
    });
    const table = client.vmTable();
    const states: string[] = [];
    table.subscribe(() => states.push(table.state));
    await table.until((table) => table.rows.has("vm-2") && table.state === "current", 5_000);
    assert.ok(states.includes("stale"), states.join());
    client.close();
    await new Promise((resolve) => setImmediate(resolve));
    await table.until((table) => table.state === "ended", 5_000).catch(() => {});
    assert.equal(table.state, "ended");
});
