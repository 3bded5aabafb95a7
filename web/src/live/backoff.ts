import { ApiError } from "@/api/problem";
import { POLL_INTERVAL_MS, POLL_LONGEST_MS } from "@/config/polling";

interface DelayInputs {
  /** Failures in a row; 0 after a success. */
  failures: number;
  /** What the server asked for with `Retry-After`, if it did. */
  retryAfterMs: number | null;
  /** In [0, 1); spreads the clients of a server that comes back. */
  random: number;
}

/** Milliseconds until the next poll: doubles with every failure, at most a minute, with jitter. */
export function nextDelayMs({ failures, retryAfterMs, random }: DelayInputs): number {
  if (failures === 0) return POLL_INTERVAL_MS;
  const doubled = Math.min(POLL_INTERVAL_MS * 2 ** failures, POLL_LONGEST_MS);
  const jittered = doubled * (0.75 + 0.5 * random);
  return Math.round(Math.max(jittered, retryAfterMs ?? 0));
}

/**
 * Remembers per query how its last polls went. The delay is drawn once per failure, not on every
 * read, because a query restarts its timer whenever the delay it reads has changed.
 */
export class Backoff {
  readonly #states = new Map<string, { failures: number; delayMs: number }>();

  constructor(private readonly random: () => number = Math.random) {}

  succeeded(query: string): void {
    this.#states.delete(query);
  }

  failed(query: string, error: unknown): void {
    const failures = (this.#states.get(query)?.failures ?? 0) + 1;
    const retryAfterMs = error instanceof ApiError ? error.retryAfterMs : null;
    const delayMs = nextDelayMs({ failures, retryAfterMs, random: this.random() });
    this.#states.set(query, { failures, delayMs });
  }

  delayMs(query: string): number {
    return this.#states.get(query)?.delayMs ?? POLL_INTERVAL_MS;
  }
}
