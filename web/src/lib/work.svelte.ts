/** A question to the server and how it stands. A new question drops the one before it. */

import { isAborted } from "./api";

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

  stop(): void {
    this.#last?.abort();
    this.#last = null;
    this.isBusy = false;
  }
}
