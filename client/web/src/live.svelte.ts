// The page's one store: what the watches tell goes into a queue, and the queue into the state, at
// most once a frame and ten times a second. A second clock ticks for everything that shows an age.
//
// A tab that nobody sees lets its streams go: over HTTP/1.1 a browser has six connections to a
// server for all tabs together. It resumes after its revision when it is looked at.
import type { VmList } from "@banger/client";

import { follow } from "./fleet/feed.ts";
import { emptyFleet, reduce, staleness, type Fleet, type Input } from "./fleet/reduce.ts";
import { MOST_SAMPLES, sample, type Sample } from "./fleet/samples.ts";
import { banger, sentence, session } from "./session.svelte.ts";

const BETWEEN_VIEWS_MS = 100;
const REST_AFTER_MS = 30_000;
// What walks over all VMs (orders, counts, sums) does so twice a second in a fleet this large; a row
// in sight changes with each view all the same.
const LARGE = 2_000;
const BETWEEN_WALKS_MS = 500;

class Live {
  fleet = $state.raw<Fleet>(emptyFleet(Date.now()));
  /** The same a little later in a large fleet: for what walks over all of it. */
  settled = $state.raw<Fleet>(this.fleet);
  /** This page's clock, in ms; moves once a second. */
  now = $state(Date.now());
  samples = $state.raw<readonly Sample[]>([]);
  /** The sentence that says that what is shown is old; null while it is not. */
  readonly stale = $derived(staleness(this.fleet, this.now));
  #skewMs = $state(0);
  /** This moment by the server's clock, which made all times that are shown. */
  readonly serverNow = $derived(this.now + this.#skewMs);

  #queue: Input[] = [];
  #due = false;
  #viewedAt = 0;
  #settledAt = 0;
  #settles: ReturnType<typeof setTimeout> | undefined;
  #watching: AbortController | null = null;

  start(): void {
    setInterval(() => this.#tick(), 1000);
    let rest: ReturnType<typeof setTimeout> | undefined;
    document.addEventListener("visibilitychange", () => {
      clearTimeout(rest);
      if (document.hidden) rest = setTimeout(() => this.#rest(), REST_AFTER_MS);
      else if (!this.#watching && session.asks === null) this.watch();
      this.now = Date.now();
    });
    this.watch();
  }

  /** Opens the watches, or opens them anew. */
  watch(): void {
    this.#watching?.abort();
    this.#watching = new AbortController();
    this.#push({ kind: "link", link: { state: "connecting", since: Date.now() } });
    this.#flush();
    const feed = { banger, sentence, now: Date.now, push: this.#push, refused: this.#refused, known: this.#known };
    void follow(feed, this.#watching.signal);
    void this.#compare();
  }

  readonly #known = (): VmList | undefined => {
    const { haveVms, vms, revision } = this.fleet;
    return haveVms ? { vms: [...vms.values()], revision } : undefined;
  };

  readonly #refused = (error: unknown): void => {
    session.refused(error);
    this.#watching = null;
  };

  /** How far this clock is from the server's, told by any answer of it to a second. */
  async #compare(): Promise<void> {
    try {
      const { headers } = await fetch("/icon.svg", { method: "HEAD", cache: "no-store" });
      const skew = Date.parse(headers.get("date") ?? "") + 500 - Date.now();
      if (!Number.isNaN(skew)) this.#skewMs = Math.abs(skew) < 2000 ? 0 : skew;
    } catch {
      // Whether the server is there is told by the watches.
    }
  }

  #rest(): void {
    this.#watching?.abort();
    this.#watching = null;
    this.#push({ kind: "link", link: { state: "resting", since: Date.now() } });
    this.#flush();
  }

  readonly #push = (input: Input): void => {
    this.#queue.push(input);
    if (this.#due) return;
    this.#due = true;
    // No frame comes to a page that is hidden.
    if (document.hidden) setTimeout(() => this.#flush(), 1000);
    else setTimeout(() => requestAnimationFrame(() => this.#flush()), Math.max(0, this.#viewedAt + BETWEEN_VIEWS_MS - performance.now()));
  };

  #flush(): void {
    this.#due = false;
    this.#viewedAt = performance.now();
    const inputs = this.#queue;
    this.#queue = [];
    if (inputs.length === 0) return;
    this.fleet = reduce(this.fleet, inputs);
    const wait = this.fleet.vms.size < LARGE ? 0 : this.#settledAt + BETWEEN_WALKS_MS - this.#viewedAt;
    if (wait <= 0) this.#settle();
    else this.#settles ??= setTimeout(() => this.#settle(), wait);
  }

  #settle(): void {
    clearTimeout(this.#settles);
    this.#settles = undefined;
    this.#settledAt = performance.now();
    this.settled = this.fleet;
  }

  #tick(): void {
    this.now = Date.now();
    if (!this.fleet.haveVms || this.stale !== null) return;
    const next = sample(this.fleet, this.now, this.samples.at(-1), this.#skewMs);
    this.samples = [...this.samples.slice(1 - MOST_SAMPLES), next];
  }
}

export const live = new Live();
