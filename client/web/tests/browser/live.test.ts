// The page follows the fleet: VMs come, change and go without a reload, also past the death of the
// server; what is old is said to be old; all of it goes by keyboard; nothing is wrong with any page.
import axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { Fleet, launch, open, shoot, until } from "./setup.ts";

let fleet: Fleet;
let browser: Browser;

beforeAll(async () => {
  fleet = await Fleet.start(3);
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  fleet?.stop();
});

const row = (page: Page, name: string) => page.locator('[role="row"]', { has: page.getByRole("link", { name, exact: true }) });

describe("the list of VMs", () => {
  test("a VM made by the API appears, changes and goes without a reload", async () => {
    const { page, wrong } = await open(browser, fleet.base, "/vms");
    await page.evaluate(() => Object.assign(window, { same: true }));
    await fleet.create("comes-and-goes", { app: "web" });
    await row(page, "comes-and-goes").getByText("RUNNING").waitFor();
    await fleet.banger.vms.stopVm({ vm: "comes-and-goes" });
    await row(page, "comes-and-goes").getByText("STOPPED").waitFor();
    await fleet.banger.vms.deleteVm({ vm: "comes-and-goes" });
    await row(page, "comes-and-goes").waitFor({ state: "detached" });
    expect(await page.evaluate(() => "same" in window)).toBe(true);
    expect(wrong).toEqual([]);
    await page.context().close();
  });

  test("the address has filter, sort and choice, and a link shows the same", async () => {
    for (const name of ["link-1", "link-2", "link-3"]) await fleet.create(name, { app: "link" });
    const { page } = await open(browser, fleet.base, "/vms");
    await page.getByLabel("Filter").fill("app=link");
    await page.getByRole("columnheader", { name: "Name" }).getByRole("button").click();
    await row(page, "link-2").getByText("RUNNING").click();
    await page.mouse.move(0, 0);
    await until("the address says all of it", async () => page.url(), (url) => /q=app%3Dlink/.test(url) && /sort=-name/.test(url) && /sel=link-2/.test(url));
    const { page: other, wrong } = await open(browser, fleet.base, page.url().replace(/^http:\/\/[^/]*/, ""));
    await row(other, "link-3").waitFor();
    const names = await until("the same three, downwards", () => other.locator('[role="row"] a').allTextContents(), (seen) => seen.length === 3);
    expect(names).toEqual(["link-3", "link-2", "link-1"]);
    expect(await row(other, "link-2").getAttribute("aria-selected")).toBe("true");
    expect(wrong).toEqual([]);
    await page.context().close();
    await other.context().close();
  });

  test("the order is held while the pointer is in the table", async () => {
    for (const name of ["hold-2", "hold-3"]) await fleet.create(name, { app: "hold" });
    const { page } = await open(browser, fleet.base, "/vms?q=app%3Dhold");
    await row(page, "hold-3").getByText("RUNNING").hover();
    await fleet.create("hold-1", { app: "hold" });
    await row(page, "hold-1").getByText("RUNNING").waitFor();
    const names = () => page.locator('[role="row"] a').evaluateAll((links) => links.map((link) => [link.getBoundingClientRect().top, link.textContent] as const).sort(([a], [b]) => a - b).map(([, name]) => name));
    expect(await names()).toEqual(["hold-2", "hold-3", "hold-1"]);
    await page.mouse.move(2, 2);
    await until("let go, all is in its place", names, (seen) => seen.join() === "hold-1,hold-2,hold-3");
    await page.context().close();
  });
});

test("the server is killed: the page says so loudly, keeps what it had, and goes on by itself", async () => {
  await fleet.create("stays");
  const { page, wrong } = await open(browser, fleet.base, "/vms");
  await row(page, "stays").getByText("RUNNING").waitFor();
  fleet.kill("server");
  await page.getByRole("alert").getByText("Not what is now.").waitFor();
  expect(await row(page, "stays").count()).toBe(1);
  await shoot(page, "stale");
  fleet.up();
  await page.getByText("Not what is now.").waitFor({ state: "detached" });
  await row(page, "stays").getByText("RUNNING").waitFor();
  await fleet.create("after");
  await row(page, "after").getByText("RUNNING").waitFor();
  expect(wrong).toEqual([]);
  await page.context().close();
});

test("a host that dies is hatched, its VMs are UNKNOWN, and a person is asked for", async () => {
  const { page } = await open(browser, fleet.base, "/");
  await page.getByRole("link", { name: /^b2: ONLINE/ }).waitFor();
  fleet.kill("b2");
  await page.getByRole("link", { name: /^b2: (SUSPECT|OFFLINE)/ }).waitFor();
  await page.getByText(/Host b2 is (SUSPECT|OFFLINE)/).waitFor();
  fleet.up();
  await page.getByRole("link", { name: /^b2: ONLINE/ }).waitFor();
  await page.context().close();
});

test("a VM is stopped by keyboard alone, and the command for it is shown", async () => {
  await fleet.create("by-keys");
  const { page, wrong } = await open(browser, fleet.base, "/");
  await page.getByRole("link", { name: /VM/ }).first().waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("v");
  await page.getByRole("grid").waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("by-keys");
  await row(page, "by-keys").getByText("RUNNING").waitFor();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "by-keys" }).waitFor();
  const stop = page.getByRole("button", { name: "Stop", exact: true });
  await stop.waitFor();
  for (let at = 0; at < 40 && !(await stop.evaluate((button) => button === document.activeElement)); at += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Stop VM by-keys" });
  await dialog.getByText("banger vm stop by-keys").waitFor();
  await page.keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" }).catch(() => undefined);
  await page.locator("header.top").getByText("STOPPED").first().waitFor();
  // And by the palette to another page.
  await page.keyboard.press(":");
  await page.keyboard.type("b1");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "b1" }).waitFor();
  expect(wrong).toEqual([]);
  await page.context().close();
});

describe("every page", () => {
  const PAGES = ["/", "/vms", "/vms/shown", "/vms/shown?tab=console", "/vms/shown?tab=run", "/hosts", "/hosts/b0", "/images", "/activity"];

  beforeAll(async () => {
    await fleet.create("shown", { app: "web", tier: "front" });
  });

  for (const colorScheme of ["light", "dark"] as const) {
    for (const [width, height] of [[1280, 820], [390, 844]] as const) {
      test(`${colorScheme}, ${width} wide: no error, nothing that axe finds serious, nothing wider than the screen`, async () => {
        const found: string[] = [];
        for (const path of PAGES) {
          const { page, wrong } = await open(browser, fleet.base, path, { colorScheme, viewport: { width, height } });
          await page.getByRole("heading", { level: 1 }).waitFor();
          await page.locator(".badge", { hasText: "live" }).waitFor();
          if (path.startsWith("/vms/shown")) await page.getByText("RUNNING").first().waitFor();
          found.push(...wrong);
          // By the test's own hand, since the policy of the page lets nothing else in.
          await page.evaluate(axe.source);
          const { violations } = await page.evaluate(() => (window as unknown as { axe: typeof axe }).axe.run(document, { resultTypes: ["violations"] }));
          for (const { id, impact, nodes } of violations) {
            if (impact === "serious" || impact === "critical") found.push(`${path}: ${id} (${impact}): ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
          }
          const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
          if (wide > 0) found.push(`${path}: ${wide} pixels wider than the screen`);
          const name = path === "/" ? "fleet" : path.slice(1).replace(/[^a-z0-9]+/g, "-");
          await shoot(page, `${name}-${colorScheme}-${width}`);
          await page.context().close();
        }
        expect(found).toEqual([]);
      });
    }
  }
});
