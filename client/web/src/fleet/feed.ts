// The two watches that keep the page's state. The client resumes them by itself; here is what a page
// needs beside: silence for too long is taken for a broken connection, since one whose other end
// vanished says nothing of it, and what no retry can help is told.
import type { Client, VmList } from "@banger/client";

import type { Input } from "./reduce.ts";

/** A bookmark comes every ten seconds. */
const SILENCE_MS = 40_000;

export interface Feed {
  readonly banger: Pick<Client, "watchVms" | "watchHosts">;
  readonly push: (input: Input) => void;
  /** What is known when a watch begins: it goes on from there. */
  readonly known: () => VmList | undefined;
  /** An error that no retry can help. */
  readonly refused: (error: unknown) => void;
  readonly sentence: (error: unknown) => string;
  readonly now: () => number;
}

/** Follows VMs and hosts until it is aborted, or refused for good. */
export async function follow(feed: Feed, signal: AbortSignal): Promise<void> {
  let again = true;
  while (again && !signal.aborted) {
    // Both streams come over the same connection: where one is dead, so is the other.
    const life = new AbortController();
    const either = AbortSignal.any([signal, life.signal]);
    const hosts = followHosts(feed, either);
    again = await followVms(feed, either, () => life.abort());
    life.abort();
    await hosts;
  }
}

/** Whether it is to be tried again. */
async function followVms(feed: Feed, signal: AbortSignal, cut: () => void): Promise<boolean> {
  let silent = false;
  const watchdog = new Watchdog(() => {
    silent = true;
    cut();
  });
  try {
    const list = feed.known();
    for await (const update of feed.banger.watchVms({}, list ? { list, signal } : { signal })) {
      const at = feed.now();
      watchdog.heard(update.kind === "reconnecting" ? update.pauseMs : 0);
      feed.push({ kind: "vm", at, update });
      if (update.kind === "reconnecting") {
        feed.push({ kind: "link", link: { state: "lost", since: at, why: feed.sentence(update.error), retryAt: at + update.pauseMs } });
      }
    }
  } catch (error) {
    if (!signal.aborted) {
      feed.push({ kind: "link", link: { state: "refused", since: feed.now(), why: feed.sentence(error) } });
      feed.refused(error);
      return false;
    }
  } finally {
    watchdog.end();
  }
  if (silent) {
    const at = feed.now();
    feed.push({ kind: "link", link: { state: "lost", since: at, why: "nothing came from it for too long", retryAt: at } });
  }
  return silent;
}

// A stream of hosts may have nothing to say for hours: whether it lives is told by that of VMs.
async function followHosts(feed: Feed, signal: AbortSignal): Promise<void> {
  try {
    for await (const update of feed.banger.watchHosts({ signal })) feed.push({ kind: "host", at: feed.now(), update });
  } catch {
    // What is refused here is refused there, too, where it is told.
  }
}

/** Bites when nothing is heard for too long. */
class Watchdog {
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly bite: () => void) {
    this.heard(0);
  }

  heard(moreMs: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.bite, SILENCE_MS + moreMs);
  }

  end(): void {
    clearTimeout(this.timer);
  }
}
