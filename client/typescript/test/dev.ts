// A fleet of simulated hosts for a test, by `banger dev`: real programs, whose server can be killed.
// Looks for `banger` in the directory that BANGER_PROGRAMS names.

import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export class Dev {
    readonly #dir: string;
    readonly #env: NodeJS.ProcessEnv;
    server = "";

    private constructor() {
        this.#dir = mkdtempSync(join(tmpdir(), "banger-dev-"));
        this.#env = { HOME: this.#dir, PATH: process.env["PATH"] };
    }

    static async up(hosts: number): Promise<Dev> {
        const dev = new Dev();
        const first = ["--hosts", String(hosts), "--listen", "127.0.0.1:0"];
        await dev.#dev("up", "--simulate", "--detach", ...first);
        dev.server = (await dev.#status()).server;
        return dev;
    }

    /** SIGKILL, and not there until `startServer`. */
    async killServer(): Promise<void> {
        const { processes } = await this.#status();
        const server = processes.find(({ name }) => name === "server");
        if (server === undefined) throw new Error("no server runs");
        process.kill(server.pid, "SIGKILL");
        // Until it has ended it may still hold its port.
        const end = Date.now() + 30_000;
        while (isAlive(server.pid)) {
            if (Date.now() > end) throw new Error(`the server, pid ${server.pid}, does not end`);
            await new Promise((resolve) => setTimeout(resolve, 10));
        }
    }

    async startServer(): Promise<void> {
        await this.#dev("up", "--simulate", "--detach");
    }

    async down(): Promise<void> {
        await this.#dev("down", "--yes", "--force");
        rmSync(this.#dir, { recursive: true, force: true });
    }

    async #status(): Promise<{ server: string; processes: { name: string; pid: number }[] }> {
        return JSON.parse(await this.#dev("status", "-o", "json"));
    }

    async #dev(...words: string[]): Promise<string> {
        const banger = join(process.env["BANGER_PROGRAMS"] ?? "", "banger");
        const state = ["--state-dir", join(this.#dir, "dev")];
        return (await run(banger, ["dev", ...words, ...state], { env: this.#env })).stdout;
    }
}

/** Whether there is such a process, and it is no zombie. */
function isAlive(pid: number): boolean {
    try {
        return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
    } catch {
        return false;
    }
}
