// The page's one store: what it knows after what it was told.
import { BangerError } from "@banger/client";
import { VmState } from "@banger/client/v1";
import { describe, expect, test } from "vitest";

import { MOST_CHANGES, STALE_AFTER_MS, emptyFleet, reduce, staleness, type Input } from "../../src/fleet/reduce.ts";
import { host, vm } from "./make.ts";

const added = (name: string, state?: VmState): Input => ({ kind: "vm", at: 1000, update: { kind: "added", object: vm(name, state), revision: 1n } });
const modified = (name: string, state: VmState, revision = 2n): Input => ({ kind: "vm", at: 2000, update: { kind: "modified", object: vm(name, state), revision } });
const removed = (name: string): Input => ({ kind: "vm", at: 3000, update: { kind: "removed", object: vm(name), revision: 9n } });
const current = (revision: bigint): Input => ({ kind: "vm", at: 1000, update: { kind: "current", revision } });
const known = () => reduce(emptyFleet(0), [added("a"), added("b"), current(5n)]);

describe("reduce", () => {
  test("changes nothing of the state before", () => {
    const before = known();
    const after = reduce(before, [modified("a", VmState.STOPPED), removed("b")]);
    expect(before.vms.size).toBe(2);
    expect(before.vms.get("id-a")?.status?.state).toBe(VmState.RUNNING);
    expect([...after.vms.keys()]).toEqual(["id-a"]);
  });

  test("copies no map that nothing was said about", () => {
    const before = known();
    const after = reduce(before, [{ kind: "vm", at: 1, update: { kind: "bookmark", revision: 7n } }]);
    expect(after.vms).toBe(before.vms);
    expect(after.hosts).toBe(before.hosts);
    expect(after.revision).toBe(7n);
  });

  test("names a revision to go on from only when the first state is whole", () => {
    const half = reduce(emptyFleet(0), [added("a"), added("b")]);
    expect(half.haveVms).toBe(false);
    expect(half.revision).toBe(0n);
    expect(reduce(half, [current(5n)])).toMatchObject({ haveVms: true, revision: 5n });
  });

  test("takes the revision of a server that counts anew", () => {
    expect(reduce(known(), [current(2n)]).revision).toBe(2n);
  });

  test("tells a change of state once, and none of the first state", () => {
    const first = known();
    expect(first.changes).toEqual([]);
    const after = reduce(first, [modified("a", VmState.STOPPING), modified("a", VmState.STOPPING, 3n), removed("b")]);
    expect(after.changes.map(({ name, from, to }) => [name, from, to])).toEqual([
      ["a", VmState.RUNNING, VmState.STOPPING],
      ["b", VmState.RUNNING, VmState.DELETED],
    ]);
  });

  test("keeps a bounded number of changes, the newest, numbered on", () => {
    const flips = Array.from({ length: 3 * MOST_CHANGES }, (_, at) => modified("a", at % 2 ? VmState.RUNNING : VmState.PAUSED, BigInt(at)));
    const after = reduce(known(), flips);
    expect(after.changes.length).toBe(MOST_CHANGES);
    expect(after.changes.at(-1)?.seq).toBe(3 * MOST_CHANGES);
  });

  test("keeps hosts", () => {
    const one = host("b0");
    const after = reduce(known(), [
      { kind: "host", at: 1, update: { kind: "added", object: one, revision: 0n } },
      { kind: "host", at: 1, update: { kind: "current", revision: 0n } },
    ]);
    expect(after.haveHosts).toBe(true);
    expect(after.hosts.get("id-b0")).toBe(one);
    expect(reduce(after, [{ kind: "host", at: 1, update: { kind: "removed", object: one, revision: 0n } }]).hosts.size).toBe(0);
  });
});

describe("staleness", () => {
  const error = new BangerError("unreachable", { name: "WatchVms", changes: false }, "no route", { code: 14 });

  test("nothing is stale while the stream speaks", () => {
    expect(staleness(known(), 1000 + STALE_AFTER_MS)).toBeNull();
  });

  test("silence is stale though the connection is open", () => {
    expect(staleness(known(), 1001 + STALE_AFTER_MS)).toContain("nothing comes");
  });

  test("a lost connection is stale at once, and not by the word of the stream alone", () => {
    const lost = reduce(known(), [{ kind: "link", link: { state: "lost", since: 1, why: "no route", retryAt: 2 } }]);
    expect(staleness(lost, 1000)).toContain("no route");
    const told = reduce(lost, [{ kind: "vm", at: 4000, update: { kind: "reconnecting", error, pauseMs: 10 } }]);
    expect(told.heardAt).toBe(1000);
    expect(staleness(told, 1000)).not.toBeNull();
  });

  test("what is heard again is not stale any more", () => {
    const lost = reduce(known(), [{ kind: "link", link: { state: "lost", since: 1, why: "no route", retryAt: 2 } }]);
    expect(staleness(reduce(lost, [modified("a", VmState.PAUSED)]), 2000)).toBeNull();
  });

  test("a page that has seen nothing yet is connecting, not stale", () => {
    expect(staleness(emptyFleet(0), 10)).toBeNull();
  });
});
