/** Work that takes longer than a request. Which job it is stands in the address, so that a reload, or a link, comes back to it. */

import { onDestroy, untrack } from "svelte";
import { address } from "./address.svelte";
import { ask, isAborted, Problem, request, type Job } from "./api";

interface JobList {
  jobs: Job[];
  total: number;
  running: number;
  queued: number;
}

/** Seconds that one question waits for the end of the job. Progress is told at its end, so it is short. */
const WAIT = 1;

export const goesOn = (job: Job<unknown> | null): boolean => job?.status === "queued" || job?.status === "running";

/** The jobs of a tab: the one that is looked at, and the others of its kind. */
export class Jobs<Result> {
  job: Job<Result> | null = $state.raw(null);
  /** Why there is none, or no news of it. */
  error: unknown = $state.raw(null);
  isSubmitting = $state(false);
  /** The newest of this kind, without their results. */
  recent: Job[] = $state.raw([]);
  #last: AbortController | null = null;

  constructor(readonly kind: Job["kind"]) {}

  /** Asks for work. */
  async submit(body: unknown): Promise<void> {
    const own = this.#begin();
    this.isSubmitting = true;
    try {
      const job = await ask<Job<Result>>(`/${this.kind}?wait=0.3`, { body, signal: own.signal });
      if (this.#last !== own) return;
      this.job = job;
      address.set({ job: job.job_id }, { push: true });
      void this.list();
      await this.#follow(own);
    } catch (error) {
      this.#fail(own, error);
    } finally {
      if (this.#last === own) this.isSubmitting = false;
    }
  }

  /** Looks at a job, and goes on until it has ended. "" looks at none. */
  async open(id: string): Promise<void> {
    if (id === (this.job?.job_id ?? "")) return;
    const own = this.#begin();
    this.isSubmitting = false;
    this.job = null;
    if (!id) return;
    try {
      this.job = await ask<Job<Result>>(`/jobs/${encodeURIComponent(id)}`, { signal: own.signal });
      await this.#follow(own);
    } catch (error) {
      this.#fail(own, error);
    }
  }

  /** Cancels the job that is looked at, if it goes on. */
  async cancel(): Promise<void> {
    const job = this.job;
    if (!job || !goesOn(job)) return;
    await request(`/jobs/${job.job_id}`, { method: "DELETE" });
  }

  /** Takes a job that has ended out of the list, with its result. */
  async forget(id: string): Promise<void> {
    await request(`/jobs/${id}`, { method: "DELETE" });
    if (this.job?.job_id === id) address.set({ job: null });
    await this.list();
  }

  async list(): Promise<void> {
    try {
      this.recent = (await ask<JobList>(`/jobs?kind=${this.kind}&limit=30`)).jobs;
    } catch (error) {
      if (!isAborted(error)) this.error ??= error;
    }
  }

  /** What was refused has been changed since. */
  forgive(): void {
    if (this.error instanceof Problem && this.error.status === 400) this.error = null;
  }

  /**
   * Goes with the tab that is being made: follows the job of the address, forgives what was refused once the question is another one, and asks no
   * more when the tab is left.
   */
  goWith(question: () => unknown): void {
    $effect(() => {
      const wanted = address.get("job");
      untrack(() => void this.open(wanted));
    });
    $effect(() => {
      void JSON.stringify(question());
      untrack(() => this.forgive());
    });
    onDestroy(() => this.leave());
  }

  /** Asks no more; the job itself goes on. */
  leave(): void {
    this.#last?.abort();
    this.#last = null;
  }

  #begin(): AbortController {
    this.leave();
    this.error = null;
    this.#last = new AbortController();
    return this.#last;
  }

  #fail(own: AbortController, error: unknown): void {
    if (this.#last === own && !isAborted(error)) this.error = error;
  }

  async #follow(own: AbortController): Promise<void> {
    let misses = 0;
    while (this.#last === own && this.job && goesOn(this.job)) {
      try {
        const job = await ask<Job<Result>>(`/jobs/${this.job.job_id}?wait=${WAIT}`, { signal: own.signal });
        if (this.#last !== own) return;
        this.job = job;
        this.error = null;
        misses = 0;
        if (!goesOn(job)) await this.list();
      } catch (error) {
        // A server that is away for a moment, or busy, may come back; the job is in its file.
        const isPassing = error instanceof Problem && (error.status === 0 || error.status === 429 || error.status === 503);
        if (!isPassing) throw error;
        misses += 1;
        this.error = error;
        await new Promise((done) => setTimeout(done, Math.min(10, error.retryAfter ?? misses) * 1000));
      }
    }
  }
}
