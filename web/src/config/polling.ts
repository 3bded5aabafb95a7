/** How often a live page asks for news, and the longest pause after repeated failures. */
export const POLL_INTERVAL_MS = 5_000;
export const POLL_LONGEST_MS = 60_000;
/** Answers younger than this are not asked for again when a tab comes back to the front. */
export const FRESH_FOR_MS = 4_000;
