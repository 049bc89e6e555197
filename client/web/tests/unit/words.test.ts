// Lines of the command, times and sizes, what a guest prints, what needs a person, what happened.
import { create } from "@bufbuild/protobuf";
import { DesiredState, HostState, VmHistoryEventSchema, VmState } from "@banger/client/v1";
import { describe, expect, test } from "vitest";

import { concerns } from "../../src/fleet/attention.ts";
import { createLine, joinLines, parseLabels, quote, vmLine, words } from "../../src/fleet/commands.ts";
import { count, mib, span } from "../../src/fleet/format.ts";
import { emptyFleet, reduce } from "../../src/fleet/reduce.ts";
import { sample } from "../../src/fleet/samples.ts";
import { keep, plain, Unshown } from "../../src/fleet/terminal.ts";
import { rounds } from "../../src/fleet/timeline.ts";
import { host, vm } from "./make.ts";

const time = (seconds: number) => ({ seconds: BigInt(Math.floor(seconds)), nanos: Math.round((seconds % 1) * 1e9) });

describe("lines of the command", () => {
  test("a name is one word of a shell, whatever is in it", () => {
    expect(quote("web-1")).toBe("web-1");
    expect(quote("a b; rm -rf /")).toBe("'a b; rm -rf /'");
    expect(quote("")).toBe("''");
  });

  test("what is done to VMs", () => {
    expect(vmLine("stop", ["a", "b"], { graceSeconds: 0 })).toBe("banger vm stop a b --force");
    expect(vmLine("stop", ["a"], { graceSeconds: 30 })).toBe("banger vm stop a --grace 30s");
    expect(vmLine("reboot", ["a"], { resetRootDisk: true })).toBe("banger vm reboot a --reset-root-disk --yes");
    expect(vmLine("rm", ["a"])).toBe("banger vm rm a --yes");
  });

  test("a VM is made as the form says", () => {
    const line = createLine({ name: "web", kernel: "k", initrd: "", root: "r", vcpus: 2, memoryMib: 512, diskMib: 1024, nat: false, restart: "always", host: "b0", labels: { app: "web" } });
    expect(line).toBe("banger vm create web --kernel k --root r --vcpus 2 --memory 512M --disk 1024M --no-nat --restart always --host b0 --label app=web");
  });

  test("a host joins by the lines that `banger host token` prints", () => {
    // The same words as in client/command/tests/it/command.rs.
    const lines = (name: string) => joinLines("http://127.0.0.1:7070", "bjt_secret", name);
    expect(lines("")).toBe("echo bjt_secret | banger-agent join --server http://127.0.0.1:7070 --token-file -\nsystemctl restart banger-agent");
    expect(lines("two")).toBe("echo bjt_secret | banger-agent join --server http://127.0.0.1:7070 --token-file - --name two\nsystemctl restart banger-agent");
  });

  test("labels and words", () => {
    expect(parseLabels("a=1, b=2=3 c")).toEqual({ labels: { a: "1", b: "2=3" }, wrong: ["c"] });
    expect(words(`sh -c "echo 'a b'"  x`)).toEqual(["sh", "-c", "echo 'a b'", "x"]);
  });
});

test("times, sizes and counts are short", () => {
  expect([20, 1500, 65_000, 3_700_000, 400_000_000].map(span)).toEqual(["20ms", "1.5s", "1m05s", "1h01m", "4d"]);
  expect([256, 1024, 1536, 4_194_304].map(mib)).toEqual(["256M", "1G", "1.5G", "4T"]);
  expect(count(1234567)).toBe("1\u202f234\u202f567");
});

test("one VM is told as one", () => {
  const detail = (vmCount: number) => concerns([], [host("b0", { status: { state: HostState.OFFLINE, vmCount } })], 0)[0]?.detail;
  expect([0, 1, 2].map(detail)).toEqual(["", "Its 1 VM is UNKNOWN, not gone.", "Its 2 VMs are UNKNOWN, not gone."]);
});

describe("what a guest prints", () => {
  test("escapes go, and a line that is written over is", () => {
    expect(plain("\u001b[1;31mred\u001b[0m\u001b]0;title\u0007 10%\r200%\r\nab\bc\u0000")).toBe("200%10%\nac");
  });

  test("what is kept is bounded and begins with a line", () => {
    expect(keep("one\ntwo\nthree\n", 10)).toBe("three\n");
  });

  test("what a hidden page has not drawn is bounded as well, and drawn once", () => {
    const unshown = new Unshown(10);
    for (let n = 0; n < 1000; n++) unshown.add(`${n}\n`);
    expect(unshown.take()).toBe("998\n999\n");
    expect(unshown.take()).toBe("");
  });
});

