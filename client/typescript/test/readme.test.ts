// The program of the package's first page: it has the types that it says, and runs against real
// programs. Their host is simulated, so that it ends where it asks for a guest's program.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { connect } from "@banger/client/node";

import { Dev } from "./dev.ts";

const TOP = fileURLToPath(new URL("..", import.meta.url));
const PAGE = fileURLToPath(new URL("../../../client/typescript/README.md", import.meta.url));

test("the program of the first page is typed as it says, and lives up to where a guest is needed", async () => {
    const program = readFileSync(PAGE, "utf8").split("```ts\n")[1]?.split("\n```")[0] ?? "";
    assert.ok(program.startsWith("import { BangerError"), program);
    // In the package, so that it finds it by its name.
    const dir = mkdtempSync(join(TOP, "test/readme-"));
    const dev = await Dev.up(1);
    try {
        const file = join(dir, "readme.ts");
        // A simulated guest is never ready, and is not waited for as long here.
        assert.ok(program.includes("60_000"), program);
        writeFileSync(file, `${program.replace("60_000", "10_000")}\n`);
        const config = { extends: "../../tsconfig.json", include: ["*.ts"] };
        writeFileSync(join(dir, "tsconfig.json"), JSON.stringify(config));
        // The page imports one name more than it uses, to show where it is.
        const tsc = ["-p", dir, "--noEmit", "--noUnusedLocals", "false"];
        execFileSync(join(TOP, "node_modules/.bin/tsc"), tsc, { stdio: "inherit" });
        // The image is on the host before, so that the program need not wait for it.
        using client = connect({ server: dev.server });
        await client.vms.createVm({ name: "before", spec: { rootImage: { name: "demo" } } });
        await client.waitVm({ vm: "before", timeoutMs: 60_000 });
        const env = { ...process.env, BANGER_SERVER: dev.server };
        const ran = spawnSync(process.execPath, [file], { env, encoding: "utf8", timeout: 90_000 });
        assert.equal(ran.status, 1, ran.stdout + ran.stderr);
        assert.match(ran.stderr, /simulated/i);
        assert.match(ran.stdout, /current \d/);
        const vm = await client.vms.getVm({ vm: "web" });
        assert.equal(vm.spec?.rootImage?.name, "demo");
    } finally {
        rmSync(dir, { recursive: true, force: true });
        await dev.down();
    }
});
