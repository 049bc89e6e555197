// Filter, order and hold of the table, and the flags of the command for the same.
import { VmState } from "@banger/client/v1";
import { describe, expect, test } from "vitest";

import { listLine, matches, parseFilter, toggleState } from "../../src/fleet/filter.ts";
import { byName, hold, order } from "../../src/fleet/order.ts";
import { BY_NAME, formatRoute, parseRoute } from "../../src/route.ts";
import { byId, vm } from "./make.ts";

const web = vm("web-1", VmState.RUNNING, { spec: { labels: { app: "web" } } });
const failed = vm("db-1", VmState.FAILED, { spec: { labels: { app: "db" } }, status: { reason: "DISK_FULL", hostName: "b1" } });

describe("filter", () => {
  test.each([
    ["", true, true],
    ["web", true, false],
    ["state:failed", false, true],
    ["state:fai", false, true],
    ["state:running,failed", true, true],
    ["host:b1", false, true],
    ["app=web", true, false],
    ["app!=web", false, true],
    ["disk_full", false, true],
    ["is:attention", false, true],
    ["app=db state:running", false, false],
  ])("%j shows the right ones", (text, first, second) => {
    const filter = parseFilter(text);
    expect([matches(filter, web), matches(filter, failed)]).toEqual([first, second]);
  });

  test("says the same as the command", () => {
    expect(listLine(parseFilter("app=web tier!=test host:b0 state:failed"))).toBe("banger vm ls -l 'app=web,tier!=test' --host b0 --state failed");
    expect(listLine(parseFilter("it's"))).toBe("banger vm ls | grep -- 'it'\\''s'");
  });

  test("a state is added to what is typed and taken away again", () => {
    const once = toggleState("web", VmState.FAILED);
    expect(once).toBe("web state:failed");
    expect(toggleState(once, VmState.FAILED)).toBe("web");
  });
});

describe("order", () => {
  const all = byId([vm("web-10"), vm("web-9"), vm("db-1", VmState.FAILED)]);

  test("numbers at the end are numbers", () => {
    expect(["web-10", "web-1a", "web-9", "web-a", "db"].sort(byName)).toEqual(["db", "web-9", "web-10", "web-1a", "web-a"]);
    expect(order(all, parseFilter(""), BY_NAME, [])).toEqual(["id-db-1", "id-web-9", "id-web-10"]);
  });

  test("is the same whatever it was before", () => {
    const sort = { column: "state", down: true } as const;
    const fresh = order(all, parseFilter(""), sort, []);
    expect(order(all, parseFilter(""), sort, ["id-web-10", "gone", "id-db-1"])).toEqual(fresh);
  });

  test("a held order moves nothing, drops nothing and puts what is new last", () => {
    const before = ["id-web-10", "id-db-1"];
    const after = byId([vm("web-10"), vm("aaa")]);
    expect(hold(after, parseFilter(""), before)).toEqual(["id-web-10", "id-db-1", "id-aaa"]);
  });
});

describe("address", () => {
  test.each(["/", "/vms?q=state%3Afailed&sort=-since&sel=a%2Cb", "/vms/web-1?tab=console", "/hosts/b0", "/images", "/activity?q=root"])("%s says what is shown, and back", (address) => {
    const url = new URL(address, "http://x");
    expect(formatRoute(parseRoute(url.pathname, url.search))).toBe(address);
  });

  test("what makes no sense is the page without it", () => {
    expect(parseRoute("/vms", "?sort=nonsense").sort).toEqual(BY_NAME);
    expect(parseRoute("/%E0%A4%A", "").page).toBe("fleet");
  });
});
