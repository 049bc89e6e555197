// The example page in a real browser, against real programs: a VM appears, a server that dies is said to
// be lost, and what happened meanwhile is seen once it is back, all without a reload.
//
// No bundler: the browser gets the package's own modules by an import map. The page is served beside the
// API, as by one origin; that the API is not there is then a 502, as of a proxy.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, request } from "node:http";
import { stripTypeScriptTypes } from "node:module";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { connect } from "@banger/client/node";

import { Dev } from "./dev.ts";

const MODULES = [
    "@banger/client",
    "@bufbuild/protobuf",
    "@bufbuild/protobuf/codegenv2",
    "@bufbuild/protobuf/wire",
    "@bufbuild/protobuf/wkt",
    "@connectrpc/connect",
    "@connectrpc/connect/protocol",
    "@connectrpc/connect/protocol-connect",
    "@connectrpc/connect/protocol-grpc",
    "@connectrpc/connect/protocol-grpc-web",
    "@connectrpc/connect-web",
];
const TOP = fileURLToPath(new URL("..", import.meta.url));
const imports = Object.fromEntries(
    MODULES.map((name) => [name, `/${fileURLToPath(import.meta.resolve(name)).slice(TOP.length)}`]),
);
const page = stripTypeScriptTypes(readFileSync(join(TOP, "examples/page.ts"), "utf8"));
const HTML = `<!doctype html><table id="vms"></table><p id="state"></p>
<script type="importmap">${JSON.stringify({ imports })}</script>
<script type="module">${page}</script>
<script>
  const tell = () => fetch("/seen", { method: "POST", body: document.body.innerText });
  new MutationObserver(tell).observe(document.body, { childList: true, subtree: true, characterData: true });
</script>`;

/** Serves page, modules and API; keeps what the page says it shows. */
async function serve(api: URL): Promise<{ url: string; seen: string[]; close: () => void }> {
    const seen: string[] = [];
    const server = createServer((asked, answer) => {
        const path = new URL(asked.url ?? "/", "http://x").pathname;
        if (path === "/seen") {
            let text = "";
            asked.on("data", (part) => (text += part)).on("end", () => {
                seen.push(text);
                answer.end();
            });
        } else if (path.startsWith("/banger.v1.")) {
            const { origin: _, host: __, ...headers } = asked.headers;
            const to = { host: api.hostname, port: api.port, path, method: "POST", headers };
            const on = request(to, (from) => {
                answer.writeHead(from.statusCode ?? 502, from.headers);
                from.on("error", () => answer.destroy()).pipe(answer);
            });
            on.on("error", () => (answer.headersSent ? answer.destroy() : answer.writeHead(502).end()));
            answer.on("close", () => on.destroy());
            asked.pipe(on);
        } else if (path === "/") {
            answer.setHeader("content-type", "text/html").end(HTML);
        } else {
            try {
                const file = readFileSync(join(TOP, path));
                answer.setHeader("content-type", "text/javascript").end(file);
            } catch {
                answer.writeHead(404).end();
            }
        }
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    return { url, seen, close: () => (server.closeAllConnections(), server.close()) };
}

async function until(what: string, seen: string[], wanted: (last: string) => boolean): Promise<void> {
    const end = Date.now() + 60_000;
    while (!wanted(seen.at(-1) ?? "")) {
        assert.ok(Date.now() < end, `${what}; the page showed ${JSON.stringify(seen.slice(-3))}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

const found = (process.env["PATH"] ?? "").split(":").some((dir) => existsSync(join(dir, "chromium")));
const skip = found && process.env["BANGER_PROGRAMS"] ? false : "needs chromium and the programs";

test("the example page shows VMs live, and says what is stale", { skip }, async () => {
    const dev = await Dev.up(1);
    const api = new URL(dev.server);
    const shown = await serve(api);
    const profile = mkdtempSync(join(tmpdir(), "banger-page-"));
    const quiet = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"];
    const browser = spawn("chromium", [...quiet, `--user-data-dir=${profile}`, shown.url], {
        stdio: "ignore",
    });
    const client = connect({ server: dev.server });
    try {
        await until("the first state", shown.seen, (last) => last.includes("current"));
        const spec = { kernel: { name: "demo-kernel" }, rootImage: { name: "demo-root" }, memoryMib: 64 };
        const vm = await client.vms.createVm({ name: "seen-live", spec });
        await until("a VM that runs", shown.seen, (last) => /seen-live\s+RUNNING/.test(last));
        await dev.killServer();
        await until("that the server is lost", shown.seen, (last) => last.includes("stale"));
        await dev.startServer();
        await until("that it is back", shown.seen, (last) => /seen-live[^]*current/.test(last));
        await client.vms.deleteVm({ vm: vm.id });
        await until("that the VM is gone", shown.seen, (last) => last.trim() === "current");
    } finally {
        client.close();
        const ended = new Promise((resolve) => browser.once("exit", resolve));
        browser.kill("SIGKILL");
        await ended;
        shown.close();
        rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
        await dev.down();
    }
});
