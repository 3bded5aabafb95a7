import type { Window } from "@/api/types";

export const WINDOWS = ["1h", "24h", "7d"] as const satisfies readonly Window[];

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

export const WINDOW_MS: Record<Window, number> = {
  "1h": HOUR_MS,
  "24h": 24 * HOUR_MS,
  "7d": 7 * 24 * HOUR_MS,
};

/** The length of a bucket in the series that the API answers with for each window. */
export const BUCKET_MS: Record<Window, number> = {
  "1h": MINUTE_MS,
  "24h": HOUR_MS,
  "7d": 6 * HOUR_MS,
};
