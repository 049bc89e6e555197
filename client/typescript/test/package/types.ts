// The types of the installed package, as a strict program meets them.
import { BangerError, type Table, v1 } from "@banger/client";
import { connect } from "@banger/client/node";

const client = connect({ context: "lab" });
const table: Table<v1.Vm> = client.vmTable({ labelSelector: "app=web" });
const names: string[] = [...table.rows.values()].map((vm) => vm.name);
try {
    await client.vms.createVm({ name: names[0] ?? "web", spec: { vcpus: 1 } });
} catch (error) {
    if (error instanceof BangerError && error.is("HOST_FULL")) console.log(error.outcomeUnknown);
}
// @ts-expect-error: no such reason
if (new BangerError("refused", { name: "", changes: false }, "", { code: 5 }).is("VM_NOT_FOND")) {
    console.log("never");
}
for await (const update of client.watchVms()) {
    if (update.kind === "added") console.log(update.object.status?.state === v1.VmState.RUNNING);
}
