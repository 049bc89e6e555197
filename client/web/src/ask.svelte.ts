// A question to the server whose answer is shown: asked when something it depends on changes, at most
// one at a time, and the answer of an older question never over that of a newer one.
import { sentence, session } from "./session.svelte.ts";

export class Asked<T> {
  answer = $state.raw<T | null>(null);
  failure = $state<string | null>(null);
  busy = $state(false);
  #turn = 0;
  #own: AbortController | null = null;

  async ask(question: (signal: AbortSignal) => Promise<T>): Promise<void> {
    const turn = ++this.#turn;
    this.#own?.abort();
    const own = (this.#own = new AbortController());
    this.busy = true;
    try {
      const answer = await question(own.signal);
      if (turn !== this.#turn) return;
      this.answer = answer;
      this.failure = null;
    } catch (error) {
      if (turn !== this.#turn) return;
      session.refused(error);
      this.failure = sentence(error);
    } finally {
      if (turn === this.#turn) this.busy = false;
    }
  }

  drop(): void {
    this.#turn += 1;
    this.#own?.abort();
  }
}
