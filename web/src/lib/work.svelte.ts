/** A question to the server and how it stands. A new question drops the one before it. */

import { untrack } from "svelte";
import { isAborted } from "./api";

/** How long what is typed or drawn along must rest. */
const REST = 180;

export class Work<T> {
  value: T | null = $state.raw(null);
  error: unknown = $state.raw(null);
  isBusy = $state(false);
  #last: AbortController | null = null;

  /** Asks. What was there stays until the answer is; a failure takes its place. */
  async run(question: (signal: AbortSignal) => Promise<T>): Promise<T | null> {
    this.#last?.abort();
    const own = new AbortController();
    this.#last = own;
    this.isBusy = true;
    try {
      const value = await question(own.signal);
      if (this.#last !== own) return null;
      this.value = value;
      this.error = null;
      return value;
    } catch (error) {
      if (this.#last === own && !isAborted(error)) {
        this.error = error;
        this.value = null;
      }
      return null;
    } finally {
      if (this.#last === own) this.isBusy = false;
    }
  }

  /** The same for an effect, which gives what this returns: the first time at once, then when nothing has changed for a moment. */
  follow(question: (signal: AbortSignal) => Promise<T>): () => void {
    this.isBusy = true;
    // What is there is not what the effect goes by: an answer must not ask again.
    const timer = setTimeout(() => void this.run(question), untrack(() => this.value) === null ? 0 : REST);
    return () => clearTimeout(timer);
  }

  stop(): void {
    this.#last?.abort();
    this.#last = null;
    this.isBusy = false;
  }
}
