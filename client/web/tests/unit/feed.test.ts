// What the page does about its watches beside what the client does by itself: silence is a broken
// connection, a refusal is told once, and what is known is where the next watch goes on.
import { BangerError, type Update, type VmList } from "@banger/client";
import type { Host, Vm } from "@banger/client/v1";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { follow, type Feed } from "../../src/fleet/feed.ts";
import type { Input } from "../../src/fleet/reduce.ts";
import { vm } from "./make.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

type Opened = { list: VmList | undefined; signal: AbortSignal };

/** A client whose watches say what the test says, and then nothing. */
function staged(says: Update<Vm>[], error?: BangerError) {
  const opened: Opened[] = [];
  const inputs: Input[] = [];
  const refused: unknown[] = [];
  async function* silent<T>(told: Update<T>[], signal: AbortSignal): AsyncGenerator<Update<T>, void, undefined> {
    yield* told;
    if (error) throw error;
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
  }
  const feed: Feed = {
    banger: {
      watchVms: (_, { list, signal } = {}) => {
        opened.push({ list, signal: signal! });
        return silent(says, signal!);
      },
      watchHosts: ({ signal } = {}) => silent<Host>([], signal!),
    },
    push: (input) => inputs.push(input),
    known: () => (opened.length > 0 ? { vms: [vm("a")], revision: 7n } : undefined),
    refused: (thrown) => refused.push(thrown),
    sentence: (thrown) => (thrown as Error).message,
    now: () => Date.now(),
  };
  return { feed, opened, inputs, refused };
}

const links = (inputs: Input[]) => inputs.flatMap((input) => (input.kind === "link" ? [input.link.state] : []));

test("a stream that says nothing for forty seconds is opened again, after what is known", async () => {
  const { feed, opened, inputs } = staged([{ kind: "current", revision: 7n }]);
  const end = new AbortController();
  void follow(feed, end.signal);
  await vi.advanceTimersByTimeAsync(39_000);
  expect(opened.length).toBe(1);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(opened.length).toBe(2);
  expect(opened[0]).toMatchObject({ list: undefined });
  expect(opened[1]!.list?.revision).toBe(7n);
  expect(opened[0]!.signal.aborted).toBe(true);
  expect(links(inputs)).toEqual(["lost"]);
  end.abort();
});

test("a pause that the client has announced is no silence", async () => {
  const error = new BangerError("unreachable", { name: "WatchVms", changes: false }, "no route", { code: 14 });
  const { feed, opened, inputs } = staged([{ kind: "reconnecting", error, pauseMs: 30_000 }]);
  const end = new AbortController();
  void follow(feed, end.signal);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(opened.length).toBe(1);
  expect(links(inputs)).toEqual(["lost"]);
  end.abort();
});

test("what no retry can help is told once, and nothing is tried again", async () => {
  const error = new BangerError("refused", { name: "WatchVms", changes: false }, "who are you", { code: 16, reason: "TOKEN_INVALID" });
  const { feed, opened, inputs, refused } = staged([], error);
  void follow(feed, new AbortController().signal);
  await vi.advanceTimersByTimeAsync(200_000);
  expect(opened.length).toBe(1);
  expect(refused).toEqual([error]);
  expect(links(inputs)).toEqual(["refused"]);
});

test("a page that lets go is told nothing more", async () => {
  const { feed, opened, inputs } = staged([{ kind: "current", revision: 7n }]);
  const end = new AbortController();
  void follow(feed, end.signal);
  await vi.advanceTimersByTimeAsync(10);
  end.abort();
  const told = inputs.length;
  await vi.advanceTimersByTimeAsync(200_000);
  expect(opened.length).toBe(1);
  expect(inputs.length).toBe(told);
});
