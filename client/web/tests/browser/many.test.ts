// Ten thousand VMs under five hundred changes a second: all of them come, the page stays usable, and
// how long a frame took is printed. A machine's speed is nobody's fault, so that it is not asserted.
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { Scripted } from "./scripted.ts";
import { launch, open, shoot, until } from "./setup.ts";

const VMS = 10_000;
const RATE = 500;
const SECONDS = 10;
let server: Scripted;
let browser: Browser;

beforeAll(async () => {
  server = await Scripted.start(VMS, RATE);
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

/** How long frames took, from one to the next. */
const frames = (page: Page) =>
  page.evaluate(async (seconds) => {
    const taken: number[] = [];
    const until = performance.now() + seconds * 1000;
    let last = await new Promise<number>(requestAnimationFrame);
    while (last < until) {
      const now = await new Promise<number>(requestAnimationFrame);
      taken.push(now - last);
      last = now;
    }
    taken.sort((a, b) => a - b);
    const at = (q: number) => taken[Math.floor(q * (taken.length - 1))]!.toFixed(1);
    return `p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms (${taken.length} frames)`;
  }, SECONDS);

for (const path of ["/vms", "/vms?sort=state", "/"]) {
  test(`10,000 VMs under 500 changes a second: ${path}`, async () => {
    const began = performance.now();
    const { page, wrong } = await open(browser, server.base, path);
    await page.locator(".badge", { hasText: "live" }).waitFor();
    await until("all VMs are counted", () => page.locator(".rail .tally").first().textContent(), (text) => text === "10\u202f000");
    const shown = Math.round(performance.now() - began);

    const session = await page.context().newCDPSession(page);
    await session.send("Performance.enable");
    const metrics = async () => new Map((await session.send("Performance.getMetrics")).metrics.map(({ name, value }) => [name, value]));
    const [before, sent, start] = [await metrics(), server.changes, performance.now()];
    const told = await frames(page);
    const [after, took] = [await metrics(), (performance.now() - start) / 1000];
    const share = (name: string) => `${Math.round((((after.get(name) ?? 0) - (before.get(name) ?? 0)) / took) * 100)} %`;
    const rate = Math.round((server.changes - sent) / took);
    console.log(
      `dashboard ${path}: ${VMS} VMs shown after ${shown} ms; under ${rate} changes/s a frame took ${told}; busy ${share("TaskDuration")}, of it scripts ${share("ScriptDuration")}, layout ${share("LayoutDuration")}`,
    );
    // What is shown is what came: nothing piles up behind.
    const revision = async () => Number((await page.locator(".badge").textContent())?.match(/r([\d\u202f]+)/)?.[1]?.replaceAll("\u202f", ""));
    await until("the newest revision is shown", async () => VMS + server.changes - (await revision()), (behind) => behind < RATE);
    await shoot(page, `many-${path === "/" ? "fleet" : path.includes("sort") ? "sorted" : "vms"}`);
    expect(wrong).toEqual([]);
    await page.context().close();
  });
}