describe("what needs a person", () => {
  test("VMs with one reason are one line, and what is well is none", () => {
    const vms = [vm("a", VmState.FAILED, { status: { reason: "DISK_FULL" } }), vm("b", VmState.FAILED, { status: { reason: "DISK_FULL" } }), vm("c"), vm("d", VmState.STOPPED)];
    const found = concerns(vms, [host("b0", { status: { state: HostState.ONLINE } })], 0);
    expect(found.map(({ title, count: n, href }) => [title, n, href])).toEqual([["FAILED: DISK_FULL", 2, "/vms?q=state%3Afailed%20disk_full"]]);
  });

  test("a host that is not heard comes first", () => {
    const found = concerns([vm("a", VmState.PENDING)], [host("b0", { status: { state: HostState.OFFLINE } })], 0);
    expect(found.map(({ title }) => title)).toEqual(["Host b0 is OFFLINE", "VM a is PENDING"]);
  });
});

test("unclaimed VMs are counted, also where not all are named", () => {
  const counted = (unclaimedVmIds: string[], unclaimedVmCount = 0) =>
    concerns([], [host("b0", { status: { state: HostState.ONLINE, unclaimedVmIds, unclaimedVmCount } })], 0).map(({ count: n }) => n);
  expect([counted([]), counted(["a", "b"]), counted(["a", "b"], 2), counted(["a"], 16_000)]).toEqual([[], [2], [2], [16_000]]);
});

describe("what happened", () => {
  const event = (at: number, type: string, actor = "host b0") => create(VmHistoryEventSchema, { time: time(at), type, actor });

  test("the steps of a host belong to the request they are for, as bars that last until the next", () => {
    const [stop, made] = rounds([
      event(10, "CREATED", "ann"),
      event(10.1, "PLACED", "ann"),
      event(10.2, "PREPARING"),
      event(10.7, "STARTING"),
      event(11, "RUNNING"),
      event(60, "STOP_REQUESTED", "bob"),
      event(60.1, "STOPPING"),
      event(62.1, "STOPPED"),
    ]);
    expect(made).toMatchObject({ title: "CREATED", actor: "ann", tookMs: 1000 });
    expect(made!.steps.map(({ word, from, until }) => [word, until === null ? null : until - from])).toEqual([
      ["PREPARING", 500],
      ["STARTING", 300],
      ["RUNNING", null],
    ]);
    expect(stop).toMatchObject({ title: "STOP_REQUESTED", actor: "bob", tookMs: 2100 });
  });

  test("what is said again and again is one line, with the time of the last", () => {
    const found = rounds([event(10, "CREATED", "ann"), event(11, "RUNNING"), event(50, "FAILED"), event(60, "FAILED"), event(70, "FAILED")]);
    expect(found.map(({ title, times, at }) => [title, times, at])).toEqual([
      ["FAILED", 3, 70_000],
      ["CREATED", 1, 10_000],
    ]);
  });

  test("what comes by itself belongs to nobody's request", () => {
    const [crash] = rounds([event(10, "CREATED", "ann"), event(11, "RUNNING"), event(99, "CRASHED")]);
    expect(crash).toMatchObject({ title: "CRASHED", tookMs: null });
  });
});

test("numbers over time are those of the fleet", () => {
  const ran = vm("a", VmState.RUNNING, { generation: 1n, desiredState: DesiredState.RUNNING, createTime: time(100), status: { observedGeneration: 1n, stateSince: time(102) } });
  const waits = vm("b", VmState.STOPPING, { generation: 3n, updateTime: time(104), status: { observedGeneration: 2n } });
  const update = (object: typeof ran) => ({ kind: "vm", at: 0, update: { kind: "added", object, revision: 1n } }) as const;
  const fleet = reduce(emptyFleet(0), [update(ran), update(waits), { kind: "vm", at: 0, update: { kind: "current", revision: 30n } }]);
  const first = sample({ ...fleet, revision: 10n }, 109_000, undefined, 0);
  const next = sample(fleet, 110_000, first, 0);
  expect(next).toMatchObject({ running: 1, moving: 1, trouble: 0, lag: 6, p50: 2, p99: 2, rate: 20 });
});
