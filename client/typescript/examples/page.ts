// A page that shows all VMs, live: <table id="vms"></table><p id="state"></p> and this file, bundled.
//
// Served from the server's own origin it needs nothing; from elsewhere, that origin has to be in the
// server's `cors_origins`, and ?server=https://… names the server.

import { connectWeb, type Table, v1 } from "@banger/client";

const asked = new URLSearchParams(location.search).get("server");
const client = connectWeb({ server: asked ?? location.origin });

/** One row a VM, in order of names. */
function draw(table: Table<v1.Vm>): void {
    const vms = [...table.rows.values()].sort((a, b) => a.name.localeCompare(b.name));
    const rows = vms.map((vm) => {
        const row = document.createElement("tr");
        for (const text of [
            vm.name,
            v1.VmState[vm.status?.state ?? 0] ?? "",
            vm.status?.hostName ?? "",
            vm.status?.message ?? "",
        ]) {
            row.appendChild(document.createElement("td")).textContent = text;
        }
        return row;
    });
    document.getElementById("vms")?.replaceChildren(...rows);
    const state = document.getElementById("state");
    // What is stale is said, never shown as if it were now.
    if (state) state.textContent = `${table.state}${table.error ? `: ${table.error.message}` : ""}`;
}

const vms = client.vmTable();
let drawing = false;
vms.subscribe(() => {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => ((drawing = false), draw(vms)));
});
