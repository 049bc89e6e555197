// Who is let in: a token is asked for where the server wants one, a wrong one is said to be wrong, and
// the right one is kept for the tab and nowhere else.
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { Lone, launch, open, shoot } from "./setup.ts";

const TOKEN = "a-token-for-the-test-of-the-door";
let server: Lone;
let browser: Browser;

beforeAll(async () => {
  server = await Lone.start(`ann ${TOKEN}\n`);
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

test("a wrong token is said to be wrong, the right one opens, and another tab is asked anew", async () => {
  const { page, wrong } = await open(browser, server.base, "/vms");
  await page.getByRole("alert").getByText("The server wants a token.").waitFor();
  await page.getByLabel("Token").fill("this-is-not-the-token");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText("The server does not take this token.").waitFor();
  await shoot(page, "door");
  await page.getByLabel("Token").fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "VMs" }).waitFor();
  await page.locator(".badge", { hasText: "live" }).waitFor();
  expect(page.url()).not.toContain(TOKEN);
  await page.reload();
  await page.locator(".badge", { hasText: "live" }).waitFor();
  const kept = await page.evaluate(() => [JSON.stringify(localStorage), document.cookie]);
  expect(kept.join()).not.toContain(TOKEN);

  const other = await page.context().newPage();
  await other.goto(`${server.base}/vms`);
  await other.getByText("The server wants a token.").waitFor();
  expect(wrong).toEqual([]);

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("The server wants a token.").waitFor();
});

test("no page of somebody else's has it in a frame", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const refused: string[] = [];
  page.on("console", (message) => refused.push(message.text()));
  await page.setContent(`<iframe src="${server.base}/"></iframe>`);
  // By the server already, which the browser tells who asks; else by the page's own policy.
  const kept = /403 \(Forbidden\)|frame-ancestors|X-Frame-Options/;
  await expect.poll(() => refused.join("\n")).toMatch(kept);
  await context.close();
});
