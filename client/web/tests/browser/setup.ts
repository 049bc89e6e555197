// What the browser tests stand on: a server with simulated hosts, or without; and Debian's Chromium.
// Each has ports, directories and processes of its own, and removes them.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { connectWeb, type Client } from "@banger/client";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";

const BIN = process.env["BANGER_BIN"] ?? "../../target/debug";
const SHOTS = process.env["BANGER_SHOTS"] ?? "../../target/dashboard";
const PATIENCE_MS = 60_000;

/** Waits until it is so, and says what was last seen when it never is. */
export async function until<T>(what: string, look: () => Promise<T>, good: (seen: T) => boolean = Boolean): Promise<T> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    let seen: T | undefined;
    let failure: unknown;
    try {
      seen = await look();
      if (good(seen)) return seen;
    } catch (error) {
      failure = error;
    }
    if (Date.now() > end) throw new Error(`${what}: never; last seen: ${failure ?? JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function freePort(): Promise<number> {
  const listener = createServer();
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address() as AddressInfo;
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

const dev = (dir: string, ...words: string[]): string =>
  execFileSync(join(BIN, "banger"), ["dev", ...words, "--state-dir", join(dir, "state")], { encoding: "utf8", stdio: "pipe" });

const status = (dir: string) => JSON.parse(dev(dir, "status", "-o", "json")) as { server: string; processes: { name: string; pid: number }[] };

/** A server and hosts as `banger dev` starts them. */
export class Fleet {
  private constructor(
    readonly base: string,
    readonly banger: Client,
    private readonly dir: string,
  ) {}

  static async start(hosts: number): Promise<Fleet> {
    const dir = mkdtempSync(join(tmpdir(), "banger-dashboard-"));
    // Ports that are free, each by itself: those after a free one need not be.
    dev(dir, "up", "--detach", "--simulate", "--hosts", String(hosts), "--listen", "127.0.0.1:0");
    const base = status(dir).server;
    const fleet = new Fleet(base, connectWeb({ server: base }), dir);
    await until("all hosts are ONLINE", async () => (await fleet.banger.hosts.listHosts({})).hosts.filter((host) => host.status?.state === 2).length, (n) => n === hosts);
    return fleet;
  }

  /** Starts what does not run. */
  up(): void {
    dev(this.dir, "up", "--detach", "--simulate");
  }

  kill(name: string): void {
    const { processes } = status(this.dir);
    const one = processes.find((process) => process.name === name);
    if (!one) throw new Error(`no ${name}: ${JSON.stringify(processes)}`);
    process.kill(one.pid, "SIGKILL");
  }

  async create(name: string, labels: Record<string, string> = {}): Promise<void> {
    await this.banger.vms.createVm({ name, spec: { kernel: { name: "demo-kernel" }, rootImage: { name: "demo-root" }, labels } });
  }

  stop(): void {
    this.banger.close();
    dev(this.dir, "down", "--yes", "--force");
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A server alone, with a configuration of the test's. */
export class Lone {
  private constructor(
    readonly base: string,
    private readonly dir: string,
    private readonly child: ChildProcess,
  ) {}

  static async start(tokens = ""): Promise<Lone> {
    const dir = mkdtempSync(join(tmpdir(), "banger-dashboard-"));
    const [listen, metrics] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
    let config = `listen = "${listen}"\nmetrics_listen = "${metrics}"\nstate_dir = "${join(dir, "server")}"\n`;
    if (tokens) {
      writeFileSync(join(dir, "tokens"), tokens, { mode: 0o600 });
      config += `[auth]\ntoken_file = "${join(dir, "tokens")}"\n`;
    }
    writeFileSync(join(dir, "server.toml"), config);
    const child = spawn(join(BIN, "banger-server"), ["--config", join(dir, "server.toml")], { stdio: "ignore" });
    const base = `http://${listen}`;
    await until("the server answers", async () => (await fetch(base)).ok);
    return new Lone(base, dir, child);
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGKILL");
    await ended;
    rmSync(this.dir, { recursive: true, force: true });
  }
}

// Without the flags about background networking it asks for hosts of the world at each start.
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export const launch = (): Promise<Browser> => chromium.launch({ executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", args: FLAGS });

/** A page, and what went wrong in it: every error of a script, every refusal of the policy, and every request to somewhere else. */
export async function open(browser: Browser, base: string, path: string, options: BrowserContextOptions = {}): Promise<{ page: Page; wrong: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 820 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const wrong: string[] = [];
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // Chromium tells each connection that fails, which is what some tests are about.
    if (message.type() === "error" && !/Failed to load resource|ERR_/.test(message.text())) wrong.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(base)) wrong.push(`a request to ${request.url()}`);
  });
  await page.goto(base + path);
  return { page, wrong };
}

export async function shoot(page: Page, name: string): Promise<void> {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}
